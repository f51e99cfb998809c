//! Clears away the parts of uploads that nobody will end any more: they are invisible, and paid for.

use std::time::Duration;

use ltx::FileName;

use super::service::Service;
use super::{errors, parts};
use crate::{Level, Result};

/// Younger ones may still be under way.
const AGE: Duration = Duration::from_hours(24);

/// Aborts old uploads of files of this replica. Services that can't list uploads, or don't allow it, are left alone.
pub(super) async fn tidy(service: &Service) -> Result<()> {
    let before = service.env.clock.now().0 - AGE.as_millis() as i64;
    let (mut after_key, mut after_id) = (None::<String>, None::<String>);
    loop {
        let request = service.client().await?.list_multipart_uploads();
        let request = request
            .bucket(&service.settings.bucket)
            .prefix(format!("{}/", service.settings.prefix))
            .set_key_marker(after_key.clone())
            .set_upload_id_marker(after_id.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let subject = service.subject(&service.settings.prefix);
                let error = errors::failed_bucket("list uploads", &subject, &error);
                if error.is_retryable() {
                    return Err(error);
                }
                tracing::debug!(%error, "uploads that were not ended can't be listed");
                return Ok(());
            }
        };
        for upload in answer.uploads() {
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                continue;
            };
            let begun = upload.initiated().and_then(|at| at.to_millis().ok());
            if begun.is_some_and(|at| at < before) && is_ours(service, key) {
                match parts::abort_upload(service, key, id).await {
                    Ok(()) => tracing::info!(key, "aborted an upload that was never ended"),
                    Err(error) => tracing::debug!(%error, "an old upload can't be aborted"),
                }
            }
        }
        if answer.is_truncated() != Some(true) || answer.next_key_marker().is_none() {
            return Ok(());
        }
        let next_key = answer.next_key_marker().map(str::to_owned);
        let next_id = answer.next_upload_id_marker().map(str::to_owned);
        if (&next_key, &next_id) == (&after_key, &after_id) {
            tracing::debug!("the list of uploads goes on where it began");
            return Ok(());
        }
        (after_key, after_id) = (next_key, next_id);
    }
}

/// Whether a key is exactly that of a file of this replica.
fn is_ours(service: &Service, key: &str) -> bool {
    Level::all().any(|level| {
        let name = key.strip_prefix(&service.level(level));
        name.is_some_and(|name| FileName::parse(name).is_some())
    })
}
