//! `litestream stop`.

use litestream_replica::env::Env;

use super::start;
use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::{GiveUp, Moved};
use crate::failure::Result;

/// Has a running daemon pause the replication of a database, after a final sync.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = client::database(parsed, "stop /path/to/db")?;
    let client = Client::without_limit(parsed, env)?;
    let request = GiveUp {
        path,
        timeout: client.timeout_seconds(),
        force: parsed.bool("force"),
    };
    let moved: Moved = client.post("stop", &request)?.document;
    start::show(parsed, &client, &moved, "stopped")
}
