//! Hooks: tell a server or run a command when a database gets into trouble and when that is over.
//!
//! What there is to tell is decided purely ([`changes`]); each hook has a queue and a task of its own that deliver it.

mod changes;
mod deliver;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::Env;

pub use changes::{Event, Known, Message};

use crate::client::Client;
use crate::view::View;
use deliver::{Carrier, Mailbox};

/// How often databases are looked at.
pub const CHECK: Duration = Duration::from_secs(5);

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// POSTs the message to this address.
    Webhook(String),
    /// Runs this program with these arguments and the message as its input.
    Command(Vec<String>),
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What logs call it.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// What it is told of.
    pub events: BTreeSet<Event>,
}

/// Looks and tells for as long as it is not dropped.
pub async fn run(
    hooks: Vec<Hook>,
    max_lag: Duration,
    client: Arc<Client>,
    view: Arc<dyn View>,
    env: Env,
) {
    let start = |hook: Hook| {
        let (mailbox, receiver) = Mailbox::new(hook.name.clone());
        let carrier = Carrier {
            name: hook.name,
            action: hook.action,
            client: client.clone(),
            clock: env.clock.clone(),
            entropy: env.entropy.clone(),
        };
        // It ends with its mailbox.
        let carrying = Box::pin(carrier.run(receiver));
        drop(env.spawn.task("hook", carrying));
        (hook.events, mailbox)
    };
    let mailboxes: Vec<_> = hooks.into_iter().map(start).collect();
    let mut known = Known::default();
    loop {
        env.clock.sleep_async(CHECK).await;
        for message in known.look(&view.databases(), env.clock.now(), max_lag) {
            for (events, mailbox) in &mailboxes {
                if events.contains(&message.event) {
                    mailbox.put(message.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::real;

    use super::*;
    use crate::testing::{fast_clock, server};
    use crate::view::tests::{Shown, well};

    #[tokio::test]
    async fn each_hook_is_told_what_it_asked_for() {
        let (errors_url, mut errors) = server(vec![200; 4]).await;
        let (all_url, mut all) = server(vec![200; 4]).await;
        let hook = |url: String, events: &[Event]| Hook {
            name: "test".into(),
            action: Action::Webhook(url),
            events: events.iter().copied().collect(),
        };
        let hooks = vec![
            hook(errors_url, &[Event::Error]),
            hook(all_url, &[Event::Error, Event::Recovered]),
        ];
        let shown = Shown::default();
        shown.0.lock().push(well("/d/a.db"));
        let env = Env {
            clock: fast_clock(),
            ..real::env()
        };
        let client = Arc::new(Client::new().unwrap());
        let view = Arc::new(shown.clone());
        let running = tokio::spawn(run(hooks, Duration::from_secs(30), client, view, env));
        shown.0.lock()[0].capture_error = Some("x".into());
        assert!(errors.recv().await.unwrap().contains("\"event\":\"error\""));
        assert!(all.recv().await.unwrap().contains("\"event\":\"error\""));
        shown.0.lock()[0].capture_error = None;
        assert!(
            all.recv()
                .await
                .unwrap()
                .contains("\"event\":\"recovered\"")
        );
        shown.0.lock()[0].capture_error = Some("y".into());
        // The next it hears of is this one.
        assert!(errors.recv().await.unwrap().contains("capture fails: y"));
        running.abort();
    }
}
