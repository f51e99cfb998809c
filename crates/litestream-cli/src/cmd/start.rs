//! `litestream start`.

use litestream_replica::env::Env;
use serde::Serialize;

use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::Moved;
use crate::failure::Result;
use crate::out;

#[derive(Serialize)]
struct Request {
    path: String,
    timeout: u64,
}

/// What `start` and `stop` print.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    status: &'a str,
    db_path: &'a str,
    state: &'static str,
    txid: u64,
    socket: String,
}

/// Has a running daemon resume the replication of a database.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = client::database(parsed, "start /path/to/db")?;
    let client = Client::without_limit(parsed, env)?;
    let timeout = client.timeout_seconds();
    let moved: Moved = client.post("start", &Request { path, timeout })?.document;
    show(parsed, &client, &moved, "running")
}

/// Shows what became of a database.
pub(super) fn show(parsed: &Parsed, client: &Client, moved: &Moved, state: &'static str) -> Result {
    warn(moved);
    let shown = Shown {
        status: &moved.status,
        db_path: &moved.path,
        state,
        txid: moved.txid,
        socket: client.socket(),
    };
    if parsed.bool("json") {
        return out::print(&out::json(&shown)?);
    }
    out::print(&format!(
        "status: {}\ndb_path: {}\nstate: {}\ntxid: {}\nsocket: {}\n",
        shown.status, shown.db_path, shown.state, shown.txid, shown.socket
    ))
}

/// What was done with a loss is done, but not in silence.
pub(super) fn warn(moved: &Moved) {
    if let Some(warning) = &moved.warning {
        out::complain(&format!("Warning: {warning}"));
    }
}
