//! Every endpoint, every status.

use serde_json::json;

use crate::served::{Answer, Served, raw, request};

#[test]
fn about_the_daemon() {
    let served = Served::new();
    let answer = served.get("/info");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let info = answer.json();
    assert_eq!(info["version"], "1.2.3");
    assert_eq!(info["pid"], std::process::id());
    assert_eq!(info["uptime_seconds"], 83);
    assert_eq!(info["database_count"], 0);
    let at = info["started_at"].as_str().unwrap();
    assert!(at.contains(".967"), "{at}");
    assert!(answer.body.starts_with("{\"version\"") && answer.body.ends_with("}\n"));
    assert_eq!(served.get("/list").body, "{\"databases\":[]}\n");
    assert_eq!(
        served.get("/debug/sync-status").body,
        "{\"databases\":[]}\n"
    );
}

#[test]
fn methods_and_addresses() {
    let served = Served::new();
    let looks = ["/info", "/list", "/txid", "/debug/sync-status"];
    let actions = [
        "/sync",
        "/start",
        "/stop",
        "/register",
        "/unregister",
        "/reload",
    ];
    let refused = |address: &str, methods: &[&str], allow: &str| {
        for method in methods {
            let answer = request(&served.socket, method, address, "");
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allow)),
                "{method} {address}"
            );
            assert_eq!(
                answer.header("content-type"),
                Some("text/plain; charset=utf-8")
            );
            let body = if *method == "HEAD" {
                ""
            } else {
                "Method Not Allowed\n"
            };
            assert_eq!(answer.body, body);
        }
    };
    for address in looks {
        refused(
            address,
            &["POST", "PUT", "DELETE", "OPTIONS", "PATCH"],
            "GET, HEAD",
        );
    }
    for address in actions {
        refused(
            address,
            &["GET", "HEAD", "PUT", "DELETE", "OPTIONS"],
            "POST",
        );
    }
    let gets = served.get("/list");
    let head = request(&served.socket, "HEAD", "/list", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), gets.header("content-length"));
    for address in [
        "/",
        "/nope",
        "/list/",
        "/debug/pprof/",
        "/debug/pprof/heap",
        "/List",
    ] {
        let answer = served.get(address);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (404, "404 page not found\n"),
            "{address}"
        );
    }
    let moved = served.get("//debug/../list?x='&y");
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, Some("/list?x='&y"))
    );
    assert_eq!(
        moved.body,
        "<a href=\"/list?x=&#39;&amp;y\">Moved Permanently</a>.\n\n"
    );
    let moved = served.post("//sync", "{}");
    assert_eq!(
        (moved.status, moved.header("location"), moved.body.as_str()),
        (301, Some("/sync"), "")
    );
    assert_eq!(served.get("/%6cist").status, 200);
}

#[test]
fn bodies_that_say_nothing() {
    let served = Served::new();
    for address in ["/sync", "/start", "/stop", "/register", "/unregister"] {
        for body in ["", "x", "[]", "1", "{\"path\":1}", "{\"path\":"] {
            let answer = served.post(address, body);
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (400, "invalid request body"),
                "{address} {body}"
            );
            assert!(answer.field("details").is_string());
        }
        for body in [
            "{}",
            "null",
            "{\"path\":\"\"}",
            "{\"path\":null}",
            "{\"other\":{\"path\":\"x\"}}",
        ] {
            let answer = served.post(address, body);
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (400, "path required"),
                "{address} {body}"
            );
        }
    }
    for (address, wrong) in [
        ("/sync", "\"wait\":1"),
        ("/sync", "\"timeout\":1.5"),
        ("/stop", "\"force\":\"yes\""),
        ("/register", "\"replica_url\":1"),
    ] {
        let answer = served.post(address, &format!("{{\"path\":\"/x\",{wrong}}}"));
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "invalid request body"),
            "{wrong}"
        );
    }
    // Of other endpoints these are unknown fields.
    assert_eq!(
        served
            .post("/sync", "{\"path\":\"/x\",\"force\":1,\"replica_url\":2}")
            .status,
        404
    );
    for address in ["/sync", "/start", "/stop", "/unregister", "/reload"] {
        let answer = served.post(address, "{\"path\":\"/x\",\"timeout\":-1}");
        assert_eq!(answer.status, 400, "{address}");
        assert!(
            answer
                .error()
                .starts_with("timeout must not be negative: -1"),
            "{address}"
        );
    }
}

#[test]
fn databases_that_are_not_there() {
    let served = Served::new();
    for address in ["/sync", "/start", "/stop"] {
        let answer = served.post(address, "{\"PATH\":\"/a/../<nope>\",\"more\":[]} rest");
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "database not found: /<nope>")
        );
        assert_eq!(
            answer.body,
            "{\"error\":\"database not found: /\\u003cnope\\u003e\"}\n"
        );
    }
    let answer = served.post("/unregister", "{\"path\":\"/nope\"}");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        "{\"status\":\"already_unregistered\",\"path\":\"/nope\",\"txid\":0}\n"
    );
    let answer = served.get("/txid");
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (400, "path required")
    );
    for address in ["/txid?path=/nope", "/debug/sync-status?path=/nope"] {
        let answer = served.get(address);
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "database not found"),
            "{address}"
        );
    }
}

fn status(answer: &Answer) -> (u16, String) {
    (
        answer.status,
        answer
            .field("status")
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[test]
fn the_life_of_a_database() {
    let served = Served::new();
    let db = served.place.database("a.db");
    let path = served.place.path("a.db").display().to_string();
    let url = format!("file://{path}-replica");
    let said = |answer: Answer, expected: &str| {
        assert_eq!(status(&answer), (200, expected.to_owned()), "{answer:?}");
    };

    let answer = served.ask("/register", "a.db", "");
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (400, "replica_url required")
    );
    let answer = served.ask("/register", "a.db", r#","replica_url":"nope""#);
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (
            400,
            "invalid replica url: replica url scheme required: nope"
        )
    );
    let answer = served.ask("/register", "a.db", &format!(r#","replica_url":"{url}""#));
    assert_eq!(
        answer.body,
        format!("{{\"status\":\"registered\",\"path\":\"{path}\"}}\n")
    );
    // Not even parsed.
    said(
        served.ask("/register", "a.db", r#","replica_url":"nope""#),
        "already_registered",
    );

    let answer = served.ask("/sync", "a.db", r#","wait":true"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("path"), path);
    let txid = answer.field("txid").as_u64().unwrap();
    assert!(txid >= 1);
    assert_eq!(answer.field("replicated_txid"), txid);
    said(served.ask("/sync", "a.db", ""), "no_change");
    let answer = served.ask("/sync", "a.db", r#","wait":true"#);
    assert_eq!(
        (answer.field("status"), answer.field("uploaded")),
        (json!("no_change"), json!(false))
    );
    db.execute("INSERT INTO t VALUES (2)", []).unwrap();
    assert_eq!(served.ask("/sync", "a.db", "").status, 200);
    assert_eq!(
        served.get(&format!("/txid?path={path}")).body,
        format!("{{\"txid\":{}}}\n", txid + 1)
    );
    served.ask("/sync", "a.db", r#","wait":true"#);

    let list = served.get("/list").json();
    let listed = &list["databases"][0];
    assert_eq!(
        (listed["path"].as_str(), listed["status"].as_str()),
        (Some(path.as_str()), Some("replicating"))
    );
    assert!(
        listed["last_sync_at"].is_string()
            && listed["error"].is_null()
            && listed["missing"].is_null()
    );
    assert_eq!(listed["lag_seconds"], 0.0);
    assert_eq!(listed["replicas"][0]["type"], "file");
    assert_eq!(listed["replicas"][0]["txid"], txid + 1);
    let doing = served
        .get(&format!("/debug/sync-status?path={path}"))
        .json();
    let doing = &doing["databases"][0];
    assert_eq!(
        (&doing["path"], &doing["active"]),
        (&json!(path), &json!(false))
    );
    assert_eq!(
        (&doing["operation"], &doing["phase"]),
        (&json!("sync"), &json!("update_metrics"))
    );
    assert!(doing["started_at"].is_string() && doing["txid"].is_u64() && doing["error"].is_null());

    said(served.ask("/start", "a.db", ""), "already_running");
    said(served.ask("/stop", "a.db", r#","timeout":5"#), "stopped");
    said(served.ask("/stop", "a.db", ""), "already_stopped");
    let answer = served.ask("/sync", "a.db", "");
    assert_eq!(
        (answer.status, answer.error()),
        (409, format!("database not open: {path}"))
    );
    assert_eq!(
        served.get("/list").json()["databases"][0]["status"],
        "stopped"
    );
    assert_eq!(
        served.get(&format!("/txid?path={path}")).field("txid"),
        txid + 1
    );
    db.execute("INSERT INTO t VALUES (4)", []).unwrap();
    said(served.ask("/start", "a.db", ""), "started");
    let answer = served.ask("/sync", "a.db", r#","wait":true"#);
    assert_eq!(answer.field("txid"), txid + 2, "{answer:?}");

    let answer = served.ask("/unregister", "a.db", "");
    assert_eq!(
        answer.body,
        format!(
            "{{\"status\":\"unregistered\",\"path\":\"{path}\",\"txid\":{}}}\n",
            txid + 2
        )
    );
    said(
        served.ask("/unregister", "a.db", ""),
        "already_unregistered",
    );
    assert_eq!(served.get("/list").body, "{\"databases\":[]}\n");
    drop(db);
    let done = served.place.run(&["restore", "-o", "r.db", &url]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(served.place.sum("r.db"), 7);
}

#[test]
fn what_is_found_at_a_start_is_not_new() {
    let served = Served::new();
    let _db = served.place.database("a.db");
    served.register("a.db");
    let first = served.ask("/sync", "a.db", r#","wait":true"#).field("txid");
    served.ask("/stop", "a.db", "");
    served.ask("/start", "a.db", "");
    let again = served.ask("/sync", "a.db", r#","wait":true"#);
    assert_eq!(
        (again.field("status"), again.field("txid")),
        (json!("no_change"), first)
    );
}

#[test]
fn a_database_that_does_not_exist_yet() {
    let served = Served::new();
    served.register("a.db");
    let answer = served.ask("/sync", "a.db", "");
    assert_eq!(status(&answer), (200, "no_change".to_owned()), "{answer:?}");
    assert_eq!(
        (answer.field("txid"), answer.field("replicated_txid")),
        (json!(0), json!(0))
    );
    let answer = served.ask("/sync", "a.db", r#","wait":true,"timeout":5"#);
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (
            500,
            "sync database: replica sync: no position, waiting for data"
        )
    );
    let listed = served.get("/list").json();
    let listed = &listed["databases"][0];
    assert_eq!(
        (&listed["status"], &listed["missing"]),
        (&json!("replicating"), &json!(true))
    );
    assert!(listed["last_sync_at"].is_null() && listed["error"].is_string());
    let answer = served.ask("/unregister", "a.db", "");
    assert_eq!(
        status(&answer),
        (200, "unregistered".to_owned()),
        "{answer:?}"
    );
}

#[test]
fn the_configuration_is_read_again() {
    use litestream_cli::control::ReloadReport;
    let served = Served::new();
    let report = ReloadReport {
        added: vec!["/a".into()],
        changed: vec!["/<b>".into()],
        unchanged: 3,
        problems: vec!["addr: needs a restart".into()],
        ..ReloadReport::default()
    };
    served.daemon.reload.lock().1 = Ok(report);
    for body in ["", "{}", "null", "{\"timeout\":5}"] {
        let answer = served.post("/reload", body);
        assert_eq!(answer.status, 200);
        let expected = "{\"status\":\"reloaded\",\"added\":[\"/a\"],\"removed\":[],\"changed\":[\"/\\u003cb\\u003e\"],\"unchanged\":3,\"problems\":[\"addr: needs a restart\"]}\n";
        assert_eq!(answer.body, expected);
    }
    let done = served.place.run(&["reload", "-socket", "s"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (1, "Error: reload: 1 of the changes could not be made\n")
    );
    assert_eq!(
        done.stdout,
        "status: reloaded\nadded: /a\nchanged: /<b>\nproblem: addr: needs a restart\nunchanged: 3\n"
    );
    served.daemon.reload.lock().1 = Err("line 3: bad".into());
    let answer = served.post("/reload", "");
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (500, "reload configuration: line 3: bad")
    );
    *served.daemon.reload.lock() = (
        std::time::Duration::from_secs(3),
        Ok(ReloadReport::default()),
    );
    let answer = served.post("/reload", "{\"timeout\":1}");
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (
            500,
            "context deadline exceeded; it is still being carried out"
        )
    );
    assert_eq!(served.post("/reload", "[]").status, 400);
}

#[test]
fn several_requests_on_one_connection_and_a_half_closed_one() {
    use std::io::{Read as _, Write as _};
    let served = Served::new();
    let get = "GET /list HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(&served.socket, &format!("{get}{get}{last}"));
    assert_eq!(
        answer.body.matches("{\"databases\":[]}\n").count(),
        3,
        "{answer:?}"
    );
    let mut stream = std::os::unix::net::UnixStream::connect(&served.socket).unwrap();
    stream.write_all(get.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("{\"databases\":[]}\n"),
        "{text}"
    );
}
