//! The same bytes to both daemons: the same answers.

use serde_json::Value;

use crate::commands::{Original, ours};
use crate::common::{Place, wait_until};
use crate::served::{Answer, request};

/// Method, address, body. `DIR/` is the daemon's place.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("POST", "/sync", r#"{"path":"DIR/a.db","wait":true}"#),
    ("GET", "/info", ""),
    ("HEAD", "/nope", ""),
    ("GET", "/nope", ""),
    ("GET", "/list/", ""),
    ("GET", "/", ""),
    ("POST", "/list", ""),
    ("DELETE", "/info", ""),
    ("OPTIONS", "/txid", ""),
    ("PUT", "/debug/sync-status", ""),
    ("GET", "/sync", ""),
    ("HEAD", "/stop", ""),
    ("GET", "//list", ""),
    ("GET", "/debug/../debug//sync-status?a=b&c=%20'", ""),
    ("POST", "//sync", "{}"),
    ("GET", "/./list/", ""),
    ("GET", "/%2e%2e/list", ""),
    ("GET", "/%69nfo?x", ""),
    ("GET", "/txid", ""),
    ("GET", "/txid?path=", ""),
    ("GET", "/txid?path=/nope", ""),
    ("GET", "/txid?path=sqlite://DIR/x/../a.db", ""),
    ("GET", "/txid?path=%zz&path=DIR/a.db", ""),
    ("GET", "/debug/sync-status?path=/nope", ""),
    ("POST", "/sync", ""),
    ("POST", "/sync", "x"),
    ("POST", "/sync", "[]"),
    ("POST", "/sync", "null"),
    ("POST", "/sync", "{"),
    ("POST", "/sync", r#"{"path":1}"#),
    ("POST", "/sync", r#"{"path":"DIR/a.db","timeout":1.5}"#),
    ("POST", "/sync", r#"{"path":"DIR/a.db","timeout":1e2}"#),
    ("POST", "/sync", r#"{"path":"DIR/a.db","wait":"true"}"#),
    (
        "POST",
        "/sync",
        r#"{"PATH":"DIR/a.db","more":{"x":[1]}} and more"#,
    ),
    (
        "POST",
        "/sync",
        r#"{"path":"DIR/a.db","Path":"/<b>&\u2028"}"#,
    ),
    (
        "POST",
        "/sync",
        r#"{"path":"DIR/a.db","path":null,"wait":null,"timeout":null}"#,
    ),
    ("POST", "/register", r#"{"path":""}"#),
    ("POST", "/register", r#"{"path":"/x"}"#),
    ("POST", "/register", r#"{"path":"/x","replica_url":"nope"}"#),
    (
        "POST",
        "/register",
        r#"{"path":"DIR/a.db","replica_url":"nope"}"#,
    ),
    ("POST", "/start", "{}"),
    ("POST", "/start", r#"{"path":"DIR/a.db"}"#),
    ("POST", "/stop", "[1]"),
    ("POST", "/stop", r#"{"path":"DIR/a.db"}"#),
    ("POST", "/stop", r#"{"path":"DIR/a.db","timeout":0}"#),
    ("POST", "/sync", r#"{"path":"DIR/a.db"}"#),
    ("GET", "/txid?path=DIR/a.db", ""),
    ("POST", "/unregister", r#"{"path":"/nope"}"#),
    ("POST", "/unregister", r#"{"path":"DIR/a.db"}"#),
    ("POST", "/unregister", r#"{"path":"DIR/a.db","timeout":1}"#),
    ("GET", "/list", ""),
    ("GET", "/debug/sync-status", ""),
];

/// What is left of an answer when what must differ is taken out: times, processes, and fields of ours.
fn shape(answer: &Answer, place: &Place) -> String {
    let dir = place.path("").display().to_string();
    let mut body = answer.body.replace(&dir, "DIR/");
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(&body) {
        for varies in ["version", "pid", "uptime_seconds", "started_at"] {
            if let Some(value) = fields.get_mut(varies) {
                *value = Value::Bool(value.is_string());
            }
        }
        for ours in ["uploaded", "warning", "details"] {
            fields.remove(ours);
        }
        body = Value::Object(fields).to_string();
    }
    let header = |name: &str| answer.header(name).unwrap_or("-").to_owned();
    format!(
        "{} {} {} {} {}\n{body}",
        answer.status,
        header("content-type"),
        header("allow"),
        header("location"),
        header("x-content-type-options"),
    )
}

#[test]
fn both_daemons_give_the_same_answers() {
    let (original, (served, _db)) = (Original::new(), ours());
    for place in [&original.place, &served.place] {
        wait_until("the first sync", || {
            let body = format!(
                r#"{{"path":"{}","wait":true}}"#,
                place.path("a.db").display()
            );
            request(&place.path("s"), "POST", "/sync", &body).status == 200
        });
    }
    for (method, address, body) in REQUESTS {
        let [expected, found] = [&original.place, &served.place].map(|place| {
            let dir = place.path("").display().to_string();
            let (address, body) = (address.replace("DIR/", &dir), body.replace("DIR/", &dir));
            let answer = request(&place.path("s"), method, &address, &body);
            shape(&answer, place)
        });
        assert_eq!(found, expected, "{method} {address} {body}");
    }
}
