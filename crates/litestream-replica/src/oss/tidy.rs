//! Clears away the parts of uploads that nobody will end any more: they are invisible, and paid for.

use std::time::Duration;

use http::Method;
use ltx::FileName;

use super::parts;
use super::service::{Service, encoded};
use crate::key::Names;
use crate::net::{Head, Payload, Xml};
use crate::object::stamp_millis;
use crate::{Error, ErrorKind, Level, Result};

/// Younger ones may still be under way.
const AGE: Duration = Duration::from_hours(24);
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Aborts old uploads of files of this replica. Where they can't be listed, nothing is done.
pub(super) async fn tidy(service: &Service, names: &Names) -> Result<()> {
    let before = service.env().clock.now().0 - AGE.as_millis() as i64;
    let prefix = common_prefix(names);
    let mut marker = (String::new(), String::new());
    loop {
        let page = match page(service, &prefix, &marker).await {
            Ok(page) => page,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "uploads that were not ended can't be listed");
                return Ok(());
            }
        };
        for upload in page.children("Upload") {
            let (key, id) = (upload.text_of("Key"), upload.text_of("UploadId"));
            let begun = stamp_millis(upload.text_of("Initiated"));
            if begun.is_some_and(|at| at.0 < before) && is_ours(names, key) {
                match parts::abort_upload(service, key, id).await {
                    Ok(()) => tracing::info!(key, "aborted an upload that was never ended"),
                    Err(error) => tracing::debug!(%error, "an old upload can't be aborted"),
                }
            }
        }
        let next = (
            page.text_of("NextKeyMarker").to_owned(),
            page.text_of("NextUploadIdMarker").to_owned(),
        );
        if page.text_of("IsTruncated").trim() != "true" || next == marker {
            return Ok(());
        }
        marker = next;
    }
}

async fn page(service: &Service, prefix: &str, marker: &(String, String)) -> Result<Xml> {
    let url = format!(
        "{}?uploads&prefix={}&key-marker={}&upload-id-marker={}",
        service.bucket(),
        encoded(prefix),
        encoded(&marker.0),
        encoded(&marker.1)
    );
    let head = Head::new(Method::GET, url);
    let answer = service.succeed("list uploads", prefix, head, Payload::empty());
    let answer = answer.await?.bytes(PAGE_BYTES_MAX).await?;
    Xml::parse(&answer).map_err(|text| Error::new(ErrorKind::Other, "list uploads", prefix, text))
}

/// What the names of all levels begin with.
fn common_prefix(names: &Names) -> String {
    let level = names.level(Level::L0);
    level.strip_suffix("0000/").unwrap_or_default().to_owned()
}

/// Whether a key is exactly that of a file of this replica.
fn is_ours(names: &Names, key: &str) -> bool {
    Level::all().any(|level| {
        let name = key.strip_prefix(&names.level(level));
        name.is_some_and(|name| FileName::parse(name).is_some())
    })
}
