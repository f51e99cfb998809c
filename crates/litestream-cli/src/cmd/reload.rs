//! `litestream reload`.

use std::fmt::Write as _;

use litestream_replica::env::Env;
use serde::Serialize;

use crate::args::Parsed;
use crate::control::client::{self, Client};
use crate::control::documents::Reloaded;
use crate::failure::{Failure, Result};
use crate::out;

#[derive(Serialize)]
struct Request {
    timeout: u64,
}

/// Has a running daemon read its configuration again. What could not be done makes the command fail, after it has been shown.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    client::no_positionals(parsed)?;
    let client = Client::new(parsed, env)?;
    let timeout = client.timeout_seconds();
    let reloaded: Reloaded = client.post("reload", &Request { timeout })?.document;
    if parsed.bool("json") {
        out::print(&out::json(&reloaded)?)?;
    } else {
        out::print(&text(&reloaded))?;
    }
    match reloaded.problems.len() {
        0 => Ok(()),
        n => Err(Failure::new(format!(
            "reload: {n} of the changes could not be made"
        ))),
    }
}

fn text(reloaded: &Reloaded) -> String {
    let mut text = format!("status: {}\n", reloaded.status);
    let lists = [
        ("added", &reloaded.added),
        ("removed", &reloaded.removed),
        ("changed", &reloaded.changed),
        ("problem", &reloaded.problems),
    ];
    for (name, items) in lists {
        for item in items {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name}: {item}");
        }
    }
    let _ = writeln!(text, "unchanged: {}", reloaded.unchanged);
    text
}
