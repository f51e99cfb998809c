//! `litestream list`.

use litestream_replica::env::Env;

use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::{List, Listed};
use crate::failure::Result;
use crate::{out, time};

/// Shows the databases of a running daemon.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    client::no_positionals(parsed)?;
    let list: List = Client::new(parsed, env)?.get("list", "/list")?.document;
    if parsed.bool("json") {
        return out::print(&out::json(&list)?);
    }
    if list.databases.is_empty() {
        return out::print("No databases configured\n");
    }
    let lines: Vec<String> = list.databases.iter().map(line).collect();
    out::print(&lines.concat())
}

fn line(database: &Listed) -> String {
    let at = database.last_sync_at.as_deref();
    let at = at.map_or_else(|| "never".to_owned(), time::without_fraction);
    format!(
        "{} [{}] (last sync: {at})\n",
        database.path, database.status
    )
}
