//! Writing objects: at once, or by a session that goes on where it broke.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::GsReplica;
use super::listing::TIME;
use super::service::encoded;
use crate::env::UnixMillis;
use crate::net::{Head, Payload, Refusal};
use crate::{Error, ErrorKind, Result, object};

/// An object up to this size is sent by one request.
const SINGLE_BYTES_MAX: u64 = 16 << 20;
const CONTENT: &str = "application/octet-stream";
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl GsReplica {
    pub(super) async fn upload(
        &self,
        key: &str,
        payload: Payload,
        created: UnixMillis,
    ) -> Result<()> {
        let mut meta = self.meta(key, &payload).await?;
        meta["contentType"] = CONTENT.into();
        if let Some(stamp) = object::stamp(created) {
            meta["metadata"] = json!({ TIME: stamp });
        }
        let size = payload.len();
        let object = if size <= SINGLE_BYTES_MAX {
            let object = self.put(key, &meta, payload, "").await?;
            object.unwrap_or_default()
        } else {
            self.send_session(key, &meta, &payload).await?
        };
        let stored = object.get("size").and_then(Value::as_str);
        if stored.is_some_and(|stored| stored.parse() != Ok(size)) {
            let text = format!(
                "{size} bytes were sent, and {} are stored",
                stored.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Unreachable, "write", key, text));
        }
        Ok(())
    }

    /// What an object is called, and the checksum by which the service sees that it has all of it.
    pub(super) async fn meta(&self, key: &str, payload: &Payload) -> Result<Value> {
        let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let digest = payload.fold(self.env(), digest, Digest::update);
        let sum = digest.await?.finalize() as u32;
        let sum = STANDARD.encode(sum.to_be_bytes());
        Ok(json!({ "name": key, "crc32c": sum }))
    }

    /// Sends an object by one request; `condition` is what follows in the URL. `None` if it does not hold.
    pub(super) async fn put(
        &self,
        key: &str,
        meta: &Value,
        payload: Payload,
        condition: &str,
    ) -> Result<Option<Value>> {
        let entropy = &self.env().entropy;
        let boundary = format!("{:016x}{:016x}", entropy.next_u64(), entropy.next_u64());
        let content = meta.get("contentType").and_then(Value::as_str);
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{meta}\r\n--{boundary}\r\nContent-Type: {}\r\n\r\n",
            content.unwrap_or(CONTENT)
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let text = |text: String| Payload::Bytes(Bytes::from(text));
        let body = Payload::Chain(vec![text(before), payload, text(after)]);
        let url = format!(
            "{}?uploadType=multipart&name={}&prettyPrint=false{condition}",
            self.service.uploads(),
            encoded(key)
        );
        let head = Head::new(Method::POST, url);
        let head = head.text(
            "content-type",
            &format!("multipart/related; boundary={boundary}"),
        )?;
        let answer = self.service.send("write", key, head, body).await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED && !condition.is_empty() {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(self.written(&answer.refusal().await));
        }
        stored(key, &answer.bytes(ANSWER_BYTES_MAX).await?).map(Some)
    }

    /// Why something was not written.
    pub(super) fn written(&self, refusal: &Refusal) -> Error {
        // Damaged on its way: it goes better from the beginning.
        if refusal.status == 400 && refusal.message.contains("match calculated") {
            return refusal.error_of(ErrorKind::Unreachable);
        }
        self.service.bucket_error(refusal)
    }
}

/// What the service says of an object that it has stored.
pub(super) fn stored(key: &str, answer: &[u8]) -> Result<Value> {
    let object: Option<Value> = serde_json::from_slice(answer).ok();
    object.filter(Value::is_object).ok_or_else(|| {
        let text = "the service does not say what it has stored";
        Error::new(ErrorKind::Unreachable, "write", key, text)
    })
}
