//! Requests to a container: where blobs are, and what every request carries.

use std::sync::atomic::AtomicBool;

use http::{HeaderValue, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_azure_storage::{Credential, RequestSigner};
use reqsign_core::Signer;

use super::credentials;
use crate::env::Env;
use crate::net::{Answer, Client, Head, Payload, uri};
use crate::{Error, Result, settings, signing};

/// Old enough for every service and emulator in use, new enough for blocks of any size.
const VERSION: &str = "2021-12-02";
/// What stays as it is in a name; slashes do not, as Litestream sends them.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(super) struct Service {
    client: Client,
    signer: Signer<Credential>,
    /// The container's URL.
    container: String,
    /// The account has no tiers: naming one is refused.
    pub(super) tierless: AtomicBool,
}

/// A name or value as it stands in a URL.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NAME).to_string()
}

impl Service {
    pub(super) fn new(settings: &settings::Abs, client: Client) -> Result<Service> {
        let base = match (&settings.endpoint, &settings.account_name) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
            (None, Some(account)) => format!("https://{account}.blob.core.windows.net"),
            (None, None) => {
                return Err(Error::invalid(
                    "abs: account name is required when endpoint is not specified",
                ));
            }
        };
        let container = format!("{base}/{}", encoded(&settings.bucket));
        uri(&container)?;
        let provider = credentials::provider(settings, &client);
        let context = signing::context(&client);
        Ok(Service {
            signer: Signer::new(context, provider, RequestSigner::new()),
            client,
            container,
            tierless: AtomicBool::new(false),
        })
    }

    pub(super) fn env(&self) -> &Env {
        self.client.env()
    }

    /// The URL of a blob.
    pub(super) fn blob(&self, key: &str) -> String {
        format!("{}/{}", self.container, encoded(key))
    }

    /// The container's URL.
    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// Signs and sends a request. An answer of any status is one.
    pub(super) async fn send(
        &self,
        op: &'static str,
        subject: &str,
        head: Head,
        body: Payload,
    ) -> Result<Answer> {
        let mut parts = head.parts(body.len())?;
        let version = HeaderValue::from_static(VERSION);
        parts.headers.insert("x-ms-version", version);
        let signed = self.signer.sign(&mut parts, None).await;
        signed.map_err(|e| signing::failed(op, subject, &e))?;
        let request = Request::from_parts(parts, body);
        self.client.send(op, subject, request).await
    }
}
