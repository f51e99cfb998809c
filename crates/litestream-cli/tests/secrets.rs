//! Nothing that the program prints, logs or answers holds a secret that it was given.
//!
//! Each secret is a canary: its name tells where a leak came from.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{LITESTREAM, Place, Running, wait_until};
use litestream_replica::settings::{self, ValueKind};

/// Short enough to be seen in messages that shorten values.
const CANARY: &str = "zqx7f";

fn canary(of: &str) -> String {
    format!("{CANARY}-{of}")
}

/// Variables of the environment that hold secrets.
const VARIABLES: &[&str] = &[
    "LITESTREAM_SECRET_ACCESS_KEY",
    "LITESTREAM_AZURE_ACCOUNT_KEY",
    "LITESTREAM_AZURE_SAS_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "OSS_ACCESS_KEY_SECRET",
    "FROM_ENVIRONMENT",
];

/// No metadata service is asked for credentials.
const ALONE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

fn secret_keys() -> impl Iterator<Item = &'static str> {
    let keys = settings::TABLE.iter();
    keys.filter(|key| key.kind == ValueKind::Secret)
        .map(|key| key.name)
}

/// Every secret key, for all replicas and once more where it means nothing, by value and by file; secrets in URLs.
fn configuration(place: &Place, form: &str) -> String {
    let mut text = format!(
        "addr: 127.0.0.1:0
logging: {{type: {form}, level: trace}}
socket: {{enabled: true, path: {}}}
exec: sleep 600
heartbeat-url: http://user:{}@127.0.0.1:1/x
shutdown-sync-timeout: 1s
alerts:
  - {{on: [error, lag], url: 'http://user:{}@127.0.0.1:1/{}'}}
",
        place.path("s").display(),
        canary("heartbeat-password"),
        canary("alert-password"),
        canary("alert-path"),
    );
    let mut replica = String::new();
    for (number, key) in secret_keys().enumerate() {
        let (top, own) = (canary(&format!("top-{key}")), canary(&format!("own-{key}")));
        if number % 2 == 0 {
            let _ = writeln!(text, "{key}: {top}");
            let _ = writeln!(replica, "      {key}: {own}");
        } else {
            fs::write(place.path(&format!("file-{key}")), format!("{top}\n")).unwrap();
            let file = place.path(&format!("file-{key}"));
            let _ = writeln!(text, "{key}-file: {}", file.display());
            let _ = writeln!(replica, "      {key}: $FROM_ENVIRONMENT");
        }
    }
    let _ = write!(
        text,
        "dbs:
  - path: app.db
    replica:
      path: backup
{replica}  - path: broken.db
    replica: {{path: in-the-way/backup}}
"
    );
    text
}

/// What was said, and by whom.
struct Heard {
    place: Place,
    said: Vec<(String, String)>,
}

impl Heard {
    fn new(form: &str) -> Heard {
        let place = Place::new();
        let heard = Heard {
            said: Vec::new(),
            place,
        };
        heard.write(&configuration(&heard.place, form));
        // No folder can be made in a file, so this replica always fails.
        fs::write(heard.place.path("in-the-way"), "").unwrap();
        heard
    }

    fn write(&self, configuration: &str) {
        fs::write(self.place.path("c.yml"), configuration).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.place.command(LITESTREAM, args);
        command.envs(
            VARIABLES
                .iter()
                .map(|name| (name, canary(&format!("variable-{name}")))),
        );
        command.env(ALONE.0, ALONE.1);
        command
    }

    fn run(&mut self, args: &[&str]) -> i32 {
        let done = common::Done::from(self.command(args).output().unwrap());
        assert!(
            !(done.stdout.is_empty() && done.stderr.is_empty() && done.code != 0),
            "{args:?}"
        );
        self.note(&format!("{args:?}"), done.stdout + &done.stderr);
        done.code
    }

    fn note(&mut self, who: &str, text: String) {
        // What was asked is not an answer.
        self.said.push((who.replace(CANARY, "CANARY"), text));
    }

    fn start(&self) -> Running {
        let mut command = self.command(&["replicate", "-config", "c.yml"]);
        let log = fs::File::create(self.place.path("log")).unwrap();
        let errors = fs::File::create(self.place.path("errors")).unwrap();
        let child = command.stdout(log).stderr(errors).spawn().unwrap();
        Running::new(child, self.place.path("log"), self.place.path("errors"))
    }

    fn check(&self) {
        let mut leaks = String::new();
        for (who, text) in &self.said {
            for line in text.lines().filter(|line| line.contains(CANARY)) {
                let _ = writeln!(leaks, "{who}: {line}");
            }
        }
        assert!(leaks.is_empty(), "secrets were told:\n{leaks}");
    }
}

/// An answer to a plain request, with its head.
fn ask(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    let head = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"Content-Length: 0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Where metrics are served, as the log says.
fn address(log: &str) -> Option<String> {
    let line = log
        .lines()
        .find(|line| line.contains("serving metrics on"))?;
    let rest = &line[line.find("127.0.0.1:")?..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
    Some(rest[..end.unwrap_or(rest.len())].to_owned())
}

/// URLs whose passwords, keys and tokens are secrets.
fn urls() -> Vec<String> {
    let in_url = canary("url");
    vec![
        format!("sftp://user:{in_url}@localhost/x"),
        format!("webdav://user:{in_url}@localhost/x"),
        format!("nats://user:{in_url}@localhost/x"),
        format!("s3://key:{in_url}@bucket/x"),
        format!("s3://bucket/x?sseCustomerKey={in_url}"),
        format!("s3://bucket/x?sse-customer-key={in_url}&part-size=abc"),
        format!("nope://user:{in_url}@localhost/x"),
        format!("sftp://user:{in_url} x@localhost/x"),
        format!("sftp://user:x/{in_url}?#@localhost/x"),
    ]
}

/// Configurations that can't be used, each for another reason, and each with a secret near it.
fn broken(good: &str) -> Vec<String> {
    let near = canary("near");
    vec![
        format!("{good}password: {{x: {near}}}\n"),
        format!("{good}password: [{near}]\n"),
        format!("{good}token: {near}\ntoken: {near}\ntokem: {near}\n"),
        format!("{good}token: '{near}\n"),
        format!("{good}  token: {near}\n"),
        format!("{good}webdav-url: http://user:{near} x@h\n"),
        good.replace("path: backup", &format!("url: 'sftp://user:{near}@h/p'")),
        good.replace(
            "path: backup",
            &format!("type: s3\n      bucket: b\n      endpoint: 'http://user:{near}@h'"),
        ),
        good.replace(
            "path: backup",
            &format!("url: 's3://b/p?sse-customer-key={near}&part-size=abc'\n      sse-customer-key: {near}"),
        ),
    ]
}

fn while_it_runs(form: &str, heard: &mut Heard, running: &Running, good: &str) {
    heard.run(&["sync", "-wait", "-config", "c.yml", "app.db"]);
    for command in ["info", "list", "reload"] {
        heard.run(&[command, "-config", "c.yml"]);
        assert_eq!(
            heard.run(&[command, "-json", "-config", "c.yml"]),
            0,
            "{command}"
        );
    }
    for command in ["stop", "start", "sync", "unregister"] {
        heard.run(&[command, "-json", "-config", "c.yml", "app.db"]);
        heard.run(&[command, "-config", "c.yml", "nope.db"]);
    }
    for (number, url) in urls().iter().enumerate() {
        for command in [
            &["register", "-config", "c.yml", "-replica", url, "new.db"][..],
            &[
                "register",
                "-json",
                "-config",
                "c.yml",
                "-replica",
                url,
                "broken.db",
            ],
            &["restore", url],
            &["sync", "-config", "c.yml", url],
            &["status", "-config", "c.yml", url],
            &["reset", url],
        ] {
            heard.run(command);
        }
        // These wait for servers that are not there: one of a kind will do, and once.
        if form != "json" || ![0, 1, 2, 4].contains(&number) {
            continue;
        }
        for command in [
            &["ltx", url][..],
            &["restore", "-json", "-o", "out.db", url],
        ] {
            heard.run(command);
        }
        if number == 0 {
            // It tries for half a minute.
            heard.run(&["replicate", "-log-level", "trace", "-once", "plain.db", url]);
        }
    }
    let metrics = address(&running.log()).expect("the address of the metrics");
    for path in ["/metrics", "/healthz", "/", "/nope"] {
        let stream = TcpStream::connect(&metrics).unwrap();
        heard.note(path, ask(stream, &format!("GET {path} HTTP/1.1")));
    }
    for request in [
        "GET /info",
        "GET /list",
        "GET /debug/sync-status",
        "GET /txid?path=app.db",
        "POST /sync",
        "POST /register",
        "POST /reload",
        "GET /nope",
    ] {
        let stream = UnixStream::connect(heard.place.path("s")).unwrap();
        let answer = ask(stream, &format!("{request} HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 "), "{request}: {answer}");
        heard.note(request, answer);
    }
    for text in broken(good) {
        heard.write(&text);
        heard.run(&["reload", "-socket", "s"]);
        configuration_commands(heard);
    }
    heard.write(good);
    let reloads = || running.log().matches("configuration").count();
    let before = reloads();
    running.signal("HUP");
    wait_until("a word on the configuration", || reloads() > before);
}

/// The commands that need no daemon.
fn configuration_commands(heard: &mut Heard) {
    for command in ["config check", "config show", "databases", "status"] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["-config", "c.yml"]);
        heard.run(&args);
        args.push("-json");
        heard.run(&args);
    }
    heard.run(&["config", "check", "-strict", "-config", "c.yml"]);
    heard.run(&["ltx", "-config", "c.yml", "app.db"]);
    heard.run(&["ltx", "-config", "c.yml", "broken.db"]);
    heard.run(&[
        "restore", "-json", "-config", "c.yml", "-dry-run", "-o", "out.db", "app.db",
    ]);
    heard.run(&["restore", "-config", "c.yml", "-o", "out.db", "broken.db"]);
    heard.run(&["verify", "-json", "-config", "c.yml", "app.db"]);
    heard.run(&["reset", "-config", "c.yml", "-dry-run", "app.db"]);
    heard.run(&["replicate", "-config", "c.yml", "-once"]);
}

fn no_secret_leaves(form: &str) {
    let mut heard = Heard::new(form);
    let good = fs::read_to_string(heard.place.path("c.yml")).unwrap();
    assert_eq!(good.matches("-file: ").count(), secret_keys().count() / 2);
    let dbs = ["app.db", "broken.db", "plain.db"].map(|name| heard.place.database(name));
    configuration_commands(&mut heard);
    let running = heard.start();
    wait_until("the socket", || heard.place.exists("s"));
    running.wait_for("serving metrics on");
    // Its replica can't be written, the hook can't be called, and both are told.
    running.wait_for("hook failed, trying again");
    while_it_runs(form, &mut heard, &running, &good);
    running.signal("TERM");
    let done = running.finish_within(Duration::from_mins(1));
    let details = [" DBG ", "level=DEBUG", "\"level\":\"DEBUG\""];
    assert!(
        details.iter().any(|level| done.stdout.contains(level)),
        "{form}: the log has no details"
    );
    heard.note("the log", done.stdout);
    heard.note("standard error of the daemon", done.stderr);
    heard.check();
    drop(dbs);
}

#[test]
fn no_secret_leaves_with_a_log_of_text() {
    no_secret_leaves("text");
}

#[test]
fn no_secret_leaves_with_a_log_of_json() {
    no_secret_leaves("json");
}

#[test]
fn no_secret_leaves_with_a_pretty_log() {
    no_secret_leaves("pretty");
}
