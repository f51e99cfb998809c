//! The end of a database's replication, for those who work and those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Clones are told together.
#[derive(Clone)]
pub(crate) struct Stop {
    /// For those who look now and then.
    pub flag: Arc<AtomicBool>,
    told: watch::Sender<bool>,
}

impl Stop {
    pub fn new() -> Stop {
        Stop {
            flag: Arc::default(),
            told: watch::Sender::new(false),
        }
    }

    /// Everything is to end.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.told.send_replace(true);
    }

    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Waits until everything is to end.
    pub async fn asked(&self) {
        // The sender lives as long as `self`.
        let _ = self.told.subscribe().wait_for(|told| *told).await;
    }
}
