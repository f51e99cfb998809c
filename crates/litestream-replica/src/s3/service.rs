//! A replica's place in a bucket: what its requests need to know.
//!
//! Promise: opening a replica contacts nothing.

use std::sync::Arc;

use aws_sdk_s3::Client;

use super::digest::Wanted;
use super::link::Link;
use super::sse::CustomerKey;
use crate::env::Env;
use crate::key::Names;
use crate::settings::{Opening, S3};
use crate::{Level, Result};

/// See the [module](self).
pub(super) struct Service {
    pub(super) settings: S3,
    pub(super) env: Env,
    pub(super) customer_key: Option<CustomerKey>,
    pub(super) names: Names,
    link: Arc<Link>,
}

impl Service {
    pub(super) fn new(settings: &S3, opening: &Opening<'_>) -> Result<Service> {
        Ok(Service {
            settings: settings.clone(),
            env: opening.env.clone(),
            customer_key: CustomerKey::read(&settings.encryption)?,
            names: Names::Verbatim(settings.prefix.clone()),
            link: Link::of(settings, opening)?,
        })
    }

    /// The SDK's client. What fails on the way to it is tried again by the next request.
    pub(super) async fn client(&self) -> Result<&Client> {
        self.link.client().await
    }

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
        self.names.level(level)
    }

    /// A file's key.
    pub(super) fn key(&self, level: Level, name: ltx::FileName) -> String {
        self.names.file(level, name)
    }

    /// What stands before the paths of Litestream 0.3.
    pub(super) fn before_v3(&self) -> String {
        self.names.before_v3()
    }
}
