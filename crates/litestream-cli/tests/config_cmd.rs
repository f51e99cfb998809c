//! `databases`, `status`, `reset`, `config check`, `config show`: the commands that need only a configuration file.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;

use std::fs;

use common::{Done, Place};
use serde_json::Value;

const CANARY: &str = "canary-77aa";

fn place(config: &str) -> Place {
    let place = Place::new();
    fs::write(place.path("c.yml"), config).unwrap();
    place
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

fn run(place: &Place, command: &[&str], rest: &[&str]) -> Done {
    place.run(&[command, &["-config", "c.yml"], rest].concat())
}

#[test]
fn databases_also_of_folders() {
    let place = place(
        "dbs:\n - {path: one.db, replicas: [{path: r1}, {url: 's3://b/p'}]}\n - {dir: d, pattern: '*.db', recursive: true, meta-dir: m, replica: {path: r2}}\n",
    );
    fs::create_dir_all(place.path("d/s")).unwrap();
    drop((
        place.database("d/two.db"),
        place.database("d/s/three.db"),
        place.database("d/four.sqlite"),
    ));
    let done = run(&place, &["databases"], &[]);
    let at = |name: &str| place.path(name).display().to_string();
    let width = at("d/s/three.db").len() + 2;
    let rows = [
        ("path", "replica"),
        (&at("one.db"), "file"),
        (&at("one.db"), "s3"),
        (&at("d/s/three.db"), "file"),
        (&at("d/two.db"), "file"),
    ];
    let lines: Vec<String> = rows
        .iter()
        .map(|(path, kind)| format!("{path:width$}{kind}\n"))
        .collect();
    let expected = lines.concat();
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, expected.as_str(), "")
    );
    let list = json(&run(&place, &["databases"], &["-json"]));
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(
        run(&place, &["databases"], &["x"]).stderr,
        "Error: too many arguments\n"
    );
}

#[test]
fn where_a_configuration_is_looked_for() {
    let place = place("dbs: []\n");
    let missing = place.run(&["databases", "-config", "nowhere.yml"]);
    let text = format!(
        "Error: config file not found: {}\n",
        place.path("nowhere.yml").display()
    );
    assert_eq!((missing.code, missing.stderr), (1, text));
    assert_eq!(
        place.run(&["databases", "-config", "/"]).stderr,
        "Error: read /: is a directory\n"
    );
    let mut command = place.command(common::LITESTREAM, &["databases", "-json"]);
    let done: Done = command
        .env("LITESTREAM_CONFIG", "c.yml")
        .output()
        .unwrap()
        .into();
    assert_eq!((done.code, done.stdout.as_str()), (0, "[]\n"));
    fs::write(place.path("bad.yml"), b"a: 1\nb: \xff\n").unwrap();
    let bad = place.run(&["databases", "-config", "bad.yml"]);
    assert!(
        bad.stderr.contains("bad.yml: line 2 is not valid UTF-8"),
        "{bad:?}"
    );
}

#[test]
fn variables_and_warnings() {
    let place =
        place("exec: $NOT_SET_HERE\nadr: x\ndbs: [{path: '$WHERE.db', replica: {path: r}}]\n");
    let run = |args: &[&str]| -> Done {
        let mut command = place.command(common::LITESTREAM, args);
        command
            .env("WHERE", "here")
            .env_remove("NOT_SET_HERE")
            .output()
            .unwrap()
            .into()
    };
    let done = run(&["databases", "-config", "c.yml"]);
    assert!(done.stdout.contains("/here.db  file\n"), "{done:?}");
    let file = place.path("c.yml").display().to_string();
    assert_eq!(
        done.stderr,
        format!(
            "Warning: {file}:1:7: environment variable NOT_SET_HERE is not set, so $NOT_SET_HERE is empty\n\
             Warning: {file}:2:1: adr: unknown key, so it has no effect; did you mean 'addr'?\n"
        )
    );
    let plain = run(&["databases", "-config", "c.yml", "-no-expand-env"]);
    assert!(
        plain.stdout.contains("/$WHERE.db  file\n") && !plain.stderr.contains("NOT_SET"),
        "{plain:?}"
    );
    let strict = run(&["config", "check", "-config", "c.yml", "-strict"]);
    assert_eq!(strict.code, 1);
    assert!(
        strict.stderr.starts_with("Error: refused by -strict:\n"),
        "{strict:?}"
    );
}

#[test]
fn check_says_what_is_wrong() {
    let good = place("dbs: [{path: a.db, truncate-page-n: 5, replica: {path: r}}]\n");
    let done = run(&good, &["config", "check"], &["-strict"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(
        done.stdout
            .contains("c.yml:1:20: dbs[0].truncate-page-n: not needed here"),
        "{done:?}"
    );
    assert!(done.stdout.ends_with("c.yml: ok, 1 database\n"), "{done:?}");
    let report = json(&run(&good, &["config", "check"], &["-json"]));
    assert_eq!(
        (
            &report["ok"],
            &report["warnings"][0]["line"],
            &report["warnings"][0]["mistake"]
        ),
        (&true.into(), &1.into(), &false.into())
    );
    for (text, part) in [
        ("dbs: [", "yaml: line"),
        (
            "dbs: [{path: a.db, replica: {type: abs, bucket: b}}]",
            "abs: account name is required",
        ),
        (
            "dbs: [{path: a.db, replica: {type: s3, bucket: b, part-size: 1MB}}]",
            "part size must be at least",
        ),
        (
            "dbs: [{dir: nowhere, pattern: x, replica: {path: r}}]",
            "failed to scan directory",
        ),
    ] {
        let bad = place(text);
        let done = run(&bad, &["config", "check"], &[]);
        assert_eq!(done.code, 1);
        assert!(
            done.stderr.starts_with("Error: ") && done.stderr.contains(part),
            "{done:?}"
        );
        let done = run(&bad, &["config", "check"], &["-json"]);
        assert_eq!((done.code, &json(&done)["ok"]), (1, &false.into()));
    }
    let alone = good.run(&["config"]);
    assert!(
        alone.code == 1
            && alone
                .stderr
                .contains("there are config check and config show"),
        "{alone:?}"
    );
    assert_eq!(good.run(&["config", "-h"]).code, 0);
}

#[test]
fn what_is_shown_can_be_read_and_holds_no_secret() {
    let place = place(&format!(
        "access-key-id: {CANARY}\nsecret-access-key: {CANARY}\ndbs:\n - path: a.db\n   replicas:\n    - {{url: 's3://b/p', sse-customer-key: {CANARY}}}\n\
         \x20   - {{url: 'sftp://u:{CANARY}@h/p'}}\n    - {{type: webdav, webdav-url: 'http://u:{CANARY}@h', webdav-password-file: secret}}\n"
    ));
    fs::write(place.path("secret"), format!("{CANARY}\n")).unwrap();
    let shown = run(&place, &["config", "show"], &[]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    let document = run(&place, &["config", "show"], &["-json"]);
    assert_eq!(
        json(&document)["dbs"][0]["replicas"][1]["password"],
        "<redacted>"
    );
    assert!(
        !format!("{shown:?}{document:?}").contains(CANARY),
        "{shown:?}"
    );
    fs::write(place.path("again.yml"), &shown.stdout).unwrap();
    let again = place.run(&["config", "show", "-config", "again.yml"]);
    assert_eq!((again.code, again.stdout), (0, shown.stdout));
}

#[test]
fn status_of_databases() {
    let place = place(
        "dbs:\n - {path: app.db, replica: {path: backup}}\n - {path: new.db, replica: {path: r2}}\n - {path: gone.db, replica: {path: r3}}\n",
    );
    let db = place.replicated();
    let new = place.database("new.db");
    let list = json(&run(&place, &["status"], &["-json"]));
    let of = |i: usize, key: &str| list[i][key].as_str().unwrap().to_owned();
    assert_eq!(
        [of(0, "status"), of(1, "status"), of(2, "status")],
        ["ok", "not initialized", "no database"]
    );
    assert_eq!(of(0, "local_txid").len(), 16);
    assert_eq!([of(1, "local_txid"), of(2, "wal_size")], ["-", "-"]);
    assert!(of(1, "wal_size").ends_with(" kB"), "{list}");
    let one = run(&place, &["status"], &["new.db"]);
    assert_eq!(one.stdout.lines().count(), 2, "{one:?}");
    assert!(one.stdout.starts_with("database"), "{one:?}");
    let unknown = run(&place, &["status"], &["other.db"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("database not found in config: "),
        "{unknown:?}"
    );
    drop((db, new));
}

#[test]
fn reset_removes_local_files_and_nothing_else() {
    let place = place("dbs: [{path: app.db, meta-path: meta, replica: {path: backup}}]\n");
    let missing = place.run(&["reset", "app.db"]);
    assert!(
        missing
            .stderr
            .starts_with("Error: database does not exist: "),
        "{missing:?}"
    );
    assert_eq!(
        place.run(&["reset"]).stderr,
        "Error: database path required\nTry: litestream reset /path/to/db\n"
    );
    let db = place.replicated();
    let nothing = run(&place, &["reset"], &["app.db"]);
    assert!(
        nothing.stdout.contains("Meta directory does not exist: "),
        "the state is not where the file says: {nothing:?}"
    );
    let ltx = ".app.db-litestream/ltx";
    let dry = place.run(&["reset", "-dry-run", "app.db"]);
    assert!(
        dry.stdout.contains("Files that would be removed:\n  ") && place.exists(ltx),
        "{dry:?}"
    );
    let before: i64 = place.sum("app.db");
    let done = place.run(&["reset", "app.db"]);
    assert_eq!((done.code, place.exists(ltx)), (0, false), "{done:?}");
    assert!(done.stdout.contains("Reset complete."), "{done:?}");
    db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
    let once = place.run(&["replicate", "-once", "app.db", &place.url()]);
    assert_eq!(once.code, 0, "{once:?}");
    let restored = place.run(&["restore", "-o", "copy.db", &place.url()]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!((before, place.sum("copy.db")), (1, 42));
}

#[test]
fn reset_does_not_pull_the_rug_from_a_running_litestream() {
    let place = Place::new();
    let db = place.replicated();
    let url = place.url();
    let files = || fs::read_dir(place.path("backup/ltx/0")).unwrap().count();
    let before = files();
    let running = place.start(&["replicate", "app.db", &url]);
    running.wait_for("replicating to");
    db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    common::wait_until("the next file", || files() > before);
    let refused = place.run(&["reset", "app.db"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("a litestream process works on"),
        "{refused:?}"
    );
    assert!(place.exists(".app.db-litestream/ltx/0"));
    running.signal("TERM");
    assert_eq!(running.finish().code, 0);
}
