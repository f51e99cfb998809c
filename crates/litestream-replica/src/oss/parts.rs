//! Writing an object in parts, several at once, each tried again alone.
//!
//! Promise: an upload that fails, or whose future is dropped, is aborted, so that its parts cost nothing.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Method;

use super::service::{Service, encoded};
use super::times;
use super::upload::{properties, put, tag, written};
use crate::env::UnixMillis;
use crate::net::{Head, Payload, Xml};
use crate::retry::attempts;
use crate::{Error, ErrorKind, Result};

/// The service's own limit.
const PARTS_MAX: u64 = 10_000;
/// How long one part is tried again.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a failed upload is waited for to be aborted.
const ABORT_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes of a part, so that they are few enough.
fn part_bytes(len: u64, wanted: u64) -> u64 {
    wanted.max(len.div_ceil(PARTS_MAX).next_multiple_of(1 << 20))
}

/// Writes an object of more than one part.
pub(super) async fn write(
    service: &Arc<Service>,
    key: &str,
    payload: &Payload,
    created: UnixMillis,
) -> Result<()> {
    let mut upload = Upload::begin(service, key, created).await?;
    let done = upload.run(payload, created).await;
    match &done {
        Ok(()) => upload.is_open = false,
        Err(_) => upload.give_up().await,
    }
    done
}

/// An upload under way; one that is dropped while it is open is aborted.
struct Upload {
    service: Arc<Service>,
    key: String,
    id: String,
    is_open: bool,
}

impl Upload {
    async fn begin(service: &Arc<Service>, key: &str, created: UnixMillis) -> Result<Upload> {
        let head = Head::new(Method::POST, format!("{}?uploads", service.object(key)));
        let head = properties(head, created)?;
        let answer = service.succeed("begin upload", key, head, Payload::empty());
        let answer = answer.await?.bytes(ANSWER_BYTES_MAX).await?;
        let id = Xml::parse(&answer).map(|xml| xml.text_of("UploadId").to_owned());
        match id {
            Ok(id) if !id.is_empty() => Ok(Upload {
                service: Arc::clone(service),
                key: key.to_owned(),
                id,
                is_open: true,
            }),
            _ => {
                let text = "the service names no upload";
                Err(Error::new(ErrorKind::Other, "begin upload", key, text))
            }
        }
    }

    fn url(&self) -> String {
        let object = self.service.object(&self.key);
        format!("{object}?uploadId={}", encoded(&self.id))
    }

    async fn run(&self, payload: &Payload, created: UnixMillis) -> Result<()> {
        let (size, each) = (
            payload.len(),
            part_bytes(payload.len(), self.service.part_bytes),
        );
        let parts = stream::iter(0..size.div_ceil(each)).map(async |index| {
            let from = index * each;
            let part = payload.part(from, each.min(size - from));
            self.part(index + 1, &part).await
        });
        let tags: Vec<String> = parts
            .buffered(self.service.concurrency)
            .try_collect()
            .await?;
        self.complete(&tags, size, created).await
    }

    async fn part(&self, number: u64, part: &Payload) -> Result<String> {
        let url = format!("{}&partNumber={number}", self.url());
        let send = async || {
            let head = Head::new(Method::PUT, url.as_str());
            put(&self.service, &self.key, head, part).await
        };
        attempts(&*self.service.env().clock, || PATIENCE, send).await
    }

    async fn complete(&self, tags: &[String], size: u64, created: UnixMillis) -> Result<()> {
        let mut list = String::from("<CompleteMultipartUpload>");
        for (index, tag) in tags.iter().enumerate() {
            let tag = quick_xml::escape::escape(tag);
            // Writing to a string can't fail.
            let _ = write!(
                list,
                "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>",
                index + 1
            );
        }
        list.push_str("</CompleteMultipartUpload>");
        let list = Payload::Bytes(Bytes::from(list));
        let again = AtomicBool::new(false);
        let send = async || {
            let head =
                Head::new(Method::POST, self.url()).text("content-type", "application/xml")?;
            let answer = self
                .service
                .send("end upload", &self.key, head, list.clone());
            let answer = answer.await?;
            if answer.status().is_success() {
                return tag_or_body(answer).await;
            }
            let refusal = answer.refusal().await;
            // What was sent before was carried out, only its answer was lost?
            if again.load(Ordering::Relaxed)
                && refusal.is("NoSuchUpload")
                && self.is_there(size, created).await?
            {
                return Ok(());
            }
            Err(written(&refusal))
        };
        let send = async || {
            let sent = send().await;
            again.store(true, Ordering::Relaxed);
            sent
        };
        attempts(&*self.service.env().clock, || PATIENCE, send).await
    }

    /// Whether the object is what was uploaded.
    async fn is_there(&self, size: u64, created: UnixMillis) -> Result<bool> {
        let answer = times::head(&self.service, &self.key).await?;
        let len = answer
            .header("content-length")
            .and_then(|len| len.parse().ok());
        Ok(len == Some(size) && times::time(&answer) == Some(created))
    }

    /// Aborts it, if that does not take long. [`super::tidy`] finds what is left.
    async fn give_up(&mut self) {
        self.is_open = false;
        let clock = Arc::clone(&self.service.env().clock);
        tokio::select! {
            () = abort(&self.service, &self.key, &self.id) => {}
            () = clock.sleep_async(ABORT_MAX) => {}
        }
    }
}

/// A finished upload has a tag, in the answer's head or in its body.
async fn tag_or_body(answer: crate::net::Answer) -> Result<()> {
    let in_head = tag(&answer);
    let body = answer.bytes(ANSWER_BYTES_MAX).await?;
    let in_body = Xml::parse(&body).is_ok_and(|xml| !xml.text_of("ETag").is_empty());
    if in_body { Ok(()) } else { in_head.map(drop) }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Where nothing runs any more, nothing can be sent.
        if self.is_open && tokio::runtime::Handle::try_current().is_ok() {
            let service = Arc::clone(&self.service);
            let (key, id) = (self.key.clone(), self.id.clone());
            let work = async move { abort(&service, &key, &id).await };
            let spawn = Arc::clone(&self.service.env().spawn);
            spawn.task("abort upload", Box::pin(work));
        }
    }
}

async fn abort(service: &Service, key: &str, id: &str) {
    if let Err(error) = abort_upload(service, key, id).await {
        tracing::debug!(%error, "an upload can't be aborted");
    }
}

/// Takes away the parts of an upload.
pub(super) async fn abort_upload(service: &Service, key: &str, id: &str) -> Result<()> {
    let url = format!("{}?uploadId={}", service.object(key), encoded(id));
    let head = Head::new(Method::DELETE, url);
    service
        .succeed("abort upload", key, head, Payload::empty())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_they_are_few_enough() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_bytes(7 * MIB, 6 * MIB), 6 * MIB);
        assert_eq!(part_bytes(10_000 * 6 * MIB, 6 * MIB), 6 * MIB);
        assert_eq!(part_bytes(10_000 * 6 * MIB + 1, 6 * MIB), 7 * MIB);
        assert!((48_u64 << 40).div_ceil(part_bytes(48 << 40, 1)) <= PARTS_MAX);
    }
}
