//! Writing an object: one request where it is small, parts where it is not.
//!
//! Promise: memory does not grow with the object; it appears whole or not at all.

use std::sync::Arc;

use super::digest::digests;
use super::service::Service;
use super::sign::Body;
use super::sse::with_properties;
use super::{errors, parts};
use crate::env::UnixMillis;
use crate::net::Payload;
use crate::{Error, ErrorKind, Result, Source};

/// More does not fit into one request, wherever the parts begin.
const PUT_BYTES_MAX: u64 = 5 << 30;

/// Writes a source; its size.
pub(super) async fn write(
    service: &Arc<Service>,
    key: &str,
    source: &Source,
    created: UnixMillis,
) -> Result<u64> {
    let payload = Payload::of(source, &service.env).await?;
    let len = payload.len();
    if len < service.settings.part_size.min(PUT_BYTES_MAX) {
        put(service, key, payload, created).await?;
    } else {
        parts::write(service, key, &payload, created).await?;
    }
    Ok(len)
}

async fn put(service: &Service, key: &str, payload: Payload, created: UnixMillis) -> Result<()> {
    let digests = digests(&payload, service.wanted(), &service.env).await?;
    let request = service.client().await?.put_object();
    let request = with_properties!(request, service, created)
        .bucket(&service.settings.bucket)
        .key(key)
        .set_checksum_crc32(digests.crc32.clone());
    let answer = request.customize().interceptor(Body { payload, digests });
    let answer = answer.send().await;
    let subject = || service.subject(key);
    let answer = answer.map_err(|e| errors::failed("put", &subject(), &e))?;
    require_tag(answer.e_tag(), "put", subject)?;
    Ok(())
}

/// Every success names what was stored. An answer without it came from something that is no S3 service.
pub(super) fn require_tag(
    tag: Option<&str>,
    op: &'static str,
    subject: impl Fn() -> String,
) -> Result<String> {
    match tag {
        Some(tag) if !tag.is_empty() => Ok(tag.to_owned()),
        _ => {
            let text = "upload failed: no ETag returned";
            Err(Error::new(ErrorKind::Other, op, subject(), text))
        }
    }
}
