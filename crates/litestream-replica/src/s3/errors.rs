//! What the SDK reports, as our errors: operation, key, status, the service's own word, request id, and what to do.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::net::{Refusal, Xml, chain, classify};
use crate::{Error, ErrorKind};

const NO_CREDENTIALS: &str = "set access-key-id and secret-access-key, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
     or a profile, or run where a role is attached";
const NOT_LOADED: &str = "see whether what gives the credentials (profile, role, web identity, metadata service) works, or set \
     access-key-id and secret-access-key";

/// A request about an object, or about an upload of one.
pub(super) fn failed<E>(op: &'static str, subject: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match refusal(op, subject, error) {
        Some(refusal) => with_region(refusal.error(), &refusal, error),
        None => unanswered(op, subject, error, error.raw_response()),
    }
}

/// A request about the bucket: nothing of it is missing in the sense of a missing file.
pub(super) fn failed_bucket<E>(
    op: &'static str,
    subject: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match refusal(op, subject, error) {
        Some(mut refusal) if kind(&refusal) == ErrorKind::NotFound => {
            // A service that says nothing else than 404 means the bucket.
            "NoSuchBucket".clone_into(&mut refusal.code);
            refusal.error()
        }
        _ => failed(op, subject, error),
    }
}

/// What the service answered, if it did.
pub(super) fn refusal<E>(
    op: &'static str,
    subject: &str,
    error: &SdkError<E, HttpResponse>,
) -> Option<Refusal>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(service) = error else {
        return None;
    };
    let (raw, meta) = (service.raw(), service.err().meta());
    let is_success = raw.status().is_success() && meta.code().is_none();
    if is_success {
        // The SDK could not read it.
        return None;
    }
    let header = |name: &str| raw.headers().get(name).unwrap_or_default().to_owned();
    let mut request_id = header("x-amz-request-id");
    if request_id.is_empty() {
        let named = meta.extra("aws_request_id").unwrap_or_default();
        named.clone_into(&mut request_id);
    }
    let message = meta.message().unwrap_or_default();
    Some(Refusal {
        op,
        subject: subject.to_owned(),
        status: raw.status().as_u16(),
        code: meta.code().unwrap_or_default().to_owned(),
        message: message.lines().next().unwrap_or_default().to_owned(),
        request_id,
        date: header("date"),
    })
}

/// What it means for the caller.
pub(super) fn kind(refusal: &Refusal) -> ErrorKind {
    classify(refusal.status, &refusal.code)
}

/// Names the bucket's region where the service told it.
fn with_region<E>(error: Error, refusal: &Refusal, of: &SdkError<E, HttpResponse>) -> Error {
    let elsewhere = matches!(refusal.status, 301 | 307 | 400)
        && error.kind() == ErrorKind::Invalid
        && !refusal.is("NoSuchBucket");
    let region = of
        .raw_response()
        .and_then(|raw| raw.headers().get("x-amz-bucket-region"));
    match region {
        Some(region) if elsewhere => error.with_hint(format!(
            "the bucket lies in {region}: set region to {region}"
        )),
        _ => error,
    }
}

/// The answer of a request that succeeded, but not in the words that the SDK insists on.
pub(super) fn unread<E>(error: &SdkError<E, HttpResponse>) -> Option<Xml> {
    let raw = error
        .raw_response()
        .filter(|raw| raw.status().is_success())?;
    Xml::parse(raw.body().bytes()?).ok()
}

/// No answer, or one that can't be understood.
fn unanswered(
    op: &'static str,
    subject: &str,
    error: &(dyn StdError + 'static),
    raw: Option<&HttpResponse>,
) -> Error {
    let ours = find::<Error>(error);
    if let Some(credentials) = find::<CredentialsError>(error) {
        return without_credentials(op, subject, credentials, ours);
    }
    if let Some(ours) = ours {
        return ours.clone().of(op, subject);
    }
    let text = error.source().map_or_else(|| error.to_string(), chain);
    let Some(raw) = raw else {
        return Error::new(ErrorKind::Invalid, op, subject, text);
    };
    let status = raw.status().as_u16();
    let kind = if raw.status().is_success() {
        ErrorKind::Other
    } else {
        classify(status, "")
    };
    let text = format!("{status}: the answer can't be understood: {text}");
    Error::new(kind, op, subject, text).with_hint(
        "see whether this endpoint really is an S3 service, and nothing between answers for it",
    )
}

fn without_credentials(
    op: &'static str,
    subject: &str,
    error: &CredentialsError,
    ours: Option<&Error>,
) -> Error {
    let may_pass = ours.is_some_and(Error::is_retryable);
    let (kind, hint) = match error {
        CredentialsError::ProviderTimedOut(_) => (ErrorKind::Unreachable, NOT_LOADED),
        CredentialsError::CredentialsNotLoaded(_) => (ErrorKind::Forbidden, NO_CREDENTIALS),
        _ if may_pass => (ErrorKind::Unreachable, NOT_LOADED),
        _ => (ErrorKind::Forbidden, NOT_LOADED),
    };
    // The SDK writes a line for everything that it tried.
    let tried = chain(error);
    let tried: Vec<&str> = tried.lines().map(str::trim).collect();
    let text = format!("no credentials: {}", tried.join("; "));
    Error::new(kind, op, subject, text).with_hint(hint)
}

/// The first of that type among an error and its causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}

/// What broke while a body came.
pub(super) fn broken(op: &'static str, subject: &str, error: &(dyn StdError + 'static)) -> Error {
    match find::<Error>(error) {
        Some(ours) => ours.clone().of(op, subject),
        None => Error::new(ErrorKind::Unreachable, op, subject, chain(error)),
    }
}
