//! Objects that are written on a condition: their generation is their tag.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::GsReplica;
use super::read::GENERATION;
use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::net::{Head, Payload};
use crate::{Error, ErrorKind, Result};

/// More is no small object.
const BYTES_MAX: usize = 1 << 20;

#[async_trait::async_trait]
impl Conditional for GsReplica {
    async fn get(&self, name: &str) -> Result<Option<(Bytes, Tag)>> {
        let key = self.names.other(name);
        let head = Head::new(
            Method::GET,
            format!("{}?alt=media", self.service.object(&key)),
        );
        let answer = self.service.send("read", &key, head, Payload::empty());
        let answer = answer.await?;
        if !answer.status().is_success() {
            let error = answer.refusal().await.error();
            if !error.is_not_found() {
                return Err(error);
            }
            self.service.check_bucket("read").await?;
            return Ok(None);
        }
        let tag = answer.header(GENERATION).map(|tag| Tag(tag.to_owned()));
        let tag =
            tag.ok_or_else(|| answer.failed(ErrorKind::Other, "the answer has no generation"))?;
        Ok(Some((answer.bytes(BYTES_MAX).await?, tag)))
    }

    async fn put(&self, name: &str, body: Bytes, when: When) -> Result<Outcome> {
        let key = self.names.other(name);
        let payload = Payload::Bytes(body);
        let mut meta = self.meta(&key, &payload).await?;
        meta["contentType"] = "application/json".into();
        let condition = match &when {
            When::Absent => "&ifGenerationMatch=0".to_owned(),
            When::Same(Tag(tag)) => format!("&ifGenerationMatch={tag}"),
            When::Always => String::new(),
        };
        let Some(object) = GsReplica::put(self, &key, &meta, payload, &condition).await? else {
            return Ok(Outcome::Refused);
        };
        let tag = object.get("generation").and_then(Value::as_str);
        let tag = tag.map(|tag| Tag(tag.to_owned()));
        let missing = || {
            Error::new(
                ErrorKind::Other,
                "write",
                key,
                "the answer has no generation",
            )
        };
        Ok(Outcome::Done(tag.ok_or_else(missing)?))
    }

    async fn delete(&self, name: &str, when: &Tag) -> Result<Outcome> {
        let key = self.names.other(name);
        let url = format!("{}?ifGenerationMatch={}", self.service.object(&key), when.0);
        let head = Head::new(Method::DELETE, url);
        let answer = self.service.send("delete", &key, head, Payload::empty());
        let answer = answer.await?;
        if answer.status().is_success() {
            return Ok(Outcome::Done(when.clone()));
        }
        let refusal = answer.refusal().await;
        match refusal.status {
            412 => Ok(Outcome::Refused),
            404 => {
                self.service.check_bucket("delete").await?;
                Ok(Outcome::Refused)
            }
            _ => Err(refusal.error()),
        }
    }
}
