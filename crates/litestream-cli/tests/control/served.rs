//! A daemon in this process, its socket, and raw requests to it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use litestream::Settings;
use litestream::fleet::{Ending, Fleet, Interrupt, Spec};
use litestream_cli::control::{About, Operations, RegisterError, ReloadReport, Server};
use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis, real};
use litestream_replica::faulty::{Faulty, Op, Stall};
use litestream_replica::url;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::common::Place;

/// What a test shows and moves.
pub struct Daemon {
    pub fleet: Fleet,
    pub env: Env,
    interrupt: watch::Sender<bool>,
    told: Interrupt,
    /// Databases that are registered while this holds have replicas that never answer.
    pub hangs: Mutex<bool>,
    pub gates: Mutex<Vec<Stall>>,
    /// The longest final sync.
    pub ending_max: Mutex<Duration>,
    /// How long reading the configuration takes, and how it ends.
    pub reload: Mutex<(Duration, Result<ReloadReport, String>)>,
}

#[async_trait]
impl Operations for Daemon {
    fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn about(&self) -> About {
        About {
            version: "1.2.3".to_owned(),
            pid: std::process::id(),
            started_at: UnixMillis(1_795_168_789_967),
            uptime: Duration::from_millis(83_900),
        }
    }

    async fn register(&self, path: PathBuf, replica_url: String) -> Result<bool, RegisterError> {
        let replica = url::open(&replica_url, &self.env, Some(&path));
        let replica = replica.map_err(|e| RegisterError::BadUrl(e.to_string()))?;
        let faulty = Faulty::new(replica);
        if *self.hangs.lock() {
            for op in [Op::List, Op::Read, Op::Write, Op::Delete] {
                let gates = Level::all().map(|level| faulty.stall_level(op, level));
                self.gates.lock().extend(gates);
            }
        }
        let spec = Spec {
            settings: Settings::for_database(path),
            replicas: vec![Arc::new(faulty)],
            on_demand: false,
        };
        let registered = self.fleet.register(spec);
        registered
            .map(|(_, is_new)| is_new)
            .map_err(|e| RegisterError::Failed(e.to_string()))
    }

    fn ending(&self, timeout: Option<Duration>) -> Ending<'_> {
        Ending {
            timeout: timeout
                .unwrap_or(Duration::MAX)
                .min(*self.ending_max.lock()),
            interval: Duration::from_millis(100),
            interrupt: self.told.clone(),
            abandon: false,
            tell: &|_, _| {},
        }
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        let (takes, report) = self.reload.lock().clone();
        self.env.clock.sleep_async(takes).await;
        report
    }
}

/// A daemon that listens on the socket `s` of its place.
pub struct Served {
    pub place: Place,
    pub daemon: Arc<Daemon>,
    pub server: Option<Server>,
    pub runtime: Runtime,
    pub socket: PathBuf,
}

impl Served {
    pub fn new() -> Served {
        let env = real::env();
        let (interrupt, told) = watch::channel(false);
        let daemon = Arc::new(Daemon {
            fleet: Fleet::new(env.clone()),
            env,
            interrupt,
            told,
            hangs: Mutex::new(false),
            gates: Mutex::default(),
            ending_max: Mutex::new(Duration::from_secs(30)),
            reload: Mutex::new((Duration::ZERO, Ok(ReloadReport::default()))),
        });
        let place = Place::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let socket = place.path("s");
        let mut served = Served {
            place,
            daemon,
            server: None,
            runtime,
            socket,
        };
        served.server = Some(served.listen().unwrap());
        served
    }

    /// Another server of the same daemon at the same place.
    pub fn listen(&self) -> Result<Server, String> {
        let operations: Arc<dyn Operations> = self.daemon.clone();
        self.runtime.block_on(Server::start(
            &self.socket,
            0o600,
            operations,
            &self.daemon.env,
        ))
    }

    /// Registers a database with a replica beside it.
    pub fn register(&self, name: &str) {
        let body = format!(
            r#"{{"path":"{}","replica_url":"file://{}-replica"}}"#,
            self.place.path(name).display(),
            self.place.path(name).display()
        );
        let answer = self.post("/register", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn get(&self, address: &str) -> Answer {
        request(&self.socket, "GET", address, "")
    }

    pub fn post(&self, address: &str, body: &str) -> Answer {
        request(&self.socket, "POST", address, body)
    }

    /// The same about a database of the place, with more fields.
    pub fn ask(&self, action: &str, name: &str, more: &str) -> Answer {
        let path = self.place.path(name);
        self.post(action, &format!(r#"{{"path":"{}"{more}}}"#, path.display()))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.daemon.gates.lock().clear();
        let _ = self.daemon.interrupt.send(true);
        let ending = Ending {
            abandon: true,
            ..self.daemon.ending(Some(Duration::from_secs(1)))
        };
        self.runtime.block_on(self.daemon.fleet.close(&ending));
        if let Some(server) = self.server.take() {
            let _context = self.runtime.enter();
            drop(server);
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub took: Duration,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn field(&self, name: &str) -> Value {
        self.json()[name].clone()
    }

    pub fn error(&self) -> String {
        self.field("error").as_str().unwrap_or_default().to_owned()
    }
}

pub fn request(socket: &Path, method: &str, address: &str, body: &str) -> Answer {
    let length = if body.is_empty() && method != "POST" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    raw(
        socket,
        &format!(
            "{method} {address} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n{length}\r\n{body}"
        ),
    )
}

/// Sends bytes and reads to the end.
pub fn raw(socket: &Path, text: &str) -> Answer {
    let start = Instant::now();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    // An answer may come, and the connection be closed, before everything was sent.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    parse(&String::from_utf8(answer).unwrap(), start.elapsed())
}

pub fn parse(text: &str, took: Duration) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|s| s.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.unwrap_or(0),
        headers: headers
            .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
            .collect(),
        body: body.to_owned(),
        took,
    }
}
