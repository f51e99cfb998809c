//! The framing of HTTP/1.1 messages: where a head ends, how long a body is, and passing it on piece by piece.

use std::io::{BufRead, Error, ErrorKind, Read as _, Result, Write};
use std::time::Duration;

/// A longer head is no head.
const HEAD_MAX: u64 = 1024 * 1024;
/// Passed on at once.
const PIECE: usize = 32 * 1024;
/// So often in a second a throttled body moves on.
const STEPS: u64 = 20;

/// The first line and the headers of a message, as they came.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    lines: Vec<String>,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// Until the connection ends.
    ToEnd,
}

impl Head {
    /// Reads one; none if the connection ends before it begins.
    pub(super) fn read(from: &mut impl BufRead) -> Result<Option<Head>> {
        let mut from = from.take(HEAD_MAX);
        let mut head = Head {
            bytes: Vec::new(),
            lines: Vec::new(),
        };
        loop {
            let start = head.bytes.len();
            if from.read_until(b'\n', &mut head.bytes)? == 0 {
                if start == 0 {
                    return Ok(None);
                }
                return Err(Error::new(ErrorKind::UnexpectedEof, "half a head"));
            }
            let line = String::from_utf8_lossy(&head.bytes[start..]);
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                return Ok(Some(head));
            }
            head.lines.push(line);
        }
    }

    /// A word of the first line.
    pub(super) fn word(&self, index: usize) -> &str {
        let line = self.lines.first().map_or("", String::as_str);
        line.split(' ').nth(index).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    fn header_has(&self, name: &str, word: &str) -> bool {
        self.header(name)
            .is_some_and(|value| value.to_ascii_lowercase().contains(word))
    }

    /// Whether the client waits to be told to send the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.header_has("expect", "100-continue")
    }

    /// The head without a header.
    pub(super) fn without(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for line in &self.lines {
            let have = line.split(':').next().unwrap_or_default();
            if !have.eq_ignore_ascii_case(name) {
                bytes.extend_from_slice(line.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(super) fn request_framing(&self) -> Framing {
        self.framing(Framing::Length(0))
    }

    pub(super) fn answer_framing(&self, method: &str) -> Framing {
        let status = self.status();
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Framing::Length(0);
        }
        self.framing(Framing::ToEnd)
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self.header_has("transfer-encoding", "chunked") {
            return Framing::Chunked;
        }
        let length = self.header("content-length").and_then(|n| n.parse().ok());
        length.map_or(otherwise, Framing::Length)
    }

    /// Whether the connection ends after this message.
    pub(super) fn closes(&self) -> bool {
        let old = self.word(0) == "HTTP/1.0" || self.word(2) == "HTTP/1.0";
        self.header_has("connection", "close")
            || (old && !self.header_has("connection", "keep-alive"))
    }
}

/// Passes a body on, no faster than a rate, up to a limit. Says whether it was passed on whole.
pub(super) fn pass_body(
    from: &mut impl BufRead,
    mut to: impl FnMut(&[u8]) -> Result<()>,
    framing: Framing,
    rate: Option<u64>,
    mut limit: u64,
) -> Result<bool> {
    let mut to = |bytes: &[u8]| {
        let within = usize::try_from(limit).map_or(bytes.len(), |limit| limit.min(bytes.len()));
        to(&bytes[..within])?;
        limit -= within as u64;
        Ok(within == bytes.len())
    };
    match framing {
        Framing::Length(length) => pass(from, &mut to, length, rate),
        Framing::ToEnd => loop {
            let mut piece = vec![0; piece(rate)];
            let len = from.read(&mut piece)?;
            if len == 0 {
                return Ok(true);
            }
            if !to(&piece[..len])? {
                return Ok(false);
            }
            wait(len, rate);
        },
        Framing::Chunked => loop {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line)?;
            let size = String::from_utf8_lossy(&line);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .map_err(|_| Error::new(ErrorKind::InvalidData, "no length of a chunk"))?;
            if !to(&line)? || !pass(from, &mut to, size, rate)? {
                return Ok(false);
            }
            // The end of the chunk, or trailers to an empty line.
            loop {
                let mut end = Vec::new();
                from.read_until(b'\n', &mut end)?;
                if !to(&end)? {
                    return Ok(false);
                }
                if size > 0 || end.trim_ascii().is_empty() {
                    break;
                }
            }
            if size == 0 {
                return Ok(true);
            }
        },
    }
}

/// Passes so many bytes on.
fn pass(
    from: &mut impl BufRead,
    to: &mut impl FnMut(&[u8]) -> Result<bool>,
    mut left: u64,
    rate: Option<u64>,
) -> Result<bool> {
    let mut buffer = vec![0; piece(rate)];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let len = from.read(&mut buffer[..most])?;
        if len == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "half a body"));
        }
        if !to(&buffer[..len])? {
            return Ok(false);
        }
        left -= len as u64;
        wait(len, rate);
    }
    Ok(true)
}

/// How much is passed on at once at a rate.
pub(super) fn piece(rate: Option<u64>) -> usize {
    rate.map_or(PIECE, |rate| ((rate / STEPS).max(1) as usize).min(PIECE))
}

/// Waits as long as so many bytes take at a rate.
pub(super) fn wait(len: usize, rate: Option<u64>) {
    if let Some(rate) = rate {
        std::thread::sleep(Duration::from_secs_f64(len as f64 / rate.max(1) as f64));
    }
}

/// Writes an answer of our own.
pub(super) fn write_answer(
    to: &mut impl Write,
    status: u16,
    headers: &[(String, String)],
    body: &str,
    with_body: bool,
) -> Result<u64> {
    let mut text = format!(
        "HTTP/1.1 {status} Made up\r\nContent-Length: {}\r\n",
        body.len()
    );
    text.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n")),
    );
    text.push_str("\r\n");
    if with_body {
        text.push_str(body);
    }
    to.write_all(text.as_bytes())?;
    Ok(text.len() as u64)
}
