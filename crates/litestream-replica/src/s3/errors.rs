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

const NO_S3: &str =
    "see whether this endpoint really is an S3 service, and nothing between answers for it";

/// A request about an object, or about an upload of one.
pub(super) fn failed<E>(op: &'static str, subject: &str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match refusal(op, subject, error) {
        // Only the service's own word says that a file is missing: a page of something between says 404 as well.
        Some(refusal) if kind(&refusal) == ErrorKind::NotFound && !refusal.is("NoSuchKey") => {
            refusal.error_of(ErrorKind::Unreachable).with_hint(NO_S3)
        }
        Some(refusal) => with_region(refusal.error(), &refusal, error),
        None => unanswered(op, subject, error, is_ours_to_mend(error)),
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

/// The status of what came as an answer.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

/// Whether the same request would fail for ever before it is sent: a bucket's name or endpoint that makes no sense.
fn is_ours_to_mend<E: StdError + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => {
            // The type is one of a crate that only the SDK knows.
            failure.is_user() || format!("{failure:?}").contains("ResolveEndpointError")
        }
        _ => false,
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
fn unanswered<E: StdError + 'static>(
    op: &'static str,
    subject: &str,
    error: &SdkError<E, HttpResponse>,
    is_ours_to_mend: bool,
) -> Error {
    let ours = find::<Error>(error);
    if let Some(credentials) = find::<CredentialsError>(error) {
        return without_credentials(op, subject, credentials, ours);
    }
    if let Some(ours) = ours {
        return ours.clone().of(op, subject);
    }
    let text = error.source().map_or_else(|| error.to_string(), chain);
    let Some(raw) = error.raw_response() else {
        let kind = if is_ours_to_mend {
            ErrorKind::Invalid
        } else {
            ErrorKind::Unreachable
        };
        return Error::new(kind, op, subject, text);
    };
    let status = raw.status().as_u16();
    let kind = match classify(status, "") {
        _ if raw.status().is_success() => ErrorKind::Other,
        ErrorKind::NotFound => ErrorKind::Unreachable,
        kind => kind,
    };
    let text = format!("{status}: the answer can't be understood: {text}");
    Error::new(kind, op, subject, text).with_hint(NO_S3)
}

fn without_credentials(
    op: &'static str,
    subject: &str,
    error: &CredentialsError,
    ours: Option<&Error>,
) -> Error {
    let may_pass = ours.is_some_and(Error::is_retryable);
    let (kind, hint) = match innermost(error) {
        CredentialsError::ProviderTimedOut(_) => (ErrorKind::Unreachable, NOT_LOADED),
        CredentialsError::CredentialsNotLoaded(_) => (ErrorKind::Forbidden, NO_CREDENTIALS),
        _ if may_pass => (ErrorKind::Unreachable, NOT_LOADED),
        // A service that has a bad minute is no reason to give up.
        error @ CredentialsError::ProviderError(_) if !is_refused(error) => {
            (ErrorKind::Unreachable, NOT_LOADED)
        }
        _ => (ErrorKind::Forbidden, NOT_LOADED),
    };
    // The SDK writes a line for everything that it tried.
    let tried = chain(error);
    let tried: Vec<&str> = tried.lines().map(str::trim).collect();
    let text = format!("no credentials: {}", tried.join("; "));
    Error::new(kind, op, subject, text).with_hint(hint)
}

/// What the last of several providers in a row said.
fn innermost(error: &CredentialsError) -> &CredentialsError {
    let mut at = error;
    while let Some(cause) = at.source().and_then(find::<CredentialsError>) {
        at = cause;
    }
    at
}

/// Whether the service that gives credentials answered that it won't: a status 4xx that does not mean "later". The errors are of types
/// that only the SDK knows, so it is looked for in what they show of the answer.
fn is_refused(error: &CredentialsError) -> bool {
    let shown = format!("{error:?}");
    let later = ["Throttl", "IDPCommunicationError", "RequestLimitExceeded"];
    let mut statuses = shown.split("StatusCode(").skip(1).filter_map(|rest| {
        let digits = rest.split(')').next()?;
        digits.parse::<u16>().ok()
    });
    !later.iter().any(|word| shown.contains(word))
        && statuses.any(|status| (400..500).contains(&status) && !matches!(status, 408 | 429))
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

/// Whether a body that broke came as it was sent: what is not ours says that it is not what its checksum is of.
pub(super) fn is_intact(error: &(dyn StdError + 'static)) -> bool {
    find::<Error>(error).is_some()
}

/// What broke while a body came.
pub(super) fn broken(op: &'static str, subject: &str, error: &(dyn StdError + 'static)) -> Error {
    match find::<Error>(error) {
        Some(ours) => ours.clone().of(op, subject),
        None => Error::new(ErrorKind::Unreachable, op, subject, chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows itself as the SDK's errors do.
    #[derive(Debug)]
    struct Answered(#[allow(dead_code, reason = "shown by Debug")] &'static str);

    impl std::fmt::Display for Answered {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("service error")
        }
    }

    impl StdError for Answered {}

    #[test]
    fn credentials_that_may_come_later_are_told_from_those_that_never_will() {
        use ErrorKind::{Forbidden, Unreachable};
        let provider = |answered| CredentialsError::provider_error(Answered(answered));
        let none = CredentialsError::not_loaded_no_source;
        for (error, expected, hint) in [
            (provider("StatusCode(503)"), Unreachable, NOT_LOADED),
            (provider("StatusCode(429)"), Unreachable, NOT_LOADED),
            (
                provider("StatusCode(400) Throttling"),
                Unreachable,
                NOT_LOADED,
            ),
            (provider("the connection broke"), Unreachable, NOT_LOADED),
            (provider("StatusCode(403)"), Forbidden, NOT_LOADED),
            (
                CredentialsError::provider_error(none()),
                Forbidden,
                NO_CREDENTIALS,
            ),
            (none(), Forbidden, NO_CREDENTIALS),
            (
                CredentialsError::invalid_configuration("x"),
                Forbidden,
                NOT_LOADED,
            ),
        ] {
            let failed = without_credentials("get", "x", &error, None);
            assert_eq!(failed.kind(), expected, "{error:?}");
            assert!(failed.to_string().contains(hint), "{failed}");
        }
    }

    #[test]
    fn what_was_never_sent_is_tried_again_unless_it_never_could_be() {
        use aws_smithy_runtime_api::client::result::ConnectorError;
        type Sdk = SdkError<Answered, HttpResponse>;
        let slow = Answered("identity resolver timed out");
        let slow = Sdk::dispatch_failure(ConnectorError::other(slow.into(), None));
        let wrong = Answered("ResolveEndpointError");
        let wrong = Sdk::dispatch_failure(ConnectorError::other(wrong.into(), None));
        for (error, expected) in [
            (slow, ErrorKind::Unreachable),
            (wrong, ErrorKind::Invalid),
            (Sdk::construction_failure(Answered("")), ErrorKind::Invalid),
            (Sdk::timeout_error(Answered("")), ErrorKind::Unreachable),
        ] {
            let failed = unanswered("get", "x", &error, is_ours_to_mend(&error));
            assert_eq!(failed.kind(), expected, "{error:?}");
        }
    }
}
