//! `-exec`, `-once` and `-restore-if-db-not-exists` with a configuration of several databases.

use std::fs;

use crate::common::{send, wait_until};
use crate::oracle;
use crate::world::World;

const TWO: &str = "
dbs:
  - {path: DIR/a.db, replica: {path: DIR/r/a.db}}
  - {dir: DIR/d, pattern: '*.db', watch: true, replica: {path: DIR/r}}
";

const CHILD: &str = r"#!/bin/sh
sqlite3 a.db 'INSERT INTO t(n) VALUES (1)' &&
sqlite3 d/b.db 'INSERT INTO t(n) VALUES (2)' &&
sqlite3 d/new.db 'PRAGMA journal_mode = WAL; CREATE TABLE t(n); INSERT INTO t VALUES (3)' || exit 99
";

fn script(world: &World, text: &str) {
    fs::write(world.path("child"), text).unwrap();
}

#[test]
fn the_command_of_the_configuration_runs_and_its_exit_code_is_ours() {
    for (end, code, error) in [
        ("", 0, ""),
        ("exit 7", 7, "Error: exit status 7\n"),
        ("kill -KILL $$", 137, "Error: signal: killed\n"),
    ] {
        let world = World::new(&format!("exec: sh child\n{TWO}"));
        world.folder("d");
        let open = ["a.db", "d/b.db"].map(|name| world.database(name));
        script(&world, &format!("{CHILD}{end}\n"));
        let done = world.place.run(&["replicate", "-config", "c.yml"]);
        assert_eq!((done.code, done.stderr.as_str()), (code, error), "{done:?}");
        world.assert_restored("a.db", "r/a.db");
        world.assert_restored("d/b.db", "r/b.db");
        drop(open);
    }
}

#[test]
fn a_database_that_the_child_makes_in_a_watched_folder_is_replicated() {
    let world = World::new(&format!("exec: sh child\n{TWO}"));
    world.folder("d");
    let _open = ["a.db", "d/b.db"].map(|name| world.database(name));
    script(
        &world,
        &format!("{CHILD}until test -e stop; do sleep 0.05; done\n"),
    );
    let daemon = world.start();
    daemon.wait_for_names(&["a.db", "d/b.db", "d/new.db"]);
    fs::write(world.path("stop"), "").unwrap();
    let done = daemon.running.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for (name, replica) in [
        ("a.db", "r/a.db"),
        ("d/b.db", "r/b.db"),
        ("d/new.db", "r/new.db"),
    ] {
        world.assert_restored(name, replica);
    }
}

#[test]
fn c10_a_child_gets_its_time_to_end_and_its_last_writes_are_replicated() {
    let world = World::new(&format!("exec: sh child\n{TWO}"));
    world.folder("d");
    let _open = ["a.db", "d/b.db"].map(|name| world.database(name));
    let text = format!(
        "trap 'sleep 1; {}exit 5' TERM\necho $$ > pid\nwhile :; do sleep 0.05; done\n",
        CHILD.split_once('\n').unwrap().1.replace('\'', "\"")
    );
    script(&world, &text);
    let daemon = world.start();
    wait_until("the child", || {
        fs::read_to_string(world.path("pid")).is_ok_and(|t| t.ends_with('\n'))
    });
    let done = daemon.end();
    assert_eq!(done.code, 5, "{done:?}");
    assert_eq!(
        done.stderr,
        "Error: cannot wait for exec process: exit status 5\n"
    );
    for (name, replica) in [("a.db", "r/a.db"), ("d/b.db", "r/b.db")] {
        world.assert_restored(name, replica);
        let conn = rusqlite::Connection::open(world.path(name)).unwrap();
        let rows: i64 = conn
            .query_row("SELECT count(*) FROM t WHERE b IS NULL", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(rows, 1, "{name}");
    }
}

#[test]
fn a_child_of_many_databases_that_ignores_the_signal_is_left_by_a_second() {
    let world = World::new(&format!("exec: sh child\n{TWO}"));
    world.folder("d");
    let _open = ["a.db", "d/b.db"].map(|name| world.database(name));
    script(
        &world,
        "trap '' TERM\necho $$ > pid\nwhile ! test -e stop; do sleep 0.05; done\n",
    );
    let daemon = world.start();
    wait_until("the child", || {
        fs::read_to_string(world.path("pid")).is_ok_and(|t| t.ends_with('\n'))
    });
    daemon.running.signal("TERM");
    daemon.running.wait_for("waiting for exec process to close");
    send(daemon.running.child.id(), "TERM");
    let done = daemon.running.finish();
    assert_eq!(done.code, 1, "{done:?}");
    fs::write(world.path("stop"), "").unwrap();
}

#[test]
fn d22_one_that_fails_keeps_no_other_from_being_replicated_once() {
    let world = World::new(
        "
dbs:
  - {path: DIR/missing.db, replica: {path: DIR/r/missing.db}}
  - {path: DIR/a.db, replica: {path: DIR/r/a.db}}
  - {path: DIR/garbage.db, replica: {path: DIR/r/garbage.db}}
  - {path: DIR/b.db, replicas: [{path: DIR/r/b1}, {path: DIR/r/b2}]}
  - {path: DIR/blocked.db, replica: {path: DIR/file/blocked.db}}
  - {path: DIR/c.db, replica: {path: DIR/r/c.db}}
",
    );
    fs::write(world.path("file"), "").unwrap();
    fs::write(world.path("garbage.db"), [0x5a; 3 * 4096]).unwrap();
    let good = ["a.db", "b.db", "c.db"];
    let _open = good.map(|name| world.database(name));
    let blocked = world.database("blocked.db");
    let args = [
        "replicate",
        "-once",
        "-force-snapshot",
        "-enforce-retention",
        "-config",
        "c.yml",
    ];
    let done = world.place.run(&args);
    assert_eq!(done.code, 1, "{done:?}");
    let said = |text: &str, name: &str| {
        let text = format!("{text} {}: ", world.text(name));
        assert_eq!(
            done.stderr.matches(&text).count(),
            1,
            "{text}: {}",
            done.stderr
        );
    };
    said("sync replica for", "missing.db");
    said("sync database", "garbage.db");
    said("sync replica for", "blocked.db");
    for name in good {
        assert!(!done.stderr.contains(&world.text(name)), "{}", done.stderr);
    }
    for (name, replica) in [
        ("a.db", "r/a.db"),
        ("b.db", "r/b1"),
        ("b.db", "r/b2"),
        ("c.db", "r/c.db"),
    ] {
        world.assert_restored(name, replica);
        assert_eq!(oracle::level(&world.path(replica), 9).len(), 1, "{replica}");
    }
    // Mended, all is well.
    fs::remove_file(world.path("file")).unwrap();
    fs::remove_file(world.path("garbage.db")).unwrap();
    let _made = ["garbage.db", "missing.db"].map(|name| world.database(name));
    oracle::fill(&blocked, 5, 50);
    let done = world.place.run(&["replicate", "-once", "-config", "c.yml"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for (name, replica) in [
        ("garbage.db", "r/garbage.db"),
        ("missing.db", "r/missing.db"),
        ("blocked.db", "file/blocked.db"),
    ] {
        world.assert_restored(name, replica);
    }
}

const RESTORING: &str = "
dbs:
  - {path: DIR/there.db, replica: {path: DIR/r/there.db}}
  - {path: DIR/lost.db, restore-if-db-not-exists: true, replica: {path: DIR/r/lost.db}}
  - {path: DIR/two.db, restore-if-db-not-exists: true, replicas: [{path: DIR/r/two1}, {path: DIR/r/two2}]}
  - {path: DIR/fresh.db, restore-if-db-not-exists: true, replica: {path: DIR/r/fresh.db}}
  - {path: DIR/flag.db, replica: {path: DIR/r/flag.db}}
";

/// Replicas of four databases, three of which are lost, and what these were.
fn lost() -> (World, Vec<(&'static str, Vec<u8>)>) {
    let world = World::new(RESTORING);
    let names = ["there.db", "lost.db", "two.db", "flag.db"];
    let open = names.map(|name| world.database(name));
    let done = world.place.run(&["replicate", "-once", "-config", "c.yml"]);
    // There is no fresh.db.
    assert_eq!(done.code, 1, "{done:?}");
    let images = names[1..]
        .iter()
        .map(|name| (*name, oracle::image(&world.path(name))));
    let images: Vec<_> = images.collect();
    drop(open);
    for name in &names[1..] {
        world.remove(name);
        fs::remove_dir_all(world.path(&format!(".{name}-litestream"))).unwrap();
    }
    // The newer of two replicas is enough.
    fs::remove_dir_all(world.path("r/two1")).unwrap();
    (world, images)
}

#[test]
fn missing_databases_are_restored_where_that_was_asked_for() {
    for flag in [false, true] {
        let (world, images) = lost();
        let args: &[&str] = if flag {
            &["-restore-if-db-not-exists"]
        } else {
            &[]
        };
        let daemon = world.start_with(args);
        let mut restored = 0;
        for (name, image) in &images {
            if flag || *name != "flag.db" {
                oracle::assert_same(name, image, &oracle::image(&world.path(name)));
                restored += 1;
            } else {
                assert!(!world.place.exists(name));
            }
        }
        let log = daemon.running.log();
        assert_eq!(log.matches("\"restore completed\"").count(), restored);
        assert_eq!(
            log.matches("\"no backup found, starting fresh\"").count(),
            1
        );
        assert_eq!(
            log.matches("\"database exists, skipping restore\"").count(),
            usize::from(flag)
        );
        // They go on where they were.
        let conn = world.database("lost.db");
        oracle::fill(&conn, 10, 100);
        let _fresh = world.database("fresh.db");
        for (name, replica) in [
            ("lost.db", "r/lost.db"),
            ("two.db", "r/two1"),
            ("two.db", "r/two2"),
            ("fresh.db", "r/fresh.db"),
            ("there.db", "r/there.db"),
        ] {
            daemon.assert_follows(name, replica);
        }
        daemon.end_well();
    }
}
