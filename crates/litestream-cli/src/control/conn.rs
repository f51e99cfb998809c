//! One connection: requests one after the other, each answered, none for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use litestream_replica::env::{Env, Monotonic};
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::handle::{self, Context};
use super::server::Stage;

/// A client that says nothing, or reads nothing, for so long is let go.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// Serves a connection to its end.
pub async fn serve(stream: UnixStream, context: &Arc<Context>, mut stage: watch::Receiver<Stage>) {
    let activity = Arc::new(Activity::new(&context.env));
    let service = service_fn(|request| {
        let (context, activity) = (Arc::clone(context), Arc::clone(&activity));
        async move {
            let _busy = activity.busy();
            let answer = handle::answer(&context, request).await;
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let connection = http1::Builder::new()
        // A client that has sent everything may close its half, and still wants the answer.
        .half_close(true)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a client leaves is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = activity.idles() => return,
        _ = stage.wait_for(|stage| *stage != Stage::Serving) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => {}
        () = activity.idles() => {}
        _ = stage.wait_for(|stage| *stage == Stage::Over) => {}
    }
}

/// When there was a request last, if none is being answered.
struct Activity {
    idle_since: Mutex<Option<Monotonic>>,
    env: Env,
}

impl Activity {
    fn new(env: &Env) -> Activity {
        Activity {
            idle_since: Mutex::new(Some(env.clock.monotonic())),
            env: env.clone(),
        }
    }

    fn busy(&self) -> Busy<'_> {
        *self.idle_since.lock() = None;
        Busy(self)
    }

    /// Returns when there was nothing for [`IDLE_MAX`].
    async fn idles(&self) {
        let mut left = IDLE_MAX;
        loop {
            self.env.clock.sleep_async(left).await;
            let since = *self.idle_since.lock();
            left = since.map_or(IDLE_MAX, |since| {
                IDLE_MAX.saturating_sub(self.env.clock.monotonic().since(since))
            });
            if left.is_zero() {
                return;
            }
        }
    }
}

/// While a request is being answered.
struct Busy<'a>(&'a Activity);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Some(self.0.env.clock.monotonic());
    }
}
