//! Reading objects by ranges.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};

use super::errors;
use super::service::Service;
use super::sse::with_customer_key;
use crate::Result;
use crate::retry::{Fetch, resumed};

/// Numbers beyond this are none that every service can read.
const OFFSET_MAX: u64 = 1 << 62;

/// An object to read.
struct Object<'a> {
    service: &'a Service,
    key: &'a str,
    subject: String,
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
    };
    if len == Some(0) {
        // Whether it is there matters all the same.
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
            Err(error) if is_beyond_the_end(&error) => return Ok(()),
            Err(error) => return Err(errors::failed("get", &self.subject, &error)),
        };
        self.take(answer, offset, len, into).await
    }
}

impl Object<'_> {
    async fn take(
        &self,
        answer: GetObjectOutput,
        offset: u64,
        len: Option<u64>,
        into: &mut BytesMut,
    ) -> Result<()> {
        // Who does not know ranges sends everything.
        let mut skip = if answer.content_range().is_some() {
            0
        } else {
            offset
        };
        let mut left = len.unwrap_or(u64::MAX);
        let mut body = answer.body;
        while left > 0
            && let Some(chunk) = body.next().await
        {
            let mut chunk = chunk.map_err(|e| errors::broken("get", &self.subject, &e))?;
            let dropped = skip.min(chunk.len() as u64);
            skip -= dropped;
            chunk = chunk.slice(dropped as usize..);
            chunk.truncate(left.min(chunk.len() as u64) as usize);
            left -= chunk.len() as u64;
            into.extend_from_slice(&chunk);
        }
        Ok(())
    }
}

fn range(offset: u64, len: Option<u64>) -> String {
    let offset = offset.min(OFFSET_MAX);
    match len.map(|len| offset.saturating_add(len)) {
        // `len` is not 0.
        Some(end) if end <= OFFSET_MAX => format!("bytes={offset}-{}", end - 1),
        _ => format!("bytes={offset}-"),
    }
}

fn is_beyond_the_end(error: &SdkError<GetObjectError, HttpResponse>) -> bool {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    status == Some(416)
}

#[cfg(test)]
mod tests {
    use super::range;

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
    }
}
