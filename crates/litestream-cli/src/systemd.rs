//! What systemd is told: that replication has started, that it ends, that it is alive.
//!
//! Promise: where nobody asked for that (`NOTIFY_SOCKET`, `WATCHDOG_USEC`), nothing is done.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Env};

/// The shortest pause between signs of life: a watchdog of milliseconds would keep the processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Replication has started.
pub fn ready(status: &str) {
    send(&[Note::Ready, Note::Status(status)]);
}

/// It ends.
pub fn stopping(status: &str) {
    send(&[Note::Stopping, Note::Status(status)]);
}

/// Something to show beside the service.
pub fn status(status: &str) {
    send(&[Note::Status(status)]);
}

/// Starts to send signs of life, twice as often as is asked for, while `is_alive` says so. On the runtime, so that one that
/// no longer answers sends none.
pub fn watch(is_alive: Arc<dyn Fn() -> bool + Send + Sync>, env: &Env) {
    if let Some(limit) = watchdog_limit() {
        let signs = signs(limit, is_alive, env.clock.clone(), || send(&[Note::Alive]));
        drop(env.spawn.task("watchdog", Box::pin(signs)));
    }
}

async fn signs(
    limit: Duration,
    is_alive: Arc<dyn Fn() -> bool + Send + Sync>,
    clock: Arc<dyn Clock>,
    sign: impl Fn() + Send,
) {
    let pause = (limit / 2).max(PAUSE_MIN);
    loop {
        if is_alive() {
            sign();
        }
        clock.sleep_async(pause).await;
    }
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nobody to tell"))]
enum Note<'a> {
    Ready,
    Stopping,
    Alive,
    Status(&'a str),
}

#[cfg(target_os = "linux")]
fn send(notes: &[Note<'_>]) {
    use sd_notify::NotifyState;
    let states = notes.iter().map(|note| match note {
        Note::Ready => NotifyState::Ready,
        Note::Stopping => NotifyState::Stopping,
        Note::Alive => NotifyState::Watchdog,
        Note::Status(text) => NotifyState::Status(text),
    });
    let states: Vec<_> = states.collect();
    if let Err(error) = sd_notify::notify(&states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

#[cfg(target_os = "linux")]
fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

#[cfg(not(target_os = "linux"))]
fn send(_: &[Note<'_>]) {}

#[cfg(not(target_os = "linux"))]
fn watchdog_limit() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::testing::fast_clock;

    #[tokio::test]
    async fn signs_of_life_come_twice_as_often_as_asked_and_only_from_the_living() {
        let (clock, alive) = (fast_clock(), Arc::new(AtomicBool::new(true)));
        let count = Arc::new(AtomicU32::new(0));
        let (is_alive, counted) = (alive.clone(), count.clone());
        let running = tokio::spawn(signs(
            Duration::from_secs(10),
            Arc::new(move || is_alive.load(Ordering::SeqCst)),
            clock.clone(),
            move || {
                counted.fetch_add(1, Ordering::SeqCst);
            },
        ));
        while clock.monotonic().0 < Duration::from_secs(100) {
            tokio::task::yield_now().await;
        }
        let signs = count.load(Ordering::SeqCst);
        assert!((20..=21).contains(&signs), "{signs}");
        alive.store(false, Ordering::SeqCst);
        let end = clock.monotonic().0 + Duration::from_secs(100);
        while clock.monotonic().0 < end {
            tokio::task::yield_now().await;
        }
        assert!(count.load(Ordering::SeqCst) <= signs + 1);
        running.abort();
    }
}
