//! A service that answers by script and keeps what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A parameter of the query, if it is there; its value may be empty.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| {
                percent_decode_str(value)
                    .decode_utf8()
                    .unwrap()
                    .into_owned()
            })
        })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What kind of request it is, in the words of the protocol.
    pub(super) fn operation(&self) -> &'static str {
        let has = |name| self.query(name).is_some();
        match self.method.as_str() {
            "PUT" if has("partNumber") => "UploadPart",
            "PUT" => "PutObject",
            "POST" if has("uploads") => "CreateMultipartUpload",
            "POST" if has("uploadId") => "CompleteMultipartUpload",
            "POST" if has("delete") => "DeleteObjects",
            "DELETE" if has("uploadId") => "AbortMultipartUpload",
            "DELETE" => "DeleteObject",
            "HEAD" if self.target.trim_end_matches('/').matches('/').count() == 1 => "HeadBucket",
            "HEAD" => "HeadObject",
            "GET" if has("list-type") => "ListObjectsV2",
            "GET" if has("uploads") => "ListMultipartUploads",
            "GET" if has("location") => "GetBucketLocation",
            "GET" => "GetObject",
            _ => "",
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How much of the body goes out before the connection is cut.
    cut: Option<usize>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
        }
    }

    /// Success with nothing but a tag.
    pub(super) fn tag() -> Reply {
        Reply::new(200, "").with("etag", "\"t\"")
    }

    pub(super) fn error(status: u16, code: &str) -> Reply {
        let body = format!("<Error><Code>{code}</Code><Message>because</Message></Error>");
        Reply::new(status, body).with("x-amz-request-id", "R1")
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cut(mut self, after: usize) -> Reply {
        self.cut = Some(after);
        self
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// See the [module](self). Runs until the test's process ends.
pub(super) struct Recorder {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    #[allow(
        clippy::disallowed_methods,
        reason = "a server, apart from what is tested"
    )]
    pub(super) fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                std::thread::spawn(move || serve(&stream, &*script, &kept));
            }
        });
        Recorder { url, seen }
    }

    pub(super) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().clone()
    }

    /// What was asked so far, each by the name of its operation.
    pub(super) fn operations(&self) -> Vec<&'static str> {
        self.seen.lock().iter().map(Asked::operation).collect()
    }
}

/// `None` at the end, or where the connection breaks.
fn serve(stream: &TcpStream, script: &Script, seen: &Mutex<Vec<Asked>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut input = BufReader::new(stream);
    loop {
        let asked = read(&mut input)?;
        seen.lock().push(asked.clone());
        let reply = script(&asked);
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        let mut headers = reply.headers.clone();
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            headers.push(("content-length", reply.body.len().to_string()));
        }
        for (name, value) in headers {
            head.extend([name, ": ", &value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut output = stream;
        output.write_all(head.as_bytes()).ok()?;
        if asked.method != "HEAD" {
            let len = reply.cut.unwrap_or(reply.body.len());
            output.write_all(&reply.body[..len]).ok()?;
        }
        if reply.cut.is_some() {
            return None;
        }
    }
}

fn read(input: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        ..Asked::default()
    };
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        asked.headers.insert(name, value);
    }
    let len = asked.header("content-length").parse().unwrap_or_default();
    asked.body = vec![0; len];
    input.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
