//! Reading objects by ranges.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};

use super::errors;
use super::service::Service;
use super::sse::with_customer_key;
use crate::retry::{Fetch, resumed};
use crate::{Error, ErrorKind, Result};

/// Numbers beyond this are none that every service can read.
const OFFSET_MAX: u64 = 1 << 62;

/// An object to read.
struct Object<'a> {
    service: &'a Service,
    key: &'a str,
    subject: String,
    /// Where the caller begins.
    start: u64,
}

/// Reads as [`crate::Replica::read`].
pub(super) async fn read(
    service: &Service,
    key: &str,
    offset: u64,
    len: Option<u64>,
) -> Result<Bytes> {
    let object = Object {
        service,
        key,
        subject: service.subject(key),
        start: offset,
    };
    if len == Some(0) {
        // Whether it is there matters all the same.
        let object = Object { start: 0, ..object };
        object.fetch(0, Some(1), &mut BytesMut::new()).await?;
        return Ok(Bytes::new());
    }
    resumed(&object, offset, len, &*service.env.clock).await
}

#[async_trait::async_trait]
impl Fetch for Object<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let request = self.service.client().await?.get_object();
        let request = with_customer_key!(request, self.service)
            .bucket(&self.service.settings.bucket)
            .key(self.key)
            .range(range(offset, len));
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if errors::status(&error) == Some(416) => {
                return self.beyond_the_end(offset, &error);
            }
            Err(error) => return Err(errors::failed("get", &self.subject, &error)),
        };
        self.take(answer, offset, len, into).await
    }
}

impl Object<'_> {
    /// Nothing is there to read where the caller begins; but where a read goes on, there were more bytes a moment ago, unless it had all.
    fn beyond_the_end(
        &self,
        offset: u64,
        error: &SdkError<GetObjectError, HttpResponse>,
    ) -> Result<()> {
        let range = error
            .raw_response()
            .and_then(|raw| raw.headers().get("content-range"));
        let total = range.and_then(|text| text.trim().strip_prefix("bytes */")?.parse().ok());
        if offset == self.start || total == Some(offset) {
            return Ok(());
        }
        let text = format!("416: there is no byte {offset} any more");
        Err(self.error(ErrorKind::Unreachable, text))
    }

    fn error(&self, kind: ErrorKind, text: String) -> Error {
        Error::new(kind, "get", self.subject.as_str(), text)
    }

    async fn take(
        &self,
        answer: GetObjectOutput,
        offset: u64,
        len: Option<u64>,
        into: &mut BytesMut,
    ) -> Result<()> {
        // Who does not know ranges sends everything.
        let (mut skip, end) = match answer.content_range() {
            None => (offset, None),
            Some(text) => match content_range(text) {
                Some((first, _)) if first != offset.min(OFFSET_MAX) => {
                    let text = format!("byte {offset} was asked for, and byte {first} came");
                    return Err(self.error(ErrorKind::Corrupt, text));
                }
                Some((_, end)) => (0, Some(end)),
                None => (0, None),
            },
        };
        let before = into.len();
        let mut left = len.unwrap_or(u64::MAX);
        let mut unread = answer.content_length.map(i64::cast_unsigned);
        let mut body = answer.body;
        // After the last byte comes what its checksum says.
        while (left > 0 || unread == Some(0))
            && let Some(chunk) = body.next().await
        {
            let mut chunk = chunk.map_err(|e| {
                if !errors::is_intact(&e) {
                    into.truncate(before);
                }
                errors::broken("get", &self.subject, &e)
            })?;
            unread = unread.map(|unread| unread.saturating_sub(chunk.len() as u64));
            let dropped = skip.min(chunk.len() as u64);
            skip -= dropped;
            chunk = chunk.slice(dropped as usize..);
            chunk.truncate(left.min(chunk.len() as u64) as usize);
            left -= chunk.len() as u64;
            into.extend_from_slice(&chunk);
        }
        let at = offset.saturating_add((into.len() - before) as u64);
        if left > 0 && end.is_some_and(|end| at < end) {
            let text = "the service sent less than was asked for".to_owned();
            return Err(self.error(ErrorKind::Unreachable, text));
        }
        Ok(())
    }
}

/// Where `bytes FIRST-LAST/TOTAL` begins, and where the object ends; where this range does, if that is not known.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (first, rest) = text.trim().strip_prefix("bytes ")?.split_once('-')?;
    let (last, total) = rest.split_once('/')?;
    let last: u64 = last.trim().parse().ok()?;
    let end = total.trim().parse().unwrap_or(last.saturating_add(1));
    Some((first.trim().parse().ok()?, end))
}

fn range(offset: u64, len: Option<u64>) -> String {
    let offset = offset.min(OFFSET_MAX);
    match len.map(|len| offset.saturating_add(len)) {
        // `len` is not 0.
        Some(end) if end <= OFFSET_MAX => format!("bytes={offset}-{}", end - 1),
        _ => format!("bytes={offset}-"),
    }
}

#[cfg(test)]
mod tests {
    use super::{content_range, range};

    #[test]
    fn ranges() {
        for (offset, len, expected) in [
            (0, None, "bytes=0-"),
            (5, Some(1), "bytes=5-5"),
            (5, Some(10), "bytes=5-14"),
            (1, Some(u64::MAX), "bytes=1-"),
            (u64::MAX, Some(u64::MAX), "bytes=4611686018427387904-"),
        ] {
            assert_eq!(range(offset, len), expected);
        }
        assert_eq!(content_range("bytes 5-14/100"), Some((5, 100)));
        assert_eq!(content_range("bytes 5-14/*"), Some((5, 15)));
        assert_eq!(content_range("5-14/100"), None);
    }
}
