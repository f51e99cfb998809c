//! Deleting, a thousand objects by one request where the service can do that.
//!
//! Promise: success means that the service named every object as deleted; what it did not name is deleted alone, and asked for no third time.

use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::service::Service;
use super::{errors, sign};
use crate::net::{classify, hint};
use crate::{Error, ErrorKind, Result};

/// More no request may name.
const BATCH: usize = 1000;
/// Requests at once where each names one object.
const ALONE: usize = 8;
/// How many failures are told.
const TOLD_MAX: usize = 5;

/// Deletes the objects of these keys.
pub(super) async fn delete(service: &Service, keys: &[String]) -> Result<()> {
    for batch in keys.chunks(BATCH) {
        match batch {
            [key] => one(service, key).await?,
            _ => many(service, batch).await?,
        }
    }
    Ok(())
}

/// Deletes an object. One that is not there is no error.
async fn one(service: &Service, key: &str) -> Result<()> {
    let request = service.client().await?.delete_object();
    let request = request.bucket(&service.settings.bucket).key(key);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => match errors::failed("delete", &service.subject(key), &error) {
            error if error.is_not_found() => Ok(()),
            error => Err(error),
        },
    }
}

async fn each(service: &Service, keys: &[&String]) -> Result<()> {
    let each: Vec<_> = keys.iter().map(|key| one(service, key)).collect();
    stream::iter(each)
        .buffer_unordered(ALONE)
        .try_collect()
        .await
}

async fn many(service: &Service, keys: &[String]) -> Result<()> {
    let request = service.client().await?.delete_objects();
    let mut list = Delete::builder().quiet(false);
    for key in keys {
        let object = ObjectIdentifier::builder().key(key).build();
        list = list.objects(object.map_err(|e| Error::invalid(format_args!("s3: {e}")))?);
    }
    let list = list.build();
    let list = list.map_err(|e| Error::invalid(format_args!("s3: {e}")))?;
    let with_md5 = service.settings.content_md5;
    let request = request.bucket(&service.settings.bucket).delete(list);
    let request = request.customize().mutate_request(move |request| {
        let sum = request.body().bytes().map(sign::content_md5);
        if let Some(sum) = sum.filter(|_| with_md5) {
            request.headers_mut().insert("content-md5", sum);
        }
    });
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            let subject = service.subject(&keys[0]);
            let refusal = errors::refusal("delete", &subject, &error);
            if refusal.is_some_and(|r| matches!(r.status, 405 | 501) || r.is("NotImplemented")) {
                tracing::debug!("the service deletes no several objects by one request");
                return each(service, &keys.iter().collect::<Vec<_>>()).await;
            }
            return Err(errors::failed_bucket("delete", &subject, &error));
        }
    };
    let unnamed = check(service, keys, &answer)?;
    if unnamed.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        asked = keys.len(),
        missing = unnamed.len(),
        example = unnamed[0],
        "the service did not say that it deleted all objects, deleting the others one by one"
    );
    each(service, &unnamed).await
}

/// The keys of which the answer says nothing; what it says it could not delete is an error.
fn check<'a>(
    service: &Service,
    keys: &'a [String],
    answer: &DeleteObjectsOutput,
) -> Result<Vec<&'a String>> {
    let failures: Vec<_> = answer
        .errors()
        .iter()
        .filter(|e| e.code() != Some("NoSuchKey"))
        .collect();
    let gone = answer.errors().iter().filter_map(|e| e.key());
    let named: std::collections::HashSet<&str> = answer
        .deleted()
        .iter()
        .filter_map(|d| d.key())
        .chain(gone)
        .collect();
    let unnamed = keys.iter().filter(|key| !named.contains(key.as_str()));
    let Some(first) = failures.first() else {
        return Ok(unnamed.collect());
    };
    // An answer about single objects has no status of its own.
    let code = first.code().unwrap_or_default();
    let kind = match classify(0, code) {
        ErrorKind::Other if code == "AccessDenied" => ErrorKind::Forbidden,
        kind => kind,
    };
    let told = failures.iter().take(TOLD_MAX).map(|e| {
        let text = [e.key(), e.code(), e.message()];
        let text: Vec<&str> = text.into_iter().flatten().collect();
        text.join(": ")
    });
    let mut text = format!(
        "{} of {} objects could not be deleted: {}",
        failures.len(),
        keys.len(),
        told.collect::<Vec<_>>().join("; ")
    );
    if failures.len() > TOLD_MAX {
        text.push_str("; …");
    }
    let subject = service.subject(first.key().unwrap_or_default());
    let error = Error::new(kind, "delete", subject, text);
    Err(match hint(0, code) {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}
