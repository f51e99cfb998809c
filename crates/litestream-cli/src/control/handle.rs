//! Requests read, and looks answered; what changes something is in `action`.
//!
//! Promises: a look waits for nothing but, at most, the local disk; an action runs on its own, so that a client that hangs up cancels
//! nothing; every wait that a client can cause has its limit, and so has the number of those who wait.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use jiff::tz::TimeZone;
use litestream::fleet::Member;
use litestream_replica::env::Env;
use ltx::Txid;
use tokio::sync::{Semaphore, oneshot};

use super::answer::Answer;
use super::body::Fields;
use super::documents::{List, Position, SyncStatus};
use super::route::{self, Endpoint, Route};
use super::{Operations, action, look, query};
use crate::place;

/// More is no request.
const BODY_BYTES_MAX: usize = 64 << 10;
/// A client sends its request within this.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// The local disk answers within this.
pub(super) const LOOK_WAIT: Duration = Duration::from_secs(10);
/// Where no time-out is given.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// More is refused until some have ended.
const ACTIONS_MAX: usize = 64;
/// What Litestream says.
pub(super) const EXPIRED: &str = "context deadline exceeded";

/// What all requests need.
pub struct Context {
    /// The daemon.
    pub operations: Arc<dyn Operations>,
    /// The outside world.
    pub env: Env,
    zone: TimeZone,
    actions: Arc<Semaphore>,
}

/// The fields of a request that it makes use of.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The database's, expanded.
    pub path: PathBuf,
    /// Where to.
    pub replica_url: String,
    /// For the upload, too.
    pub wait: bool,
    /// Also with a loss.
    pub force: bool,
    /// The longest that the client wants to wait; not zero.
    pub timeout: Option<Duration>,
}

impl Context {
    /// For a server.
    pub fn new(operations: Arc<dyn Operations>, env: &Env) -> Context {
        Context {
            operations,
            env: env.clone(),
            zone: TimeZone::system(),
            actions: Arc::new(Semaphore::new(ACTIONS_MAX)),
        }
    }

    /// The database at this path.
    pub fn member(&self, path: &Path) -> Option<Arc<Member>> {
        self.operations.fleet().get(path)
    }
}

/// Answers a request.
pub async fn answer(context: &Arc<Context>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let endpoint = match route::find(&head.method, head.uri.path(), head.uri.query()) {
        Route::To(endpoint) => endpoint,
        Route::Moved(location) => return Answer::moved(&head.method, &location),
        Route::NotAllowed(methods) => return Answer::not_allowed(methods),
        Route::Nowhere => return Answer::nowhere(),
    };
    let path = query::value(head.uri.query().unwrap_or_default(), "path");
    match endpoint {
        Endpoint::Info => {
            let count = context.operations.fleet().len();
            Answer::ok(&look::info(
                &context.operations.about(),
                count,
                &context.zone,
            ))
        }
        Endpoint::List => {
            let databases = context.operations.fleet().databases();
            let databases = databases.iter().map(|d| look::listed(d, &context.zone));
            Answer::ok(&List {
                databases: databases.collect(),
            })
        }
        Endpoint::Txid => txid(context, &path).await,
        Endpoint::SyncStatus => sync_status(context, &path),
        action => {
            let fields = match body_of(context, body).await {
                // The only one that says nothing.
                Ok(bytes) if bytes.is_empty() && action == Endpoint::Reload => {
                    Ok(Fields::default())
                }
                Ok(bytes) => Fields::parse(&bytes).map_err(|e| Answer::undecodable(&e)),
                Err(answer) => Err(answer),
            };
            match fields.and_then(|fields| asked(action, &fields)) {
                Ok(asked) => act(context, action, asked).await,
                Err(answer) => answer,
            }
        }
    }
}

async fn body_of(context: &Context, body: Incoming) -> Result<Bytes, Answer> {
    let collected = tokio::select! {
        collected = Limited::new(body, BODY_BYTES_MAX).collect() => collected,
        () = context.env.clock.sleep_async(BODY_WAIT) => {
            return Err(Answer::error(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"));
        }
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => {
            let text = format!("request body is larger than {BODY_BYTES_MAX} bytes");
            Err(Answer::error(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        Err(e) => Err(Answer::undecodable(&e.to_string())),
    }
}

/// Reads what an action makes use of; other fields are not looked at.
fn asked(action: Endpoint, fields: &Fields) -> Result<Asked, Answer> {
    let read = || {
        let registers = action == Endpoint::Register;
        let is_last = matches!(action, Endpoint::Stop | Endpoint::Unregister);
        Ok::<_, String>((
            if action == Endpoint::Reload {
                String::new()
            } else {
                fields.text("path")?
            },
            if registers {
                fields.text("replica_url")?
            } else {
                String::new()
            },
            if registers {
                0
            } else {
                fields.number("timeout")?
            },
            action == Endpoint::Sync && fields.truth("wait")?,
            is_last && fields.truth("force")?,
        ))
    };
    let (path, replica_url, seconds, wait, force) = read().map_err(|e| Answer::undecodable(&e))?;
    if path.is_empty() && action != Endpoint::Reload {
        return Err(Answer::bad("path required"));
    }
    if replica_url.is_empty() && action == Endpoint::Register {
        return Err(Answer::bad("replica_url required"));
    }
    let Ok(seconds) = u64::try_from(seconds) else {
        let text = format!("timeout must not be negative: {seconds}; leave it out for the default");
        return Err(Answer::bad(&text));
    };
    let path = if path.is_empty() {
        PathBuf::new()
    } else {
        expanded(path.as_ref())?
    };
    let timeout = Some(Duration::from_secs(seconds)).filter(|t| !t.is_zero());
    Ok(Asked {
        path,
        replica_url,
        wait,
        force,
        timeout,
    })
}

fn expanded(path: &std::ffi::OsStr) -> Result<PathBuf, Answer> {
    place::expand(path).map_err(|e| Answer::bad(&format!("invalid path: {}", e.message)))
}

async fn txid(context: &Context, path: &std::ffi::OsStr) -> Answer {
    if path.is_empty() {
        return Answer::bad("path required");
    }
    let path = match expanded(path) {
        Ok(path) => path,
        Err(answer) => return answer,
    };
    let Some(member) = context.member(&path) else {
        return Answer::error(StatusCode::NOT_FOUND, "database not found");
    };
    match within(context, Some(LOOK_WAIT), member.txid()).await {
        Some(Ok(txid)) => Answer::ok(&Position { txid: number(txid) }),
        Some(Err(e)) => Answer::failed(&e.to_string()),
        None => Answer::failed(EXPIRED),
    }
}

fn sync_status(context: &Context, path: &std::ffi::OsStr) -> Answer {
    let databases = if path.is_empty() {
        context.operations.fleet().databases()
    } else {
        let path = match expanded(path) {
            Ok(path) => path,
            Err(answer) => return answer,
        };
        let Some(member) = context.member(&path) else {
            return Answer::error(StatusCode::NOT_FOUND, "database not found");
        };
        vec![member.database()]
    };
    let now = context.env.clock.now();
    let doing = databases.iter().map(|d| look::doing(d, now, &context.zone));
    Answer::ok(&SyncStatus {
        databases: doing.collect(),
    })
}

/// Runs an action on its own and waits for its answer.
async fn act(context: &Arc<Context>, action: Endpoint, asked: Asked) -> Answer {
    let Ok(place) = Arc::clone(&context.actions).try_acquire_owned() else {
        let text =
            format!("{ACTIONS_MAX} requests are being carried out; try again when some have ended");
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    // These are the daemon's; the others keep their time themselves.
    let limit = match action {
        Endpoint::Register | Endpoint::Reload => Some(asked.timeout.unwrap_or(DEFAULT_WAIT)),
        _ => None,
    };
    let (reply, answered) = oneshot::channel();
    let running = Arc::clone(context);
    let work = async move {
        let answer = match action {
            Endpoint::Sync => action::sync(&running, &asked).await,
            Endpoint::Start => action::start(&running, &asked).await,
            Endpoint::Stop => action::stop(&running, &asked).await,
            Endpoint::Register => action::register(&running, asked).await,
            Endpoint::Unregister => action::unregister(&running, &asked).await,
            _ => action::reload(&running).await,
        };
        drop(place);
        // If nobody listens any more, it was done all the same.
        let _ = reply.send(answer);
    };
    context.env.spawn.task("control", Box::pin(work));
    match within(context, limit, answered).await {
        Some(Ok(answer)) => answer,
        Some(Err(_)) => Answer::failed("the daemon has given the request up"),
        None => Answer::failed(&format!("{EXPIRED}; it is still being carried out")),
    }
}

/// `None`: not within the limit, and dropped.
pub(super) async fn within<T>(
    context: &Context,
    limit: Option<Duration>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let expires = async {
        match limit {
            Some(limit) => context.env.clock.sleep_async(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => Some(done),
        () = expires => None,
    }
}

/// As documents have it; zero: none, or not known.
pub(super) fn number(txid: Option<Txid>) -> u64 {
    txid.map_or(0, Txid::get)
}
