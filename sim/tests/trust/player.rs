//! Plays steps on connections and tells what came of them.

use std::path::{Path, PathBuf};

use litestream_sim::vfs;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::script::{CONNECTIONS, Step};

/// Connections of a script to a database in `folder`, all or some of them in this process.
pub struct Player {
    folder: PathBuf,
    simulated: bool,
    connections: Vec<Option<Connection>>,
}

impl Player {
    pub fn new(folder: &Path, simulated: bool) -> Player {
        Player {
            folder: folder.to_owned(),
            simulated,
            connections: (0..CONNECTIONS).map(|_| None).collect(),
        }
    }

    fn open(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let path = self.folder.join("t.db");
        let open = if self.simulated {
            Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?
        } else {
            Connection::open_with_flags(path, flags)?
        };
        open.busy_timeout(std::time::Duration::ZERO)?;
        Ok(open)
    }

    /// Return codes and rows of step `number`. Random numbers depend on the number only, so that it does not matter which
    /// process plays which step.
    pub fn play(&mut self, number: usize, step: &Step) -> String {
        vfs::seed_sqlite(number as u32 * 2);
        match step {
            Step::Open { connection, flags } => {
                self.connections[*connection] = None;
                match self.open(*flags) {
                    Ok(open) => {
                        self.connections[*connection] = Some(open);
                        "opened".to_owned()
                    }
                    Err(error) => format!("{:?}", error.sqlite_error()),
                }
            }
            Step::Close { connection } => {
                self.connections[*connection] = None;
                String::new()
            }
            Step::Sql { connection, sql } => match &self.connections[*connection] {
                Some(open) => {
                    let other = self.folder.join("other.db");
                    let other = other.to_str().unwrap();
                    run_sql(open, &sql.replace("other.db", other)).replace(other, "other.db")
                }
                None => String::new(),
            },
        }
    }
}

fn rows(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect())?;
    rows.collect()
}

fn run_sql(connection: &Connection, sql: &str) -> String {
    let results = sql.split(';').map(|part| match rows(connection, part) {
        Ok(rows) => format!("{rows:?};"),
        Err(rusqlite::Error::SqliteFailure(error, text)) => {
            format!("error {} {text:?};", error.extended_code)
        }
        Err(error) => format!("{error};"),
    });
    results.collect()
}
