//! An upload by a session: chunk by chunk, and after a break from where the service says that it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::GsReplica;
use super::service::encoded;
use super::upload::stored;
use crate::net::{Answer, Head, Payload};
use crate::retry::attempts;
use crate::{Error, ErrorKind, Result};

/// Of a chunk; the service wants multiples of 256 KiB.
const CHUNK_BYTES: u64 = 16 << 20;
/// How long one chunk is tried again, before the whole upload counts as failed.
const CHUNK_PATIENCE: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How far a session is.
enum Progress {
    /// The service has so many bytes.
    Has(u64),
    /// It has made the object.
    Done(Value),
    /// There is no such session any more: a new one may do better.
    Ended(Error),
}

/// An upload under way.
struct Session<'a> {
    replica: &'a GsReplica,
    key: &'a str,
    /// Who knows it may write there: no error shows it.
    url: String,
    payload: &'a Payload,
    /// What the service has.
    at: AtomicU64,
    /// Whether it is known what it has.
    is_sure: AtomicBool,
}

impl GsReplica {
    /// Sends an object; gives what the service says of it.
    pub(super) async fn send_session(
        &self,
        key: &str,
        meta: &Value,
        payload: &Payload,
    ) -> Result<Value> {
        let session = Session {
            replica: self,
            key,
            url: self.begin(key, meta, payload.len()).await?,
            payload,
            at: AtomicU64::new(0),
            is_sure: AtomicBool::new(true),
        };
        loop {
            let step = async || session.step().await;
            let patience = || CHUNK_PATIENCE;
            if let Some(result) = attempts(&*self.env().clock, patience, step).await? {
                return result;
            }
        }
    }

    /// Begins a session; gives its URL.
    async fn begin(&self, key: &str, meta: &Value, size: u64) -> Result<String> {
        let url = format!(
            "{}?uploadType=resumable&name={}&prettyPrint=false",
            self.service.uploads(),
            encoded(key)
        );
        let head = Head::new(Method::POST, url)
            .text("content-type", "application/json; charset=utf-8")?
            .text("x-upload-content-type", "application/octet-stream")?
            .text("x-upload-content-length", &size.to_string())?;
        let body = Payload::Bytes(Bytes::from(meta.to_string()));
        let answer = self.service.send("write", key, head, body).await?;
        if !answer.status().is_success() {
            return Err(self.written(&answer.refusal().await));
        }
        let url = answer.header("location").map(str::to_owned);
        url.ok_or_else(|| answer.failed(ErrorKind::Other, "the answer names no session"))
    }
}

impl Session<'_> {
    /// Sends the next chunk; gives how it ended, if that was the last.
    async fn step(&self) -> Result<Option<Result<Value>>> {
        if !self.is_sure.load(Ordering::Relaxed)
            && let Some(result) = self.take(self.ask().await?)
        {
            return Ok(Some(result));
        }
        let from = self.at.load(Ordering::Relaxed);
        self.is_sure.store(false, Ordering::Relaxed);
        if let Some(result) = self.take(self.chunk(from).await?) {
            return Ok(Some(result));
        }
        if self.at.load(Ordering::Relaxed) <= from {
            let text = format!("the service took nothing from byte {from} on");
            return Err(Error::new(ErrorKind::Unreachable, "write", self.key, text));
        }
        Ok(None)
    }

    fn take(&self, progress: Progress) -> Option<Result<Value>> {
        self.is_sure.store(true, Ordering::Relaxed);
        match progress {
            Progress::Has(at) => {
                self.at.store(at, Ordering::Relaxed);
                None
            }
            Progress::Done(object) => Some(Ok(object)),
            Progress::Ended(error) => Some(Err(error)),
        }
    }

    async fn chunk(&self, from: u64) -> Result<Progress> {
        let size = self.payload.len();
        let len = CHUNK_BYTES.min(size - from);
        let range = if len == 0 {
            format!("bytes */{size}")
        } else {
            format!("bytes {from}-{}/{size}", from + len - 1)
        };
        self.put(&range, self.payload.part(from, len)).await
    }

    /// Asks how far the service is.
    async fn ask(&self) -> Result<Progress> {
        let range = format!("bytes */{}", self.payload.len());
        self.put(&range, Payload::empty()).await
    }

    async fn put(&self, range: &str, body: Payload) -> Result<Progress> {
        let head = Head::new(Method::PUT, self.url.as_str()).text("content-range", range)?;
        let service = &self.replica.service;
        let answer = service.send("write", self.key, head, body).await?;
        let status = answer.status();
        if status.is_success() {
            let object = stored(self.key, &answer.bytes(ANSWER_BYTES_MAX).await?)?;
            return Ok(Progress::Done(object));
        }
        if status == StatusCode::PERMANENT_REDIRECT {
            return self.has(&answer);
        }
        let refusal = answer.refusal().await;
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(Progress::Ended(refusal.error_of(ErrorKind::Unreachable)));
        }
        Err(self.replica.written(&refusal))
    }

    /// What the answer to an unfinished upload says: `bytes=0-LAST`, and nothing if the service has nothing.
    fn has(&self, answer: &Answer) -> Result<Progress> {
        let Some(range) = answer.header("range") else {
            return Ok(Progress::Has(0));
        };
        let last = range
            .rsplit_once('-')
            .and_then(|(_, last)| last.parse().ok());
        let has = last.map(|last: u64| last.saturating_add(1));
        match has.filter(|has| *has <= self.payload.len()) {
            Some(has) => Ok(Progress::Has(has)),
            None => Err(answer.failed(ErrorKind::Other, "the answer names no place in the upload")),
        }
    }
}
