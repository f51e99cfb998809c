//! What happens on the way to storage: lost connections, throttling, refusals, answers that break off.

use std::time::{Duration, Instant};

use litestream_servers::proxy::{Class, Fault, Mode, Proxy};
use litestream_servers::{Kind, Server};

use crate::bench::{Bench, ours};
use crate::oracle::{self, app, assert_same, fill};

/// A server behind a proxy of HTTP.
struct Behind {
    server: Server,
    proxy: Proxy,
}

impl Behind {
    fn new(kind: Kind) -> Behind {
        let server = Server::start(kind).unwrap();
        let proxy = Proxy::http(server.port()).unwrap();
        Behind { server, proxy }
    }

    fn bench(&self, name: &str, top: &str) -> Bench {
        let place = self
            .server
            .new_place_through(name, self.proxy.port())
            .unwrap();
        let what = format!("{name} on {}", self.server.kind().name());
        Bench::new(&what, place, top)
    }
}

/// A replica with a snapshot of some MiB and small files after it.
fn replicated(behind: &Behind, name: &str) -> Bench {
    let bench = behind.bench(name, "");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 40, 100_000);
    bench.once(&ours());
    for _ in 0..5 {
        fill(&conn, 3, 30_000);
        bench.once(&ours());
    }
    bench
}

/// Every read breaks off after so many bytes, in three ways: a restore goes on where it was.
fn reads_break_off(behind: &Behind) {
    let bench = replicated(behind, "breaks");
    let expected = oracle::image(&bench.db());
    behind.proxy.forget();
    assert_same("whole", &expected, &bench.restored(&ours(), None));
    let whole = behind.proxy.counts();
    for mode in [
        Mode::CutAfter(200_000),
        Mode::Truncate(300_000),
        Mode::CutAfter(0),
    ] {
        behind.proxy.forget();
        let fault = Fault::new(mode.clone()).on(Class::Get);
        // Every one that is large enough; of those that give nothing, some.
        let fault = if mode == Mode::CutAfter(0) {
            fault.times(3)
        } else {
            fault.times(8)
        };
        behind.proxy.add(fault).unwrap();
        let what = format!("{mode:?} on {}", behind.server.kind().name());
        assert_same(&what, &expected, &bench.restored(&ours(), None));
        assert!(behind.proxy.struck() > 0, "{what}: no read broke off");
        behind.proxy.clear();
        let counts = behind.proxy.counts();
        let read = counts.bytes_down as f64 / whole.bytes_down as f64;
        println!("{what}: {read:.2} times the bytes were read");
        assert!(read < 1.1, "{what}: {read:.2} times the bytes were read");
    }
}

/// How long the service asks for less: two seconds, or as many as `LITESTREAM_TROUBLE_SECONDS` says.
fn trouble() -> Duration {
    let seconds = std::env::var("LITESTREAM_TROUBLE_SECONDS");
    let seconds = seconds.map_or(2, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// For a while the service asks for less: nothing is lost, and no request is repeated again and again.
fn throttled(behind: &Behind, status: u16, body: &str) {
    let name = format!("throttled-{status}");
    let bench = behind.bench(&name, "");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 20, 10_000);
    bench.once(&ours());
    behind.proxy.forget();
    let running = bench.start(&ours());
    fill(&conn, 1, 100);
    let start = Instant::now();
    while behind.proxy.counts().class(Class::Put) == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", bench.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let pause = trouble();
    behind.proxy.forget();
    let busy = Fault::new(Mode::answer(status, body)).lasting(pause);
    behind.proxy.add(busy).unwrap();
    let start = Instant::now();
    while start.elapsed() < pause {
        fill(&conn, 2, 2000);
        std::thread::sleep(Duration::from_millis(100));
    }
    let exchanges = behind.proxy.exchanges();
    assert!(!exchanges.is_empty(), "{name}: nothing was asked");
    for one in &exchanges {
        let times = exchanges.iter().filter(|e| e.target == one.target).count();
        let most = 10 + pause.as_secs() as usize / 2;
        assert!(times < most, "{name}: {times} times in {pause:?}: {one:?}");
    }
    bench.stop(running);
    behind.proxy.clear();
    assert_same(
        &name,
        &oracle::image(&bench.db()),
        &bench.restored(&ours(), None),
    );
}

/// A refusal is told as one, with the service's own words; it is never "no backups".
fn refused(behind: &Behind, status: u16, body: &str, words: &str) {
    let bench = replicated(behind, &format!("refused-{status}"));
    let fault = Fault::new(Mode::answer(status, body));
    behind.proxy.add(fault).unwrap();
    let db = bench.db().display().to_string();
    let out = format!("{db}-restored");
    for more in [&[][..], &["-if-replica-exists"]] {
        let args = [
            &["restore", "-config", "c.yml", "-o", &out],
            more,
            &[db.as_str()],
        ];
        let start = Instant::now();
        let done = bench.command(&ours(), &args.concat()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{status} {more:?}: {said}");
        assert!(said.contains(words), "{status} {more:?}: {said}");
        assert!(!said.contains("no matching backup"), "{said}");
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{status}: it took {:?} to say {said}",
            start.elapsed()
        );
    }
    behind.proxy.clear();
}

const SLOW_DOWN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
                         <Message>Please reduce your request rate.</Message></Error>";
const DENIED: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessDenied</Code>\
                      <Message>Access Denied</Message></Error>";
const NO_BUCKET: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>NoSuchBucket</Code>\
                         <Message>The specified bucket does not exist</Message></Error>";
const TIME_OUT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>RequestCanceled</Code>\
                        <Message>request timed out</Message></Error>";

#[test]
fn reads_from_s3_break_off() {
    reads_break_off(&Behind::new(Kind::Moto));
}

#[test]
fn s3_asks_for_less() {
    let behind = Behind::new(Kind::Moto);
    throttled(&behind, 503, SLOW_DOWN);
    throttled(&behind, 429, SLOW_DOWN);
    throttled(&behind, 408, TIME_OUT);
    throttled(&behind, 500, "");
}

#[test]
fn s3_refuses() {
    let behind = Behind::new(Kind::Moto);
    refused(&behind, 403, DENIED, "AccessDenied");
    refused(&behind, 404, NO_BUCKET, "NoSuchBucket");
}

#[test]
fn reads_from_google_storage_break_off() {
    reads_break_off(&Behind::new(Kind::Gcs));
}

#[test]
fn reads_from_azure_break_off() {
    reads_break_off(&Behind::new(Kind::Azurite));
}

#[test]
fn reads_from_webdav_break_off() {
    reads_break_off(&Behind::new(Kind::Nginx));
}

#[test]
fn reads_from_oss_break_off() {
    reads_break_off(&Behind::new(Kind::Oss));
}

/// What a service says when it asks for less, is late, or fails.
fn asks_for_less(kind: Kind, busy: &str) {
    let behind = Behind::new(kind);
    for (status, body) in [(503, busy), (429, busy), (408, ""), (500, "")] {
        throttled(&behind, status, body);
    }
}

#[test]
fn google_storage_asks_for_less() {
    let busy = r#"{"error": {"code": 429, "message": "rateLimitExceeded", "errors": [{"reason": "rateLimitExceeded"}]}}"#;
    asks_for_less(Kind::Gcs, busy);
}

#[test]
fn azure_asks_for_less() {
    let busy = "<?xml version=\"1.0\"?><Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>";
    asks_for_less(Kind::Azurite, busy);
}

#[test]
fn webdav_asks_for_less() {
    asks_for_less(Kind::Nginx, "busy");
}

#[test]
fn oss_asks_for_less() {
    asks_for_less(Kind::Oss, SLOW_DOWN);
}

#[test]
fn others_refuse() {
    let azure = "<?xml version=\"1.0\"?><Error><Code>AuthorizationFailure</Code><Message>no</Message></Error>";
    refused(
        &Behind::new(Kind::Azurite),
        403,
        azure,
        "AuthorizationFailure",
    );
    let google = r#"{"error": {"code": 403, "message": "no access to that bucket"}}"#;
    refused(
        &Behind::new(Kind::Gcs),
        403,
        google,
        "no access to that bucket",
    );
    refused(&Behind::new(Kind::Oss), 403, DENIED, "AccessDenied");
    refused(&Behind::new(Kind::Nginx), 403, "", "403");
    refused(&Behind::new(Kind::Nginx), 401, "", "401");
}

/// Connections are reset while a file goes up, in the middle and before the answer comes: it is there in the end, whole, and
/// under no other name.
fn writes_break_off(kind: Kind) {
    let behind = Behind::new(kind);
    let bench = behind.bench("writes", "");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 20, 100_000);
    let running = bench.start(&ours());
    for n in 1..6 {
        for mode in [Mode::CutRequestAfter(100_000 * n), Mode::CutAfter(0)] {
            let fault = Fault::new(mode).on(Class::Put).times(2);
            behind.proxy.add(fault).unwrap();
        }
        fill(&conn, 10, 60_000);
        std::thread::sleep(Duration::from_millis(700));
    }
    assert!(behind.proxy.struck() > 2, "{}", bench.log());
    behind.proxy.clear();
    bench.stop(running);
    bench.check("after broken writes");
}

#[test]
fn writes_to_s3_break_off() {
    writes_break_off(Kind::Moto);
}

#[test]
fn writes_to_google_storage_break_off() {
    writes_break_off(Kind::Gcs);
}

#[test]
fn writes_to_azure_break_off() {
    writes_break_off(Kind::Azurite);
}

#[test]
fn writes_to_webdav_break_off() {
    writes_break_off(Kind::Nginx);
}

#[test]
fn writes_to_oss_break_off() {
    writes_break_off(Kind::Oss);
}

/// A server behind a proxy of bytes.
fn behind_bytes(kind: Kind) -> Behind {
    let server = Server::start(kind).unwrap();
    let proxy = Proxy::tcp(server.port()).unwrap();
    Behind { server, proxy }
}

/// Connections of SSH or NATS break off while a restore reads: it goes on over others.
fn connections_break_off(kind: Kind, faults: &[(Mode, u64)]) {
    let behind = behind_bytes(kind);
    let bench = replicated(&behind, "breaks");
    let expected = oracle::image(&bench.db());
    let name = kind.name();
    for (mode, times) in faults {
        let what = format!("{mode:?} on {name}");
        behind
            .proxy
            .add(Fault::new(mode.clone()).times(*times))
            .unwrap();
        let start = Instant::now();
        assert_same(&what, &expected, &bench.restored(&ours(), None));
        println!("{what}: {:?}", start.elapsed());
        assert!(behind.proxy.struck() > 0, "{what}: no connection broke off");
        behind.proxy.clear();
    }
}

/// A round trip of 30 ms: a transaction of 12 MiB takes a few of them, not one for each piece.
fn distance_costs_little(kind: Kind) {
    let behind = behind_bytes(kind);
    let bench = behind.bench("far", "");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 12, 1 << 20);
    let delay = Fault::new(Mode::Delay(Duration::from_millis(15)));
    behind.proxy.add(delay).unwrap();
    let start = Instant::now();
    bench.once(&ours());
    let up = start.elapsed();
    let start = Instant::now();
    let restored = bench.restored(&ours(), None);
    let down = start.elapsed();
    println!("{}: 12 MiB up in {up:?}, down in {down:?}", kind.name());
    assert_same(kind.name(), &oracle::image(&bench.db()), &restored);
    let most = Duration::from_secs(8);
    assert!(up < most && down < most, "up {up:?}, down {down:?}");
}

#[test]
fn connections_of_ssh_break_off() {
    let faults = [
        (Mode::CutAfter(1_000_000), 3),
        (Mode::Truncate(1_500_000), 2),
        (Mode::CutAfter(100), 2),
    ];
    connections_break_off(Kind::Sshd, &faults);
}

#[test]
fn connections_of_nats_break_off() {
    // What a reader was sent over a connection that breaks is missed only after a time.
    let faults = [(Mode::CutAfter(1_000_000), 1), (Mode::CutAfter(100), 2)];
    connections_break_off(Kind::Nats, &faults);
}

#[test]
fn ssh_from_afar() {
    distance_costs_little(Kind::Sshd);
}

#[test]
fn nats_from_afar() {
    distance_costs_little(Kind::Nats);
}

/// A server that says nothing any more does not keep the daemon from ending when it is told to, and what it could not
/// upload is there after the next run.
fn silence_ends(behind: Behind) {
    let bench = behind.bench("silence", "shutdown-sync-timeout: 2s");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 20, 1000);
    bench.once(&ours());
    let running = bench.start(&ours());
    fill(&conn, 5, 1000);
    std::thread::sleep(Duration::from_millis(1500));
    behind.proxy.add(Fault::new(Mode::Stall(0))).unwrap();
    fill(&conn, 5, 1000);
    std::thread::sleep(Duration::from_millis(1500));
    let start = Instant::now();
    let code = bench.end(running);
    let took = start.elapsed();
    assert_eq!(code, Some(1), "{}", bench.log());
    assert!(took < Duration::from_secs(15), "{took:?}\n{}", bench.log());
    behind.proxy.clear();
    bench.once(&ours());
    bench.check("after silence");
}

#[test]
fn silence_of_s3_ends() {
    silence_ends(Behind::new(Kind::Moto));
}

#[test]
fn silence_of_azure_ends() {
    silence_ends(Behind::new(Kind::Azurite));
}

#[test]
fn silence_of_ssh_ends() {
    silence_ends(behind_bytes(Kind::Sshd));
}

#[test]
fn silence_of_nats_ends() {
    silence_ends(behind_bytes(Kind::Nats));
}
