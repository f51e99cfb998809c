//! `litestream-test populate`: a database of a given size.

use std::path::Path;

use litestream_replica::env::Env;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rusqlite::{Connection, params};
use tracing::info;

use super::{database, doing, open, parse_size, remove_database, size};
use crate::args::Parsed;
use crate::failure::{Failure, Result};

struct Plan {
    target_bytes: u64,
    row_bytes: usize,
    batch_rows: u64,
    tables: u64,
    index_ratio: f64,
    page_bytes: u32,
}

fn plan(parsed: &Parsed) -> Result<Plan> {
    let size = parsed.utf8("target-size");
    let positive = |name: &str| {
        let n = u64::try_from(parsed.int(name)).ok().filter(|&n| n > 0);
        n.ok_or_else(|| Failure::new(format!("-{name} must be at least 1")))
    };
    let page_bytes = u32::try_from(parsed.int("page-size"))
        .ok()
        .and_then(ltx::PageSize::new);
    let index_ratio = parsed.float("index-ratio");
    if !(0.0..=1.0).contains(&index_ratio) {
        return Err(Failure::new("-index-ratio must be between 0 and 1"));
    }
    Ok(Plan {
        target_bytes: parse_size(&size)
            .ok_or_else(|| Failure::new(format!("invalid target size: {size}")))?,
        row_bytes: usize::try_from(positive("row-size")?)
            .unwrap_or(usize::MAX)
            .min(1_000_000_000),
        batch_rows: positive("batch-size")?,
        tables: positive("table-count")?,
        index_ratio,
        page_bytes: page_bytes
            .ok_or_else(|| Failure::new("-page-size must be a power of two from 512 to 65536"))?
            .get(),
    })
}

/// Makes the database.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = database(parsed)?;
    let plan = plan(parsed)?;
    info!(
        db = %path.display(), target_size = parsed.utf8("target-size"), row_size = plan.row_bytes,
        batch_size = plan.batch_rows, table_count = plan.tables, page_size = plan.page_bytes,
        "Starting database population"
    );
    remove_database(&path, env)?;
    let start = env.clock.monotonic();
    let rows = populate(&path, &plan, env)?;
    let took = env.clock.monotonic().since(start);
    info!(
        rows,
        duration = crate::args::duration::format(took),
        "Population complete"
    );
    info!(db = %path.display(), size_bytes = size(&path, env), "Database population complete");
    Ok(())
}

fn populate(path: &Path, plan: &Plan, env: &Env) -> Result<u64> {
    let mut db = open(path)?;
    let setup = format!(
        "PRAGMA page_size = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        plan.page_bytes
    );
    db.execute_batch(&setup).map_err(doing("set up database"))?;
    let mut random = SmallRng::seed_from_u64(env.entropy.next_u64());
    let rows_per_table = plan.target_bytes / plan.row_bytes as u64 / plan.tables;
    info!(rows_per_table, tables = plan.tables, "Populating database");
    let mut rows = 0;
    for table in 0..plan.tables {
        create_table(&db, table, plan, &mut random).map_err(doing("create table"))?;
        let mut left = rows_per_table;
        for batch in 0u64.. {
            let count = left.min(plan.batch_rows);
            if count == 0 {
                break;
            }
            let time = env.clock.now().0 / 1000;
            insert(&mut db, table, batch, count, time, plan, &mut random)
                .map_err(doing("insert rows"))?;
            left -= count;
            rows += count;
        }
        info!(
            table = format!("test_table_{table}"),
            rows,
            size_bytes = size(path, env),
            "Progress"
        );
        if size(path, env) >= plan.target_bytes {
            break;
        }
    }
    Ok(rows)
}

fn create_table(
    db: &Connection,
    table: u64,
    plan: &Plan,
    random: &mut SmallRng,
) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "CREATE TABLE test_table_{table} (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, text_field TEXT, \
         int_field INTEGER, float_field REAL, timestamp INTEGER);"
    ))?;
    for column in ["timestamp", "int_field"] {
        if random.random_bool(plan.index_ratio) {
            db.execute_batch(&format!(
                "CREATE INDEX idx_test_table_{table}_{column} ON test_table_{table} ({column});"
            ))?;
        }
    }
    Ok(())
}

fn insert(
    db: &mut Connection,
    table: u64,
    batch: u64,
    count: u64,
    time: i64,
    plan: &Plan,
    random: &mut SmallRng,
) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    {
        let mut statement = transaction.prepare_cached(&format!(
            "INSERT INTO test_table_{table} (data, text_field, int_field, float_field, timestamp) VALUES (?, ?, ?, ?, ?)"
        ))?;
        let mut data = vec![0; plan.row_bytes];
        for n in 0..count {
            random.fill_bytes(&mut data);
            let text = format!("row_{batch}_{n}");
            statement.execute(params![
                data,
                text,
                i64::from(random.random::<u32>()),
                random.random::<f64>(),
                time
            ])?;
        }
    }
    transaction.commit()
}
