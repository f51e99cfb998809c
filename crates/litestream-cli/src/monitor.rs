//! All that watches over a fleet: metrics and health over HTTP, heartbeat, hooks.
//!
//! Owns what runs for that. Promise: what was not asked for costs nothing, and nothing here stops replication.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Env, Running};

use crate::client::Client;
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::hooks::{self, Hook};
use crate::http::{Address, Pages, Server};
use crate::metrics::Metrics;
use crate::view::View;
use crate::{health, heartbeat};

/// What is asked for.
pub struct Options {
    /// Where to serve metrics and health.
    pub address: Option<Address>,
    /// Whom to ping while all is well.
    pub heartbeat: Option<heartbeat::Options>,
    /// Whom to tell of trouble.
    pub hooks: Vec<Hook>,
    /// How far behind a replica may be for `/healthz`.
    pub max_lag: Duration,
}

impl Options {
    /// As a configuration says. What makes no sense is an error before anything starts.
    pub fn of(config: &Config) -> Result<Options> {
        let address = match config.addr.as_str() {
            "" => None,
            addr => Some(Address::parse(addr)?),
        };
        Ok(Options {
            address,
            heartbeat: heartbeat::Options::of(&config.heartbeat),
            hooks: Hook::all_of(&config.hooks)?,
            max_lag: health::MAX_LAG,
        })
    }
}

/// See the module.
pub struct Monitor {
    server: Option<Server>,
    tasks: Vec<Box<dyn Running>>,
}

impl Monitor {
    /// Starts all of it. Must be called within the async runtime.
    pub async fn start(
        options: Options,
        metrics: Arc<Metrics>,
        view: Arc<dyn View>,
        env: &Env,
    ) -> Result<Monitor> {
        let mut tasks = Vec::new();
        if options.heartbeat.is_some() || !options.hooks.is_empty() {
            let client = Client::new()
                .map_err(|e| Failure::new(format!("cannot set up heartbeat and hooks: {e}")))?;
            let client = Arc::new(client);
            if let Some(options) = options.heartbeat {
                let beat = heartbeat::run(options, client.clone(), view.clone(), env.clock.clone());
                tasks.push(env.spawn.task("heartbeat", Box::pin(beat)));
            }
            if !options.hooks.is_empty() {
                let tell = hooks::run(options.hooks, client, view.clone(), env.clone());
                tasks.push(env.spawn.task("hooks", Box::pin(tell)));
            }
        }
        let server = match options.address {
            None => None,
            Some(address) => {
                let pages = Pages {
                    metrics,
                    is_alive: is_alive(view.clone(), env.clock.clone()),
                    view,
                    max_lag: options.max_lag,
                };
                Server::start(&address, pages, env).await
            }
        };
        Ok(Monitor { server, tasks })
    }

    /// The port of the server, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.server.as_ref().map(Server::port)
    }

    /// Ends all of it.
    pub async fn stop(self) {
        self.tasks.iter().for_each(|task| task.abort());
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// Says whether all workers get on, for `/livez` and the watchdog of systemd. Where somebody holds a lock for ever there is no
/// answer, which is one.
pub fn is_alive(view: Arc<dyn View>, clock: Arc<dyn Clock>) -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(move || {
        let now = clock.now();
        let databases = view.databases();
        !databases
            .iter()
            .any(|d| health::is_stuck(d.busy_since, now))
    })
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::{UnixMillis, real};
    use litestream_replica::settings::Secret;

    use super::*;
    use crate::config::{AlertOn, Heartbeat};
    use crate::hooks::Action;
    use crate::testing::{fast_clock, server};
    use crate::view::tests::{Shown, well};

    #[tokio::test]
    async fn all_that_is_asked_for_runs_until_it_is_stopped() {
        let (ping_url, mut pings) = server(vec![200; 8]).await;
        let (hook_url, mut told) = server(vec![200; 8]).await;
        let shown = Shown::default();
        let mut broken = well("/d/b.db");
        broken.replicas[0].damage = Some(vec!["gap".into()]);
        *shown.0.lock() = vec![well("/d/a.db"), broken];
        let view: Arc<dyn View> = Arc::new(shown.clone());
        let env = Env {
            clock: fast_clock(),
            ..real::env()
        };
        let options = Options {
            address: Some(Address::parse("127.0.0.1:0").unwrap()),
            heartbeat: heartbeat::Options::of(&Heartbeat {
                url: ping_url,
                interval: Duration::from_mins(5),
            }),
            hooks: vec![Hook {
                name: "pager".into(),
                action: Action::Webhook(Secret::new(hook_url)),
                events: vec![AlertOn::Verification],
                max_lag: health::MAX_LAG,
            }],
            max_lag: health::MAX_LAG,
        };
        let metrics = Arc::new(Metrics::new(view.clone()).unwrap());
        let monitor = Monitor::start(options, metrics, view, &env).await.unwrap();
        assert!(pings.recv().await.unwrap().starts_with("GET / "));
        assert!(told.recv().await.unwrap().contains("\"verification\""));
        let port = monitor.port().unwrap();
        let connect = || tokio::net::TcpStream::connect(("127.0.0.1", port));
        connect().await.unwrap();
        monitor.stop().await;
        assert!(connect().await.is_err());
    }

    #[test]
    fn a_worker_that_hangs_is_noticed() {
        let shown = Shown::default();
        let (view, clock) = (Arc::new(shown.clone()), fast_clock());
        let is_alive = is_alive(view, clock.clone());
        shown.0.lock().push(well("/d/a.db"));
        shown.0.lock()[0].busy_since = Some(UnixMillis(0));
        assert!(is_alive());
        clock.advance(Duration::from_mins(11));
        assert!(!is_alive());
        shown.0.lock()[0].busy_since = None;
        assert!(is_alive());
    }
}
