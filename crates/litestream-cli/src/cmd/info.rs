//! `litestream info`.

use std::time::Duration;

use litestream_replica::env::Env;

use crate::args::{Parsed, duration};
use crate::control::client::{self, Client};
use crate::control::documents::Info;
use crate::failure::Result;
use crate::{out, time};

/// Shows what a running daemon says of itself.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    client::no_positionals(parsed)?;
    let info: Info = Client::new(parsed, env)?.get("info", "/info")?.document;
    if parsed.bool("json") {
        return out::print(&out::json(&info)?);
    }
    out::print(&format!(
        "Litestream {}\n  PID:        {}\n  Uptime:     {}\n  Started at: {}\n  Databases:  {}\n",
        info.version,
        info.pid,
        duration::format(Duration::from_secs(info.uptime_seconds)),
        time::without_fraction(&info.started_at),
        info.database_count,
    ))
}
