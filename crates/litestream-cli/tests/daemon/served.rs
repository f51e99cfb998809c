//! What is told of several databases: to systemd, to probes, to Prometheus.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::common::LITESTREAM;
use crate::oracle;
use crate::world::{Daemon, World, wait_for};

const CONFIG: &str = "
addr: 127.0.0.1:0
dbs:
  - {path: DIR/a.db, replica: {path: DIR/r/a.db}}
  - {path: DIR/b.db, replica: {path: DIR/r/b.db}}
  - {dir: DIR/d, pattern: '*.db', watch: true, replica: {path: DIR/r}}
";

fn metrics(daemon: &Daemon<'_>) -> String {
    let (status, text) = daemon.http("/metrics");
    assert_eq!(status, 200, "{text}");
    text
}

/// The value of a series of a database.
fn value(text: &str, family: &str, path: &str, labels: &str) -> Option<f64> {
    let series = format!("{family}{{db=\"{path}\"{labels}}} ");
    let mut values = text.lines().filter_map(|line| line.strip_prefix(&series));
    values.next().map(|value| value.parse().unwrap())
}

/// Bytes of all pages, those in the WAL included.
fn size(conn: &rusqlite::Connection) -> f64 {
    let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn series_come_and_go_with_their_databases() {
    let world = World::new(CONFIG);
    world.folder("d");
    let all = ["a.db", "b.db", "d/c.db"];
    let open = all.map(|name| world.database(name));
    let daemon = world.start();
    for (name, conn) in all.iter().zip(&open) {
        oracle::fill(conn, 10, 500);
        daemon.sync(name);
    }
    assert_eq!(daemon.http("/livez"), (200, "ok\n".to_owned()));
    for target in ["/readyz", "/healthz"] {
        let (status, body) = daemon.http(target);
        assert_eq!(status, 200, "{body}");
    }
    let text = wait_for(
        || metrics(&daemon),
        |text| {
            let sizes = all.map(|name| value(text, "litestream_db_size", &world.text(name), ""));
            sizes.iter().all(Option::is_some)
        },
    );
    for (name, conn) in all.iter().zip(&open) {
        let path = world.text(name);
        let db = |family: &str, labels: &str| value(&text, family, &path, labels);
        assert_eq!(db("litestream_db_size", ""), Some(size(conn)), "{name}");
        let position = daemon.ask("GET", &format!("/txid?path={path}"), "")["txid"].as_u64();
        assert_eq!(
            db("litestream_txid", ""),
            position.map(|txid| txid as f64),
            "{name}"
        );
        assert_eq!(
            db("litestream_db_status", ",status=\"replicating\""),
            Some(1.0),
            "{name}"
        );
        let lag = db("litestream_replica_lag_seconds", ",replica_type=\"file\"");
        assert_eq!(lag, Some(0.0), "{name}");
        assert!(db("litestream_wal_file_size", "").unwrap() > 0.0, "{name}");
    }
    // Unregistered, and deleted from its folder.
    let body = format!(r#"{{"path":"{}"}}"#, world.text("b.db"));
    daemon.ask("POST", "/unregister", &body);
    world.remove("d/c.db");
    daemon.wait_for_names(&["a.db"]);
    let text = metrics(&daemon);
    assert!(
        text.contains(&format!("db=\"{}\"", world.text("a.db"))),
        "{text}"
    );
    for name in ["b.db", "d/c.db"] {
        assert!(!text.contains(&world.text(name)), "{name}: {text}");
    }
    // One that comes has its series.
    let _new = world.database("d/new.db");
    daemon.wait_for_names(&["a.db", "d/new.db"]);
    daemon.sync("d/new.db");
    let path = world.text("d/new.db");
    wait_for(
        || metrics(&daemon),
        |text| {
            value(
                text,
                "litestream_db_status",
                &path,
                ",status=\"replicating\"",
            ) == Some(1.0)
        },
    );
    daemon.end_well();
}

fn next(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 4096];
    let n = socket.recv(&mut bytes).unwrap();
    let text = String::from_utf8(bytes[..n].to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn systemd_is_told_how_many_databases_there_are_once_all_were_started() {
    let world = World::new(CONFIG);
    world.folder("d");
    let _open = ["a.db", "b.db", "d/c.db"].map(|name| world.database(name));
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut command = world
        .place
        .command(LITESTREAM, &["replicate", "-config", "c.yml"]);
    command.env("NOTIFY_SOCKET", world.path("notify"));
    let daemon = world.start_command(command);
    assert_eq!(next(&socket), ["READY=1", "STATUS=replicating 3 databases"]);
    assert_eq!(daemon.names(), ["a.db", "b.db", "d/c.db"]);
    daemon.end_well();
    assert_eq!(next(&socket), ["STOPPING=1", "STATUS=final sync"]);
}
