//! The identity that Azure gives a machine, a container or a function: of the metadata service, or of an App Service.

use std::fmt;
use std::time::Duration;

use http::{Method, Request, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_azure_storage::Credential;
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, ProvideCredential};

use crate::net::{Client, Payload, uri};
use crate::signing::passed_on;
use crate::{Error, ErrorKind, Result};

const METADATA: &str = "http://169.254.169.254";
const RESOURCE: &str = "https://storage.azure.com/";
/// A machine in Azure has its metadata service next door.
const PROBE_MAX: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 1 << 20;
const OP: &str = "ask for a managed identity";

pub(super) struct ManagedIdentity {
    client: Client,
    metadata: String,
}

impl fmt::Debug for ManagedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManagedIdentity")
            .field(&self.metadata)
            .finish()
    }
}

impl ManagedIdentity {
    pub(super) fn new(client: Client) -> ManagedIdentity {
        ManagedIdentity {
            client,
            metadata: METADATA.to_owned(),
        }
    }

    /// Where to ask, and the header that opens the door; `None` outside of Azure.
    async fn place(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<(String, [String; 2])> {
        let resource = escaped(RESOURCE);
        let client = variable("AZURE_CLIENT_ID").filter(|id| !id.is_empty());
        let client = client.map(|id| format!("&client_id={}", escaped(&id)));
        let client = client.unwrap_or_default();
        let service = variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER"));
        if let Some((endpoint, header)) = service {
            let url = format!("{endpoint}?api-version=2019-08-01&resource={resource}{client}");
            return Some((url, ["x-identity-header".to_owned(), header]));
        }
        if !self.is_there().await {
            return None;
        }
        let path = "metadata/identity/oauth2/token";
        let url = format!(
            "{}/{path}?api-version=2018-02-01&resource={resource}{client}",
            self.metadata
        );
        Some((url, ["metadata".to_owned(), "true".to_owned()]))
    }

    /// Without the header that it wants, the service refuses by 400; what answers otherwise is somebody else.
    async fn is_there(&self) -> bool {
        let Ok(url) = uri(&format!("{}/metadata/identity/oauth2/token", self.metadata)) else {
            return false;
        };
        let request = get(url);
        tokio::select! {
            answer = self.client.send(OP, "", request) => answer.is_ok_and(|answer| answer.status() == 400),
            () = self.client.env().clock.sleep_async(PROBE_MAX) => false,
        }
    }

    async fn token(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Credential>> {
        let Some((url, [name, value])) = self.place(variable).await else {
            return Ok(None);
        };
        let mut request = get(uri(&url)?);
        let bad = |e: &dyn fmt::Display| Error::new(ErrorKind::Invalid, OP, "", e);
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(&e))?;
        let value = http::HeaderValue::from_str(&value).map_err(|e| bad(&e))?;
        request.headers_mut().insert(name, value);
        let answer = self.client.send(OP, "", request).await?;
        if !answer.status().is_success() {
            let refusal = answer.refusal().await;
            // A machine without an identity says so by 400.
            if refusal.status == 400 {
                tracing::debug!(error = %refusal.error(), "abs: no managed identity");
                return Ok(None);
            }
            // 404 and 410 pass: the service starts or is renewed.
            let passes = matches!(refusal.status, 404 | 410);
            return Err(if passes {
                refusal.error_of(ErrorKind::Unreachable)
            } else {
                refusal.error()
            });
        }
        let answer = answer.bytes(ANSWER_BYTES_MAX).await?;
        match credential(&answer) {
            Some(credential) => Ok(Some(credential)),
            None => Err(Error::new(
                ErrorKind::Other,
                OP,
                "",
                "the answer is no token",
            )),
        }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn get(url: Uri) -> Request<Payload> {
    let mut request = Request::new(Payload::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url;
    request
}

/// The time is a number in one service and text in another.
fn credential(answer: &[u8]) -> Option<Credential> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let token = answer.get("access_token")?.as_str()?;
    let expires = answer.get("expires_on")?;
    let seconds = expires
        .as_i64()
        .or_else(|| expires.as_str()?.parse().ok())?;
    let expires = Timestamp::from_second(seconds).ok()?;
    Some(Credential::with_bearer_token(token, Some(expires)))
}

impl ProvideCredential for ManagedIdentity {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        let token = self.token(|name| context.env_var(name)).await;
        token.map_err(passed_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::real;
    use crate::limits::Limits;
    use crate::net::Options;
    use crate::net::scripted::{Reply, Server};

    fn identity(metadata: &str) -> ManagedIdentity {
        let env = real::env();
        let limits = Limits::none(env.clock.clone());
        let mut identity = ManagedIdentity::new(Client::new(Options::new(&env, &limits)).unwrap());
        metadata.clone_into(&mut identity.metadata);
        identity
    }

    fn token(credential: Option<&Credential>) -> &str {
        match credential {
            Some(Credential::BearerToken { token, .. }) => token,
            _ => "",
        }
    }

    #[tokio::test]
    async fn the_metadata_service_is_probed_and_asked() {
        let server = Server::start(vec![
            Reply::text(400, "Bad Request"),
            Reply::text(200, r#"{"access_token":"t1","expires_on":"1893553445"}"#),
        ]);
        let found = identity(&server.url()).token(|_| None).await.unwrap();
        assert_eq!(token(found.as_ref()), "t1");
        let seen = server.seen();
        assert!(!seen[0].head.contains("metadata: true"));
        assert!(seen[1].head.contains("metadata: true"));
        assert!(seen[1].head.starts_with(
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage%2Eazure%2Ecom%2F HTTP"
        ), "{}", seen[1].head);
        // A proxy that refuses is none, nor is nothing that listens.
        let proxy = Server::start(vec![Reply::text(403, "Forbidden")]);
        assert!(
            identity(&proxy.url())
                .token(|_| None)
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            identity("http://127.0.0.1:1")
                .token(|_| None)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn an_app_service_is_asked_with_its_header() {
        let server = Server::start(vec![
            Reply::text(200, r#"{"access_token":"t2","expires_on":1893553445}"#),
            Reply::text(500, "busy"),
        ]);
        let endpoint = format!("{}/msi/token", server.url());
        let variable = |name: &str| match name {
            "IDENTITY_ENDPOINT" => Some(endpoint.clone()),
            "IDENTITY_HEADER" => Some("h".to_owned()),
            "AZURE_CLIENT_ID" => Some("id".to_owned()),
            _ => None,
        };
        let identity = identity("http://127.0.0.1:1");
        assert_eq!(
            token(identity.token(variable).await.unwrap().as_ref()),
            "t2"
        );
        assert!(identity.token(variable).await.err().unwrap().is_retryable());
        let seen = server.seen();
        assert!(
            seen[0].head.contains("x-identity-header: h\r\n"),
            "{}",
            seen[0].head
        );
        assert!(seen[0].head.contains("&client_id=id "), "{}", seen[0].head);
    }
}
