//! Makes an object store on a NATS server, by the few lines of its protocol that this takes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The stream behind an object store exists already; that is fine.
const ALREADY_THERE: u64 = 10_058;

/// Makes the object store's bucket, if it is not there.
pub(crate) fn create_bucket(port: u16, bucket: &str) -> Result<()> {
    let stream = format!("OBJ_{bucket}");
    let config = json!({
        "name": stream,
        "subjects": [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_bytes": -1,
        "max_age": 0,
        "num_replicas": 1,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    });
    let answer = ask(
        port,
        &format!("$JS.API.STREAM.CREATE.{stream}"),
        &config.to_string(),
    )?;
    let answer: Value = serde_json::from_str(&answer).context("the server's answer")?;
    match answer["error"]["err_code"].as_u64() {
        None | Some(ALREADY_THERE) => Ok(()),
        Some(_) => bail!("cannot make bucket {bucket}: {}", answer["error"]),
    }
}

/// Whether JetStream answers.
pub(crate) fn probe(port: u16) -> Result<()> {
    let answer = ask(port, "$JS.API.INFO", "")?;
    if answer.contains("\"error\"") {
        bail!("JetStream answers {answer}");
    }
    Ok(())
}

/// One question and its answer.
fn ask(port: u16, subject: &str, text: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(
        format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n{text}\r\n",
            text.len()
        )
        .as_bytes(),
    )?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        if let Some(head) = line.strip_prefix("MSG ") {
            let len = head.split_whitespace().last().unwrap_or_default();
            let len = len.parse().context("length of a message")?;
            let mut answer = vec![0; len];
            lines.read_exact(&mut answer)?;
            return String::from_utf8(answer).context("an answer in UTF-8");
        }
        if line.starts_with("-ERR") {
            bail!("the server says {line}");
        }
    }
}
