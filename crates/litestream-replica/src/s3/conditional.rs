//! Small objects written on a condition: `If-None-Match` and `If-Match`.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};

use super::S3Replica;
use super::errors;
use super::put::require_tag;
use super::sse::with_customer_key;
use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::{Error, ErrorKind, Result};

/// Nothing that is kept so is larger.
const BYTES_MAX: usize = 1 << 20;

#[async_trait::async_trait]
impl Conditional for S3Replica {
    async fn get(&self, name: &str) -> Result<Option<(Bytes, Tag)>> {
        let service = &self.service;
        let key = service.names.beside(name);
        let subject = || service.subject(&key);
        let request = service.client().await?.get_object();
        let request = with_customer_key!(request, service)
            .bucket(&service.settings.bucket)
            .key(&key);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                return match errors::failed("get", &subject(), &error) {
                    error if error.is_not_found() => Ok(None),
                    error => Err(error),
                };
            }
        };
        let tag = require_tag(answer.e_tag(), "get", subject)?;
        let mut body = answer.body;
        let mut all = BytesMut::new();
        while let Some(chunk) = body.next().await {
            all.extend_from_slice(&chunk.map_err(|e| errors::broken("get", &subject(), &e))?);
            if all.len() > BYTES_MAX {
                let text = format!("it has more than {BYTES_MAX} bytes");
                return Err(Error::new(ErrorKind::Invalid, "get", subject(), text));
            }
        }
        Ok(Some((all.freeze(), Tag(tag))))
    }

    async fn put(&self, name: &str, body: Bytes, when: When) -> Result<Outcome> {
        let service = &self.service;
        let key = service.names.beside(name);
        let kind = match name.rsplit_once('.') {
            Some((_, "json")) => "application/json",
            _ => "application/octet-stream",
        };
        let request = service.client().await?.put_object();
        let request = with_customer_key!(request, service)
            .bucket(&service.settings.bucket)
            .key(&key)
            .content_type(kind)
            .body(ByteStream::from(body));
        let request = match when {
            When::Absent => request.if_none_match("*"),
            When::Same(Tag(tag)) => request.if_match(tag),
            When::Always => request,
        };
        match request.send().await {
            Ok(answer) => {
                let subject = || service.subject(&key);
                let tag = require_tag(answer.e_tag(), "put", subject)?;
                Ok(Outcome::Done(Tag(tag)))
            }
            Err(error) => refused("put", &service.subject(&key), &error),
        }
    }

    async fn delete(&self, name: &str, when: &Tag) -> Result<Outcome> {
        let service = &self.service;
        let key = service.names.beside(name);
        let request = service.client().await?.delete_object();
        let request = request
            .bucket(&service.settings.bucket)
            .key(&key)
            .if_match(&when.0);
        match request.send().await {
            Ok(_) => Ok(Outcome::Done(when.clone())),
            Err(error) => refused("delete", &service.subject(&key), &error),
        }
    }
}

/// Another version, none any more, or somebody else at the same moment: the condition does not hold.
fn refused<E>(op: &'static str, subject: &str, error: &SdkError<E, HttpResponse>) -> Result<Outcome>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let is_condition = errors::refusal(op, subject, error).is_some_and(|refusal| {
        matches!(refusal.status, 409 | 412)
            || refusal.is("PreconditionFailed")
            || (refusal.status == 404 && !refusal.is("NoSuchBucket"))
    });
    if is_condition {
        Ok(Outcome::Refused)
    } else {
        Err(errors::failed(op, subject, error))
    }
}
