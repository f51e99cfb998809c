//! What several unit tests need: a clock that runs as fast as it is slept on, and a server that notes what it is asked.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Monotonic, UnixMillis};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Sleeping moves it on, except that time limits never end.
#[derive(Default)]
pub struct FastClock(Mutex<Duration>);

/// Sleeps of a time limit must not win against what they limit.
const LIMIT: Duration = Duration::from_secs(30);

impl FastClock {
    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

#[async_trait::async_trait]
impl Clock for FastClock {
    fn boot(&self) -> Option<u128> {
        None
    }
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.lock().as_millis() as i64)
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(*self.0.lock())
    }
    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
    async fn sleep_async(&self, duration: Duration) {
        if duration >= LIMIT {
            std::future::pending::<()>().await;
        }
        // Others have their turn in between, as they would.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.advance(duration);
    }
}

/// Answers each request with the next of `statuses`, and passes on what it was sent.
pub async fn server(statuses: Vec<u16>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut seen = String::new();
    loop {
        let mut part = [0; 4096];
        let n = stream.read(&mut part).await.unwrap();
        seen += std::str::from_utf8(&part[..n]).unwrap();
        let body = seen.split_once("\r\n\r\n").map(|(head, body)| {
            let length = head.lines().find_map(|l| {
                l.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            (length.unwrap_or(0), body.len())
        });
        if n == 0 || body.is_some_and(|(length, there): (usize, usize)| there >= length) {
            return seen;
        }
    }
}

/// Shared, for those who want it as a trait object and as itself.
pub fn fast_clock() -> Arc<FastClock> {
    Arc::default()
}
