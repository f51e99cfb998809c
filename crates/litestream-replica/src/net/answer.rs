//! An answer: its head at once, its body as it comes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::client::Activity;
use super::{Refusal, fail};
use crate::limits::{Direction, Limits, Place};
use crate::{Error, ErrorKind, Result};

/// More of a text that says why something was refused is not read.
const REASON_BYTES_MAX: usize = 64 << 10;

/// See the [module](self).
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    op: &'static str,
    subject: String,
    host: String,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    _place: Place,
}

impl Answer {
    pub(super) fn new(
        response: Response<Incoming>,
        (op, subject, host): (&'static str, String, String),
        activity: Arc<Activity>,
        limits: Arc<Limits>,
        place: Place,
    ) -> Answer {
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
            op,
            subject,
            host,
            activity,
            limits,
            _place: place,
        }
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end. A body that ends early is an error that may pass.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.activity.silence() => {
                    return Err(fail::silence(self.op, &self.subject, Some(&self.host), self.activity.idle()));
                }
            };
            self.activity.note();
            let Some(frame) = frame else { return Ok(None) };
            let frame =
                frame.map_err(|e| fail::broken(self.op, &self.subject, Some(&self.host), &e))?;
            if let Ok(data) = frame.into_data() {
                self.activity.pause();
                self.limits.pass(Direction::Down, data.len() as u64).await;
                self.activity.note();
                return Ok(Some(data));
            }
        }
    }

    /// The whole body. One of more than `len_max` bytes is an error.
    pub(crate) async fn bytes(mut self, len_max: usize) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(data) = self.chunk().await? {
            if all.is_empty() && self.body_ended() {
                return Ok(data);
            }
            if all.len() + data.len() > len_max {
                return Err(Error::new(
                    ErrorKind::Other,
                    self.op,
                    self.subject.as_str(),
                    format_args!("{} answered with more than {len_max} bytes", self.host),
                ));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// That it is not what it should be.
    pub(crate) fn failed(&self, kind: ErrorKind, text: &str) -> Error {
        let text = format!("{}: {text}", self.host);
        Error::new(kind, self.op, self.subject.as_str(), text)
    }

    fn body_ended(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    /// Why it is no success, from what is in it.
    pub(crate) async fn refusal(mut self) -> Refusal {
        let mut text = BytesMut::new();
        while text.len() < REASON_BYTES_MAX
            && let Ok(Some(data)) = self.chunk().await
        {
            text.extend_from_slice(&data);
        }
        Refusal::read(self.op, &self.subject, self.status, &self.headers, &text)
    }
}
