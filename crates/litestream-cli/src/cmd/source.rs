//! What a positional names: a replica by its URL, or a database, whose replicas are in the configuration.

use std::ffi::OsStr;
use std::path::PathBuf;

use litestream::Settings;
use litestream_replica::SharedReplica;
use litestream_replica::env::Env;
use litestream_replica::retry::Patience;
use litestream_replica::settings::{Opening, Storage, shown_url};

use crate::args::Parsed;
use crate::config::{self, Clients};
use crate::failure::{Failure, Result};
use crate::place;

/// See the module.
pub struct Source {
    /// As it was typed, without secrets.
    pub name: String,
    /// The database, and how it is replicated, if it was named.
    pub database: Option<(PathBuf, Settings)>,
    /// Its replicas; at least one.
    pub replicas: Vec<SharedReplica>,
}

impl Source {
    /// Reads a positional; contacts nobody.
    pub fn of(parsed: &Parsed, arg: &OsStr, patience: Patience, env: &Env) -> Result<Source> {
        if place::is_replica(arg) {
            if parsed.names_file("config") {
                return Err(Failure::new(
                    "cannot specify a replica URL and the -config flag",
                ));
            }
            return Source::replica(place::utf8(arg)?, patience, env);
        }
        let path = place::expand(arg)?;
        let config = config::for_command(parsed, env)?;
        let unknown = || {
            Failure::with_try(
                format!("database not found in config: {}", path.display()),
                "litestream databases",
            )
        };
        let entry = config.find(&path).ok_or_else(unknown)?;
        let entry = entry.for_file(&path)?;
        let clients = Clients::new(&config, patience, env);
        let replicas = entry.open_replicas(&path, &clients, env)?;
        if replicas.is_empty() {
            return Err(Failure::new(format!(
                "no replica configured for database: {}",
                path.display()
            )));
        }
        let settings = config.settings(&entry, &path);
        Ok(Source {
            name: arg.to_string_lossy().into_owned(),
            database: Some((path, settings)),
            replicas,
        })
    }

    fn replica(url: &str, patience: Patience, env: &Env) -> Result<Source> {
        let storage = Storage::from_url(url).map_err(Failure::new)?;
        let opening = Opening {
            patience,
            ..Opening::command(env)
        };
        let replica = config::open(&storage, &opening)?;
        Ok(Source {
            name: shown_url(url),
            database: None,
            replicas: vec![replica],
        })
    }

    /// The replica that is meant where there can be only one.
    pub fn first(&self) -> &SharedReplica {
        &self.replicas[0]
    }
}
