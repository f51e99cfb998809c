//! What runs beside replication: the control socket, metrics and health, systemd, heartbeats and hooks.
//!
//! Promise: none of them can stop or delay replication; what cannot be started is said in the log.

use std::sync::Arc;

use tracing::warn;

use crate::daemon::Daemon;
use crate::failure::Result;
use crate::monitor::{self, Monitor, is_alive};
use crate::{control, systemd};

/// See the module.
pub struct Services {
    control: Option<control::Server>,
    monitor: Monitor,
}

impl Services {
    /// Starts what the configuration asks for.
    pub async fn start(daemon: &Arc<Daemon>, options: monitor::Options) -> Result<Services> {
        let config = daemon.config();
        let mut control = None;
        if config.socket.enabled {
            if config.socket.path.as_os_str().is_empty() {
                warn!(
                    error = "socket path required",
                    "failed to start control server"
                );
            } else {
                let operations: Arc<dyn control::Operations> = Arc::new(Arc::clone(daemon));
                let (path, mode) = (&config.socket.path, config.socket.permissions);
                match control::Server::start(path, mode, operations, &daemon.env).await {
                    Ok(server) => control = Some(server),
                    Err(error) => warn!(%error, "failed to start control server"),
                }
            }
        }
        if !config.mcp_addr.is_empty() {
            warn!(
                key = "mcp-addr",
                "this version has no MCP server; remove the key, or serve MCP by another program"
            );
        }
        let view = Arc::clone(&daemon.fleet);
        let metrics = Arc::clone(&daemon.metrics);
        let monitor = Monitor::start(options, metrics, view.clone(), &daemon.env).await?;
        systemd::ready(&status(daemon));
        systemd::watch(is_alive(view, daemon.env.clock.clone()), &daemon.env);
        Ok(Services { control, monitor })
    }

    /// Replication is about to end: nobody asks for anything any more.
    pub async fn stopping(&mut self) {
        systemd::stopping("final sync");
        if let Some(control) = self.control.take() {
            control.stop().await;
        }
    }

    /// It has ended.
    pub async fn stop(self) {
        self.monitor.stop().await;
    }
}

/// What systemd shows.
pub fn status(daemon: &Daemon) -> String {
    match daemon.fleet.len() {
        1 => "replicating 1 database".to_owned(),
        count => format!("replicating {count} databases"),
    }
}
