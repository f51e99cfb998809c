//! Reading objects, on one version from the first byte to the last.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode};
use parking_lot::Mutex;

use super::service::Service;
use crate::net::{Head, Payload, range};
use crate::retry::{Fetch, resumed};
use crate::{ErrorKind, Result};

pub(super) async fn read(
    service: &Service,
    key: &str,
    offset: u64,
    len: Option<u64>,
) -> Result<Bytes> {
    let object = Object {
        service,
        key,
        version: Mutex::default(),
    };
    resumed(&object, offset, len, &*service.env().clock).await
}

struct Object<'a> {
    service: &'a Service,
    key: &'a str,
    /// What the first answer was of.
    version: Mutex<Option<String>>,
}

#[async_trait::async_trait]
impl Fetch for Object<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let mut head = Head::new(Method::GET, self.service.object(self.key));
        if let Some(range) = range::wanted(offset, len) {
            // Otherwise a range beyond the end is answered by the whole object.
            let standard = HeaderValue::from_static("standard");
            head = head
                .header("range", range)
                .header("x-oss-range-behavior", standard);
        }
        let version = self.version.lock().clone();
        if let Some(version) = &version {
            head = head.text("if-match", version)?;
        }
        let answer = self.service.send("read", self.key, head, Payload::empty());
        let answer = answer.await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            let text = "it was replaced while it was read";
            return Err(answer.failed(ErrorKind::Unreachable, text));
        }
        if version.is_none() && answer.status().is_success() {
            *self.version.lock() = answer.header("etag").map(str::to_owned);
        }
        range::take(answer, offset, len, into).await
    }
}
