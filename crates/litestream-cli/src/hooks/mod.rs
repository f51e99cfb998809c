//! Hooks: tell a server or run a command when a database gets into trouble and when that is over.
//!
//! What there is to tell is decided purely ([`changes`]); each hook has a queue and a task of its own that deliver it.

mod changes;
mod deliver;

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::Env;
use litestream_replica::settings::Secret;

pub use changes::{Known, Message};

use crate::client::Client;
use crate::config::{Alert, AlertAction, AlertOn as Event, Hooks};
use crate::failure::{Failure, Result};
use crate::view::View;
use crate::{exec, log};
use deliver::{Carrier, Mailbox};

/// How often databases are looked at.
pub const CHECK: Duration = Duration::from_secs(5);

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// POSTs the message to this address, which often holds a token.
    Webhook(Secret),
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
    pub events: Vec<Event>,
    /// How far behind a replica may be.
    pub max_lag: Duration,
}

impl Hook {
    /// Those that a configuration asks for.
    pub fn all_of(hooks: &Hooks) -> Result<Vec<Hook>> {
        let each = hooks.alerts.iter().enumerate();
        each.map(|(at, alert)| Hook::of(alert, format!("alerts[{at}]")))
            .collect()
    }

    fn of(alert: &Alert, name: String) -> Result<Hook> {
        let action = match &alert.action {
            AlertAction::Url(url) => {
                log::redact(url.expose());
                Action::Webhook(url.clone())
            }
            AlertAction::Command(command) => {
                let words = exec::split(command)
                    .map_err(|e| Failure::new(format!("{name}.command: {}", e.message)))?;
                Action::Command(words)
            }
        };
        Ok(Hook {
            name,
            action,
            events: alert.on.clone(),
            max_lag: alert.max_lag,
        })
    }

    /// Whether it is told. That something is over is told to whoever was told of it, and to those who asked for nothing else.
    fn is_told(&self, message: &Message) -> bool {
        let wants = |event: Event| self.events.contains(&event);
        let only_ends = self.events.iter().all(|e| *e == Event::Recovered);
        wants(message.event) && message.of.is_none_or(|of| only_ends || wants(of))
    }
}

/// Looks and tells for as long as it is not dropped.
pub async fn run(hooks: Vec<Hook>, client: Arc<Client>, view: Arc<dyn View>, env: Env) {
    let start = |hook: Hook| {
        let (mailbox, receiver) = Mailbox::new(hook.name.clone());
        let carrier = Carrier {
            name: hook.name.clone(),
            action: hook.action.clone(),
            client: client.clone(),
            clock: env.clock.clone(),
            entropy: env.entropy.clone(),
        };
        // It ends with its mailbox.
        let carrying = Box::pin(carrier.run(receiver));
        drop(env.spawn.task("hook", carrying));
        (hook, mailbox, Known::default())
    };
    let mut told: Vec<_> = hooks.into_iter().map(start).collect();
    loop {
        env.clock.sleep_async(CHECK).await;
        let databases = view.databases();
        for (hook, mailbox, known) in &mut told {
            let news = known.look(&databases, env.clock.now(), hook.max_lag);
            let wanted = news.into_iter().filter(|message| hook.is_told(message));
            wanted.for_each(|message| mailbox.put(message));
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
            action: Action::Webhook(Secret::new(url)),
            events: events.to_vec(),
            max_lag: Duration::from_secs(30),
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
        let running = tokio::spawn(run(hooks, client, view, env));
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

    #[test]
    fn ends_are_told_to_those_who_were_told_of_the_beginning() {
        let is_told = |events: &[Event], event, of| {
            let hook = Hook {
                name: String::new(),
                action: Action::Command(Vec::new()),
                events: events.to_vec(),
                max_lag: Duration::ZERO,
            };
            hook.is_told(&Message {
                event,
                of,
                database: "/d/a.db".into(),
                time: litestream_replica::env::UnixMillis(0),
                text: String::new(),
            })
        };
        let (lag, error, recovered) = (Event::Lag, Event::Error, Event::Recovered);
        assert!(is_told(&[lag], lag, None));
        assert!(!is_told(&[lag], error, None));
        assert!(!is_told(&[lag], recovered, Some(lag)));
        assert!(is_told(&[lag, recovered], recovered, Some(lag)));
        assert!(!is_told(&[lag, recovered], recovered, Some(error)));
        assert!(is_told(&[recovered], recovered, Some(error)));
    }

    #[test]
    fn hooks_are_those_of_the_configuration() {
        let alert = |action| Alert {
            on: vec![Event::Lag],
            max_lag: Duration::from_secs(90),
            action,
        };
        let hooks = Hooks {
            alerts: vec![
                alert(AlertAction::Url(Secret::new("https://h/t"))),
                alert(AlertAction::Command("mail 'the admin'".into())),
            ],
        };
        let hooks = Hook::all_of(&hooks).unwrap();
        assert_eq!(hooks[0].action, Action::Webhook(Secret::new("https://h/t")));
        assert_eq!(
            (hooks[0].name.as_str(), hooks[0].max_lag.as_secs()),
            ("alerts[0]", 90)
        );
        let words = ["mail", "the admin"].map(String::from).to_vec();
        assert_eq!(hooks[1].action, Action::Command(words));
        let unclosed = Hooks {
            alerts: vec![alert(AlertAction::Command("mail 'me".into()))],
        };
        let error = Hook::all_of(&unclosed).unwrap_err().message;
        assert!(error.starts_with("alerts[0].command: "), "{error}");
    }
}
