//! Reading objects, on one generation from the first byte to the last.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::GsReplica;
use super::service::Service;
use crate::net::{Head, Payload, range};
use crate::retry::{Fetch, resumed};
use crate::{ErrorKind, Result};

/// The header that names the version of what is answered.
pub(super) const GENERATION: &str = "x-goog-generation";

impl GsReplica {
    pub(super) async fn read_object(
        &self,
        key: &str,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let object = Object {
            service: &self.service,
            key,
            generation: Mutex::default(),
        };
        resumed(&object, offset, len, &*self.env().clock).await
    }
}

struct Object<'a> {
    service: &'a Service,
    key: &'a str,
    /// What the first answer was of.
    generation: Mutex<Option<String>>,
}

#[async_trait::async_trait]
impl Fetch for Object<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let mut url = format!("{}?alt=media", self.service.object(self.key));
        let generation = self.generation.lock().clone();
        if let Some(generation) = &generation {
            url = format!("{url}&ifGenerationMatch={generation}");
        }
        let mut head = Head::new(Method::GET, url);
        if let Some(range) = range::wanted(offset, len) {
            head = head.header("range", range);
        }
        let answer = self.service.send("read", self.key, head, Payload::empty());
        let answer = answer.await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            let text = "it was replaced while it was read";
            return Err(answer.failed(ErrorKind::Unreachable, text));
        }
        if answer.status() == StatusCode::NOT_FOUND {
            // First the place of this request is given back: where there is only one, the next would wait for ever.
            let error = answer.refusal().await.error();
            self.service.check_bucket("read").await?;
            return Err(error);
        }
        if generation.is_none() && answer.status().is_success() {
            *self.generation.lock() = answer.header(GENERATION).map(str::to_owned);
        }
        range::take(answer, offset, len, into).await
    }
}
