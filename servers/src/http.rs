//! Just enough HTTP to see that a server answers and to make a bucket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As it came: chunked bodies are not put together.
    pub(crate) body: String,
}

impl Answer {
    /// An error unless the status is among the given.
    pub(crate) fn expect(self, statuses: &[u16]) -> Result<Answer> {
        ensure!(
            statuses.contains(&self.status),
            "status {}: {}",
            self.status,
            self.body
        );
        Ok(self)
    }
}

/// Sends one request to a port of this machine and reads the whole answer.
pub(crate) fn request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    text.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n")),
    );
    let len = body.len();
    text.extend([format!(
        "Content-Length: {len}\r\nConnection: close\r\n\r\n{body}"
    )]);
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(|| format!("no status in {head:?}"))?;
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
