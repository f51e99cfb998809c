//! The configuration is read again: what did not change is not disturbed.

use std::fs;

use serde_json::Value;

use crate::oracle;
use crate::world::{Daemon, World, count, wait_for};

const BEFORE: &str = "
dbs:
  - {path: DIR/same.db, replica: {path: DIR/r/same.db}}
  - {path: DIR/gone.db, replica: {path: DIR/r/gone.db}}
  - {path: DIR/pace.db, replica: {path: DIR/r/pace.db}}
  - {path: DIR/moves.db, replica: {path: DIR/r/moves.db}}
  - {dir: DIR/d, pattern: '*.db', watch: true, replica: {path: DIR/r/d}}
";

const AFTER: &str = "
dbs:
  - {path: DIR/new.db, replica: {path: DIR/r/new.db}}
  - {path: DIR/pace.db, replica: {path: DIR/r/pace.db, sync-interval: 50ms}}
  - {path: DIR/moves.db, replica: {path: DIR/r/elsewhere.db}}
  - {path: DIR/same.db, replica: {path: DIR/r/same.db}}
  - {dir: DIR/d, pattern: '*.db', watch: true, replica: {path: DIR/r/d}}
  - {dir: DIR/e, pattern: '*.db', watch: true, replica: {path: DIR/r/e}}
";

const RELOADED: &str = "\"configuration reloaded\"";

/// How a reload is asked for.
#[derive(Clone, Copy)]
enum By {
    Signal,
    Command,
}

fn reload(daemon: &Daemon<'_>, by: By) {
    let before = count(&daemon.running.log(), &[RELOADED]);
    match by {
        By::Signal => daemon.running.signal("HUP"),
        By::Command => {
            let done = daemon
                .world
                .place
                .run(&["reload", "-json", "-config", "c.yml"]);
            assert_eq!(done.code, 0, "{done:?}");
            assert_eq!(
                names(&done.stdout, "added"),
                ["new.db", "e/e.db"]
                    .map(str::to_owned)
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
            );
            assert_eq!(names(&done.stdout, "removed"), ["gone.db"]);
            assert_eq!(names(&done.stdout, "changed"), ["moves.db", "pace.db"]);
            let report: Value = serde_json::from_str(&done.stdout).unwrap();
            assert_eq!(report["unchanged"], 2);
            assert_eq!(report["problems"], Value::Array(Vec::new()));
        }
    }
    wait_for(
        || count(&daemon.running.log(), &[RELOADED]),
        |n| *n > before,
    );
}

/// Names of databases in a list of the report.
fn names(report: &str, list: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let paths = report[list].as_array().unwrap().iter();
    let name = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        let short = parts[parts.len() - 2..].join("/");
        if short.starts_with("e/") {
            short
        } else {
            parts[parts.len() - 1].to_owned()
        }
    };
    paths.map(|path| name(path.as_str().unwrap())).collect()
}

fn starts(daemon: &Daemon<'_>, name: &str) -> usize {
    let path = format!("path={}", daemon.world.text(name));
    count(&daemon.running.log(), &["\"initialized db\"", &path])
}

fn changes_of_all_kinds(by: By) {
    let world = World::new(BEFORE);
    world.folder("d");
    world.folder("e");
    let all = [
        "same.db", "gone.db", "pace.db", "moves.db", "d/in.db", "new.db", "e/e.db",
    ];
    let open = all.map(|name| world.database(name));
    let daemon = world.start_detached();
    for name in &all[..5] {
        daemon.assert_follows(name, &format!("r/{name}"));
    }
    world.configure(AFTER);
    // Nobody asks for a sync: what is removed or changed gets its last one.
    for conn in &open {
        oracle::fill(conn, 20, 500);
    }
    reload(&daemon, by);
    daemon.wait_for_names(&[
        "d/in.db", "e/e.db", "moves.db", "new.db", "pace.db", "same.db",
    ]);
    for (name, times) in [
        ("same.db", 1),
        ("d/in.db", 1),
        ("gone.db", 1),
        ("new.db", 1),
        ("e/e.db", 1),
        ("pace.db", 2),
        ("moves.db", 2),
    ] {
        assert_eq!(starts(&daemon, name), times, "{name}");
    }
    world.assert_restored("gone.db", "r/gone.db");
    world.assert_restored("moves.db", "r/moves.db");
    let left = oracle::image(&world.path("moves.db"));
    for conn in &open {
        oracle::fill(conn, 20, 500);
    }
    for (name, replica) in [
        ("same.db", "r/same.db"),
        ("pace.db", "r/pace.db"),
        ("moves.db", "r/elsewhere.db"),
        ("new.db", "r/new.db"),
        ("d/in.db", "r/d/in.db"),
        ("e/e.db", "r/e/e.db"),
    ] {
        daemon.assert_follows(name, replica);
    }
    // Folders are watched as before, and new ones, too.
    let _more = [world.database("d/more.db"), world.database("e/more.db")];
    daemon.wait_for_names(&[
        "d/in.db",
        "d/more.db",
        "e/e.db",
        "e/more.db",
        "moves.db",
        "new.db",
        "pace.db",
        "same.db",
    ]);
    daemon.assert_follows("e/more.db", "r/e/more.db");
    let old = world.restored("r/moves.db");
    oracle::assert_same("the replica that was left", &left, &old);
    daemon.end_well();
}

#[test]
fn by_a_hangup_every_change_is_made() {
    changes_of_all_kinds(By::Signal);
}

#[test]
fn by_a_command_every_change_is_made_and_told() {
    changes_of_all_kinds(By::Command);
}

#[test]
fn a_broken_file_leaves_everything_as_it_was() {
    let world = World::new(BEFORE);
    world.folder("d");
    let all = ["same.db", "gone.db", "pace.db", "moves.db", "d/in.db"];
    let open = all.map(|name| world.database(name));
    let daemon = world.start_detached();
    let before = daemon.names();
    let broken = [
        "dbs: [",
        "dbs:\n  - {path: DIR/same.db}\n",
        "dbs:\n  - {path: DIR/same.db, replica: {path: DIR/x, sync-interval: soon}}\n",
        "dbs:\n  - {dir: DIR/nowhere, pattern: '*.db', replica: {path: DIR/x}}\n",
        "dbs:\n  - {path: DIR/same.db, replica: {path: DIR/x}}\n  - {path: DIR/gone.db, replica: {path: DIR/x}}\n",
        "addr: '9090'\ndbs: []\n",
        "alerts: [{}]\ndbs: []\n",
    ];
    let kept = "\"the configuration was not reloaded, the old one stays in force\"";
    for (i, text) in broken.iter().enumerate() {
        world.configure(text);
        // The command finds the socket by its own flag: it does not read what is broken.
        let done = world.place.run(&["reload", "-socket", &world.text("s")]);
        assert_eq!(done.code, 1, "{text}: {done:?}");
        daemon.running.signal("HUP");
        wait_for(|| count(&daemon.running.log(), &[kept]), |n| *n > i);
    }
    fs::remove_file(world.path("c.yml")).unwrap();
    let done = world.place.run(&["reload", "-socket", &world.text("s")]);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(daemon.names(), before);
    for (name, conn) in all.iter().zip(&open) {
        assert_eq!(starts(&daemon, name), 1, "{name}");
        oracle::fill(conn, 5, 100);
        daemon.assert_follows(name, &format!("r/{name}"));
    }
    let _more = world.database("d/more.db");
    daemon.wait_for_names(&[
        "d/in.db",
        "d/more.db",
        "gone.db",
        "moves.db",
        "pace.db",
        "same.db",
    ]);
    assert_eq!(count(&daemon.running.log(), &[RELOADED]), 0);
    daemon.end_well();
}

#[test]
fn a_signal_to_end_is_obeyed_while_a_reload_waits_for_a_final_sync() {
    let world = World::new(
        "
shutdown-sync-timeout: 10m
dbs:
  - {path: DIR/bad.db, replica: {path: DIR/file/bad.db}}
  - {path: DIR/good.db, replica: {path: DIR/r/good.db}}
",
    );
    fs::write(world.path("file"), "").unwrap();
    let _bad = world.database("bad.db");
    let good = world.database("good.db");
    let daemon = world.start_detached();
    world.configure("dbs:\n  - {path: DIR/good.db, replica: {path: DIR/r/good.db}}\n");
    daemon.running.signal("HUP");
    daemon.running.wait_for("shutdown sync failed, retrying");
    oracle::fill(&good, 20, 500);
    daemon.running.signal("TERM");
    daemon
        .running
        .wait_for("signal received, litestream shutting down");
    // The second ends it.
    daemon.running.signal("TERM");
    let done = daemon.running.finish();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("bad.db"), "{done:?}");
}

#[test]
fn what_cannot_be_given_up_goes_on_and_is_told() {
    let world = World::new(
        "
shutdown-sync-timeout: 1s
dbs:
  - {path: DIR/bad.db, replica: {path: DIR/file/bad.db}}
  - {path: DIR/good.db, replica: {path: DIR/r/good.db}}
",
    );
    fs::write(world.path("file"), "").unwrap();
    let bad = world.database("bad.db");
    let good = world.database("good.db");
    let daemon = world.start_detached();
    daemon.assert_follows("good.db", "r/good.db");
    world.configure(
        "shutdown-sync-timeout: 1s\ndbs:\n  - {path: DIR/new.db, replica: {path: DIR/r/new.db}}\n",
    );
    let _new = world.database("new.db");
    oracle::fill(&good, 20, 500);
    let done = world.place.run(&["reload", "-config", "c.yml"]);
    assert_eq!(done.code, 1, "{done:?}");
    let told = format!("problem: {}: goes on as it was", world.text("bad.db"));
    assert!(done.stdout.contains(&told), "{done:?}");
    daemon.wait_for_names(&["bad.db", "new.db"]);
    world.assert_restored("good.db", "r/good.db");
    // It is given up as soon as it can be.
    fs::remove_file(world.path("file")).unwrap();
    oracle::fill(&bad, 20, 500);
    let done = world.place.run(&["reload", "-config", "c.yml"]);
    assert_eq!(done.code, 0, "{done:?}");
    daemon.wait_for_names(&["new.db"]);
    world.assert_restored("bad.db", "file/bad.db");
    daemon.end_well();
}

#[test]
fn the_configuration_beats_what_was_registered_meanwhile() {
    let world = World::new("dbs: []\n");
    let conn = world.database("a.db");
    let daemon = world.start_detached();
    let register = |name: &str, replica: &str| {
        let (path, replica) = (world.text(name), world.text(replica));
        let body = format!(r#"{{"path":"{path}","replica_url":"file://{replica}"}}"#);
        daemon.try_ask("POST", "/register", &body)
    };
    assert_eq!(register("a.db", "r/registered").0, 200);
    daemon.assert_follows("a.db", "r/registered");
    oracle::fill(&conn, 10, 300);
    let left = oracle::image(&world.path("a.db"));
    world.configure("dbs:\n  - {path: DIR/a.db, replica: {path: DIR/r/configured}}\n");
    let done = world.place.run(&["reload", "-json", "-config", "c.yml"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&done.stdout, "changed"), ["a.db"]);
    oracle::fill(&conn, 10, 300);
    daemon.assert_follows("a.db", "r/configured");
    let old = world.restored("r/registered");
    oracle::assert_same("the replica that was left", &left, &old);
    // A place that was left is free; one that is in use is not.
    let _other = world.database("b.db");
    let (status, text) = register("b.db", "r/configured");
    assert!(
        status == 500 && text.contains("would share the replica"),
        "{text}"
    );
    let body = format!(r#"{{"path":"{}"}}"#, world.text("a.db"));
    daemon.ask("POST", "/unregister", &body);
    assert_eq!(register("b.db", "r/configured").0, 200);
    daemon.end_well();
}

#[test]
fn a_place_that_is_not_given_up_is_not_given_to_another() {
    let top = "shutdown-sync-timeout: 500ms\ndbs:\n";
    let world = World::new(&format!(
        "{top}  - {{path: DIR/a.db, replicas: [{{path: DIR/r/x}}, {{path: DIR/file/a}}]}}\n"
    ));
    fs::write(world.path("file"), "").unwrap();
    let a = world.database("a.db");
    let _b = world.database("b.db");
    let daemon = world.start_detached();
    world.configure(&format!(
        "{top}  - {{path: DIR/b.db, replica: {{path: DIR/r/x}}}}\n"
    ));
    let done = world.place.run(&["reload", "-config", "c.yml"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("would share the replica"), "{done:?}");
    daemon.wait_for_names(&["a.db"]);
    fs::remove_file(world.path("file")).unwrap();
    oracle::fill(&a, 10, 100);
    daemon.assert_follows("a.db", "r/x");
    daemon.end_well();
}
