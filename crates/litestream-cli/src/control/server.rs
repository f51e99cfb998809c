//! The daemon's side: accepts connections and ends them.
//!
//! Promises: the file is ours alone (see `socket`); not more than [`CONNECTIONS_MAX`] connections are open; what is under way when
//! the server stops gets [`STOP_WAIT`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::Env;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};

use super::handle::Context;
use super::{Operations, conn, socket};

/// More connections wait until one ends.
pub const CONNECTIONS_MAX: u32 = 128;
/// How long requests are waited for at the end.
pub const STOP_WAIT: Duration = Duration::from_secs(5);
/// When no connection can be accepted (no descriptor is left), until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    /// No further requests.
    Ending,
    /// Nothing at all.
    Over,
}

/// A server that listens.
pub struct Server {
    path: PathBuf,
    id: socket::Id,
    env: Env,
    stage: watch::Sender<Stage>,
    places: Arc<Semaphore>,
}

impl Server {
    /// Listens at `path`, which gets the lower nine bits of `mode`. Must be called within the async runtime. The error is a text for the
    /// log; a daemon goes on without.
    pub async fn start(
        path: &Path,
        mode: u32,
        operations: Arc<dyn Operations>,
        env: &Env,
    ) -> Result<Server, String> {
        let (listener, id) = socket::listen(path, mode, env).await?;
        tracing::info!(system = "server", path = %path.display(), "control socket listening");
        let (stage, told) = watch::channel(Stage::Serving);
        let server = Server {
            path: path.to_owned(),
            id,
            env: env.clone(),
            stage,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
        };
        let context = Arc::new(Context::new(operations, env));
        let accepts = accept(listener, context, told, Arc::clone(&server.places));
        env.spawn.task("control", Box::pin(accepts));
        Ok(server)
    }

    /// Ends it: no further requests, and those under way get some time. What they do goes on.
    pub async fn stop(self) {
        self.stage.send_replace(Stage::Ending);
        socket::remove(&self.path, self.id, &self.env);
        tokio::select! {
            _ = self.places.acquire_many(CONNECTIONS_MAX) => {}
            () = self.env.clock.sleep_async(STOP_WAIT) => {
                tracing::warn!(system = "server", "control socket closed while requests were under way");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Over);
        socket::remove(&self.path, self.id, &self.env);
    }
}

async fn accept(
    listener: UnixListener,
    context: Arc<Context>,
    mut stage: watch::Receiver<Stage>,
    places: Arc<Semaphore>,
) {
    let mut is_logged = false;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => return,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let (served, stage) = (Arc::clone(&context), stage.clone());
                let serves = async move {
                    conn::serve(stream, &served, stage).await;
                    drop(place);
                };
                context.env.spawn.task("control", Box::pin(serves));
                is_logged = false;
            }
            (Err(_), _) => return, // never closed
            (_, Err(error)) => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(system = "server", %error, "cannot accept connections to the control socket, trying again");
                }
                context.env.clock.sleep_async(ACCEPT_PAUSE).await;
            }
        }
    }
}
