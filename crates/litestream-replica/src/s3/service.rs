//! A bucket, and how it is reached: settings, credentials and region as one client of the SDK, made when it is first needed.
//!
//! Promise: opening a replica contacts nothing; the SDK tries nothing again by itself.

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

use super::digest::Wanted;
use super::sign::Every;
use super::sse::CustomerKey;
use super::{connect, region};
use crate::env::Env;
use crate::net;
use crate::settings::{Opening, S3};
use crate::{Level, Result, key};

/// See the [module](self).
pub(super) struct Service {
    pub(super) settings: S3,
    pub(super) env: Env,
    pub(super) customer_key: Option<CustomerKey>,
    bucket: Arc<Bucket>,
}

/// What replicas in one bucket share: connections, region and credentials.
struct Bucket {
    settings: S3,
    http: net::Client,
    client: OnceCell<Client>,
}

impl Service {
    pub(super) fn new(settings: S3, opening: &Opening<'_>) -> Result<Service> {
        let mut trust = opening.access.trust.clone();
        trust.skip_verify |= settings.skip_verify;
        trust
            .ca_files
            .extend(variable("AWS_CA_BUNDLE").map(PathBuf::from));
        let bucket = S3 {
            prefix: String::new(),
            ..settings.clone()
        };
        let http = opening.http(&trust)?;
        let from = (bucket.clone(), trust);
        let bucket = opening.shared(from, || {
            Ok(Bucket {
                settings: bucket,
                http,
                client: OnceCell::new(),
            })
        })?;
        Ok(Service {
            customer_key: CustomerKey::read(&settings.encryption)?,
            settings,
            env: opening.env.clone(),
            bucket,
        })
    }

    /// The SDK's client. What fails on the way to it is tried again by the next request.
    pub(super) async fn client(&self) -> Result<&Client> {
        let bucket = &self.bucket;
        if let Some(client) = bucket.client.get() {
            return Ok(client);
        }
        // In a box, so that the futures of all requests stay small.
        let made = bucket.client.get_or_try_init(|| bucket.connect());
        Box::pin(made).await
    }
}

impl Bucket {
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
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(connect::http_client(&self.http))
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

impl Service {
    /// Which digests uploads need.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            sha256: self.settings.sign_payload,
            crc32: self.has_checksums(),
        }
    }

    /// Whether uploads carry checksums: to Amazon, not to those that speak its protocol.
    pub(super) fn has_checksums(&self) -> bool {
        self.settings.endpoint.is_none()
    }

    /// An object, for messages.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("{}/{key}", self.settings.bucket)
    }

    /// The beginning of all keys of a level.
    pub(super) fn level(&self, level: Level) -> String {
        key::verbatim_level(&self.settings.prefix, level)
    }

    /// A file's key.
    pub(super) fn key(&self, level: Level, name: ltx::FileName) -> String {
        key::verbatim(&self.settings.prefix, level, name)
    }

    /// What stands before the paths of Litestream 0.3.
    pub(super) fn before_v3(&self) -> String {
        key::before_v3(&self.settings.prefix)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
