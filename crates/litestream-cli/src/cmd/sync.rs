//! `litestream sync`.

use litestream_replica::env::Env;
use serde::Serialize;

use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::Synced;
use crate::failure::Result;
use crate::out;

#[derive(Serialize)]
struct Request {
    path: String,
    wait: bool,
    timeout: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    db_path: &'a str,
    txid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_txid: Option<u64>,
    duration_ms: u64,
}

/// Has a running daemon capture a database now and, with `-wait`, upload it.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = client::database(parsed, "sync /path/to/db")?;
    let client = Client::new(parsed, env)?;
    let wait = parsed.bool("wait");
    let request = Request {
        path,
        wait,
        timeout: client.timeout_seconds(),
    };
    let answered = client.post::<Synced>("sync", &request)?;
    let shown = Shown {
        db_path: &answered.document.path,
        txid: answered.document.txid,
        replica_txid: wait.then_some(answered.document.replicated_txid),
        duration_ms: answered.took.as_millis() as u64,
    };
    if parsed.bool("json") {
        return out::print(&out::json(&shown)?);
    }
    let replica = shown
        .replica_txid
        .map_or_else(String::new, |txid| format!("replica_txid: {txid}\n"));
    out::print(&format!(
        "db_path: {}\ntxid: {}\n{replica}duration_ms: {}\n",
        shown.db_path, shown.txid, shown.duration_ms
    ))
}
