//! What is asked of JetStream about one bucket: its state, single messages, consumers, purges.
//!
//! Promise: every request ends; a request that may not be made says so, although the server leaves it without an answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::consumer::{self, AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::{Message, context::PublishError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connect::{Server, Session};
use super::fail::{ApiError, NO_MESSAGE, chain, is_full};
use crate::env::{Env, Monotonic};
use crate::{Error, ErrorKind, Result};

/// How long nothing may come of what was asked for.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Old servers wait for messages that went away since they were counted; not longer than this.
const VANISHED_MAX: Duration = Duration::from_secs(2);
/// A consumer that nobody asks is forgotten by the server.
const CONSUMER_IDLE: Duration = Duration::from_mins(2);

/// A bucket on a server.
pub(super) struct Bucket {
    pub(super) name: String,
    stream: String,
    server: Arc<Server>,
    pub(super) env: Env,
}

/// The state of a bucket: equal only if nothing was written or removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct State {
    messages: u64,
    last_seq: u64,
    first_seq: u64,
}

/// A message as it is kept.
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    pub(super) sequence: u64,
}

impl Bucket {
    pub(super) fn new(name: &str, server: Arc<Server>, env: &Env) -> Bucket {
        Bucket {
            name: name.to_owned(),
            stream: format!("OBJ_{name}"),
            server,
            env: env.clone(),
        }
    }

    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        self.server.session().await
    }

    /// Asks JetStream for something. The error's code is kept apart where a caller needs it.
    async fn ask<T: DeserializeOwned>(
        &self,
        (op, subject): (&'static str, &str),
        request: &str,
        body: &Value,
    ) -> Result<std::result::Result<T, ApiError>> {
        let session = self.session().await?;
        let to = format!("$JS.API.{request}.{}", self.stream);
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        let asking = session.client.request(to.clone(), body);
        let now = self.env.clock.monotonic();
        let answered = self.unless_forbidden(&session, (op, subject), (&to, now), asking);
        let answered = answered.await?;
        let answer = answered.map_err(|e| match e.kind() {
            RequestErrorKind::NoResponders => Bucket::failed(op, subject, &e).with_hint(
                "JetStream does not answer: is it enabled on the server, for this account?",
            ),
            _ => Bucket::failed(op, subject, &e),
        })?;
        let strange = |e: serde_json::Error| {
            let text = format!("an answer that makes no sense: {e}");
            Error::new(ErrorKind::Other, op, subject, text)
        };
        let mut answer: Value = serde_json::from_slice(&answer.payload).map_err(strange)?;
        if let Some(error) = answer.get_mut("error") {
            return Ok(Err(serde_json::from_value(error.take()).map_err(strange)?));
        }
        Ok(Ok(serde_json::from_value(answer).map_err(strange)?))
    }

    /// Waits for something, but not for an answer that never comes.
    pub(super) async fn unless_forbidden<T>(
        &self,
        session: &Session,
        (op, object): (&'static str, &str),
        (to, since): (&str, Monotonic),
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            complaint = session.forbidden(to, since) => {
                let text = format!("nats: {complaint}");
                Err(Error::new(ErrorKind::Forbidden, op, object, text).with_hint(
                    "the user may not do this: allow $JS.API.>, $O.> and _INBOX.> for the bucket's stream",
                ))
            }
        }
    }

    /// The connection failed.
    pub(super) fn failed(op: &'static str, subject: &str, error: &dyn std::error::Error) -> Error {
        let text = format!("nats: {}", chain(error));
        Error::new(ErrorKind::Unreachable, op, subject, text)
    }

    /// An acknowledgement that did not come, or a refusal in its place.
    pub(super) fn not_stored(op: &'static str, subject: &str, error: &PublishError) -> Error {
        let text = chain(error);
        if is_full(&text) {
            return Error::new(
                ErrorKind::NoSpace,
                op,
                subject,
                format_args!("nats: {text}"),
            )
            .with_hint("the bucket's or the account's limit is reached: raise it");
        }
        Bucket::failed(op, subject, error)
    }

    fn refused(&self, op: &'static str, subject: &str) -> impl Fn(ApiError) -> Error {
        move |refusal| refusal.error(op, subject, &self.name)
    }

    pub(super) async fn state(&self, op: &'static str) -> Result<State> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        let info = self
            .ask((op, &self.name), "STREAM.INFO", &Value::Null)
            .await?;
        info.map(|info: Info| info.state)
            .map_err(self.refused(op, &self.name))
    }

    /// Subjects below `filter` that have messages.
    pub(super) async fn subjects(&self, op: &'static str, filter: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(default)]
            total: u64,
            state: Subjects,
        }
        #[derive(Deserialize)]
        struct Subjects {
            #[serde(default)]
            subjects: Option<std::collections::BTreeMap<String, u64>>,
        }
        let mut all = Vec::new();
        loop {
            let body = json!({ "subjects_filter": filter, "offset": all.len() });
            let info = self.ask((op, &self.name), "STREAM.INFO", &body).await?;
            let info: Info = info.map_err(self.refused(op, &self.name))?;
            let page = info.state.subjects.unwrap_or_default();
            let is_last = page.is_empty();
            all.extend(page.into_keys());
            if is_last || all.len() as u64 >= info.total {
                return Ok(all);
            }
        }
    }

    /// The last message of a subject, if there is one, from the stream's leader.
    pub(super) async fn last(
        &self,
        op: &'static str,
        object: &str,
        subject: &str,
    ) -> Result<Option<Stored>> {
        #[derive(Deserialize)]
        struct Got {
            message: Raw,
        }
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default)]
            data: String,
            #[serde(default)]
            seq: u64,
        }
        let body = json!({ "last_by_subj": subject });
        match self.ask((op, object), "STREAM.MSG.GET", &body).await? {
            Ok(Got { message }) => {
                let bytes = STANDARD.decode(&message.data).map_err(|e| {
                    let text = format!("an answer that makes no sense: {e}");
                    Error::new(ErrorKind::Other, op, object, text)
                })?;
                let sequence = message.seq;
                Ok(Some(Stored { bytes, sequence }))
            }
            Err(refusal) if refusal.err_code == NO_MESSAGE => Ok(None),
            Err(refusal) => Err(refusal.error(op, object, &self.name)),
        }
    }

    /// Removes all messages of a subject.
    pub(super) async fn purge(&self, op: &'static str, object: &str, subject: &str) -> Result<()> {
        self.purge_by((op, object), &json!({ "filter": subject }))
            .await
    }

    /// Removes the messages of a subject up to a place in the stream: what was written since stays.
    pub(super) async fn purge_until(
        &self,
        op: &'static str,
        object: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<()> {
        // The server's number is the first that stays.
        let body = json!({ "filter": subject, "seq": sequence.saturating_add(1) });
        self.purge_by((op, object), &body).await
    }

    async fn purge_by(&self, (op, object): (&'static str, &str), body: &Value) -> Result<()> {
        let purged = self.ask((op, object), "STREAM.PURGE", body).await?;
        purged.map(|_: Value| ()).map_err(self.refused(op, object))
    }

    /// Something that reads the messages of `filter` in their order.
    pub(super) async fn reader(
        &self,
        op: &'static str,
        object: &str,
        filter: &str,
        from: From,
    ) -> Result<Reader> {
        let deliver_policy = match from {
            From::LastOfEach => DeliverPolicy::LastPerSubject,
            From::First | From::FirstWithoutBytes => DeliverPolicy::All,
            From::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: filter.to_owned(),
            headers_only: matches!(from, From::FirstWithoutBytes),
            inactive_threshold: CONSUMER_IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let wire = consumer::IntoConsumerConfig::into_consumer_config(config.clone());
        let body = json!({ "stream_name": self.stream, "config": wire });
        let made = self.ask((op, object), "CONSUMER.CREATE", &body).await?;
        let info: consumer::Info = made.map_err(self.refused(op, object))?;
        let session = self.session().await?;
        Ok(Reader {
            pending: info.num_pending,
            left: info.num_pending,
            seen: 0,
            name: info.name.clone(),
            consumer: Consumer::new(config, info, session.stream.clone()),
            stream: self.stream.clone(),
            env: self.env.clone(),
            session,
            op,
            object: object.to_owned(),
        })
    }

    /// Waits for something that the server does, as long as it does something.
    pub(super) async fn patient<T>(
        &self,
        op: &'static str,
        object: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        patient(&self.env, op, object, work).await
    }
}

async fn patient<T>(
    env: &Env,
    op: &'static str,
    object: &str,
    work: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = env.clock.sleep_async(SILENCE_MAX) => {
            let text = format!("nats: nothing has come for {} s", SILENCE_MAX.as_secs());
            Err(Error::new(ErrorKind::Unreachable, op, object, text))
        }
    }
}

/// Which messages, and how much of them.
#[derive(Clone, Copy)]
pub(super) enum From {
    /// The last one of each subject.
    LastOfEach,
    /// All.
    First,
    /// All; of each only that it is there and how large.
    FirstWithoutBytes,
    /// All from a place in the stream on.
    Sequence(u64),
}

/// Reads messages one after the other; the server forgets it when it is dropped.
pub(super) struct Reader {
    /// How many there were in all.
    pub(super) pending: u64,
    /// How many there are still, as far as was heard.
    left: u64,
    seen: u64,
    name: String,
    consumer: Consumer<pull::Config>,
    stream: String,
    env: Env,
    session: Arc<Session>,
    op: &'static str,
    object: String,
}

impl Reader {
    /// Whether the server has more.
    pub(super) fn has_more(&self) -> bool {
        self.left > 0
    }

    /// The next messages, `count` at most; fewer only if there are no more now, which the server must say.
    pub(super) async fn next(&mut self, count: u64) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        let batch = self.consumer.fetch().max_messages(count as usize);
        let batch = batch.expires(VANISHED_MAX);
        let batch = patient(&self.env, self.op, &self.object, batch.messages()).await?;
        let mut batch = batch.map_err(|e| self.broken(&chain(&e)))?;
        while let Some(next) = patient(&self.env, self.op, &self.object, batch.next()).await? {
            let message = next.map_err(|e| self.broken(&chain(&*e)))?;
            self.seen += 1;
            let info = message.info().map_err(|e| self.broken(&chain(&*e)))?;
            if info.consumer_sequence != self.seen {
                return Err(self.broken("a message was lost on the way"));
            }
            self.left = info.pending;
            messages.push(message);
        }
        if (messages.len() as u64) < count && self.left > 0 {
            self.confirm_end().await?;
        }
        Ok(messages)
    }

    /// Messages that were counted did not come. They may have been removed since; a server that was only too slow looks the same.
    async fn confirm_end(&mut self) -> Result<()> {
        let asking = self.consumer.get_info();
        let info = patient(&self.env, self.op, &self.object, asking).await?;
        let info = info.map_err(|e| self.broken(&chain(&e)))?;
        if info.num_pending > 0 || info.delivered.consumer_sequence != self.seen {
            return Err(self.broken("the server has more messages than it sent in time"));
        }
        self.left = 0;
        Ok(())
    }

    fn broken(&self, text: &str) -> Error {
        let text = format!("nats: {text}");
        Error::new(ErrorKind::Unreachable, self.op, self.object.as_str(), text)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let client = self.session.client.clone();
        let to = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.name);
        let forget = async move {
            // Whether it worked is of no interest: the server forgets it anyway, only later.
            let reply = client.new_inbox();
            drop(client.publish_with_reply(to, reply, Bytes::new()).await);
        };
        self.env.spawn.task("nats forget", Box::pin(forget));
    }
}
