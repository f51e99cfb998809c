//! The client: sends a request, watches that something moves, and tells what went wrong on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Request};
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connect::Connector;
use super::payload::{Outgoing, Payload};
use super::{Answer, IDLE_MAX, fail};
use crate::env::{Clock, Env, Monotonic};
use crate::limits::Limits;
use crate::settings::Trust;
use crate::{Error, Result};

/// Connections kept for the next request.
const SPARE_MAX: usize = 64;
const SPARE_TIME: Duration = Duration::from_secs(90);
const AGENT: &str = concat!("litestream ", env!("CARGO_PKG_VERSION"));

/// What a client is made of.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) trust: Trust,
    pub(crate) env: Env,
    pub(crate) limits: Arc<Limits>,
    /// How long nothing may move.
    pub(crate) idle: Duration,
}

impl Options {
    pub(crate) fn new(env: &Env, limits: &Arc<Limits>) -> Options {
        Options {
            trust: Trust::default(),
            env: env.clone(),
            limits: Arc::clone(limits),
            idle: IDLE_MAX,
        }
    }
}

/// See the [module](self). Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    inner: legacy::Client<Connector, Outgoing>,
    proxies: Arc<Matcher>,
    env: Env,
    limits: Arc<Limits>,
    idle: Duration,
}

impl Client {
    pub(crate) fn new(options: Options) -> Result<Client> {
        let proxies = Arc::new(Matcher::from_env());
        let tls = options.trust.config(&*options.env.disk)?;
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(SPARE_TIME)
            .pool_max_idle_per_host(SPARE_MAX)
            .build(Connector::new(tls, Arc::clone(&proxies)));
        Ok(Client {
            inner,
            proxies,
            env: options.env,
            limits: options.limits,
            idle: options.idle,
        })
    }

    /// The same connections under other limits.
    pub(crate) fn with_limits(&self, limits: Arc<Limits>) -> Client {
        Client {
            limits,
            ..self.clone()
        }
    }

    /// The outside world that it was made with.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// Sends a request to an absolute URL. `op` and `subject` are for errors. An answer of any status is one; only what prevents an
    /// answer is an error, and always one that may pass.
    pub(crate) async fn send(
        &self,
        op: &'static str,
        subject: &str,
        request: Request<Payload>,
    ) -> Result<Answer> {
        let place = self.limits.begin().await;
        let activity = Arc::new(Activity::new(&self.env.clock, self.idle));
        let (mut head, payload) = request.into_parts();
        let plain = head.uri.scheme_str() == Some("http");
        if plain
            && let Some(proxy) = self.proxies.intercept(&head.uri)
            && let Some(auth) = proxy.basic_auth()
        {
            head.headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        if payload.len() > 0 || head.method == Method::PUT || head.method == Method::POST {
            head.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
        }
        head.headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        let host = head.uri.authority().map(ToString::to_string);
        let body = payload.body(&self.env, &self.limits, &activity);
        let sent = self.inner.request(Request::from_parts(head, body));
        let answer = tokio::select! {
            answer = sent => answer.map_err(|e| fail::transport(op, subject, host.as_deref(), &e))?,
            () = activity.silence() => return Err(fail::silence(op, subject, host.as_deref(), self.idle)),
        };
        activity.note();
        let parts = (op, subject.to_owned(), host.unwrap_or_default());
        Ok(Answer::new(
            answer,
            parts,
            activity,
            Arc::clone(&self.limits),
            place,
        ))
    }

    /// As [`Client::send`]; an answer that is no success is an error as well.
    pub(crate) async fn succeed(
        &self,
        op: &'static str,
        subject: &str,
        request: Request<Payload>,
    ) -> Result<Answer> {
        let answer = self.send(op, subject, request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(answer.refusal().await.error())
    }
}

/// When something moved last.
pub(super) struct Activity {
    clock: Arc<dyn Clock>,
    idle: Duration,
    /// In milliseconds; [`PAUSED`] while the waiting is our own.
    last: AtomicU64,
}

const PAUSED: u64 = u64::MAX;

impl Activity {
    fn new(clock: &Arc<dyn Clock>, idle: Duration) -> Activity {
        let activity = Activity {
            clock: Arc::clone(clock),
            idle,
            last: AtomicU64::new(0),
        };
        activity.note();
        activity
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// Something moved.
    pub(super) fn note(&self) {
        let now = self.clock.monotonic().0.as_millis() as u64;
        self.last.store(now, Ordering::Relaxed);
    }

    /// Nothing can move until the next [`Activity::note`].
    pub(super) fn pause(&self) {
        self.last.store(PAUSED, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for too long.
    pub(super) async fn silence(&self) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            let passed = if last == PAUSED {
                Duration::ZERO
            } else {
                let last = Monotonic(Duration::from_millis(last));
                self.clock.monotonic().since(last)
            };
            let Some(left) = self.idle.checked_sub(passed).filter(|left| !left.is_zero()) else {
                return;
            };
            self.clock.sleep_async(left).await;
        }
    }
}

/// A URL that goes out as it is written.
pub(crate) fn uri(text: &str) -> Result<http::Uri> {
    text.parse()
        .map_err(|e| Error::invalid(format_args!("not a URL that can be asked for: {text}: {e}")))
}
