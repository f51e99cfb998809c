//! What the control socket asks of the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use litestream::fleet::{Ending, Fleet};
use litestream_replica::settings::{Access, Keys, Storage};

use super::Daemon;
use crate::cmd::version::VERSION;
use crate::config::{Entry, ReplicaEntry};
use crate::control::{About, Operations, RegisterError, ReloadReport};

#[async_trait]
impl Operations for Arc<Daemon> {
    fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    fn about(&self) -> About {
        let (started_at, started) = self.started();
        About {
            version: VERSION.to_owned(),
            pid: std::process::id(),
            started_at,
            uptime: self.env.clock.monotonic().since(started),
        }
    }

    /// With the keys that all replicas of the configuration inherit.
    async fn register(&self, path: PathBuf, replica_url: String) -> Result<bool, RegisterError> {
        let config = self.config();
        let bad = |e: litestream_replica::Error| RegisterError::BadUrl(e.to_string());
        // It says which URLs make no sense by themselves.
        Storage::from_url(&replica_url).map_err(bad)?;
        let own = Keys::url(&replica_url);
        let storage = Storage::read(&own, &config.defaults.keys).map_err(bad)?;
        let access = Access::read(&own, &config.defaults.keys).map_err(bad)?;
        let replica = ReplicaEntry::inheriting(storage, access, &config.defaults);
        self.add(path, |path| Entry::new(path, vec![replica]))
            .await
            .map_err(|failure| RegisterError::Failed(failure.message))
    }

    fn ending(&self, timeout: Option<Duration>) -> Ending<'_> {
        Daemon::ending(self, timeout)
    }

    async fn reload(&self) -> Result<ReloadReport, String> {
        // To its end, whoever waits for it.
        let daemon = Arc::clone(self);
        let (reply, answer) = tokio::sync::oneshot::channel();
        let reload = async move { drop(reply.send(daemon.reload_file().await)) };
        self.env.spawn.task("reload", Box::pin(reload));
        answer
            .await
            .map_err(|_| "the reload was not finished".to_owned())?
    }
}
