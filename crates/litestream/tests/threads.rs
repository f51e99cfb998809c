//! A database in which nothing happens has no thread, and gets one at once when something does.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;

use std::time::{Duration, Instant};

use common::{Bench, fill};

/// Threads of this process that work for a database.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "database").count()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_has_no_thread_until_something_happens() {
    let bench = Bench::new();
    let conn = bench.app(4096);
    fill(&conn, 50, 200);
    let mut settings = bench.settings();
    // As long as something is to be checkpointed, something is to be done.
    settings.checkpoint_interval = Duration::from_millis(300);
    let replicator = bench.start_with(settings);
    replicator.sync().await.unwrap();
    until("no thread is left", || workers() == 0).await;
    let before = replicator.status().replica_position;
    fill(&conn, 1, 100);
    let arrived = until("the commit arrives", || {
        replicator.status().replica_position > before
    });
    println!("there after {:?}", arrived.await);
    // A question is an event, too.
    until("no thread is left", || workers() == 0).await;
    replicator.sync().await.unwrap();
    until("no thread is left", || workers() == 0).await;
    replicator.close().await;
    bench.assert_contiguous().await;
    bench.assert_restores().await;
}
