//! Replicas that hang or fail, clients that hang up.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::common::wait_until;
use crate::served::{Answer, Served};

const SOON: Duration = Duration::from_secs(1);

fn soon(answer: Answer, status: u16) -> Answer {
    assert!(answer.took <= SOON, "{answer:?}");
    assert_eq!(answer.status, status, "{answer:?}");
    answer
}

/// Not more than its time-out, and what the machine takes.
fn in_time(answer: Answer, seconds: u64) -> Answer {
    let limit = Duration::from_secs(seconds);
    assert!(
        answer.took <= limit + Duration::from_millis(700),
        "{answer:?}"
    );
    answer
}

/// One replica never answers, from before its database was opened on: nobody else notices, and nobody waits longer than he said.
#[test]
fn a_hanging_replica_holds_nobody_up() {
    let served = Served::new();
    let _dbs = ["good.db", "hung.db"].map(|name| served.place.database(name));
    served.register("good.db");
    *served.daemon.hangs.lock() = true;
    served.register("hung.db");
    *served.daemon.hangs.lock() = false;
    let path = served.place.path("hung.db").display().to_string();

    for address in [
        "/info".to_owned(),
        "/list".into(),
        "/debug/sync-status".into(),
        format!("/txid?path={path}"),
        format!("/debug/sync-status?path={path}"),
    ] {
        soon(served.get(&address), 200);
    }
    soon(served.ask("/start", "hung.db", ""), 200);
    soon(
        served.ask("/register", "hung.db", r#","replica_url":"file:///x""#),
        200,
    );
    soon(
        served.ask("/register", "new.db", r#","replica_url":"nope""#),
        400,
    );
    soon(served.ask("/sync", "good.db", r#","wait":true"#), 200);
    let answer = in_time(served.ask("/sync", "hung.db", r#","timeout":1"#), 1);
    assert!([200, 500].contains(&answer.status), "{answer:?}");
    let answer = in_time(
        served.ask("/sync", "hung.db", r#","wait":true,"timeout":1"#),
        1,
    );
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (500, "sync database: context deadline exceeded")
    );

    // While one is being stopped, all the others are asked for.
    let stopped = std::thread::scope(|scope| {
        let stop = scope.spawn(|| served.ask("/stop", "hung.db", r#","timeout":3"#));
        std::thread::sleep(Duration::from_millis(200));
        soon(served.get("/list"), 200);
        soon(served.get("/debug/sync-status"), 200);
        soon(served.ask("/sync", "good.db", r#","wait":true"#), 200);
        let answer = in_time(served.ask("/start", "hung.db", r#","timeout":1"#), 1);
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (500, "enable database: context deadline exceeded")
        );
        let answer = in_time(served.ask("/unregister", "hung.db", r#","timeout":1"#), 1);
        assert_eq!(answer.status, 500);
        assert!(
            answer
                .error()
                .contains("another start or stop of this database is under way"),
            "{answer:?}"
        );
        stop.join().unwrap()
    });
    let stopped = in_time(stopped, 3);
    assert_eq!(
        (stopped.status, stopped.field("status")),
        (500, json!("running")),
        "{stopped:?}"
    );
    assert!(
        stopped
            .error()
            .starts_with("close database: shutdown sync timeout after "),
        "{stopped:?}"
    );
    assert!(stopped.error().contains("still replicated"), "{stopped:?}");
    let list = served.get("/list").json();
    assert_eq!(list["databases"][1]["status"], "replicating");

    // It is not lost: once the replica answers, everything gets there.
    served.daemon.gates.lock().clear();
    let answer = served.ask("/stop", "hung.db", r#","timeout":20"#);
    assert_eq!(
        (answer.status, answer.field("status")),
        (200, json!("stopped")),
        "{answer:?}"
    );
}

#[test]
fn who_insists_is_told_what_is_missing() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    *served.daemon.hangs.lock() = true;
    for (action, done, undone) in [
        ("/stop", "stopped", "running"),
        ("/unregister", "unregistered", "registered"),
    ] {
        served.register("a.db");
        wait_until("the opening", || {
            served.get("/list").json()["databases"][0]["replicas"].is_array()
        });
        served.ask("/start", "a.db", "");
        let answer = served.ask(action, "a.db", r#","timeout":1"#);
        assert_eq!(
            (answer.status, answer.field("status")),
            (500, json!(undone)),
            "{answer:?}"
        );
        let answer = served.ask(action, "a.db", r#","timeout":1,"force":true"#);
        assert_eq!(
            (answer.status, answer.field("status")),
            (200, json!(done)),
            "{answer:?}"
        );
        let warning = answer.field("warning").as_str().unwrap().to_owned();
        assert!(
            warning.starts_with("not everything committed is in the replica: "),
            "{warning}"
        );
        assert!(answer.took < Duration::from_secs(8), "{answer:?}");
    }
    served.register("a.db");
    let done = served
        .place
        .run(&["stop", "-socket", "s", "-timeout", "1", "a.db"]);
    assert_eq!(done.code, 1);
    assert!(
        done.stderr
            .starts_with("Error: stop failed: close database: shutdown sync timeout after "),
        "{done:?}"
    );
    let done = served.place.run(&[
        "unregister",
        "-force",
        "-socket",
        "s",
        "-timeout",
        "1",
        "a.db",
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr
            .starts_with("Warning: not everything committed is in the replica: "),
        "{done:?}"
    );
    assert!(
        done.stdout.starts_with("status: unregistered\n"),
        "{done:?}"
    );
}

#[test]
fn a_replica_that_fails_shows() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    std::fs::write(served.place.path("a.db-replica"), "in the way").unwrap();
    served.register("a.db");
    let answer = served.ask("/sync", "a.db", r#","wait":true,"timeout":10"#);
    assert_eq!(answer.status, 500);
    assert!(
        answer.error().starts_with("sync database: replica sync: "),
        "{answer:?}"
    );
    std::thread::sleep(Duration::from_millis(50));
    let list = served.get("/list").json();
    let listed = &list["databases"][0];
    assert_eq!(listed["status"], "replicating");
    assert!(
        listed["error"].is_string() && listed["replicas"][0]["error"].is_string(),
        "{list}"
    );
    assert!(listed["lag_seconds"].as_f64().unwrap() > 0.0, "{list}");
    assert!(listed["last_sync_at"].is_null());
    // Captured before; `wait` brings it there.
    std::fs::remove_file(served.place.path("a.db-replica")).unwrap();
    let answer = served.ask("/sync", "a.db", r#","wait":true,"timeout":20"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (answer.field("status"), answer.field("uploaded")),
        (json!("no_change"), json!(true))
    );
}

#[test]
fn a_client_that_hangs_up_cancels_nothing() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    *served.daemon.hangs.lock() = true;
    served.register("a.db");
    let body = format!(
        r#"{{"path":"{}","timeout":20}}"#,
        served.place.path("a.db").display()
    );
    let text = format!(
        "POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(stream);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        served.get("/list").json()["databases"][0]["status"],
        "replicating"
    );
    served.daemon.gates.lock().clear();
    wait_until("the stop", || {
        served.get("/list").json()["databases"][0]["status"] == "stopped"
    });
}

/// A start that waited for its turn while the database was unregistered must not bring it back unseen.
#[test]
fn what_is_gone_is_not_started() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    *served.daemon.hangs.lock() = true;
    served.register("a.db");
    std::thread::scope(|scope| {
        let gone =
            scope.spawn(|| served.ask("/unregister", "a.db", r#","timeout":2,"force":true"#));
        std::thread::sleep(Duration::from_millis(300));
        let started = served.ask("/start", "a.db", r#","timeout":20"#);
        assert_eq!(started.status, 404, "{started:?}");
        assert_eq!(gone.join().unwrap().field("status"), "unregistered");
    });
    assert_eq!(served.get("/list").body, "{\"databases\":[]}\n");
}

/// A daemon that tries once at its end still keeps to the time of those who ask.
#[test]
fn one_attempt_has_an_end_too() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    *served.daemon.hangs.lock() = true;
    *served.daemon.ending_max.lock() = Duration::ZERO;
    served.register("a.db");
    let answer = in_time(served.ask("/stop", "a.db", r#","timeout":1"#), 1);
    assert_eq!(
        (answer.status, answer.field("status")),
        (500, json!("running"))
    );
}
