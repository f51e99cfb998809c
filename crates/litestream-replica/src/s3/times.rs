//! The time of a file beside its bytes: metadata of the object, exact to the millisecond.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use ltx::{HEADER_SIZE, Header};

use super::service::Service;
use super::sse::with_customer_key;
use super::{errors, read};
use crate::env::UnixMillis;
use crate::retry::attempts;
use crate::{FileInfo, Result};

/// The metadata's name.
pub(super) const NAME: &str = "litestream-timestamp";
/// Requests at once.
const HEADS: usize = 50;
/// How long one object is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

/// As Litestream writes it: UTC, as many digits of the second as it takes.
pub(super) fn text(time: UnixMillis) -> String {
    // Only a time beyond the year 9999 is none.
    Timestamp::from_millisecond(time.0)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

fn parse(text: &str) -> Option<UnixMillis> {
    let time: Timestamp = text.parse().ok()?;
    Some(UnixMillis(time.as_millisecond()))
}

/// Puts the exact time in place of the upload's. Files that have gone in the meantime are left out.
pub(super) async fn exact(service: &Service, files: Vec<FileInfo>) -> Result<Vec<FileInfo>> {
    let exact = stream::iter(files).map(|file| of(service, file));
    let exact: Vec<Option<FileInfo>> = exact.buffered(HEADS).try_collect().await?;
    Ok(exact.into_iter().flatten().collect())
}

async fn of(service: &Service, mut file: FileInfo) -> Result<Option<FileInfo>> {
    let key = service.key(file.level, file.name);
    let clock = &*service.env.clock;
    let found = match attempts(clock, || PATIENCE, || head(service, &key)).await {
        Ok(Some(time)) => Ok(Some(time)),
        // Uploaded by something else, or a service that keeps no metadata or answers no HEAD: the file says it as well.
        Ok(None) | Err(_) => attempts(clock, || PATIENCE, || in_header(service, &key)).await,
    };
    match found {
        Ok(Some(time)) => file.created = time,
        Ok(None) => {
            let object = service.subject(&key);
            tracing::warn!(
                object,
                "no LTX file by its header, so its time is that of its upload"
            );
        }
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(file))
}

/// `None` as well where the service knows no such object: an answer to HEAD has no body that could say why, and what was listed is
/// left out only because the service said that it is gone.
async fn head(service: &Service, key: &str) -> Result<Option<UnixMillis>> {
    let request = service.client().await?.head_object();
    let request = with_customer_key!(request, service)
        .bucket(&service.settings.bucket)
        .key(key);
    match request.send().await {
        Ok(answer) => Ok(answer.metadata().and_then(in_metadata)),
        Err(error) if errors::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(errors::failed("head", &service.subject(key), &error)),
    }
}

/// Services return the name in either case.
pub(super) fn in_metadata(metadata: &HashMap<String, String>) -> Option<UnixMillis> {
    let mut named = metadata
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(NAME));
    named.find_map(|(_, value)| parse(value))
}

async fn in_header(service: &Service, key: &str) -> Result<Option<UnixMillis>> {
    let bytes = read::read(service, key, 0, Some(HEADER_SIZE as u64)).await?;
    let header = Header::decode(&bytes).ok();
    Ok(header.map(|header| UnixMillis(header.timestamp_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_litestream_does() {
        for (millis, expected) in [
            (1_795_168_757_463, "2026-11-20T09:59:17.463Z"),
            (1_795_168_757_460, "2026-11-20T09:59:17.46Z"),
            (1_795_168_757_400, "2026-11-20T09:59:17.4Z"),
            (1_795_168_757_000, "2026-11-20T09:59:17Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(UnixMillis(millis)), expected);
            assert_eq!(parse(expected), Some(UnixMillis(millis)));
        }
        assert_eq!(
            parse("2026-11-20T10:59:17.463999+01:00"),
            Some(UnixMillis(1_795_168_757_463))
        );
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn metadata_is_found_in_either_case() {
        let of = |name: &str| HashMap::from([(name.to_owned(), "1970-01-01T00:00:01Z".to_owned())]);
        assert_eq!(
            in_metadata(&of("Litestream-Timestamp")),
            Some(UnixMillis(1000))
        );
        assert_eq!(in_metadata(&of(NAME)), Some(UnixMillis(1000)));
        assert_eq!(in_metadata(&of("other")), None);
    }
}
