//! Requests to a WebDAV server: where they go, and as whom.
//!
//! Promise: a password goes out only to a server that asked for it, and with Digest not at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::digest::{Asked, Challenge};
use crate::env::{Env, Monotonic};
use crate::net::{Answer, Client, Payload, uri};
use crate::settings::{Opening, Webdav};
use crate::{Error, ErrorKind, Result};

/// What stays as it is in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
/// How long the base is taken to be there.
const BASE_FOR: Duration = Duration::from_mins(1);
/// A server may tell a new nonce, and once more.
const LOGINS_MAX: usize = 3;

/// A server, and what it wants to be told.
pub(super) struct Server {
    client: Client,
    /// Without a slash at its end.
    base: String,
    /// What of the base stands before its path.
    origin_len: usize,
    login: Option<(String, String)>,
    challenge: Mutex<Option<Challenge>>,
    /// Uses of the server's nonce.
    uses: AtomicU32,
    /// When the base was there.
    base_seen: Mutex<Option<Monotonic>>,
}

/// One request, apart from who sends it.
pub(super) struct Asking<'a> {
    pub(super) op: &'static str,
    pub(super) method: &'static str,
    /// Below the base, not encoded; folders end with a slash.
    pub(super) path: &'a str,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) payload: Payload,
}

impl<'a> Asking<'a> {
    pub(super) fn new(op: &'static str, method: &'static str, path: &'a str) -> Asking<'a> {
        Asking {
            op,
            method,
            path,
            headers: Vec::new(),
            payload: Payload::empty(),
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Asking<'a> {
        self.headers
            .push((HeaderName::from_static(name), value.into()));
        self
    }
}

impl Server {
    pub(super) fn new(settings: &Webdav, opening: &Opening<'_>) -> Result<Server> {
        let base = settings.url.trim_end_matches('/').to_owned();
        let parsed = uri(&base)?;
        let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
        let Some(scheme_end) = base.find("://").filter(|_| is_http) else {
            let text = "webdav-url must begin with http:// or https://";
            return Err(Error::invalid(text));
        };
        let host = scheme_end + 3;
        let origin_len = base[host..].find('/').map_or(base.len(), |at| host + at);
        let password = settings.password.as_ref().map(|p| p.expose().to_owned());
        let login = match (&settings.username, password) {
            (None, None) => None,
            (name, password) => Some((
                name.clone().unwrap_or_default(),
                password.unwrap_or_default(),
            )),
        };
        Ok(Server {
            client: opening.http(&opening.access.trust)?,
            base,
            origin_len,
            login,
            challenge: Mutex::default(),
            uses: AtomicU32::new(0),
            base_seen: Mutex::default(),
        })
    }

    /// The outside world.
    pub(super) fn env(&self) -> &Env {
        self.client.env()
    }

    /// The path of something below the base, as it goes out.
    pub(super) fn target(&self, path: &str) -> String {
        let path = path.trim_start_matches('/');
        let path = utf8_percent_encode(path, PLAIN);
        format!("{}/{path}", &self.base[self.origin_len..])
    }

    /// The URL of something below the base.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{}", &self.base[..self.origin_len], self.target(path))
    }

    /// Sends a request; an answer of any status is one, except that a challenge is met.
    pub(super) async fn send(&self, asking: Asking<'_>) -> Result<Answer> {
        if asking.payload.len() > 0 && self.login.is_some() && self.challenge.lock().is_none() {
            self.find_challenge().await?;
        }
        let mut logins = 0;
        loop {
            let known = self.challenge.lock().clone();
            let answer = self.send_once(&asking, known.as_ref()).await?;
            logins += 1;
            if answer.status() != StatusCode::UNAUTHORIZED
                || logins == LOGINS_MAX
                || !self.learn(answer.headers(), known.as_ref())
            {
                return Ok(answer);
            }
        }
    }

    /// As [`Server::send`], for one of these statuses; anything else is an error.
    pub(super) async fn expect(&self, asking: Asking<'_>, statuses: &[u16]) -> Result<Answer> {
        let answer = self.send(asking).await?;
        if statuses.contains(&answer.status().as_u16()) {
            return Ok(answer);
        }
        Err(refused(answer).await)
    }

    /// Whether there is what everything is below: if not, that something is missing below it says nothing.
    pub(super) async fn check_base(&self, op: &'static str) -> Result<()> {
        let clock = &self.env().clock;
        let seen = *self.base_seen.lock();
        if seen.is_some_and(|at| clock.monotonic().since(at) < BASE_FOR) {
            return Ok(());
        }
        let asking = Asking::new(op, "PROPFIND", "/").header("depth", "0");
        let answer = self.send(asking).await?;
        match answer.status().as_u16() {
            207 => {
                *self.base_seen.lock() = Some(clock.monotonic());
                Ok(())
            }
            404 | 410 => {
                let refusal = answer.refusal().await;
                Err(refusal.error_of(ErrorKind::Invalid).with_hint(
                    "the folder that \"webdav-url\" names is not there: correct it, or create the folder",
                ))
            }
            401 | 403 | 407 => Err(refused(answer).await),
            _ => Err(answer.refusal().await.error_of(ErrorKind::Unreachable)),
        }
    }

    /// A body is not sent only to hear who one should be.
    async fn find_challenge(&self) -> Result<()> {
        let asking = Asking::new("log in", "PROPFIND", "/").header("depth", "0");
        let answer = self.send_once(&asking, None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.learn(answer.headers(), None);
        }
        Ok(())
    }

    async fn send_once(
        &self,
        asking: &Asking<'_>,
        challenge: Option<&Challenge>,
    ) -> Result<Answer> {
        let target = self.target(asking.path);
        let url = format!("{}{target}", &self.base[..self.origin_len]);
        let method = Method::from_bytes(asking.method.as_bytes());
        let bad = |e: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Invalid,
                asking.op,
                asking.path,
                format_args!("not a request: {e}"),
            )
        };
        let mut request = Request::builder()
            .method(method.map_err(|e| bad(&e))?)
            .uri(uri(&url)?)
            .body(asking.payload.clone())
            .map_err(|e| bad(&e))?;
        let headers = request.headers_mut();
        for (name, value) in &asking.headers {
            headers.insert(name, HeaderValue::from_str(value).map_err(|e| bad(&e))?);
        }
        if let Some(value) = self.authorization(challenge, asking.method, &target) {
            // Names outside of ASCII go out in UTF-8.
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|e| bad(&e))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.client.send(asking.op, &url, request).await
    }

    fn authorization(
        &self,
        challenge: Option<&Challenge>,
        method: &str,
        target: &str,
    ) -> Option<String> {
        let (username, password) = self.login.as_ref()?;
        Some(match challenge? {
            Challenge::Basic => format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            ),
            Challenge::Digest(digest) => digest.answer(&Asked {
                method,
                target,
                username,
                password,
                cnonce: self.client.env().entropy.next_u64(),
                count: self.uses.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            }),
        })
    }

    /// Whether there is a challenge in a refusal that the request, sent for the challenge `met`, did not meet yet: name and password are
    /// no better the second time; a nonce is another one each time.
    fn learn(&self, headers: &HeaderMap, met: Option<&Challenge>) -> bool {
        let values = headers.get_all(WWW_AUTHENTICATE);
        let best = Challenge::best(
            values
                .iter()
                .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok()),
        );
        if self.login.is_none() || best.is_none() || best.as_ref() == met {
            return false;
        }
        let mut known = self.challenge.lock();
        if *known != best {
            self.uses.store(0, Ordering::Relaxed);
            *known = best;
        }
        true
    }
}

/// What a refusal means here.
pub(super) async fn refused(answer: Answer) -> Error {
    let status = answer.status().as_u16();
    let refusal = answer.refusal().await;
    match status {
        // Somebody else is at it.
        423 => refusal.error_of(ErrorKind::Unreachable),
        413 => refusal.error().with_hint(
            "the server takes no files of this size: raise its limit (nginx: client_max_body_size)",
        ),
        405 | 501 => refusal
            .error()
            .with_hint("the server does not speak WebDAV there: correct \"webdav-url\""),
        301 | 302 | 307 | 308 => refusal
            .error_of(ErrorKind::Invalid)
            .with_hint("the server sends elsewhere: correct \"webdav-url\""),
        _ => refusal.error(),
    }
}
