//! Requests to a bucket: where objects are, and what every request carries.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::credentials::Login;
use crate::env::Env;
use crate::net::{Answer, Client, Head, Payload, Refusal, hint, uri};
use crate::{Error, ErrorKind, Result};

const HOST: &str = "https://storage.googleapis.com";
/// What stays as it is in a name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(super) struct Service {
    client: Client,
    /// Emulators ask for none.
    pub(super) login: Option<Arc<Login>>,
    host: String,
    bucket: String,
}

/// A name or value as it stands in a URL.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NAME).to_string()
}

impl Service {
    pub(super) fn new(
        bucket: &str,
        emulator: Option<&str>,
        client: Client,
        login: Option<Arc<Login>>,
    ) -> Result<Service> {
        let host = match emulator {
            Some(host) if host.contains("://") => host.to_owned(),
            Some(host) => format!("http://{host}"),
            None => HOST.to_owned(),
        };
        let service = Service {
            client,
            login,
            host: host.trim_end_matches('/').to_owned(),
            bucket: bucket.to_owned(),
        };
        uri(&service.objects())?;
        Ok(service)
    }

    pub(super) fn env(&self) -> &Env {
        self.client.env()
    }

    /// The URL of the bucket's objects.
    pub(super) fn objects(&self) -> String {
        format!("{}/storage/v1/b/{}/o", self.host, encoded(&self.bucket))
    }

    /// The URL of an object.
    pub(super) fn object(&self, key: &str) -> String {
        format!("{}/{}", self.objects(), encoded(key))
    }

    /// The URL at which objects are uploaded.
    pub(super) fn uploads(&self) -> String {
        let bucket = encoded(&self.bucket);
        format!("{}/upload/storage/v1/b/{bucket}/o", self.host)
    }

    /// Sends a request with its login. An answer of any status is one.
    pub(super) async fn send(
        &self,
        op: &'static str,
        subject: &str,
        head: Head,
        body: Payload,
    ) -> Result<Answer> {
        let mut parts = head.parts(body.len())?;
        if let Some(login) = &self.login {
            let headers = login.headers(op, subject, &self.bucket, self.env());
            parts.headers.extend(headers.await?);
        }
        let request = Request::from_parts(parts, body);
        let answer = self.client.send(op, subject, request).await?;
        if let (StatusCode::UNAUTHORIZED, Some(login)) = (answer.status(), &self.login) {
            login.forget();
        }
        Ok(answer)
    }

    /// An error if the bucket is not there: the service tells a missing object and a missing bucket by the same answer.
    pub(super) async fn check_bucket(&self, op: &'static str) -> Result<()> {
        let url = format!(
            "{}?maxResults=1&fields=kind&prettyPrint=false",
            self.objects()
        );
        let head = Head::new(Method::GET, url);
        let answer = self.send(op, &self.bucket, head, Payload::empty()).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.bucket_error(&answer.refusal().await))
    }

    /// Why a request failed that is about no object which could be missing.
    pub(super) fn bucket_error(&self, refusal: &Refusal) -> Error {
        if refusal.status != 404 {
            return refusal.error();
        }
        let refusal = Refusal {
            message: format!("bucket {} doesn't exist", self.bucket),
            ..refusal.clone()
        };
        let error = refusal.error_of(ErrorKind::Invalid);
        error.with_hint(hint(404, "NoSuchBucket").unwrap_or_default())
    }
}
