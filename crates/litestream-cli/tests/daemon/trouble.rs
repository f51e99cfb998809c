//! Databases that cannot be replicated keep no other from it, are named, and recover by themselves.

use std::fs;

use serde_json::Value;

use crate::oracle;
use crate::world::{Daemon, World, wait_for};

/// `g1` to `g3` are well. Nobody, not even root, can make a folder below a regular file.
const CONFIG: &str = "
addr: 127.0.0.1:0
dbs:
  - {path: DIR/garbage.db, replica: {path: DIR/r/garbage.db}}
  - {path: DIR/g1.db, replica: {path: DIR/r/g1.db}}
  - {path: DIR/blocked.db, replica: {path: DIR/file/blocked.db}}
  - {path: DIR/g2.db, replica: {path: DIR/r/g2.db}}
  - {path: DIR/missing.db, replica: {path: DIR/r/missing.db}}
  - {path: DIR/half.db, replicas: [{path: DIR/file/half.db}, {path: DIR/r/half.db}]}
  - {path: DIR/g3.db, replica: {path: DIR/r/g3.db}}
";

fn paths(of: &Value) -> Vec<String> {
    let mut names: Vec<String> = of
        .as_array()
        .unwrap()
        .iter()
        .map(|d| {
            d["path"]
                .as_str()
                .unwrap()
                .rsplit_once('/')
                .unwrap()
                .1
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

/// Databases that a page names, and its status.
fn page(daemon: &Daemon<'_>, target: &str, key: &str) -> (u16, Vec<String>) {
    let (status, body) = daemon.http(target);
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, paths(&body[key]))
}

/// Databases of which `list -json` says so.
fn listed(world: &World, is: impl Fn(&Value) -> bool) -> Vec<String> {
    let done = world.place.run(&["list", "-json", "-config", "c.yml"]);
    assert_eq!(done.code, 0, "{done:?}");
    let list: Value = serde_json::from_str(&done.stdout).unwrap();
    let chosen: Vec<Value> = list["databases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| is(d))
        .cloned()
        .collect();
    paths(&Value::Array(chosen))
}

fn with_error(database: &Value) -> bool {
    database["error"].is_string() && !is_missing(database)
}

fn is_missing(database: &Value) -> bool {
    database["missing"] == true && database["error"].is_string()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn bad_databases_are_named_hold_up_no_other_and_recover() {
    let world = World::new(CONFIG);
    fs::write(world.path("file"), "").unwrap();
    fs::write(world.path("garbage.db"), [0x5a; 3 * 4096]).unwrap();
    let good = ["g1.db", "g2.db", "g3.db"].map(|name| (name, world.database(name)));
    let blocked = world.database("blocked.db");
    let half = world.database("half.db");
    let daemon = world.start();
    for (name, conn) in &good {
        daemon.assert_follows(name, &format!("r/{name}"));
        oracle::fill(conn, 20, 200);
        daemon.assert_follows(name, &format!("r/{name}"));
    }
    // Its other replica gets everything.
    wait_for(
        || daemon.listed("half.db"),
        |half| half["replicas"][1]["txid"].is_u64() && half["replicas"][0]["error"].is_string(),
    );
    oracle::fill(&half, 20, 200);
    let body = format!(r#"{{"path":"{}"}}"#, world.text("half.db"));
    let captured = daemon.ask("POST", "/sync", &body)["txid"].clone();
    wait_for(
        || daemon.listed("half.db"),
        |half| half["replicas"][1]["txid"] == captured,
    );
    world.assert_restored("half.db", "r/half.db");

    let bad = owned(&["blocked.db", "garbage.db", "half.db"]);
    wait_for(|| listed(&world, with_error), |names| *names == bad);
    assert_eq!(listed(&world, is_missing), owned(&["missing.db"]));
    assert_eq!(page(&daemon, "/healthz", "unhealthy"), (503, bad));
    // What was opened once is not waited for, wherever its replica is.
    assert_eq!(
        page(&daemon, "/readyz", "waiting"),
        (503, owned(&["garbage.db"]))
    );
    assert_eq!(daemon.http("/livez"), (200, "ok\n".to_owned()));
    let error = daemon.listed("garbage.db")["error"].clone();
    assert!(
        error.as_str().unwrap().contains("not a database"),
        "{error}"
    );

    fs::remove_file(world.path("garbage.db")).unwrap();
    let made = world.database("garbage.db");
    let came = world.database("missing.db");
    fs::remove_file(world.path("file")).unwrap();
    oracle::fill(&blocked, 20, 200);
    wait_for(
        || page(&daemon, "/healthz", "unhealthy"),
        |page| page.0 == 200,
    );
    wait_for(|| page(&daemon, "/readyz", "waiting"), |page| page.0 == 200);
    wait_for(
        || listed(&world, |d| with_error(d) || is_missing(d)),
        Vec::is_empty,
    );
    for (name, conn) in [("garbage.db", made), ("missing.db", came)] {
        daemon.assert_follows(name, &format!("r/{name}"));
        oracle::fill(&conn, 20, 200);
        daemon.assert_follows(name, &format!("r/{name}"));
    }
    for (name, replica) in [
        ("blocked.db", "file/blocked.db"),
        ("half.db", "file/half.db"),
        ("half.db", "r/half.db"),
        ("g2.db", "r/g2.db"),
    ] {
        daemon.assert_follows(name, replica);
    }
    daemon.end_well();
}

#[test]
fn a_folder_with_bad_databases_is_replicated_but_for_these() {
    let world = World::new(
        "
dbs:
  - {dir: DIR/d, pattern: '*.db', watch: true, replica: {path: DIR/r}}
",
    );
    world.folder("d");
    // It looks like one.
    let mut fake = b"SQLite format 3\0".to_vec();
    fake.resize(8192, 0xa5);
    fs::write(world.path("d/fake.db"), fake).unwrap();
    world.folder("r");
    fs::write(world.path("r/blocked.db"), "").unwrap();
    let _blocked = world.database("d/blocked.db");
    let good = world.database("d/good.db");
    let daemon = world.start();
    daemon.wait_for_names(&["d/blocked.db", "d/fake.db", "d/good.db"]);
    daemon.assert_follows("d/good.db", "r/good.db");
    let bad = owned(&["blocked.db", "fake.db"]);
    wait_for(|| listed(&world, with_error), |names| *names == bad);
    // A database that cannot be sent, and one that is none, can go at once.
    fs::remove_file(world.path("d/fake.db")).unwrap();
    daemon.wait_for_names(&["d/blocked.db", "d/good.db"]);
    let _later = world.database("d/later.db");
    daemon.wait_for_names(&["d/blocked.db", "d/good.db", "d/later.db"]);
    daemon.assert_follows("d/later.db", "r/later.db");
    fs::remove_file(world.path("r/blocked.db")).unwrap();
    daemon.assert_follows("d/blocked.db", "r/blocked.db");
    oracle::fill(&good, 5, 50);
    daemon.end_well();
    world.assert_restored("d/good.db", "r/good.db");
}
