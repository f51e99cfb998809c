//! The proxy passes, counts and breaks what it is told to. The server is a real one, of WebDAV.
#![allow(clippy::disallowed_methods, reason = "tests measure time")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use litestream_servers::proxy::{Class, Fault, Mode, Proxy};
use litestream_servers::{Kind, Server};

const SIZE: usize = 300_000;

/// A client with one connection.
struct Client(TcpStream);

impl Client {
    fn new(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("set");
        Client(stream)
    }

    fn send(&mut self, method: &str, target: &str, body: &[u8]) -> std::io::Result<()> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes())?;
        self.0.write_all(body)
    }

    /// The status and the body's bytes as far as they came, and how it ended.
    fn answer(&mut self) -> (u16, usize, Option<ErrorKind>) {
        let mut all = Vec::new();
        let mut buffer = [0; 16_384];
        loop {
            let head_end = all.windows(4).position(|w| w == b"\r\n\r\n");
            let head = String::from_utf8_lossy(&all[..head_end.unwrap_or(0)]).into_owned();
            let status = head.get(9..12).map_or(0, |s| s.parse().expect("status"));
            let body = head_end.map_or(0, |at| all.len() - at - 4);
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "));
            if head_end.is_some() && body >= length.map_or(0, |n| n.parse().expect("length")) {
                return (status, body, None);
            }
            match self.0.read(&mut buffer) {
                Ok(0) => return (status, body, Some(ErrorKind::UnexpectedEof)),
                Ok(len) => all.extend_from_slice(&buffer[..len]),
                Err(error) => return (status, body, Some(error.kind())),
            }
        }
    }

    fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> (u16, usize, Option<ErrorKind>) {
        match self.send(method, target, body) {
            Ok(()) => self.answer(),
            Err(error) => (0, 0, Some(error.kind())),
        }
    }
}

const REFUSED: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

#[test]
fn http() {
    let server = Server::start(Kind::Nginx).expect("server");
    let proxy = Proxy::http(server.port()).expect("proxy");
    let whole = (200, SIZE, None);
    let new = || Client::new(proxy.port());

    let mut client = new();
    assert_eq!(client.ask("PUT", "/a", &vec![b'x'; SIZE]).0, 201);
    assert_eq!(client.ask("GET", "/a", b""), whole);
    assert_eq!(client.ask("GET", "/missing", b"").0, 404);
    let counts = proxy.counts();
    assert_eq!((counts.class(Class::Put), counts.class(Class::Get)), (1, 2));
    assert_eq!(counts.connections, 1, "kept alive");
    assert!(counts.bytes_up > SIZE as u64 && counts.bytes_down > SIZE as u64);
    let statuses: Vec<_> = proxy.exchanges().iter().map(|e| e.status).collect();
    assert_eq!(statuses, [Some(201), Some(200), Some(404)]);

    // Cut, with and without a beginning, and only the second GET; the next connection is fine.
    let cut = Fault::new(Mode::CutAfter(1000)).on(Class::Get).skip(1);
    proxy.add(cut.times(1)).expect("add");
    let mut client = new();
    assert_eq!(client.ask("GET", "/a", b""), whole);
    assert_eq!(client.ask("GET", "/a", b""), (200, 1000, REFUSED));
    assert_eq!(new().ask("GET", "/a", b""), whole);
    assert_eq!(proxy.struck(), 1);
    proxy.clear();
    proxy
        .add(Fault::new(Mode::CutAfter(0)).times(1))
        .expect("add");
    assert_eq!(
        new().ask("PUT", "/b", b"done all the same"),
        (0, 0, REFUSED)
    );
    assert_eq!(new().ask("GET", "/b", b""), (200, 17, None));

    // A request that breaks off leaves nothing behind on this server.
    let cut = Fault::new(Mode::CutRequestAfter(5000)).times(1);
    proxy.add(cut).expect("add");
    let (status, _, ended) = new().ask("PUT", "/c", &vec![b'y'; SIZE]);
    assert_eq!(status, 0);
    assert!(ended.is_some());
    assert_eq!(new().ask("GET", "/c", b"").0, 404);

    proxy
        .add(Fault::new(Mode::Truncate(70_000)).times(1))
        .expect("add");
    let eof = Some(ErrorKind::UnexpectedEof);
    assert_eq!(new().ask("GET", "/a", b""), (200, 70_000, eof));

    let mut answer = Mode::answer(503, "busy");
    if let Mode::Answer { headers, .. } = &mut answer {
        headers.push(("Retry-After".to_owned(), "1".to_owned()));
    }
    proxy
        .add(Fault::new(answer).target("/a").times(2))
        .expect("add");
    let mut client = new();
    assert_eq!(client.ask("GET", "/b", b"").0, 200);
    assert_eq!(client.ask("GET", "/a", b""), (503, 4, None));
    assert_eq!(client.ask("PUT", "/a", &vec![b'z'; SIZE]), (503, 4, None));
    assert_eq!(client.ask("GET", "/a", b""), whole, "the server saw none");

    proxy.add(Fault::new(Mode::Refuse).times(1)).expect("add");
    assert!(new().ask("GET", "/a", b"").2.is_some());
    assert_eq!(new().ask("GET", "/a", b""), whole);

    proxy.clear();
    let delay = Duration::from_millis(150);
    proxy.add(Fault::new(Mode::Delay(delay))).expect("add");
    let start = Instant::now();
    assert_eq!(new().ask("GET", "/a", b""), whole);
    assert!(start.elapsed() >= delay);

    proxy.clear();
    proxy
        .add(Fault::new(Mode::Throttle(SIZE as u64)))
        .expect("add");
    let start = Instant::now();
    assert_eq!(new().ask("GET", "/a", b""), whole);
    let took = start.elapsed().as_secs_f64();
    assert!((0.9..4.0).contains(&took), "{took} s for what takes one");

    proxy.clear();
    proxy
        .add(Fault::new(Mode::Stall(10)).lasting(Duration::from_mins(1)))
        .expect("add");
    let mut client = new();
    let patience = Some(Duration::from_millis(300));
    client.0.set_read_timeout(patience).expect("set");
    assert_eq!(
        client.ask("GET", "/a", b""),
        (200, 10, Some(ErrorKind::WouldBlock))
    );
    proxy.clear();
    assert_eq!(new().ask("GET", "/a", b""), whole);

    proxy
        .add(Fault::new(Mode::CutAfter(0)).lasting(Duration::ZERO))
        .expect("add");
    assert_eq!(new().ask("GET", "/a", b""), whole, "over already");
}

#[test]
fn bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("clone");
                std::io::copy(&mut &stream, &mut writer)
            });
        }
    });
    let proxy = Proxy::tcp(port).expect("proxy");
    // Sends and reads back; how much came and how it ended.
    let echo = |client: &mut Client, len: usize| {
        let mut writer = client.0.try_clone().expect("clone");
        std::thread::spawn(move || writer.write_all(&vec![7; len]));
        let (mut came, mut buffer) = (0, [0; 4096]);
        while came < len {
            match client.0.read(&mut buffer) {
                Ok(0) => return (came, Some(ErrorKind::UnexpectedEof)),
                Ok(more) => came += more,
                Err(error) => return (came, Some(error.kind())),
            }
        }
        (came, None)
    };
    let new = || Client::new(proxy.port());
    assert_eq!(echo(&mut new(), SIZE), (SIZE, None));
    assert_eq!(proxy.counts().bytes_up, SIZE as u64);
    assert_eq!(proxy.counts().bytes_down, SIZE as u64);
    assert!(
        proxy
            .add(Fault::new(Mode::answer(500, "")))
            .expect_err("no HTTP here")
            .to_string()
            .contains("only a proxy of HTTP")
    );

    proxy
        .add(Fault::new(Mode::CutAfter(1234)).times(1))
        .expect("add");
    assert_eq!(echo(&mut new(), SIZE), (1234, REFUSED));
    assert_eq!(echo(&mut new(), SIZE), (SIZE, None));

    proxy.clear();
    let delay = Duration::from_millis(100);
    proxy.add(Fault::new(Mode::Delay(delay))).expect("add");
    let mut client = new();
    let start = Instant::now();
    assert_eq!(echo(&mut client, SIZE), (SIZE, None));
    let took = start.elapsed();
    assert!(took >= 2 * delay, "both ways");
    assert!(took < 8 * delay, "all of it at the same time: {took:?}");

    proxy.clear();
    proxy
        .add(Fault::new(Mode::Stall(100)).times(1))
        .expect("add");
    let mut client = new();
    let patience = Some(Duration::from_millis(300));
    client.0.set_read_timeout(patience).expect("set");
    assert_eq!(echo(&mut client, 500), (100, Some(ErrorKind::WouldBlock)));
    proxy.clear();
    let mut rest = [0; 400];
    client.0.set_read_timeout(None).expect("set");
    client.0.read_exact(&mut rest).expect("it goes on");

    let mut client = new();
    assert_eq!(echo(&mut client, 10), (10, None));
    proxy.cut_all();
    assert!(!matches!(client.0.read(&mut rest), Ok(1..)));
}
