//! `litestream register`.

use litestream_replica::env::Env;
use litestream_replica::settings::shown_url;
use serde::Serialize;

use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::Registered;
use crate::failure::{Failure, Result};
use crate::out;

const EXAMPLE: &str = "register -replica s3://bucket/prefix /path/to/db";

#[derive(Serialize)]
struct Request<'a> {
    path: &'a str,
    replica_url: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    status: &'a str,
    db_path: &'a str,
    /// As it was given, but for secrets: what is printed ends up in logs.
    replica: String,
    socket: String,
}

/// Has a running daemon replicate another database.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = client::database(parsed, EXAMPLE)?;
    let replica = parsed.utf8("replica");
    if replica.is_empty() {
        return Err(Failure::with_try(
            "-replica is required",
            format!("litestream {EXAMPLE}"),
        ));
    }
    let client = Client::new(parsed, env)?;
    let request = Request {
        path: &path,
        replica_url: &replica,
    };
    let registered: Registered = client.post("register", &request)?.document;
    let shown = Shown {
        status: &registered.status,
        db_path: &registered.path,
        replica: shown_url(&replica),
        socket: client.socket(),
    };
    if parsed.bool("json") {
        return out::print(&out::json(&shown)?);
    }
    out::print(&format!(
        "status: {}\ndb_path: {}\nreplica: {}\nsocket: {}\n",
        shown.status.replace('_', " "),
        shown.db_path,
        shown.replica,
        shown.socket
    ))
}
