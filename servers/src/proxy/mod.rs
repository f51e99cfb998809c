//! A proxy that breaks things on purpose, and counts what passes: requests of each kind, connections, bytes.
//!
//! [`Proxy::http`] understands HTTP/1.1 and treats each request by itself; [`Proxy::tcp`] relays bytes, for SSH and NATS.
//! Faults are added and taken away while clients are connected. Without any, everything passes unchanged.

mod exchange;
mod fault;
mod http;
mod message;
mod tcp;

use std::collections::HashMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::SockRef;

pub use exchange::{Class, Counts, Exchange};
pub use fault::{Fault, Mode};

use crate::port;

/// Between two looks at whether a stalled connection may go on.
const PAUSE: Duration = Duration::from_millis(20);
/// So many requests are remembered, then the oldest half is forgotten.
const REMEMBERED: usize = 200_000;

/// A proxy on a port of its own, until it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    speaks_http: bool,
}

/// What the proxy's threads share.
struct Shared {
    upstream: AtomicU16,
    faults: Mutex<Vec<fault::Active>>,
    exchanges: Mutex<Vec<Exchange>>,
    connections: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    /// Counts how often faults were cleared: what stalls looks here.
    clearings: AtomicU64,
    stopped: AtomicBool,
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl Proxy {
    /// Understands HTTP/1.1.
    pub fn http(upstream: u16) -> Result<Proxy> {
        Proxy::start(upstream, true)
    }

    /// Relays bytes.
    pub fn tcp(upstream: u16) -> Result<Proxy> {
        Proxy::start(upstream, false)
    }

    fn start(upstream: u16, speaks_http: bool) -> Result<Proxy> {
        let port = port::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let shared = Arc::new(Shared::new(upstream));
        let threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if threads.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&threads);
                std::thread::spawn(move || shared.connection(client, speaks_http));
            }
        });
        Ok(Proxy {
            shared,
            port,
            speaks_http,
        })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects to another port from the next connection on.
    pub fn set_upstream(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::SeqCst);
    }

    /// Adds a fault. Several may strike together: delays and throttles add to the first that does more.
    pub fn add(&self, fault: Fault) -> Result<()> {
        let needs_http = matches!(fault.mode, Mode::Answer { .. }) || fault.class.is_some();
        ensure!(
            self.speaks_http || !needs_http,
            "only a proxy of HTTP can do {:?} on {:?}",
            fault.mode,
            fault.class
        );
        lock(&self.shared.faults).push(fault.into());
        Ok(())
    }

    /// Takes all faults away. Connections that stalled go on where bytes are relayed; of HTTP they end with a reset.
    pub fn clear(&self) {
        lock(&self.shared.faults).clear();
        self.shared.clearings.fetch_add(1, Ordering::SeqCst);
    }

    /// Breaks every open connection.
    pub fn cut_all(&self) {
        for (_, client) in lock(&self.shared.open).drain() {
            reset(&client);
            // Also wakes what waits for the client to read.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// How often all faults together have struck since the last [`Proxy::clear`].
    pub fn struck(&self) -> u64 {
        lock(&self.shared.faults).iter().map(|f| f.struck).sum()
    }

    /// Every request since the last [`Proxy::forget`], in the order of their ends.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).clone()
    }

    /// The sums of what passed since the last [`Proxy::forget`].
    pub fn counts(&self) -> Counts {
        let shared = &self.shared;
        Counts {
            requests: Counts::of(&lock(&shared.exchanges)),
            connections: shared.connections.load(Ordering::SeqCst),
            bytes_up: shared.bytes_up.load(Ordering::SeqCst),
            bytes_down: shared.bytes_down.load(Ordering::SeqCst),
            most_at_once: shared.most_in_flight.load(Ordering::SeqCst),
        }
    }

    /// Starts counting anew.
    pub fn forget(&self) {
        lock(&self.shared.exchanges).clear();
        let shared = &self.shared;
        for counter in [
            &shared.connections,
            &shared.bytes_up,
            &shared.bytes_down,
            &shared.most_in_flight,
        ] {
            counter.store(0, Ordering::SeqCst);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.clear();
        self.cut_all();
        // Wakes the thread that accepts, so that it sees the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn new(upstream: u16) -> Shared {
        Shared {
            upstream: AtomicU16::new(upstream),
            faults: Mutex::default(),
            exchanges: Mutex::default(),
            connections: AtomicU64::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            most_in_flight: AtomicU64::new(0),
            clearings: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    /// One client's connection, to its end.
    fn connection(self: Arc<Self>, client: TcpStream, speaks_http: bool) {
        let id = self.connections.fetch_add(1, Ordering::SeqCst);
        if self.refuses() {
            reset(&client);
            return;
        }
        // Small answers wait for nothing.
        let _ = client.set_nodelay(true);
        if let Ok(clone) = client.try_clone() {
            lock(&self.open).insert(id, clone);
        }
        if speaks_http {
            http::serve(&self, &client);
        } else {
            tcp::serve(&self, &client);
        }
        lock(&self.open).remove(&id);
    }

    /// Whether a new connection is broken at once.
    fn refuses(&self) -> bool {
        for fault in lock(&self.faults).iter_mut() {
            if matches!(fault.mode(), Mode::Refuse) && fault.is_due(None) {
                fault.strike();
                return true;
            }
        }
        false
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let server = TcpStream::connect(("127.0.0.1", self.upstream.load(Ordering::SeqCst)))?;
        server.set_nodelay(true)?;
        Ok(server)
    }

    fn remember(&self, exchange: Exchange) {
        let mut exchanges = lock(&self.exchanges);
        if exchanges.len() >= REMEMBERED {
            exchanges.drain(..REMEMBERED / 2);
        }
        exchanges.push(exchange);
    }

    /// Waits until the faults are cleared or the proxy ends, as long as the caller wants to.
    fn stall(&self, mut goes_on: impl FnMut() -> bool) {
        let clearings = self.clearings.load(Ordering::SeqCst);
        let unchanged = || {
            clearings == self.clearings.load(Ordering::SeqCst)
                && !self.stopped.load(Ordering::SeqCst)
        };
        while unchanged() && goes_on() {
            std::thread::sleep(PAUSE);
        }
    }
}
fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// Makes the end of a connection a hard one: when it is dropped, the other side sees a reset. Whoever reads here is
/// woken.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

/// A thread that panicked left nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
