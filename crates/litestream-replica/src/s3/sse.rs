//! Encryption by the service, with a key of one's own or one that the service keeps.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::settings::{Encryption, Secret};
use crate::{Error, Result};

/// A key of one's own: every request that reads or writes an object's bytes or metadata must show it.
pub(super) struct CustomerKey {
    pub(super) algorithm: String,
    /// In base64.
    pub(super) key: Secret,
    /// Of the key itself, in base64.
    pub(super) md5: String,
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey")
    }
}

impl CustomerKey {
    /// The key of the settings, if they have one.
    pub(super) fn read(encryption: &Encryption) -> Result<Option<CustomerKey>> {
        let Some(key) = &encryption.customer_key else {
            return Ok(None);
        };
        let bytes = STANDARD
            .decode(key.expose())
            .map_err(|_| Error::invalid("s3: sse-customer-key must be valid base64"))?;
        let algorithm = encryption.customer_algorithm.clone();
        Ok(Some(CustomerKey {
            algorithm: algorithm.unwrap_or_else(|| "AES256".to_owned()),
            key: key.clone(),
            md5: super::sign::content_md5(&bytes),
        }))
    }
}

/// Shows the key of one's own in a request.
macro_rules! with_customer_key {
    ($request:expr, $service:expr) => {{
        let key = $service.customer_key.as_ref();
        $request
            .set_sse_customer_algorithm(key.map(|key| key.algorithm.clone()))
            .set_sse_customer_key(key.map(|key| key.key.expose().to_owned()))
            .set_sse_customer_key_md5(key.map(|key| key.md5.clone()))
    }};
}

/// What a request that makes an object says of it: its time, its class of storage, its encryption.
macro_rules! with_properties {
    ($request:expr, $service:expr, $created:expr) => {{
        let s3 = &$service.settings;
        let kms = s3.encryption.kms_key_id.clone();
        let by_kms = kms
            .as_ref()
            .map(|_| aws_sdk_s3::types::ServerSideEncryption::AwsKms);
        let class = s3.storage_class.as_deref();
        $crate::s3::sse::with_customer_key!($request, $service)
            .content_type("application/octet-stream")
            .metadata($crate::s3::times::NAME, $crate::s3::times::text($created))
            .set_storage_class(class.map(aws_sdk_s3::types::StorageClass::from))
            .set_server_side_encryption(by_kms)
            .set_ssekms_key_id(kms)
    }};
}

pub(super) use {with_customer_key, with_properties};
