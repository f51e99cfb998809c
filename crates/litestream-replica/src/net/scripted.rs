//! A server for tests that answers as it is told, and remembers what it was asked.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Request line and headers, with names in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// Method and target.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.trim_end_matches(" HTTP/1.1")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    sent: usize,
}

impl Reply {
    pub(crate) fn text(status: u16, body: &str) -> Reply {
        Reply::bytes(status, body.as_bytes())
    }

    pub(crate) fn bytes(status: u16, body: &[u8]) -> Reply {
        Reply {
            status,
            headers: String::new(),
            body: body.to_vec(),
            sent: usize::MAX,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// The connection breaks after so many bytes of the body.
    pub(crate) fn cut(mut self, sent: usize) -> Reply {
        self.sent = sent;
        self
    }
}

/// What decides on answers; `None` breaks the connection.
type Script = Box<dyn FnMut(&Asked) -> Option<Reply> + Send>;

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers one request after the other, and then none.
    pub(crate) fn start(replies: Vec<Reply>) -> Server {
        let mut replies = replies.into_iter();
        Server::with(move |_| replies.next())
    }

    /// Answers by what it is asked.
    pub(crate) fn with(script: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut script: Script = Box::new(script);
        let (asked, end) = (Arc::clone(&seen), Arc::clone(&ended));
        #[allow(clippy::disallowed_methods, reason = "a server of its own")]
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                // A client that has gone is its own business.
                let _ = answer(stream.unwrap(), &mut script, &asked);
            }
        });
        Server {
            address,
            seen,
            ended,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, script: &mut Script, seen: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut asked = Asked {
        head: String::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        match line.split_once(": ").filter(|_| !asked.head.is_empty()) {
            Some((name, value)) => {
                asked.head.push_str(&name.to_ascii_lowercase());
                asked.head.push_str(": ");
                asked.head.push_str(value);
            }
            None => asked.head.push_str(&line),
        }
    }
    let len = asked
        .header("content-length")
        .map_or(0, |len| len.parse().unwrap());
    asked.body = vec![0; len];
    reader.read_exact(&mut asked.body)?;
    let reply = script(&asked);
    seen.lock().push(asked);
    let Some(reply) = reply else { return Ok(()) };
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {} X\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        reply.headers,
        reply.body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&reply.body[..reply.sent.min(reply.body.len())])?;
    stream.flush()
}
