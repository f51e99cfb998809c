//! Blobs that are written on a condition.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::AbsReplica;
use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::net::{Answer, Head, Payload};
use crate::{ErrorKind, Result};

/// More is no small object.
const BYTES_MAX: usize = 1 << 20;

#[async_trait::async_trait]
impl Conditional for AbsReplica {
    async fn get(&self, name: &str) -> Result<Option<(Bytes, Tag)>> {
        let key = self.names.other(name);
        let head = Head::new(Method::GET, self.service.blob(&key));
        let answer = self
            .service
            .send("read", &key, head, Payload::empty())
            .await?;
        if !answer.status().is_success() {
            let error = answer.refusal().await.object_error();
            return if error.is_not_found() {
                Ok(None)
            } else {
                Err(error)
            };
        }
        let tag = tag(&answer)?;
        Ok(Some((answer.bytes(BYTES_MAX).await?, tag)))
    }

    async fn put(&self, name: &str, body: Bytes, when: When) -> Result<Outcome> {
        let key = self.names.other(name);
        let mut head = Head::new(Method::PUT, self.service.blob(&key))
            .text("x-ms-blob-type", "BlockBlob")?
            .text("content-type", "application/json")?;
        head = match &when {
            When::Absent => head.text("if-none-match", "*")?,
            When::Same(Tag(tag)) => head.text("if-match", tag)?,
            When::Always => head,
        };
        let answer = self
            .service
            .send("write", &key, head, Payload::Bytes(body))
            .await?;
        if answer.status() == StatusCode::CREATED {
            return Ok(Outcome::Done(tag(&answer)?));
        }
        refused(answer).await
    }

    async fn delete(&self, name: &str, when: &Tag) -> Result<Outcome> {
        let key = self.names.other(name);
        let head = Head::new(Method::DELETE, self.service.blob(&key));
        let head = head.text("if-match", &when.0)?;
        let answer = self
            .service
            .send("delete", &key, head, Payload::empty())
            .await?;
        if answer.status().is_success() {
            return Ok(Outcome::Done(when.clone()));
        }
        refused(answer).await
    }
}

fn tag(answer: &Answer) -> Result<Tag> {
    let tag = answer.header("etag").map(|tag| Tag(tag.to_owned()));
    tag.ok_or_else(|| answer.failed(ErrorKind::Other, "the answer has no ETag"))
}

async fn refused(answer: Answer) -> Result<Outcome> {
    let refusal = answer.refusal().await;
    let codes = ["ConditionNotMet", "BlobAlreadyExists", "BlobNotFound"];
    if refusal.status == 412 || codes.contains(&refusal.code.as_str()) {
        return Ok(Outcome::Refused);
    }
    Err(refusal.error())
}
