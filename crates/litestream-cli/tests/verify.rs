//! `litestream verify`: what it says of sound and damaged replicas, its exit codes, and what `-repair` does.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;

use std::path::PathBuf;

use common::Place;
use rusqlite::Connection;

/// A database that was replicated in three goes.
fn replicated(place: &Place) -> Connection {
    let conn = place.database("app.db");
    conn.execute_batch("CREATE TABLE n(v)").unwrap();
    for value in 0..3 {
        conn.execute("INSERT INTO n VALUES (?1)", [value]).unwrap();
        let done = place.run(&["replicate", "-once", "app.db", &place.url()]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    conn
}

fn level0(place: &Place) -> Vec<PathBuf> {
    let folder = place.url().trim_start_matches("file://").to_owned() + "/ltx/0";
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn damage(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_replica_is_proved_and_compared_with_the_database() {
    let place = Place::new();
    let conn = replicated(&place);
    let done = place.run(&["verify", &place.url()]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("No damage found."), "{done:?}");
    let done = place.run(&["verify", "-deep", "-json", "app.db", &place.url()]);
    assert_eq!(done.code, 0, "{done:?}");
    let document: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(document["sound"], true);
    assert_eq!(document["live"], "same", "{done:?}");
    assert_eq!(document["chained"], true, "{done:?}");
    assert_eq!(document["newest"], document["proved"]);
    assert_eq!(document["files_read"], document["files"]);
    // What was proved is not read again.
    let again = place.run(&["verify", "-deep", "-json", "app.db", &place.url()]);
    let document: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(document["files_read"], 0, "{again:?}");
    assert_eq!(document["live"], "same");
    conn.execute("INSERT INTO n VALUES (9)", []).unwrap();
    let later = place.run(&["verify", "-json", "app.db", &place.url()]);
    assert_eq!(later.code, 0, "{later:?}");
    let document: serde_json::Value = serde_json::from_str(&later.stdout).unwrap();
    assert_eq!(document["live"], "changed");
}

#[test]
fn damage_is_named_with_what_it_costs_and_the_exit_code_is_2() {
    let place = Place::new();
    let _conn = replicated(&place);
    let files = level0(&place);
    damage(&files[1]);
    let done = place.run(&["verify", "-deep", &place.url()]);
    assert_eq!(done.code, 2, "{done:?}");
    let name = files[1].file_name().unwrap().to_str().unwrap();
    let told = format!("damaged level 0 {name}: ");
    assert!(done.stdout.contains(&told), "{done:?}");
    assert!(done.stdout.contains("  lost: TXID "), "{done:?}");
    assert!(done.stdout.contains("1 problem found."), "{done:?}");
    assert!(done.stderr.is_empty(), "{done:?}");
    std::fs::remove_file(&files[1]).unwrap();
    let done = place.run(&["verify", "-json", &place.url()]);
    assert_eq!(done.code, 2, "{done:?}");
    let document: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(document["findings"][0]["kind"], "hole", "{done:?}");
}

#[test]
fn repair_makes_the_newest_state_restorable_again() {
    let place = Place::new();
    let _conn = replicated(&place);
    let files = level0(&place);
    damage(&files[1]);
    let newest = files.last().unwrap();
    std::fs::remove_file(newest).unwrap();
    let found = place.run(&["verify", "app.db", &place.url()]);
    assert_eq!(found.code, 2, "{found:?}");
    let done = place.run(&["verify", "-deep", "-repair", "app.db", &place.url()]);
    assert!(done.stdout.contains("repaired: "), "{done:?}");
    let restored = place.run(&["restore", "-o", "out.db", &place.url()]);
    assert_eq!(restored.code, 0, "{restored:?}\n{done:?}");
    let count: i64 = Connection::open(place.path("out.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM n", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 3);
}

#[test]
fn usage() {
    let place = Place::new();
    for (args, message) in [
        (
            &["verify"][..],
            "Error: database path or replica URL required",
        ),
        (
            &["verify", "-config", "c.yml", "app.db"],
            "config file not found: ",
        ),
        (
            &["verify", "-config", "c.yml", "file:///x"],
            "cannot specify a replica URL and the -config flag",
        ),
        (
            &["verify", "-bandwidth", "x", "file:///x"],
            "invalid -bandwidth value: x",
        ),
        (
            &["verify", "-repair", "file:///x"],
            "-repair needs the database",
        ),
        (&["verify", "-nope"], "flag provided but not defined: -nope"),
        (&["verify", &place.url()], "nothing to verify"),
    ] {
        let done = place.run(args);
        assert_eq!(done.code, 1, "{args:?} {done:?}");
        assert!(done.stderr.contains(message), "{args:?} {done:?}");
    }
}
