//! `litestream unregister`.

use litestream_replica::env::Env;
use serde::Serialize;

use super::start;
use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::{GiveUp, Moved};
use crate::failure::Result;
use crate::out;

#[derive(Serialize)]
struct Shown<'a> {
    status: &'a str,
    db_path: &'a str,
    final_txid: u64,
    socket: String,
}

#[derive(Serialize)]
struct Preview<'a> {
    status: &'static str,
    db_path: &'a str,
    socket: String,
    timeout_seconds: u64,
}

/// Has a running daemon give up a database, after a final sync.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = client::database(parsed, "unregister /path/to/db")?;
    let client = Client::new(parsed, env)?;
    if parsed.bool("dry-run") {
        return preview(parsed, &client, &path);
    }
    let request = GiveUp {
        path,
        timeout: client.timeout_seconds(),
        force: parsed.bool("force"),
    };
    let moved: Moved = client.post("unregister", &request)?.document;
    start::warn(&moved);
    let shown = Shown {
        status: &moved.status,
        db_path: &moved.path,
        final_txid: moved.txid,
        socket: client.socket(),
    };
    if parsed.bool("json") {
        return out::print(&out::json(&shown)?);
    }
    out::print(&format!(
        "status: {}\ndb_path: {}\nfinal_txid: {}\nsocket: {}\n",
        shown.status, shown.db_path, shown.final_txid, shown.socket
    ))
}

fn preview(parsed: &Parsed, client: &Client, path: &str) -> Result {
    let preview = Preview {
        status: "dry_run",
        db_path: path,
        socket: client.socket(),
        timeout_seconds: client.timeout_seconds(),
    };
    if parsed.bool("json") {
        return out::print(&out::json(&preview)?);
    }
    out::print(&format!(
        "Dry run: unregister request preview
  database: {path}
  socket: {}
  replicas: daemon-managed replica for this database
  final sync: daemon close will sync the database and replica before the command completes
  timeout: {}s
No unregister request was sent.
",
        preview.socket, preview.timeout_seconds
    ))
}
