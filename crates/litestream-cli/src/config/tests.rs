//! Whole configurations: what is in force, what is warned of, what is never shown.

use std::io;
use std::path::Path;

use litestream_replica::settings::{self, Storage, TABLE, ValueKind};

use super::*;

const CANARY: &str = "canary-5c2f";

/// Reads a text without expansion.
fn read(text: &str, strict: bool) -> Result<Loaded> {
    let read = |path: &Path| match path.to_str() {
        Some("/secret") => Ok(format!("{CANARY}\n")),
        Some("/empty") => Ok("\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    parse(
        text,
        &Context {
            file: "c.yml",
            variable: None,
            read: &read,
            strict,
        },
    )
}

fn good(text: &str) -> Loaded {
    read(text, false).unwrap_or_else(|e| panic!("{text}: {}", e.message))
}

fn error(text: &str) -> String {
    match read(text, false) {
        Ok(_) => panic!("{text}: accepted"),
        Err(failure) => failure.message,
    }
}

/// `line:column key: text` of all warnings.
fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(|w| w.shown("")).collect()
}

fn replica(text: &str) -> String {
    format!("dbs:\n - path: /a.db\n   replica: {text}\n")
}

#[test]
fn nothing_gives_the_defaults() {
    let config = good("").config;
    let seconds = |d: std::time::Duration| d.as_secs();
    assert_eq!(
        config
            .levels
            .iter()
            .copied()
            .map(seconds)
            .collect::<Vec<_>>(),
        [30, 300, 3600]
    );
    assert_eq!(
        (
            seconds(config.snapshot_interval),
            seconds(config.snapshot_retention)
        ),
        (86_400, 86_400)
    );
    assert_eq!(
        (config.socket.permissions, config.socket.enabled),
        (0o600, false)
    );
    assert!(
        config.databases.is_empty()
            && config.retention_enabled
            && config.validation_interval.is_none()
    );
    let standard = litestream::Policy::default();
    let entry = good(&replica("{path: /r}")).config.databases[0].clone();
    let settings = config.settings(&entry, Path::new("/a.db"));
    assert_eq!(
        settings.policy, standard,
        "the file's defaults are the engine's"
    );
    let engine = litestream::Settings::for_database("/a.db");
    assert_eq!(format!("{settings:?}"), format!("{engine:?}"));
}

#[test]
fn what_is_written_reaches_the_engine() {
    let config = good(
        "snapshot: {interval: 2h, retention: 3h}\nlevels: [{interval: 1m}]\nl0-retention: 0s\nretention: {enabled: false, keep: {daily: 720h}}\n\
         validation: {interval: 6h}\nverify: {max-age: 48h, bandwidth: 1MB}\nsync-interval: 7s\ndbs:\n - path: /x/a.db\n   meta-path: /m\n   monitor-interval: 0s\n\
         \x20  busy-timeout: 9s\n   max-sync-wal-bytes: 2097152\n   checkpoint-interval: -1s\n   replicas: [{path: /r}, {path: /s, sync-interval: 5s}]\n",
    )
    .config;
    let entry = config.find(Path::new("/x/a.db")).unwrap();
    let settings = config.settings(entry, Path::new("/x/a.db"));
    assert_eq!(settings.meta_path, Path::new("/m"));
    assert_eq!(settings.sync_interval.as_secs(), 5);
    assert_eq!(settings.busy_timeout.as_secs(), 9);
    assert_eq!(settings.capture_bytes_max, 2 << 20);
    assert!(settings.checkpoint_interval.is_zero() && !settings.monitor_interval.is_zero());
    let policy = settings.policy;
    assert_eq!((policy.levels.len(), policy.deletes), (1, false));
    assert_eq!(
        (
            policy.snapshot_interval.as_secs(),
            policy.snapshot_retention.as_secs()
        ),
        (7200, 10_800)
    );
    assert_eq!(
        (
            policy.keep.daily.as_secs(),
            policy.verify_interval.as_secs()
        ),
        (2_592_000, 21_600)
    );
    assert_eq!(
        (policy.verify_age.as_secs(), policy.verify_bandwidth),
        (172_800, 1_000_000)
    );
    assert!(policy.l0_retention.is_zero());
}

#[test]
fn what_means_nothing_has_its_place_and_a_way_out() {
    for (text, part) in [
        (
            "adr: x",
            ":1:1: adr: unknown key, so it has no effect; did you mean 'addr'?",
        ),
        ("Dbs: []", "did you mean 'dbs'?"),
        (
            "\nl0_retention: 1s",
            ":2:1: l0_retention: unknown key, so it has no effect; did you mean 'l0-retention'?",
        ),
        (
            "monitor-interval: 1s",
            "misplaced, so it has no effect: it belongs into an item of 'dbs'",
        ),
        ("url: x", "it belongs under 'replica' of a database"),
        (
            "socket: {enable: true}",
            ":1:10: socket.enable: unknown key, so it has no effect; did you mean 'enabled'?",
        ),
        (
            "dbs: [{path: a, bucket: b, replica: {path: /r}}]",
            ":1:17: dbs[0].bucket: misplaced, so it has no effect: it belongs one level down",
        ),
        (
            "dbs: [{path: a, replica: {path: /r, busy-timeout: 1s}}]",
            "it belongs one level up",
        ),
        (
            "dbs: [{path: a, levels: [], replica: {path: /r}}]",
            "it belongs to the top of the file",
        ),
        (
            "dbs: [{path: a, replica: {path: /r, retention: 720h}}]",
            "what is in force is snapshot.retention: 24h0m0s",
        ),
        (
            "snapshot: {retention: 1h}\ndbs: [{path: a, replica: {path: /r, retention: 720h}}]",
            "what is in force is snapshot.retention: 1h0m0s",
        ),
        (
            "dbs: [{path: a, replica: {path: /r, snapshot-interval: 1h}}]",
            "snapshot.interval: 24h0m0s",
        ),
        (
            "levels: [{interval: 1h, retention: 1h}]",
            "levels[0].retention: NOT IN FORCE",
        ),
        (
            "dbs: [{path: a, max-checkpoint-page-count: 1, replica: {path: /r}}]",
            "min-checkpoint-page-count",
        ),
        (
            "addr: a\naddr: b",
            ":2:1: addr: the key is given twice; this one is in force, not the one of line 1",
        ),
        ("addr: x", "must specify port for bind address"),
        ("socket: {permissions: 600}", "600 is the mode 0130"),
        ("socket: {permissions: 0100}", "0100 is the mode 0100"),
        ("logging: {level: loud}", "so info is in force"),
        (
            "dbs: [{path: a, replica: {type: s3, bucket: b, host: h}}]",
            ":1:48: dbs[0].replica.host: has no effect on a replica of type s3",
        ),
        (
            "dbs: [{path: a, replica: {type: s3, url: 'gs://b/p'}}]",
            "has no effect: the URL says that the type is gs",
        ),
        (
            "dbs: [{path: a, replica: {url: 's3://b/p?regoin=x'}}]",
            "query parameter \"regoin\" is unknown",
        ),
    ] {
        let found = warnings(text);
        assert!(found.iter().any(|w| w.contains(part)), "{text}: {found:?}");
        let strict = read(text, true).unwrap_err().message;
        assert!(
            strict.starts_with("refused by -strict:\n  c.yml:"),
            "{strict}"
        );
    }
}

#[test]
fn hints_are_not_refused() {
    for (text, part) in [
        ("levels: []", "nothing is compacted"),
        (
            "l0-retention-check-interval: 20s",
            "l0-retention-check-interval",
        ),
        (
            "dbs: [{path: a, truncate-page-n: 5, replica: {path: /r}}]",
            "truncate-page-n",
        ),
        (
            "dbs: [{path: a, replica: {path: /r, auto-recover: true}}]",
            "auto-recover",
        ),
        (
            "dbs: [{path: a, replica: {path: /r, name: x}}]",
            "deprecated",
        ),
        (
            "dbs: [{path: a, replica: {url: 'nats://h/b', path: x}}]",
            "is in force here",
        ),
        (
            "dbs: [{path: a, replica: {type: s3, bucket: b, endpoint: '10.0.0.1:9'}}]",
            "http://10.0.0.1:9",
        ),
        (
            "dbs: [{dir: /d, pattern: x, restore-if-db-not-exists: true, replica: {path: /r}}]",
            "has no effect with 'dir'",
        ),
    ] {
        let found = read(text, true).unwrap().warnings;
        assert!(
            found
                .iter()
                .any(|w| !w.mistake && w.shown("").contains(part)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn errors_name_file_line_column_and_key() {
    for (text, message) in [
        (
            "a: [",
            "yaml: line 2: while parsing a node, did not find expected node content (c.yml:2:1)",
        ),
        (
            "snapshot:\n  interval: 7d",
            "yaml: line 2: snapshot.interval: cannot read `7d` as a duration; there are no days, write 168h (c.yml:2:13)",
        ),
        (
            "sync-interval: 5",
            "yaml: line 1: sync-interval: 5 has no unit (Litestream takes it for nanoseconds); write 5s for seconds, 5m or 5h (c.yml:1:16)",
        ),
        (
            "addr: [1]\nexec: {}",
            "yaml: unmarshal errors:\n  line 1: addr: a text is needed, not a list (c.yml:1:7)\n  line 2: exec: ",
        ),
        (
            "retention: 24h",
            "yaml: line 1: retention: a map is needed, not `24h`; retention: is now snapshot: {retention: …}",
        ),
        ("dbs: [null]", "yaml: line 1: dbs[0]: nothing is given"),
        (
            "logging: {type: xml}",
            "yaml: line 1: logging.type: `xml` is no type of log; there are text, json, pretty",
        ),
        (
            "l0-retention: -1s",
            "l0-retention: l0 retention must not be negative (got -1s) (c.yml:1:1)",
        ),
        (
            "dbs:\n- {path: /a}",
            "must specify replica for database (c.yml:2:3)",
        ),
        (
            "dbs: [{path: /a, replica: {type: s3}}]",
            "bucket required for s3 replica (c.yml:1:27)",
        ),
        (
            "alerts: [{on: [lag]}]",
            "exactly one of 'url' and 'command'",
        ),
        (
            "alerts: [{on: [lagg], url: 'http://x'}]",
            "`lagg` is unknown",
        ),
        ("alerts: [{url: 'http://x'}]", "must name what to tell of"),
        ("verify: {bandwidth: 0}", "must be greater than 0"),
        (
            "retention: {keep: {daily: -1h}}",
            "retention.keep.daily: must not be negative",
        ),
    ] {
        let found = error(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn databases_in_one_place_are_refused() {
    let two =
        |a: &str, b: &str| format!("dbs:\n - {{path: /a.db, {a}}}\n - {{path: /b.db, {b}}}\n");
    let same = "replica: {path: /r}";
    assert!(error(&two(same, same)).contains("same place as that of database config #1, /r"));
    assert!(
        error(&two(
            "meta-path: /m, replica: {path: /r}",
            "meta-path: /m, replica: {path: /s}"
        ))
        .contains("meta-path collision")
    );
    let found = error(
        "dbs:\n - {path: /d/a.db, replica: {path: /r}}\n - {dir: /d, pattern: '*.db', replica: {path: /s}}\n",
    );
    assert!(
        found.contains("also found by the 'dir' of database config #2"),
        "{found}"
    );
    assert!(
        error("dbs: [{path: /a, replicas: [{path: /r}, {path: /r/}]}]")
            .contains("replicas[1]: another replica")
    );
    assert_eq!(
        good("dbs: [{path: /a, replicas: [{path: /r}, {path: /s}]}]")
            .config
            .databases[0]
            .replicas
            .len(),
        2
    );
}

#[test]
fn alerts_are_read() {
    let config = good(
        "alerts:\n - {on: [lag, recovered], max-lag: 90s, url: 'https://x/y'}\n - {on: [error, verification], command: mail me}\n",
    )
    .config;
    let [first, second] = config.hooks.alerts.as_slice() else {
        panic!("two alerts")
    };
    assert_eq!(
        (first.on.as_slice(), first.max_lag.as_secs()),
        (&[AlertOn::Lag, AlertOn::Recovered][..], 90)
    );
    assert_eq!(second.action, AlertAction::Command("mail me".into()));
}

#[test]
fn databases_of_folders() {
    let text = "dbs:\n - {dir: /d, pattern: '*.db', recursive: true, META replica: {url: 's3://b/p?region=r'}}\n";
    for (meta, state) in [
        ("", "/d/s/.x.db-litestream"),
        ("meta-path: /m,", "/m/s/.x.db-litestream"),
        ("meta-dir: /m,", "/m/s/x.db-litestream"),
    ] {
        let config = good(&text.replace("META", meta)).config;
        let path = Path::new("/d/s/x.db");
        let entry = config.find(path).unwrap().for_file(path).unwrap();
        assert_eq!(entry.meta_folder(path), Path::new(state));
        assert_eq!(config.settings(&entry, path).meta_path, Path::new(state));
        let Storage::S3(s3) = &entry.replicas[0].storage else {
            panic!("s3")
        };
        assert_eq!(
            (s3.prefix.as_str(), s3.region.as_deref()),
            ("p/s/x.db", Some("r"))
        );
        for other in ["/d/s/x.txt", "/e/x.db", "/d", "/d/.y.db-litestream/x.db"] {
            assert!(config.find(Path::new(other)).is_none(), "{other}");
        }
    }
    let flat = good("dbs: [{dir: /d, pattern: '*', replica: {path: /r}}]").config;
    assert!(flat.find(Path::new("/d/x")).is_some() && flat.find(Path::new("/d/s/x")).is_none());
}

#[test]
fn folders_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let env = litestream_replica::env::real::env();
    let root = folder.path();
    for (name, content) in [
        ("b.db", "SQLite format 3\0and more"),
        ("a.db", "SQLite format 3\0"),
        ("short.db", "SQLite"),
        ("a.txt", "SQLite format 3\0"),
        (".a.db-litestream/x.db", "SQLite format 3\0"),
        ("s/c.db", "SQLite format 3\0"),
    ] {
        let path = root.join(name);
        env.disk
            .create_dir_all(path.parent().unwrap(), 0o755)
            .unwrap();
        env.disk
            .create_new(&path, 0o644)
            .unwrap()
            .write_at(content.as_bytes(), 0)
            .unwrap();
    }
    let found = |keys: &str| {
        let text = format!(
            "dbs: [{{dir: {}, {keys}, replica: {{path: /r}}}}]",
            root.display()
        );
        let config = good(&text).config;
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            paths
                .iter()
                .map(|p| p.strip_prefix(root).unwrap().display().to_string())
                .collect()
        };
        scan(&config.databases[0], &env)
            .map(names)
            .map_err(|e| e.message)
    };
    assert_eq!(found("pattern: '*.db'").unwrap(), ["a.db", "b.db"]);
    assert_eq!(
        found("pattern: '*.db', recursive: true").unwrap(),
        ["a.db", "b.db", "s/c.db"]
    );
    assert!(
        found("pattern: x")
            .unwrap_err()
            .starts_with("no SQLite databases found in directory")
    );
    assert!(found("pattern: x, watch: true").unwrap().is_empty());
}

/// A replica of each kind with every key that it has, secrets being canaries.
fn full(kind: &str, secret: impl Fn(&str) -> String) -> String {
    let mut out = format!("type: {kind}");
    for key in TABLE.iter().filter(|k| {
        k.types.contains(&kind) && !["type", "url", "sse-customer-key-path"].contains(&k.name)
    }) {
        let value = match (key.kind, key.name) {
            (ValueKind::Secret, name) => secret(name),
            (ValueKind::Bool, name) => format!("{name}: true"),
            (ValueKind::Int, name) => format!("{name}: 3"),
            (ValueKind::Duration, name) => format!("{name}: 3s"),
            (ValueKind::Size, name) => format!("{name}: 6MB"),
            (ValueKind::List, name) => format!("{name}: [x]"),
            (ValueKind::Text, name) => format!("{name}: '/x'"),
        };
        out.extend([", ", &value]);
    }
    format!("{{{out}}}")
}

#[test]
fn secrets_are_shown_nowhere() {
    let plain = |name: &str| format!("{name}: {CANARY}");
    let in_file = |name: &str| format!("{name}-file: /secret");
    let mut texts: Vec<String> = Vec::new();
    for kind in settings::KINDS {
        texts.push(replica(&full(kind, plain)));
        texts.push(replica(&full(kind, in_file)));
    }
    for scheme in ["sftp", "webdav", "nats"] {
        texts.push(replica(&format!("{{url: '{scheme}://user:{CANARY}@h/b'}}")));
    }
    texts.push(replica(&format!(
        "{{url: 's3://b/p?sseCustomerKey={CANARY}'}}"
    )));
    texts.push(format!(
        "alerts: [{{on: [lag], url: 'https://x/{CANARY}'}}]"
    ));
    texts.push(format!(
        "webdav-password: {CANARY}\ntoken: {CANARY}\nsse-customer-key-path: /secret\n"
    ));
    for text in &texts {
        let loaded = good(text);
        let document = show::document(&loaded.config);
        let json = serde_json::to_string(&document).unwrap();
        let shown = format!("{}{json}{loaded:?}", show::yaml(&document));
        assert!(!shown.contains(CANARY), "{text}: {shown}");
        for entry in &loaded.config.databases {
            assert!(!entry.replicas[0].storage.location().contains(CANARY));
        }
    }
    for name in TABLE
        .iter()
        .filter(|k| k.kind == ValueKind::Secret)
        .map(|k| k.name)
    {
        for text in [
            replica(&format!("{{path: /r, {name}: {{x: {CANARY}}}}}")),
            replica(&format!(
                "{{path: /r, {name}: {CANARY}, {name}: {CANARY}, {name}x: {CANARY}}}"
            )),
            replica(&format!(
                "{{path: /r, {name}: {CANARY}, {name}-file: /secret}}"
            )),
            format!("dbs: [{{path: /a, {name}: {CANARY}, replica: {{path: /r}}}}]"),
        ] {
            let said = match read(&text, true) {
                Ok(loaded) => format!("{loaded:?}"),
                Err(failure) => format!("{failure:?}"),
            };
            assert!(!said.contains(CANARY) && !said.is_empty(), "{text}: {said}");
        }
    }
    let bad = error(&replica(&format!("{{url: 'sftp://u:{CANARY} x@h/p'}}")));
    assert!(
        bad.contains("invalid userinfo") && !bad.contains(CANARY),
        "{bad}"
    );
}

#[test]
fn secrets_from_files() {
    let storage = |text: &str| {
        good(&replica(text)).config.databases[0].replicas[0]
            .storage
            .clone()
    };
    let Storage::Sftp(sftp) = storage("{type: sftp, host: h, user: u, password-file: /secret}")
    else {
        panic!()
    };
    assert_eq!(sftp.password.unwrap().expose(), CANARY);
    let Storage::S3(s3) =
        storage("{type: s3, bucket: b, sse-customer-key: x, sse-customer-key-path: /secret}")
    else {
        panic!()
    };
    assert_eq!(s3.encryption.customer_key.unwrap().expose(), CANARY);
    let text = replica("{type: sftp, host: h, user: u, password-file: /nowhere}");
    assert!(error(&text).starts_with(
        "cannot read password-file \"/nowhere\": open /nowhere: no such file or directory"
    ));
    assert!(
        error(&replica(
            "{type: sftp, host: h, user: u, password-file: /empty}"
        ))
        .contains("the file is empty")
    );
    let both = replica("{type: sftp, host: h, user: u, password: x, password-file: /secret}");
    assert!(error(&both).contains("both password and password-file are given"));
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let dollar = "dbs:\n - path: '/a$b${c}.db'\n   replica: {path: '/r: x # y', sync-interval: 3s}\n   snapshot: {interval: 2h}\n";
    let folder = "addr: ':90'\nexec: 'yes'\nlevels: []\nwebdav-password: x\nsync-interval: 4s\nalerts: [{on: [lag], command: 'a \"b\"'}]\n\
                  dbs: [{dir: '/d é', pattern: '*\\x', meta-dir: /m, watch: true, replicas: [{path: /r}, {url: 'gs://b/p'}]}]\n";
    let mut texts = vec![String::new(), dollar.to_owned(), folder.to_owned()];
    texts.extend(settings::KINDS.map(|kind| replica(&full(kind, |name| format!("{name}: x")))));
    texts.extend(
        ["s3://b", "s3://b/", "nats://h/b", "abs://a@c/p"]
            .map(|url| replica(&format!("{{url: '{url}'}}"))),
    );
    let none = |_: &str| None;
    let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
    for text in texts {
        let shown = show::yaml(&show::document(&good(&text).config));
        let context = Context {
            file: "shown",
            variable: Some(&none),
            read: &read,
            strict: true,
        };
        let again = parse(&shown, &context).unwrap_or_else(|e| panic!("{}\n{shown}", e.message));
        assert_eq!(show::yaml(&show::document(&again.config)), shown);
    }
}
