//! Watched folders: databases come, change their names, are replaced, and go.

use std::fs;

use crate::oracle;
use crate::world::{Daemon, World, count, wait_for};

const WATCHED: &str = "
dbs:
  - {dir: DIR/d, pattern: '*.db', recursive: true, watch: true, replica: {path: DIR/r}}
";

fn world() -> World {
    let world = World::new(WATCHED);
    world.folder("d");
    world.folder("elsewhere");
    world
}

/// `d/x.db` goes to `r/x.db`.
fn assert_followed(daemon: &Daemon<'_>, names: &[&str]) {
    daemon.wait_for_names(names);
    for name in names {
        daemon.assert_follows(name, &name.replacen("d/", "r/", 1));
    }
}

#[test]
fn a_file_becomes_a_database_later() {
    let world = world();
    let daemon = world.start();
    fs::write(world.path("d/a.db"), "").unwrap();
    fs::write(world.path("d/never.db"), "no database at all").unwrap();
    fs::write(world.path("d/a.txt"), "").unwrap();
    // Long enough for a look that finds nothing to replicate.
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(daemon.names(), [""; 0]);
    // Kept open: no event tells that it was written.
    let conn = world.database("d/a.db");
    assert_followed(&daemon, &["d/a.db"]);
    oracle::fill(&conn, 50, 900);
    assert_followed(&daemon, &["d/a.db"]);
    let done = daemon.end_well();
    assert_eq!(count(&done.stdout, &["added database to replication"]), 1);
}

#[test]
fn databases_come_by_rename_and_in_new_folders() {
    let world = world();
    world.folder("elsewhere/whole/below");
    for (name, rows) in [
        ("elsewhere/b.db", 20),
        ("elsewhere/whole/w.db", 30),
        ("elsewhere/whole/below/v.db", 40),
    ] {
        world.ready_made(name, rows);
    }
    let daemon = world.start();
    let mv = |from: &str, to: &str| fs::rename(world.path(from), world.path(to)).unwrap();
    mv("elsewhere/b.db", "d/b.db");
    assert_followed(&daemon, &["d/b.db"]);
    mv("elsewhere/whole", "d/whole");
    // A folder and what is in it, quicker than anybody can watch it.
    world.folder("d/new/deep/deeper");
    let conn = world.database("d/new/deep/deeper/n.db");
    let all = [
        "d/b.db",
        "d/new/deep/deeper/n.db",
        "d/whole/below/v.db",
        "d/whole/w.db",
    ];
    assert_followed(&daemon, &all);
    // The folders are watched from now on.
    let later = world.database("d/whole/below/later.db");
    oracle::fill(&conn, 10, 100);
    oracle::fill(&later, 10, 100);
    let mut all = all.to_vec();
    all.insert(2, "d/whole/below/later.db");
    assert_followed(&daemon, &all);
    daemon.end_well();
}

#[test]
fn databases_go_alone_or_with_their_folder() {
    let world = world();
    world.folder("d/sub/subsub");
    world.folder("d/moved");
    let names = [
        "d/a.db",
        "d/moved/m.db",
        "d/stays.db",
        "d/sub/b.db",
        "d/sub/subsub/c.db",
    ];
    let open = names.map(|name| world.database(name));
    let daemon = world.start();
    assert_followed(&daemon, &names);
    let [a, moved, stays, b, c] = open;
    for conn in [a, b, c] {
        oracle::fill(&conn, 5, 100);
    }
    let last = ["d/a.db", "d/sub/b.db", "d/sub/subsub/c.db"].map(|name| {
        daemon.sync(name);
        (name, oracle::image(&world.path(name)))
    });
    world.remove("d/a.db");
    world.remove_folder("d/sub");
    daemon.wait_for_names(&["d/moved/m.db", "d/stays.db"]);
    drop(moved);
    fs::rename(world.path("d/moved"), world.path("away")).unwrap();
    daemon.wait_for_names(&["d/stays.db"]);
    oracle::fill(&stays, 5, 100);
    assert_followed(&daemon, &["d/stays.db"]);
    // Their last state can be restored.
    for (name, expected) in last {
        let actual = world.restored(&name.replacen("d/", "r/", 1));
        oracle::assert_same(name, &expected, &actual);
    }
    let done = daemon.end_well();
    let removed = count(&done.stdout, &["removed database from replication"]);
    assert_eq!(removed, 4, "{}", done.stdout);
}

/// With its WAL, as the last application that closes a database leaves it while it is replicated.
fn rename(world: &World, from: &str, to: &str) {
    let (from, to) = (world.path(from), world.path(to));
    fs::rename(oracle::side(&from, "-wal"), oracle::side(&to, "-wal")).unwrap();
    fs::rename(&from, &to).unwrap();
    let _ = fs::remove_file(oracle::side(&from, "-shm"));
}

#[test]
fn a_database_that_changes_its_name_is_followed_under_the_new_one() {
    let world = world();
    drop(world.database("d/old.db"));
    let daemon = world.start();
    assert_followed(&daemon, &["d/old.db"]);
    for (from, to) in [
        ("d/old.db", "d/new.db"),
        ("d/new.db", "d/newer.db"),
        ("d/newer.db", "d/new.db"),
    ] {
        let other = oracle::app(&world.path(from), 4096, "NONE");
        oracle::fill(&other, 10, 300);
        drop(other);
        daemon.sync(from);
        rename(&world, from, to);
        let other = oracle::app(&world.path(to), 4096, "NONE");
        oracle::fill(&other, 10, 300);
        daemon.wait_for_names(&[to]);
        oracle::fill(&other, 10, 300);
        assert_followed(&daemon, &[to]);
        // Also what is written long after.
        oracle::fill(&other, 30, 900);
        assert_followed(&daemon, &[to]);
    }
    daemon.end_well();
    world.assert_restored("d/new.db", "r/new.db");
}

#[test]
fn a_database_that_is_replaced_is_followed() {
    let world = world();
    let conn = world.database("d/a.db");
    world.ready_made("elsewhere/other.db", 60);
    let daemon = world.start();
    assert_followed(&daemon, &["d/a.db"]);
    // By rename, as those do who restore a backup.
    drop(conn);
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(oracle::side(&world.path("d/a.db"), suffix));
    }
    fs::rename(world.path("elsewhere/other.db"), world.path("d/a.db")).unwrap();
    let conn = oracle::app(&world.path("d/a.db"), 4096, "NONE");
    oracle::fill(&conn, 10, 300);
    assert_followed(&daemon, &["d/a.db"]);
    // By removal and creation, at once: another page size.
    drop(conn);
    world.remove("d/a.db");
    let conn = oracle::app(&world.path("d/a.db"), 1024, "FULL");
    oracle::fill(&conn, 40, 200);
    assert_followed(&daemon, &["d/a.db"]);
    oracle::fill(&conn, 40, 200);
    daemon.end_well();
    world.assert_restored("d/a.db", "r/a.db");
}

#[test]
fn the_folder_itself_is_removed_and_made_again() {
    let world = world();
    let conn = world.database("d/a.db");
    let daemon = world.start();
    assert_followed(&daemon, &["d/a.db"]);
    drop(conn);
    world.remove_folder("d");
    daemon.wait_for_names(&[]);
    world.folder("d/s");
    let _conn = world.database("d/s/b.db");
    assert_followed(&daemon, &["d/s/b.db"]);
    daemon.end_well();
}

#[test]
fn a_folder_that_is_replaced_by_another_of_its_name_is_watched() {
    let world = world();
    world.folder("d/s");
    let daemon = world.start();
    for round in 0..6 {
        world.remove_folder("d/s");
        world.folder("d/s");
        // At any time from an event to the look that follows it.
        std::thread::sleep(std::time::Duration::from_millis(round * 60));
        let name = format!("d/s/{round}.db");
        drop(world.database(&name));
        daemon.wait_for_names(&[&name]);
        world.remove(&name);
        wait_for(|| daemon.names(), Vec::is_empty);
    }
    daemon.end_well();
}

#[test]
fn a_database_that_was_unregistered_stays_so_until_it_goes_or_the_configuration_is_read() {
    let world = world();
    let _open = ["d/a.db", "d/b.db"].map(|name| world.database(name));
    let daemon = world.start();
    let unregister = |name: &str| {
        let body = format!(r#"{{"path":"{}"}}"#, world.text(name));
        daemon.ask("POST", "/unregister", &body);
    };
    unregister("d/a.db");
    unregister("d/b.db");
    // The folder is looked at.
    drop(world.database("d/c.db"));
    daemon.wait_for_names(&["d/c.db"]);
    world.remove("d/b.db");
    drop(world.database("d/d.db"));
    daemon.wait_for_names(&["d/c.db", "d/d.db"]);
    drop(world.database("d/b.db"));
    assert_followed(&daemon, &["d/b.db", "d/c.db", "d/d.db"]);
    let done = world.place.run(&["reload", "-config", "c.yml"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_followed(&daemon, &["d/a.db", "d/b.db", "d/c.db", "d/d.db"]);
    let done = daemon.end_well();
    assert_eq!(count(&done.stdout, &["level=ERROR"]), 0, "{}", done.stdout);
}

#[test]
fn two_databases_that_would_share_their_state_are_not_both_replicated() {
    let world = World::new(
        "
dbs:
  - {dir: DIR/d, pattern: '*.db', watch: true, meta-dir: DIR/m, replica: {path: DIR/r}}
  - {dir: DIR/e, pattern: '*.db', watch: true, meta-dir: DIR/m, replica: {path: DIR/s}}
",
    );
    world.folder("d");
    world.folder("e");
    let daemon = world.start();
    let _first = world.database("d/a.db");
    assert_followed(&daemon, &["d/a.db"]);
    let _second = world.database("e/a.db");
    daemon.running.wait_for("meta-path collision");
    let _other = world.database("e/b.db");
    daemon.wait_for_names(&["d/a.db", "e/b.db"]);
    daemon.end_well();
    world.assert_restored("d/a.db", "r/a.db");
    world.assert_restored("e/b.db", "s/b.db");
}
