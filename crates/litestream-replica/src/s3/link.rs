//! How a bucket is reached: credentials and region as one client of the SDK, made when it is first needed.
//!
//! Promise: the SDK tries nothing again by itself; replicas that lie in one bucket, with the same settings and no limits of their own, share
//! one client, its connections and its credentials.

use std::path::PathBuf;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use tokio::sync::OnceCell;

use super::sign::Every;
use super::talk::Talk;
use super::{connect, region};
use crate::Result;
use crate::net;
use crate::settings::{Opening, S3};

/// See the [module](self).
pub(super) struct Link {
    /// The prefix apart.
    settings: S3,
    http: net::Client,
    client: OnceCell<Client>,
}

impl Link {
    /// The one for these settings.
    pub(super) fn of(settings: &S3, opening: &Opening<'_>) -> Result<Arc<Link>> {
        let settings = S3 {
            prefix: String::new(),
            ..settings.clone()
        };
        let mut trust = opening.access.trust.clone();
        trust.skip_verify |= settings.skip_verify;
        trust
            .ca_files
            .extend(variable("AWS_CA_BUNDLE").map(PathBuf::from));
        let http = opening.http(&trust)?;
        opening.shared((settings.clone(), trust), || {
            Ok(Link {
                settings,
                http,
                client: OnceCell::new(),
            })
        })
    }

    /// The SDK's client. What fails on the way to it is tried again by the next request.
    pub(super) async fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // In a box, so that the futures of all requests stay small.
        let made = self.client.get_or_try_init(|| self.connect());
        Box::pin(made).await
    }

    async fn connect(&self) -> Result<Client> {
        let region = if let Some(region) = &self.settings.region {
            region.clone()
        } else {
            let asked = Client::from_conf(self.config(region::DEFAULT).await.build());
            region::look_up(&asked, &self.settings.bucket).await?
        };
        Ok(Client::from_conf(self.config(&region).await.build()))
    }

    async fn config(&self, region: &str) -> Builder {
        let settings = &self.settings;
        let talk = Talk::read(&variable("LITESTREAM_S3_DEBUG").unwrap_or_default());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(connect::http_client(&self.http, talk))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(credentials) = self.credentials() {
            loader = loader.credentials_provider(credentials);
        }
        let mut config = Builder::from(&loader.load().await)
            .retry_config(RetryConfig::disabled())
            .force_path_style(settings.path_style)
            .interceptor(Every {
                tigris_consistent: settings.tigris_consistent,
                sign_payload: settings.sign_payload,
            });
        if let Some(endpoint) = &settings.endpoint {
            // Others than Amazon choke on what the SDK would add.
            config = config
                .endpoint_url(endpoint)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        config
    }

    /// Those of the settings; else the ones that our own variables name, which count where Amazon's are absent. `None`: the SDK's chain.
    fn credentials(&self) -> Option<Credentials> {
        if let Some(key) = &self.settings.access_key {
            let (id, secret) = (key.id.expose(), key.secret.expose());
            return Some(Credentials::new(id, secret, None, None, "settings"));
        }
        let ours = ["LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY"];
        let amazons = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let either = |at: usize| variable(amazons[at]).or_else(|| variable(ours[at]));
        ours.iter().find_map(|name| variable(name))?;
        let token = variable("AWS_SESSION_TOKEN");
        Some(Credentials::new(
            either(0)?,
            either(1)?,
            token,
            None,
            "environment",
        ))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::real;
    use crate::settings::{Keys, Secret, Storage, Value};

    fn s3(url: &str, secret: &str) -> S3 {
        let mut own = Keys::url(url);
        for (name, text) in [("access-key-id", "AKID"), ("secret-access-key", secret)] {
            own.set(name, Value::Secret(Secret::new(text)));
        }
        match Storage::read(&own, &Keys::new()) {
            Ok(Storage::S3(s3)) => s3,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_link_for_one_bucket_and_one_key() {
        let env = real::env();
        let mut opening = Opening::command(&env);
        let of = |s3: &S3, opening: &Opening<'_>| Link::of(s3, opening).unwrap();
        let first = of(&s3("s3://b/x", "one"), &opening);
        assert!(Arc::ptr_eq(&first, &of(&s3("s3://b/y/z", "one"), &opening)));
        for other in [
            s3("s3://c/x", "one"),
            s3("s3://b/x", "two"),
            s3("s3://b/x?region=eu-west-1", "one"),
        ] {
            assert!(!Arc::ptr_eq(&first, &of(&other, &opening)), "{other:?}");
        }
        opening.access.trust.skip_verify = true;
        let careless = of(&s3("s3://b/x", "one"), &opening);
        assert!(!Arc::ptr_eq(&first, &careless));
        opening.access.trust.skip_verify = false;
        opening.access.rates.upload_bytes = Some(1);
        let slow = of(&s3("s3://b/x", "one"), &opening);
        assert!(!Arc::ptr_eq(&first, &slow));
    }
}
