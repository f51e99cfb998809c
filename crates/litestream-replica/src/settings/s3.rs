//! Amazon S3, and what speaks its protocol.

mod host;

use super::endpoint::{Provider, is_local, provider, with_scheme};
use super::url::Url;
use super::{AccessKey, Keys, Secret, Source, Value};
use crate::{Error, Result};

pub(super) use host::{arn_url, is_arn};

const PART_SIZE: u64 = 5 << 20;
const CONCURRENCY: u32 = 5;
const CONCURRENCY_R2: u32 = 2;

/// Query parameters of a URL, each with its names.
pub(super) const PARAMETERS: [&[&str]; 14] = [
    ENDPOINT,
    REGION,
    PATH_STYLE,
    SKIP_VERIFY,
    SIGN_PAYLOAD,
    SIGN_ENCODING,
    CONTENT_MD5,
    STORAGE_CLASS,
    PARTS,
    PARALLEL,
    SSE_ALGORITHM,
    SSE_KEY,
    SSE_MD5,
    SSE_KMS,
];
const ENDPOINT: &[&str] = &["endpoint"];
const REGION: &[&str] = &["region"];
const PATH_STYLE: &[&str] = &["forcePathStyle", "force-path-style"];
const SKIP_VERIFY: &[&str] = &["skipVerify", "skip-verify"];
const SIGN_PAYLOAD: &[&str] = &["signPayload", "sign-payload"];
const SIGN_ENCODING: &[&str] = &["signAcceptEncoding", "sign-accept-encoding"];
const CONTENT_MD5: &[&str] = &["requireContentMD5", "require-content-md5"];
const STORAGE_CLASS: &[&str] = &["storageClass", "storage-class"];
const PARTS: &[&str] = &["partSize", "part-size"];
const PARALLEL: &[&str] = &["concurrency"];
const SSE_ALGORITHM: &[&str] = &["sseCustomerAlgorithm", "sse-customer-algorithm"];
const SSE_KEY: &[&str] = &["sseCustomerKey", "sse-customer-key"];
/// Follows from the key, so it is accepted and not needed.
const SSE_MD5: &[&str] = &["sseCustomerKeyMD5", "sse-customer-key-md5"];
const SSE_KMS: &[&str] = &["sseKmsKeyId", "sse-kms-key-id"];

/// Encryption by the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// Which cipher, with a key of one's own.
    pub customer_algorithm: Option<String>,
    /// Base64 of 32 bytes.
    pub customer_key: Option<Secret>,
    /// A key that the service keeps.
    pub kms_key_id: Option<String>,
}

/// Settings of a replica in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    /// Else the SDK's chain of credentials.
    pub access_key: Option<AccessKey>,
    /// A bucket, or the ARN of an access point.
    pub bucket: String,
    /// Comes before `/0000/FILE` in keys, verbatim.
    pub prefix: String,
    /// Asked of the service if `None`.
    pub region: Option<String>,
    /// With its scheme; Amazon's if `None`. Where there is one, requests have no checksums of the SDK's and no chunked bodies.
    pub endpoint: Option<String>,
    /// The bucket stands in the path, not in the host.
    pub path_style: bool,
    /// Certificates are not verified.
    pub skip_verify: bool,
    /// The payload is signed.
    pub sign_payload: bool,
    /// The header Accept-Encoding is signed.
    pub sign_accept_encoding: bool,
    /// Deleting several objects sends Content-MD5.
    pub content_md5: bool,
    /// Each request asks for consistent reads by `X-Tigris-Consistent: true`.
    pub tigris_consistent: bool,
    /// The class of storage for uploads.
    pub storage_class: Option<String>,
    /// Bytes of a part of an upload.
    pub part_size: u64,
    /// Parts uploaded at once.
    pub concurrency: u32,
    /// Encryption by the service.
    pub encryption: Encryption,
}

impl S3 {
    pub(super) fn read(source: &Source) -> Result<S3> {
        source.refuse_beside_url("s3", &["path", "bucket"])?;
        let all = source.all;
        let place = source
            .url
            .map(|url| host::split(&url.host))
            .unwrap_or_default();
        let in_query = Query(source.url);
        let by_key = all.text("endpoint");
        let by_query = in_query.text(ENDPOINT).filter(|_| by_key.is_none());
        let endpoint = by_key
            .clone()
            .or(by_query.clone())
            .or(place.endpoint.clone());
        let endpoint = endpoint.map(|e| with_scheme(&e));
        let provider = endpoint.as_deref().map_or(Provider::Plain, provider);
        let path_style = all.bool("force-path-style").unwrap_or_else(|| {
            let asked = in_query.bool(PATH_STYLE);
            let usual = by_key.is_some() || by_query.is_some() || place.path_style;
            provider == Provider::PathStyle || asked.unwrap_or(usual)
        });
        let region = all
            .text("region")
            .or(in_query.text(REGION))
            .or(place.region);
        let region = region.or(endpoint.as_ref().map(|_| "us-east-1".to_owned()));
        let flag =
            |name, query, default| all.bool(name).or(in_query.bool(query)).unwrap_or(default);
        Ok(S3 {
            access_key: AccessKey::read(all),
            bucket: source.bucket("s3", place.bucket.as_deref())?,
            prefix: source.prefix(),
            region,
            path_style,
            skip_verify: flag("skip-verify", SKIP_VERIFY, false),
            sign_payload: flag("sign-payload", SIGN_PAYLOAD, true),
            sign_accept_encoding: provider != Provider::Google
                && flag("sign-accept-encoding", SIGN_ENCODING, true),
            content_md5: flag(
                "require-content-md5",
                CONTENT_MD5,
                provider != Provider::Tigris,
            ),
            tigris_consistent: provider == Provider::Tigris,
            storage_class: all.text("storage-class").or(in_query.text(STORAGE_CLASS)),
            part_size: part_size(all, &in_query)?,
            concurrency: concurrency(all, &in_query, provider)?,
            encryption: encryption(all, &in_query),
            endpoint,
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        let bad = |text: &str| Err(Error::invalid(format_args!("s3: {text}")));
        if self.part_size < PART_SIZE {
            return bad(&format!(
                "part size must be at least {PART_SIZE} bytes, got {}",
                self.part_size
            ));
        }
        let encryption = &self.encryption;
        let Some(key) = &encryption.customer_key else {
            return Ok(());
        };
        if encryption.kms_key_id.is_some() {
            return bad(
                "cannot use both sse-customer-key and sse-kms-key-id; they are mutually exclusive",
            );
        }
        if let Some(other) = encryption
            .customer_algorithm
            .as_ref()
            .filter(|a| *a != "AES256")
        {
            return bad(&format!(
                "sse-customer-algorithm must be AES256, got {other:?}"
            ));
        }
        match base64_length(key.expose()) {
            None => return bad("sse-customer-key must be valid base64"),
            Some(32) => {}
            Some(n) => {
                return bad(&format!(
                    "sse-customer-key must be 256-bit (32 bytes) when decoded, got {n} bytes"
                ));
            }
        }
        match &self.endpoint {
            Some(endpoint) if endpoint.starts_with("http://") && !is_local(endpoint) => bad(
                "sse-customer-key requires HTTPS endpoint (HTTP only allowed for localhost/private networks)",
            ),
            _ => Ok(()),
        }
    }

    /// Service, bucket and prefix.
    pub(super) fn place(&self) -> (Option<&str>, &str, &str) {
        let endpoint = self.endpoint.as_deref().map(|e| e.trim_end_matches('/'));
        (endpoint, &self.bucket, &self.prefix)
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        AccessKey::write(self.access_key.as_ref(), &mut keys);
        keys.set_text("bucket", self.bucket.as_str());
        keys.set_text("path", self.prefix.as_str());
        keys.set_some("region", self.region.as_ref());
        keys.set_some("endpoint", self.endpoint.as_ref());
        for (name, value) in [
            ("force-path-style", self.path_style),
            ("skip-verify", self.skip_verify),
            ("sign-payload", self.sign_payload),
            ("sign-accept-encoding", self.sign_accept_encoding),
            ("require-content-md5", self.content_md5),
        ] {
            keys.set(name, Value::Bool(value));
        }
        keys.set_some("storage-class", self.storage_class.as_ref());
        keys.set("part-size", Value::Size(self.part_size));
        keys.set("concurrency", Value::Int(self.concurrency.into()));
        let encryption = &self.encryption;
        keys.set_some(
            "sse-customer-algorithm",
            encryption.customer_algorithm.as_ref(),
        );
        keys.set_secret("sse-customer-key", encryption.customer_key.as_ref());
        keys.set_some("sse-kms-key-id", encryption.kms_key_id.as_ref());
        keys
    }
}

/// The query of a URL, if there is one.
struct Query<'a>(Option<&'a Url>);

impl Query<'_> {
    fn text(&self, names: &[&str]) -> Option<String> {
        Some(self.0?.parameter(names)?.1.to_owned())
    }

    fn bool(&self, names: &[&str]) -> Option<bool> {
        let (_, value) = self.0?.parameter(names)?;
        Some(["true", "1", "t", "yes"].contains(&value.to_ascii_lowercase().as_str()))
    }

    fn positive(&self, names: &[&str]) -> Result<Option<u64>> {
        let Some((name, value)) = self.0.and_then(|url| url.parameter(names)) else {
            return Ok(None);
        };
        // As much as the original takes, whose numbers are signed.
        match value.strip_prefix('+').unwrap_or(value).parse::<i64>() {
            Ok(n) if n > 0 => Ok(Some(n as u64)),
            _ => Err(Error::invalid(format_args!(
                "invalid value for query parameter {name:?}: {value:?} (must be a positive integer)"
            ))),
        }
    }
}

fn part_size(all: &Keys, in_query: &Query) -> Result<u64> {
    let in_query = in_query.positive(PARTS)?;
    Ok(all
        .size("part-size")
        .filter(|n| *n > 0)
        .or(in_query)
        .unwrap_or(PART_SIZE))
}

fn concurrency(all: &Keys, in_query: &Query, provider: Provider) -> Result<u32> {
    let in_query = in_query.positive(PARALLEL)?;
    let by_key = all
        .int("concurrency")
        .and_then(|n| u64::try_from(n).ok())
        .filter(|n| *n > 0);
    Ok(match by_key.or(in_query) {
        Some(n) => u32::try_from(n).unwrap_or(u32::MAX),
        None if provider == Provider::R2 => CONCURRENCY_R2,
        None => CONCURRENCY,
    })
}

fn encryption(all: &Keys, in_query: &Query) -> Encryption {
    let customer_key = all
        .secret("sse-customer-key")
        .or(in_query.text(SSE_KEY).map(Secret::new));
    let algorithm = all
        .text("sse-customer-algorithm")
        .or(in_query.text(SSE_ALGORITHM));
    Encryption {
        customer_algorithm: algorithm.or(customer_key.as_ref().map(|_| "AES256".to_owned())),
        customer_key,
        kms_key_id: all.text("sse-kms-key-id").or(in_query.text(SSE_KMS)),
    }
}

/// How many bytes a base64 text stands for.
fn base64_length(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let whole = text.len().is_multiple_of(4) && padding <= 2;
    (whole && digits.bytes().all(valid)).then(|| text.len() / 4 * 3 - padding)
}
