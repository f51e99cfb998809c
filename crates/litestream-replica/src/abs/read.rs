//! Reading blobs, on one version from the first byte to the last.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::AbsReplica;
use super::service::Service;
use crate::net::{Head, Payload, range};
use crate::retry::{Fetch, resumed};
use crate::{ErrorKind, Result};

impl AbsReplica {
    pub(super) async fn read_blob(
        &self,
        key: &str,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let blob = Blob {
            service: &self.service,
            key,
            version: Mutex::default(),
        };
        resumed(&blob, offset, len, &*self.env().clock).await
    }
}

struct Blob<'a> {
    service: &'a Service,
    key: &'a str,
    /// What the first answer was of.
    version: Mutex<Option<String>>,
}

#[async_trait::async_trait]
impl Fetch for Blob<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let mut head = Head::new(Method::GET, self.service.blob(self.key));
        if let Some(range) = range::wanted(offset, len) {
            head = head.header("range", range);
        }
        let version = self.version.lock().clone();
        if let Some(version) = &version {
            head = head.text("if-match", version)?;
        }
        let answer = self
            .service
            .send("read", self.key, head, Payload::empty())
            .await?;
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
