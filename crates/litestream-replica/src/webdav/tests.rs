//! A server that answers as it is told to: what real ones do only now and then.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::settings::{Keys, Secret, Value};

mod told_apart;

/// What was asked for.
#[derive(Clone, Debug, Default)]
struct Seen {
    method: String,
    target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// Status, headers, body.
type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn reply(status: u16) -> Reply {
    (status, Vec::new(), Vec::new())
}

/// Serves until the test ends. The URL, and what was asked for.
fn serve(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (log, answer): (Log, _) = (Arc::default(), Arc::new(answer));
    let seen = Arc::clone(&log);
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
            thread(move || {
                // A client that goes away ends its connection.
                let _ = converse(&stream, &*answer, &seen);
            });
        }
    };
    thread(accept);
    (url, log)
}

fn thread(work: impl FnOnce() + Send + 'static) {
    let spawn = crate::env::real::env().spawn;
    drop(spawn.spawn("server", Box::new(work)).unwrap());
}

fn converse(stream: &TcpStream, answer: &dyn Fn(&Seen) -> Reply, log: &Log) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let mut first = lines[0].split(' ').map(str::to_owned);
        let mut seen = Seen {
            method: first.next().unwrap_or_default(),
            target: first.next().unwrap_or_default(),
            ..Seen::default()
        };
        seen.headers = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let len = seen.header("content-length").parse().unwrap_or(0);
        assert!(
            seen.header("transfer-encoding").is_empty(),
            "nothing goes out without a length"
        );
        seen.body = vec![0; len];
        reader.read_exact(&mut seen.body)?;
        let (status, headers, body) = answer(&seen);
        let is_head = seen.method == "HEAD";
        log.lock().push(seen);
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        if status == 204 {
            head = "HTTP/1.1 204 X\r\n".to_owned();
        }
        let mut cut = None;
        for (name, value) in headers {
            // Not for the client: the connection breaks after so many bytes.
            if name == "Cut" {
                cut = value.parse().ok();
            }
            head.extend([name, ": ", &value, "\r\n"]);
        }
        writer.write_all((head + "\r\n").as_bytes())?;
        if let Some(cut) = cut {
            writer.write_all(&body[..cut])?;
            return stream.shutdown(std::net::Shutdown::Both);
        }
        writer.write_all(if is_head { b"" } else { &body })?;
    }
}

fn open(url: &str, path: &str, login: Option<(&str, &str)>) -> WebdavReplica {
    let mut keys = Keys::new();
    keys.set("type", Value::Text("webdav".to_owned()));
    keys.set("webdav-url", Value::Text(url.to_owned()));
    keys.set("path", Value::Text(path.to_owned()));
    if let Some((name, password)) = login {
        keys.set("webdav-username", Value::Text(name.to_owned()));
        keys.set("webdav-password", Value::Secret(Secret::new(password)));
    }
    let Storage::Webdav(settings) = Storage::read(&keys, &Keys::new()).unwrap() else {
        panic!("not webdav");
    };
    let env = crate::env::real::env();
    WebdavReplica::new(&settings, &Opening::command(&env)).unwrap()
}

async fn write(replica: &WebdavReplica) -> Result<FileInfo> {
    let source = Source::Bytes(Bytes::from_static(b"content"));
    let name = FileName::single(Txid::new(1));
    replica.write(Level::L0, name, source, UnixMillis(1)).await
}

async fn read(replica: &WebdavReplica, offset: u64, len: Option<u64>) -> Result<Bytes> {
    let name = FileName::single(Txid::new(1));
    replica.read(Level::L0, name, offset, len).await
}

const FILE: &str = "0000000000000001-0000000000000001.ltx";

fn lines(log: &Log) -> Vec<String> {
    log.lock().iter().map(Seen::line).collect()
}

#[tokio::test]
async fn a_base_path_stays_as_it_is_and_folders_are_made_below_it_only() {
    let made: Mutex<Vec<String>> = Mutex::default();
    let (url, log) = serve(move |seen| match seen.method.as_str() {
        "MKCOL" if !seen.target.starts_with("/remote.php/d%61v/") => reply(403),
        "MKCOL" => {
            let mut made = made.lock();
            let above = seen
                .target
                .trim_end_matches('/')
                .rsplit_once('/')
                .unwrap()
                .0
                .to_owned()
                + "/";
            if above != "/remote.php/d%61v/" && !made.contains(&above) {
                return reply(409);
            }
            made.push(seen.target.clone());
            reply(201)
        }
        "PUT" | "MOVE" => reply(201),
        _ => reply(404),
    });
    let replica = open(&format!("{url}/remote.php/d%61v/"), "/a b//c/", None);
    write(&replica).await.unwrap();
    write(&replica).await.unwrap();
    let base = "/remote.php/d%61v/a%20b";
    let lines = lines(&log);
    let mkcols: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("MKCOL "))
        .collect();
    let up = ["/c/ltx/0/", "/c/ltx/", "/c/", "/"].map(|end| format!("{base}{end}"));
    let down = ["/c/", "/c/ltx/", "/c/ltx/0/"].map(|end| format!("{base}{end}"));
    assert_eq!(mkcols, [&up[..], &down[..]].concat());
    let puts = log
        .lock()
        .iter()
        .filter(|seen| seen.method == "PUT")
        .count();
    assert_eq!((puts, lines.len()), (2, 7 + 4));
    let moved = log
        .lock()
        .iter()
        .find(|seen| seen.method == "MOVE")
        .cloned()
        .unwrap();
    assert!(
        moved.target.starts_with(&format!("{base}/c/ltx/0/{FILE}.")),
        "{moved:?}"
    );
    assert_eq!(
        moved.header("destination"),
        format!("{url}{base}/c/ltx/0/{FILE}")
    );
    assert_eq!(moved.header("overwrite"), "T");
}

#[tokio::test]
async fn a_server_behind_a_proxy_is_told_paths() {
    let (url, log) = serve(|seen| match seen.method.as_str() {
        "MOVE" if seen.header("destination").contains("://") => reply(502),
        _ => reply(201),
    });
    let replica = open(&url, "p", None);
    write(&replica).await.unwrap();
    write(&replica).await.unwrap();
    let seen = log.lock().clone();
    let moves = seen.iter().filter(|seen| seen.method == "MOVE");
    let destinations: Vec<&str> = moves.map(|seen| seen.header("destination")).collect();
    let path = format!("/p/ltx/0/{FILE}");
    assert_eq!(destinations, [format!("{url}{path}"), path.clone(), path]);
}

/// Apache, when two moves to one name meet: one removes what is there, the other finds nothing to remove.
#[tokio::test]
async fn a_move_that_met_another_one_is_made_again_without_another_upload() {
    let met = AtomicU32::new(0);
    let (url, log) = serve(move |seen| match seen.method.as_str() {
        "MOVE" if met.fetch_add(1, Ordering::Relaxed) < 3 => reply(404),
        "MKCOL" | "PUT" | "MOVE" => reply(201),
        _ => reply(404),
    });
    let replica = open(&url, "p", None);
    write(&replica).await.unwrap();
    let lines = lines(&log);
    let count = |begin: &str| lines.iter().filter(|line| line.starts_with(begin)).count();
    assert_eq!((count("PUT"), count("MOVE")), (1, 4), "{lines:?}");
}

#[tokio::test]
async fn where_files_can_not_be_moved_they_are_written_to_their_names() {
    let (url, log) = serve(|seen| match seen.method.as_str() {
        "MOVE" => reply(405),
        "MKCOL" | "PUT" => reply(201),
        _ => reply(204),
    });
    let replica = open(&url, "p", None);
    write(&replica).await.unwrap();
    write(&replica).await.unwrap();
    let direct = format!("PUT /p/ltx/0/{FILE}");
    for _ in 0..100 {
        if lines(&log).iter().any(|line| line.starts_with("DELETE")) {
            break;
        }
        replica
            .env
            .clock
            .sleep_async(std::time::Duration::from_millis(20))
            .await;
    }
    let lines = lines(&log);
    let count = |begin: &str| lines.iter().filter(|line| line.starts_with(begin)).count();
    assert_eq!(
        (count(&direct), count("MOVE"), count("DELETE")),
        (2 + 1, 1, 1),
        "{lines:?}"
    );
    assert_eq!(lines.iter().filter(|line| **line == direct).count(), 2);
}

#[tokio::test]
async fn ranges_are_cut_where_a_server_knows_none_and_versions_are_not_mixed() {
    let text = b"0123456789";
    let (url, _) = serve(move |_| (200, Vec::new(), text.to_vec()));
    let replica = open(&url, "p", None);
    assert_eq!(read(&replica, 3, Some(4)).await.unwrap(), "3456");
    assert_eq!(read(&replica, 8, None).await.unwrap(), "89");
    assert_eq!(read(&replica, 20, Some(1)).await.unwrap(), "");

    // Each answer breaks off in the middle, and each is of another version.
    let count = Mutex::new(0);
    let (url, log) = serve(move |_| {
        *count.lock() += 1;
        let headers = vec![
            ("ETag", format!("\"{}\"", *count.lock())),
            ("Content-Range", "bytes 0-9/10".to_owned()),
        ];
        (206, headers, text[..4].to_vec())
    });
    let replica = open(&url, "p", None);
    let short = read(&replica, 0, Some(10)).await.unwrap();
    assert_eq!(short, "0123", "what a server says is the end is the end");
    let other = read(&replica, 2, Some(2)).await.unwrap_err();
    assert!(other.to_string().contains("another range"), "{other}");
    assert_eq!(log.lock()[0].header("range"), "bytes=0-9");
}

#[tokio::test]
async fn who_one_is_is_said_when_asked_and_before_a_body_is_sent() {
    let (url, log) = serve(|seen| {
        if seen.header("authorization") == "Basic dTpwOnc=" {
            return match (seen.method.as_str(), seen.target.as_str()) {
                ("PROPFIND", "/") => reply(207),
                ("PROPFIND", _) => reply(404),
                _ => reply(201),
            };
        }
        let ask = vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())];
        (401, ask, Vec::new())
    });
    let replica = open(&url, "p", Some(("u", "p:w")));
    write(&replica).await.unwrap();
    let seen = log.lock().clone();
    let bodies = seen.iter().filter(|seen| seen.method == "PUT").count();
    assert_eq!(bodies, 1, "{seen:?}");
    assert!(
        replica
            .list(Level::L0, None, false)
            .await
            .unwrap()
            .is_empty()
    );

    log.lock().clear();
    let wrong = open(&url, "p", Some(("u", "hunter2")));
    let error = wrong.list(Level::L0, None, false).await.unwrap_err();
    assert!(error.is_forbidden(), "{error}");
    assert!(
        error.to_string().contains("check user name and password"),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert_eq!(log.lock().len(), 2, "the same again would be no better");
}

#[tokio::test]
async fn a_nonce_that_is_used_up_is_replaced() {
    let uses = Mutex::new(0);
    let (url, log) = serve(move |seen| {
        let mut uses = uses.lock();
        let nonce = format!("n{}", *uses / 3);
        let answered = seen
            .header("authorization")
            .contains(&format!("nonce=\"{nonce}\""));
        *uses += u32::from(answered);
        if answered {
            return reply(if seen.target == "/" { 207 } else { 404 });
        }
        let ask = format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"");
        (401, vec![("WWW-Authenticate", ask)], Vec::new())
    });
    let replica = open(&url, "p", Some(("u", "hunter2")));
    for _ in 0..7 {
        assert!(
            replica
                .list(Level::L0, None, false)
                .await
                .unwrap()
                .is_empty()
        );
    }
    let seen = log.lock().clone();
    // The eighth asks whether there is anything at all, once.
    assert_eq!(seen.len(), 8 + 3);
    let counts: Vec<&str> = seen
        .iter()
        .filter_map(|seen| seen.header("authorization").split("nc=").nth(1)?.get(..8))
        .collect();
    assert_eq!(counts[..3], ["00000001", "00000002", "00000003"]);
    assert!(
        seen.iter()
            .all(|seen| !seen.header("authorization").contains("hunter2"))
    );
}

#[tokio::test]
async fn what_is_no_webdav_server_is_told_to_be_none() {
    for (status, body) in [(405, ""), (501, ""), (200, "<html/>"), (301, "")] {
        let (url, _) = serve(move |_| (status, Vec::new(), body.as_bytes().to_vec()));
        let error = open(&url, "p", None)
            .list(Level::L0, None, false)
            .await
            .unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert!(
            error.to_string().contains("correct \"webdav-url\""),
            "{error}"
        );
    }
    let (url, _) = serve(|_| reply(423));
    let locked = open(&url, "p", None)
        .delete(&[(Level::L0, FileName::single(Txid::new(1)))])
        .await;
    assert!(locked.unwrap_err().is_retryable());
    let env = crate::env::real::env();
    let bad = Storage::read(&bad_url(), &Keys::new()).unwrap();
    assert!(crate::settings::open(&bad, &Opening::command(&env)).is_err());
}

fn bad_url() -> Keys {
    let mut keys = Keys::new();
    keys.set("type", Value::Text("webdav".to_owned()));
    keys.set("webdav-url", Value::Text("ftp://h/x".to_owned()));
    keys
}
