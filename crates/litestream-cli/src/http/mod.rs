//! The server behind `addr`: metrics and health, for whoever can reach it.
//!
//! Owns the connections. Promise: what a client sends, or does not send, takes bounded memory and time; a server that cannot listen
//! says so and stops nothing else.

mod address;
mod pages;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use litestream_replica::env::Env;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, error, info};

pub use address::Address;
pub use pages::{Page, Pages};

/// More connections wait until others end.
const CONNECTIONS_MAX: usize = 64;
/// A request without its body, which nobody reads.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A client that does not ask in this time is let go.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// No connection stays longer, so that clients that don't read their answers don't keep others out.
const CONNECTION_TIME: Duration = Duration::from_mins(10);
/// After a connection failed at once (no file descriptors left) the next is tried a little later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At the end answers under way are waited for no longer than this.
const END_WAIT: Duration = Duration::from_secs(2);

/// A server that runs until it is stopped or dropped.
pub struct Server {
    stop: watch::Sender<bool>,
    /// Closed when all has ended.
    ended: Arc<Semaphore>,
    port: u16,
}

impl Server {
    /// Listens, and says where. `None`: it can't, which was logged.
    pub async fn start(address: &Address, pages: Pages, env: &Env) -> Option<Server> {
        let listener = match bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                let error = format!("listen tcp {address}: {error}");
                error!(error, "cannot start metrics server");
                return None;
            }
        };
        // The address may leave the port open.
        let port = listener.local_addr().map_or(0, |addr| addr.port());
        info!(url = address.url(port), "serving metrics on");
        let (stop, stopped) = watch::channel(false);
        let ended = Arc::new(Semaphore::new(0));
        let serve = Serve {
            pages: Arc::new(pages),
            env: env.clone(),
            stopped,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        };
        let done = ended.clone();
        env.spawn.task(
            "http",
            Box::pin(async move {
                serve.run(listener).await;
                done.close();
            }),
        );
        Some(Server { stop, ended, port })
    }

    /// Where it listens, if the address left that open.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes no more requests, and waits a moment for those under way.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // An error says that it was closed, as it should be.
        let _ = self.ended.acquire().await;
    }
}

async fn bind(address: &Address) -> std::io::Result<TcpListener> {
    let mut candidates = address.candidates().into_iter();
    let mut last = std::io::Error::other("no address");
    for candidate in candidates.by_ref() {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            // What is in use stays in use; only a missing kind of addresses makes the next one worth a try.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Serve {
    pages: Arc<Pages>,
    env: Env,
    stopped: watch::Receiver<bool>,
    places: Arc<Semaphore>,
}

impl Serve {
    async fn run(mut self, listener: TcpListener) {
        while let Some(stream) = self.next(&listener).await {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                break;
            };
            let (pages, env, stopped) =
                (self.pages.clone(), self.env.clone(), self.stopped.clone());
            self.env.spawn.task(
                "http connection",
                Box::pin(async move {
                    connection(stream, pages, env, stopped).await;
                    drop(place);
                }),
            );
        }
        drop(listener);
        tokio::select! {
            // All places are free when all connections have ended.
            _ = self.places.acquire_many(CONNECTIONS_MAX as u32) => {}
            () = self.env.clock.sleep_async(END_WAIT) => {}
        }
    }

    /// The next client; `None` at the end.
    async fn next(&mut self, listener: &TcpListener) -> Option<TcpStream> {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // An error says that the handle was dropped.
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
            };
            match accepted {
                Ok((stream, _)) => return Some(stream),
                Err(error) => {
                    debug!(%error, "metrics server cannot accept a connection");
                    self.env.clock.sleep_async(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    pages: Arc<Pages>,
    env: Env,
    mut stopped: watch::Receiver<bool>,
) {
    let answers = service_fn(|request| answer(request, pages.clone(), env.clone()));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    tokio::pin!(serving);
    // How a client went away is of no interest.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = env.clock.sleep_async(CONNECTION_TIME) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = serving => {}
        () = env.clock.sleep_async(END_WAIT) => {}
    }
}

async fn answer(
    request: Request<Incoming>,
    pages: Arc<Pages>,
    env: Env,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri().clone();
    // Ten thousand databases take a while.
    let made = env
        .spawn
        .offloaded(move || pages.answer(uri.path(), uri.query()))
        .await;
    let page = made.unwrap_or_else(|error| Page {
        status: 500,
        content_type: "text/plain; charset=utf-8",
        body: format!("no answer could be made: {error}\n"),
    });
    let mut response = Response::new(Full::new(Bytes::from(page.body)));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(page.content_type);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

#[cfg(test)]
mod tests;
