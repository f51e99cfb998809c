//! The time of a file beside its bytes: metadata of the object, exact to the millisecond.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use ltx::{HEADER_SIZE, Header};

use super::read;
use super::service::Service;
use crate::env::UnixMillis;
use crate::key::Names;
use crate::net::{Answer, Head, Payload};
use crate::object::stamp_millis;
use crate::retry::attempts;
use crate::{FileInfo, Result};

/// The header that carries it.
pub(super) const TIME: &str = "x-oss-meta-litestream-timestamp";
/// Requests at once.
const HEADS: usize = 50;
/// How long one object is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the exact time in place of the upload's. Files that have gone in the meantime are left out.
pub(super) async fn exact(
    service: &Service,
    names: &Names,
    files: Vec<FileInfo>,
) -> Result<Vec<FileInfo>> {
    let exact = stream::iter(files).map(|file| {
        let key = names.file(file.level, file.name);
        async move { of(service, &key, file).await }
    });
    let exact: Vec<Option<FileInfo>> = exact.buffered(HEADS).try_collect().await?;
    Ok(exact.into_iter().flatten().collect())
}

async fn of(service: &Service, key: &str, mut file: FileInfo) -> Result<Option<FileInfo>> {
    let clock = &*service.env().clock;
    let asked = async || Ok(time(&head(service, key).await?));
    let found = match attempts(clock, || PATIENCE, asked).await {
        Ok(Some(time)) => Ok(Some(time)),
        // Uploaded by something else, or an answer without a body, which can't say why: the file says it as well.
        Ok(None) | Err(_) => attempts(clock, || PATIENCE, || in_header(service, key)).await,
    };
    match found {
        Ok(Some(time)) => file.created = time,
        Ok(None) => {
            let text = "no LTX file by its header, so its time is that of its upload";
            tracing::warn!(key, "{text}");
        }
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(file))
}

/// What the service says of an object.
pub(super) async fn head(service: &Service, key: &str) -> Result<Answer> {
    let head = Head::new(Method::HEAD, service.object(key));
    let answer = service.send("head", key, head, Payload::empty()).await?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(answer.refusal().await.error())
}

/// The time that an object carries.
pub(super) fn time(answer: &Answer) -> Option<UnixMillis> {
    answer.header(TIME).and_then(stamp_millis)
}

async fn in_header(service: &Service, key: &str) -> Result<Option<UnixMillis>> {
    let bytes = read::read(service, key, 0, Some(HEADER_SIZE as u64)).await?;
    let header = Header::decode(&bytes).ok();
    Ok(header.map(|header| UnixMillis(header.timestamp_ms)))
}
