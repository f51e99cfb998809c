//! The end of a daemon with many databases.

use std::fmt::Write as _;
use std::fs;

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
    let fails = |number: usize| number.is_multiple_of(3);
    let top = "shutdown-sync-timeout: 3s\nshutdown-sync-interval: 100ms";
    let (world, open) = world(top, 30, fails);
    let daemon = world.start();
    for conn in &open {
        oracle::fill(conn, 10, 300);
    }
    let done = daemon.end();
    let line = |text: &str, number: usize| {
        let db = format!("db={} ", name(number));
        let mut lines = done.stdout.lines();
        let found = lines.position(|line| line.contains(text) && line.contains(&db));
        found.unwrap_or_else(|| panic!("{text} {db}: {}", done.stdout))
    };
    // All of them are tried before the time of the first is over.
    let failing = || (0..30).filter(|number| fails(*number));
    let tried = failing().map(|number| line("shutdown sync failed, retrying", number));
    let over = failing().map(|number| line("shutdown sync failed after timeout", number));
    assert!(tried.max() < over.min(), "{}", done.stdout);
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
    for number in failing() {
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
        // Of the others it is not known whether the signal came before they had finished.
        assert!(is_named || !fails(number), "{number}: {}", done.stderr);
    }
    assert_all_restored(&world, (0..8).filter(|number| !fails(*number)));
}
