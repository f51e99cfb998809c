//! Writing objects: at once, or in parts where they are large.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::parts;
use super::service::{Service, bucket_error};
use super::times::TIME;
use crate::env::UnixMillis;
use crate::net::{Answer, Head, Payload, Refusal};
use crate::{Error, ErrorKind, Result, object};

/// The type of all files.
const CONTENT: &str = "application/octet-stream";

/// Writes an object of this content.
pub(super) async fn write(
    service: &Arc<Service>,
    key: &str,
    payload: &Payload,
    created: UnixMillis,
) -> Result<()> {
    if payload.len() > service.part_bytes {
        return parts::write(service, key, payload, created).await;
    }
    let head = properties(Head::new(Method::PUT, service.object(key)), created)?;
    put(service, key, head, payload).await?;
    Ok(())
}

/// What an object carries beside its bytes.
pub(super) fn properties(head: Head, created: UnixMillis) -> Result<Head> {
    let head = head.text("content-type", CONTENT)?;
    match object::stamp(created) {
        Some(stamp) => head.text(TIME, &stamp),
        None => Ok(head),
    }
}

/// Sends bytes that the service checks by their digest; gives their tag.
pub(super) async fn put(
    service: &Service,
    key: &str,
    head: Head,
    payload: &Payload,
) -> Result<String> {
    let digest = payload.md5(service.env()).await?;
    let head = head.text("content-md5", &STANDARD.encode(digest))?;
    let answer = service.send("write", key, head, payload.clone()).await?;
    if !answer.status().is_success() {
        return Err(written(&answer.refusal().await));
    }
    tag(&answer)
}

/// The tag of what is stored, without which nothing is.
pub(super) fn tag(answer: &Answer) -> Result<String> {
    let tag = answer.header("etag").filter(|tag| !tag.is_empty());
    let tag = tag.map(str::to_owned);
    tag.ok_or_else(|| answer.failed(ErrorKind::Unreachable, "the answer has no ETag"))
}

/// Why something was not written.
pub(super) fn written(refusal: &Refusal) -> Error {
    // Damaged on its way.
    if matches!(refusal.code.as_str(), "InvalidDigest" | "BadDigest") {
        return refusal.error_of(ErrorKind::Unreachable);
    }
    bucket_error(refusal)
}
