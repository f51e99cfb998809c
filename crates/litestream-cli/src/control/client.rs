//! The side of the commands: one request to a running daemon, within a time limit.
//!
//! Promise: whatever goes wrong is told as Litestream tells it, with the socket's path.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use litestream_replica::env::Env;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::{config, place};

/// More databases than any daemon has.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The daemon keeps to the limit, too, and what it then says is worth waiting for.
const GRACE: Duration = Duration::from_millis(500);
/// Releasing a database after its final sync takes so long at most.
const GRACE_STOP: Duration = Duration::from_secs(6);

/// A daemon's socket, and how long it may take.
pub struct Client {
    socket: PathBuf,
    limit: Option<Duration>,
    env: Env,
}

/// An answer with status 200.
pub struct Answered<T> {
    /// What was said.
    pub document: T,
    /// Until it began to arrive.
    pub took: Duration,
}

struct Raw {
    status: StatusCode,
    body: Bytes,
    took: Duration,
}

impl Client {
    /// The daemon that the flags name.
    pub fn new(parsed: &Parsed, env: &Env) -> Result<Client> {
        Ok(Client {
            socket: socket_path(parsed, env)?,
            limit: Some(positive_timeout(parsed)?),
            env: env.clone(),
        })
    }

    /// The same where zero stands for no limit.
    pub fn without_limit(parsed: &Parsed, env: &Env) -> Result<Client> {
        let seconds = u64::try_from(parsed.int("timeout"));
        let seconds = seconds.map_err(|_| Failure::new("timeout must not be negative"))?;
        Ok(Client {
            socket: socket_path(parsed, env)?,
            limit: Some(Duration::from_secs(seconds)).filter(|limit| !limit.is_zero()),
            env: env.clone(),
        })
    }

    /// Its socket, as it was given.
    pub fn socket(&self) -> String {
        self.socket.display().to_string()
    }

    /// The limit in seconds, as daemons take it; zero: none.
    pub fn timeout_seconds(&self) -> u64 {
        self.limit.map_or(0, |limit| limit.as_secs())
    }

    /// Looks at something. `name` is the command's.
    pub fn get<T: DeserializeOwned>(&self, name: &str, path: &str) -> Result<Answered<T>> {
        self.ask(name, Method::GET, path, Bytes::new(), Duration::ZERO)
    }

    /// Asks for something to be done.
    pub fn post<T: DeserializeOwned>(
        &self,
        name: &str,
        body: &impl Serialize,
    ) -> Result<Answered<T>> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Failure::new(format!("cannot encode the request: {e}")))?;
        let grace = if matches!(name, "stop" | "unregister") {
            GRACE_STOP
        } else {
            GRACE
        };
        self.ask(name, Method::POST, &format!("/{name}"), body.into(), grace)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        method: Method,
        path: &str,
        body: Bytes,
        grace: Duration,
    ) -> Result<Answered<T>> {
        let verb = if method == Method::GET { "Get" } else { "Post" };
        let unreachable = |cause: &str| {
            let asked = format!("{verb} \"http://localhost{path}\"");
            Failure::new(format!(
                "failed to connect to control socket: {asked}: {cause}"
            ))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime =
            runtime.map_err(|e| Failure::new(format!("cannot start the async runtime: {e}")))?;
        let limit = self.limit.map(|limit| limit.saturating_add(grace));
        let exchanged = runtime.block_on(self.within(limit, self.exchange(method, path, body)));
        let raw = match exchanged {
            Some(exchanged) => exchanged.map_err(|cause| unreachable(&cause))?,
            None => {
                return Err(unreachable(
                    "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                ));
            }
        };
        if raw.status != StatusCode::OK {
            return Err(Failure::new(format!(
                "{name} failed: {}",
                error_of(&raw.body)
            )));
        }
        let document = serde_json::from_slice(&raw.body)
            .map_err(|e| Failure::new(format!("failed to parse response: {e}")))?;
        Ok(Answered {
            document,
            took: raw.took,
        })
    }

    async fn within<T>(&self, limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
        let Some(limit) = limit else {
            return Some(work.await);
        };
        tokio::select! {
            done = work => Some(done),
            () = self.env.clock.sleep_async(limit) => None,
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> std::result::Result<Raw, String> {
        let start = self.env.clock.monotonic();
        if self.socket.as_os_str().is_empty() {
            return Err("dial unix: missing address".to_owned());
        }
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|e| {
            format!(
                "dial unix {}: connect: {}",
                self.socket.display(),
                plain(&e)
            )
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| cause(&e))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|e| e.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let took = self.env.clock.monotonic().since(start);
            Ok::<_, hyper::Error>((response, took))
        };
        let receive = async {
            let (response, took) = answer.await.map_err(|e| cause(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|e| format!("read answer: {e}"))?.to_bytes();
            Ok::<_, String>(Raw { status, body, took })
        };
        let mut receive = std::pin::pin!(receive);
        tokio::select! {
            raw = receive.as_mut() => raw,
            // It may end with the last byte, which is still to be read.
            _ = connection => receive.await,
        }
    }
}

/// Where the daemon listens: `-socket`, else what its configuration says if that can be read, else the default. A configuration that
/// was named must be readable.
pub fn socket_path(parsed: &Parsed, env: &Env) -> Result<PathBuf> {
    if parsed.is_given("socket") {
        return Ok(PathBuf::from(parsed.text("socket")));
    }
    let path = config::path(parsed)?;
    match config::load(&path, true, false, env) {
        Ok(loaded) if loaded.config.socket.enabled => Ok(loaded.config.socket.path),
        Err(failure) if parsed.names_file("config") => Err(failure),
        Ok(_) if parsed.names_file("config") => Err(Failure::with_try(
            format!("{}: the control socket is not enabled", path.display()),
            "socket: {enabled: true}",
        )),
        _ => Ok(PathBuf::from(parsed.text("socket"))),
    }
}

/// The value of `-timeout` where it must be one.
pub fn positive_timeout(parsed: &Parsed) -> Result<Duration> {
    match u64::try_from(parsed.int("timeout")) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(Failure::new("timeout must be greater than 0")),
    }
}

/// The one positional of commands that are about a database, as an absolute path: the daemon may run elsewhere.
pub fn database(parsed: &Parsed, example: &str) -> Result<String> {
    let arg = match parsed.positionals.as_slice() {
        [arg] if !arg.is_empty() => arg,
        [] | [_] => {
            return Err(Failure::with_try(
                "database path required",
                format!("litestream {example}"),
            ));
        }
        _ => return Err(Failure::new("too many arguments")),
    };
    place::no_url(arg, &format!("litestream {example}"))?;
    let path = place::expand(arg)?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::new(format!(
            "database path is not valid UTF-8: {}",
            path.display()
        ))
    })
}

/// For commands that are about none.
pub fn no_positionals(parsed: &Parsed) -> Result {
    if parsed.positionals.is_empty() {
        Ok(())
    } else {
        Err(Failure::new("too many arguments"))
    }
}

/// What a daemon says went wrong.
fn error_of(body: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let error = document.as_ref().and_then(|d| d.get("error")?.as_str());
    match error {
        Some(error) if !error.is_empty() => error.to_owned(),
        _ => String::from_utf8_lossy(body).trim_end().to_owned(),
    }
}

fn cause(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() {
        "EOF".to_owned()
    } else {
        error.to_string()
    }
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_daemons_and_systems_are_shown_bare() {
        assert_eq!(error_of(b"{\"error\":\"x\"}\n"), "x");
        assert_eq!(error_of(b"{\"error\":\"\"}\n"), "{\"error\":\"\"}");
        assert_eq!(error_of(b"404 page not found\n"), "404 page not found");
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(plain(&refused), "connection refused");
    }
}
