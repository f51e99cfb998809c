//! Writing an object in parts, several at once, each tried again alone.
//!
//! Promise: an upload that fails, or whose future is dropped, is aborted, so that its parts cost nothing, unless the service may be putting
//! them together at that moment; a service that bears fewer requests at once than are allowed gets fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::digest::digests;
use super::lanes::Lanes;
use super::put::require_tag;
use super::service::Service;
use super::sign::Body;
use super::sse::{with_customer_key, with_properties};
use super::{errors, times};
use crate::env::UnixMillis;
use crate::net::Payload;
use crate::retry::attempts;
use crate::{Error, ErrorKind, Result};

/// More parts no object may have.
const PARTS_MAX: u64 = 10_000;
/// Larger parts grow by this.
const STEP_BYTES: u64 = 1 << 20;
/// How long one part is tried again.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long it is asked to put the parts together: of large objects some services answer only after minutes.
const END_PATIENCE: Duration = Duration::from_mins(15);
/// How long a failed upload is waited for to be aborted.
const ABORT_MAX: Duration = Duration::from_secs(5);

/// Bytes of a part, so that they are few enough.
fn part_bytes(len: u64, wanted: u64) -> u64 {
    let least = len.div_ceil(PARTS_MAX).next_multiple_of(STEP_BYTES);
    wanted.max(least)
}

/// Writes a payload that is not empty.
pub(super) async fn write(
    service: &Arc<Service>,
    key: &str,
    payload: &Payload,
    created: UnixMillis,
) -> Result<()> {
    let mut upload = Upload::begin(service, key, created).await?;
    let done = upload.run(payload, created).await;
    match &done {
        Ok(()) => upload.open = false,
        // Nobody knows what became of it: what is left is found by `tidy`.
        Err(error) if upload.ending && error.is_retryable() => upload.open = false,
        Err(_) => upload.give_up().await,
    }
    done
}

/// An upload under way; one that is dropped while it is open is aborted.
struct Upload {
    service: Arc<Service>,
    key: String,
    id: String,
    open: bool,
    /// The service was asked to put the parts together.
    ending: bool,
}

impl Upload {
    async fn begin(service: &Arc<Service>, key: &str, created: UnixMillis) -> Result<Upload> {
        let checksum = service.has_checksums().then_some(ChecksumAlgorithm::Crc32);
        let request = service.client().await?.create_multipart_upload();
        let request = with_properties!(request, service, created)
            .bucket(&service.settings.bucket)
            .key(key)
            .set_checksum_algorithm(checksum);
        let subject = || service.subject(key);
        let id = match request.send().await {
            Ok(answer) => answer.upload_id,
            // rclone's answer has another name.
            Err(error) => match errors::unread(&error) {
                Some(xml) => Some(xml.text_of("UploadId").to_owned()),
                None => return Err(errors::failed("begin upload", &subject(), &error)),
            },
        };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            let text = "the service names no upload";
            return Err(Error::new(
                ErrorKind::Other,
                "begin upload",
                subject(),
                text,
            ));
        };
        Ok(Upload {
            service: Arc::clone(service),
            key: key.to_owned(),
            id,
            open: true,
            ending: false,
        })
    }

    async fn run(&mut self, payload: &Payload, created: UnixMillis) -> Result<()> {
        let size = part_bytes(payload.len(), self.service.settings.part_size);
        let count = payload.len().div_ceil(size);
        let lanes = Lanes::new(self.service.settings.concurrency as usize);
        let parts = (0..count).map(|n| {
            let from = n * size;
            let part = payload.part(from, size.min(payload.len() - from));
            self.part(n as i32 + 1, part, &lanes)
        });
        let parts = stream::iter(parts).buffered(lanes.max()).try_collect();
        let parts = parts.await?;
        self.ending = true;
        self.complete(parts, payload.len(), created).await
    }

    async fn part(&self, number: i32, payload: Payload, lanes: &Lanes) -> Result<CompletedPart> {
        let service = &self.service;
        let digests = digests(&payload, service.wanted(), &service.env).await?;
        let clock = &*service.env.clock;
        let subject = || format!("{} part {number}", service.subject(&self.key));
        let send = || async {
            let lane = lanes.enter().await;
            let request = service.client().await?.upload_part();
            let request = with_customer_key!(request, service)
                .bucket(&service.settings.bucket)
                .key(&self.key)
                .upload_id(&self.id)
                .part_number(number)
                .set_checksum_crc32(digests.crc32.clone());
            let body = Body {
                payload: payload.clone(),
                digests: digests.clone(),
            };
            let sent = request.customize().interceptor(body).send().await;
            let sent = sent.map_err(|e| errors::failed("put", &subject(), &e));
            lane.leave(sent.as_ref().err());
            let answer = sent?;
            require_tag(answer.e_tag(), "put", subject)
        };
        let tag = attempts(clock, || PATIENCE, send).await?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .e_tag(tag)
            .set_checksum_crc32(digests.crc32)
            .build())
    }

    async fn complete(
        &self,
        parts: Vec<CompletedPart>,
        len: u64,
        created: UnixMillis,
    ) -> Result<()> {
        let service = &self.service;
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let list = list.build();
        let subject = || service.subject(&self.key);
        let again = AtomicBool::new(false);
        let send = || async {
            let request = service.client().await?.complete_multipart_upload();
            let request = with_customer_key!(request, service)
                .bucket(&service.settings.bucket)
                .key(&self.key)
                .upload_id(&self.id)
                .multipart_upload(list.clone());
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let failed = errors::failed("end upload", &subject(), &error);
                    // What was sent before was carried out, only its answer was lost?
                    if again.swap(true, Ordering::Relaxed)
                        && errors::refusal("", "", &error).is_some_and(|r| r.is("NoSuchUpload"))
                        && self.is_there(len, created).await?
                    {
                        return Ok(());
                    }
                    return Err(failed);
                }
            };
            require_tag(answer.e_tag(), "end upload", subject).map(drop)
        };
        match attempts(&*service.env.clock, || END_PATIENCE, send).await {
            Err(error) if error.is_retryable() => match self.is_there(len, created).await {
                Ok(true) => Ok(()),
                _ => Err(error),
            },
            done => done,
        }
    }

    /// Whether the object is what was uploaded.
    async fn is_there(&self, len: u64, created: UnixMillis) -> Result<bool> {
        let service = &self.service;
        let request = service.client().await?.head_object();
        let request = with_customer_key!(request, service)
            .bucket(&service.settings.bucket)
            .key(&self.key);
        let subject = || service.subject(&self.key);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if errors::status(&error) == Some(404) => return Ok(false),
            Err(error) => return Err(errors::failed("head", &subject(), &error)),
        };
        let time = answer.metadata().and_then(times::in_metadata);
        Ok(answer.content_length() == Some(len as i64) && time == Some(created))
    }

    /// Aborts it, if that does not take long. [`Service::tidy`](super::tidy) finds what is left.
    async fn give_up(&mut self) {
        // Whoever drops this before it is through has it done by `drop`.
        self.ending = false;
        let clock = Arc::clone(&self.service.env.clock);
        tokio::select! {
            () = abort(&self.service, &self.key, &self.id) => {}
            () = clock.sleep_async(ABORT_MAX) => {}
        }
        self.open = false;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Where nothing runs any more, nothing can be sent.
        if self.open && !self.ending && tokio::runtime::Handle::try_current().is_ok() {
            let service = Arc::clone(&self.service);
            let (key, id) = (self.key.clone(), self.id.clone());
            let work = async move { abort(&service, &key, &id).await };
            let spawn = Arc::clone(&self.service.env.spawn);
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
    let request = service.client().await?.abort_multipart_upload();
    let request = request
        .bucket(&service.settings.bucket)
        .key(key)
        .upload_id(id);
    let answer = request.send().await;
    answer.map_err(|e| errors::failed("abort upload", &service.subject(key), &e))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::part_bytes;

    #[test]
    fn parts_grow_so_that_they_are_few_enough() {
        const MIB: u64 = 1 << 20;
        for (len, wanted, expected) in [
            (5 * MIB, 5 * MIB, 5 * MIB),
            (50_000 * MIB, 5 * MIB, 5 * MIB),
            (50_000 * MIB + 1, 5 * MIB, 6 * MIB),
            (1 << 40, 5 * MIB, 105 * MIB),
            (1 << 40, 200 * MIB, 200 * MIB),
        ] {
            let part = part_bytes(len, wanted);
            assert_eq!(part, expected);
            assert!(len.div_ceil(part) <= 10_000);
        }
    }
}
