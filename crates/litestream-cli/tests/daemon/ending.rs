//! The end of a daemon with many databases.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::oracle;
use crate::world::{World, count};

const MANY: usize = 50;

fn name(number: usize) -> String {
    format!("db{number:02}.db")
}

/// Databases of which those that `fails` have replicas that cannot be written.
fn world(top: &str, databases: usize, fails: impl Fn(usize) -> bool) -> (World, Vec<Connection>) {
    let mut config = format!("{top}\ndbs:\n");
    for number in 0..databases {
        let (name, below) = (name(number), if fails(number) { "file" } else { "r" });
        writeln!(
            config,
            "  - {{path: DIR/{name}, replica: {{path: DIR/{below}/{name}}}}}"
        )
        .unwrap();
    }
    let world = World::new(&config);
    fs::write(world.path("file"), "").unwrap();
    let open = (0..databases)
        .map(|number| world.database(&name(number)))
        .collect();
    (world, open)
}

fn assert_all_restored(world: &World, numbers: impl Iterator<Item = usize>) {
    for number in numbers {
        let name = name(number);
        world.assert_restored(&name, &format!("r/{name}"));
    }
}

#[test]
fn fresh_commits_of_fifty_databases_are_in_their_replicas() {
    let (world, open) = world("", MANY, |_| false);
    let daemon = world.start();
    for (number, conn) in open.iter().enumerate() {
        oracle::fill(conn, 1 + number, 300);
    }
    daemon.end_well();
    assert_all_restored(&world, 0..MANY);
}

#[test]
fn final_syncs_go_side_by_side_and_those_that_fail_are_named() {
    const TIME: Duration = Duration::from_secs(3);
    let fails = |number: usize| number.is_multiple_of(3);
    let top = "shutdown-sync-timeout: 3s\nshutdown-sync-interval: 100ms";
    let (world, open) = world(top, 30, fails);
    let daemon = world.start();
    open.iter().for_each(|conn| oracle::fill(conn, 10, 300));
    let start = Instant::now();
    let done = daemon.end();
    // One after the other they would take ten times as long.
    assert!(start.elapsed() < 5 * TIME, "{:?}", start.elapsed());
    assert!(start.elapsed() >= TIME, "{:?}", start.elapsed());
    assert_eq!(done.code, 1, "{done:?}");
    for number in 0..30 {
        let text = format!("{}: not everything committed", world.text(&name(number)));
        assert_eq!(
            done.stderr.contains(&text),
            fails(number),
            "{text}: {}",
            done.stderr
        );
    }
    assert_eq!(count(&done.stdout, &["\"failed to close database\""]), 10);
    assert_all_restored(&world, (0..30).filter(|number| !fails(*number)));
    // Nothing is lost: it is sent once that is possible.
    fs::remove_file(world.path("file")).unwrap();
    let done = world.place.run(&["replicate", "-once", "-config", "c.yml"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for number in (0..30).filter(|number| fails(*number)) {
        let name = name(number);
        world.assert_restored(&name, &format!("file/{name}"));
    }
}

#[test]
fn a_second_signal_ends_at_once_and_what_was_not_sent_is_named() {
    let fails = |number| number == 2 || number == 5;
    let (world, open) = world("shutdown-sync-timeout: 10m", 8, fails);
    let daemon = world.start();
    for (number, conn) in open.iter().enumerate() {
        oracle::fill(conn, 10, 300);
        if !fails(number) {
            daemon.sync(&name(number));
        }
    }
    daemon.running.signal("TERM");
    daemon.running.wait_for("shutdown sync failed, retrying");
    daemon.running.signal("TERM");
    let done = daemon.running.finish();
    assert_eq!(done.code, 1, "{done:?}");
    for number in 0..8 {
        let is_named = done.stderr.contains(&world.text(&name(number)));
        assert_eq!(is_named, fails(number), "{number}: {}", done.stderr);
    }
    assert_all_restored(&world, (0..8).filter(|number| !fails(*number)));
}
