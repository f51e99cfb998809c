//! Alibaba Cloud Object Storage.

use super::endpoint::{host, with_scheme};
use super::{AccessKey, Keys, Source, Value};
use crate::Result;

const REGION: &str = "cn-hangzhou";
const CONCURRENCY: u32 = 3;
const INTERNAL: &str = "-internal.aliyuncs.com";

/// Settings of a replica in Alibaba Cloud Object Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oss {
    /// Else `OSS_ACCESS_KEY_ID` and `OSS_ACCESS_KEY_SECRET`.
    pub access_key: Option<AccessKey>,
    /// The bucket.
    pub bucket: String,
    /// What all names of objects begin with.
    pub prefix: String,
    /// The region.
    pub region: String,
    /// With its scheme; else it follows from the region.
    pub endpoint: Option<String>,
    /// Bytes of a part of an upload; the service's default if `None`.
    pub part_size: Option<u64>,
    /// Parts uploaded at once.
    pub concurrency: u32,
}

impl Oss {
    pub(super) fn read(source: &Source) -> Result<Oss> {
        source.refuse_beside_url("oss", &["path", "bucket"])?;
        let host = source.url.map_or("", |url| url.host.as_str());
        let (bucket, region) = split_host(host);
        // The host of Alibaba's own network is only reached by its name.
        let internal = region.filter(|_| host.strip_suffix(INTERNAL).is_some());
        let internal = internal.map(|region| format!("oss-{region}{INTERNAL}"));
        let concurrency = source
            .all
            .int("concurrency")
            .and_then(|n| u32::try_from(n).ok());
        Ok(Oss {
            access_key: AccessKey::read(source.all),
            bucket: source.bucket("oss", bucket)?,
            prefix: source.prefix(),
            region: source
                .all
                .text("region")
                .or(region.map(str::to_owned))
                .unwrap_or_else(|| REGION.to_owned()),
            endpoint: source
                .all
                .text("endpoint")
                .or(internal)
                .map(|e| with_scheme(&e)),
            part_size: source.all.size("part-size").filter(|bytes| *bytes > 0),
            concurrency: concurrency.filter(|n| *n > 0).unwrap_or(CONCURRENCY),
        })
    }

    /// Endpoint or region, bucket and prefix.
    pub(super) fn place(&self) -> (Option<&String>, &str, &str) {
        // Names of Alibaba's buckets are one of a kind, whichever host they are asked from.
        let endpoint = self.endpoint.as_ref();
        let other = endpoint.filter(|endpoint| !host(endpoint).ends_with(".aliyuncs.com"));
        (other, &self.bucket, &self.prefix)
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        AccessKey::write(self.access_key.as_ref(), &mut keys);
        keys.set_text("bucket", self.bucket.as_str());
        keys.set_text("path", self.prefix.as_str());
        keys.set_text("region", self.region.as_str());
        keys.set_some("endpoint", self.endpoint.as_ref());
        if let Some(bytes) = self.part_size {
            keys.set("part-size", Value::Size(bytes));
        }
        keys.set("concurrency", Value::Int(self.concurrency.into()));
        keys
    }
}

/// `B.oss-R.aliyuncs.com` and `B.oss-R-internal.aliyuncs.com` name bucket and region, all else the bucket.
fn split_host(host: &str) -> (Option<&str>, Option<&str>) {
    let split = || {
        let (bucket, rest) = host.strip_suffix(".aliyuncs.com")?.rsplit_once(".oss-")?;
        let region = rest.strip_suffix("-internal").unwrap_or(rest);
        (!bucket.is_empty() && !region.is_empty()).then_some((Some(bucket), Some(region)))
    };
    split().unwrap_or((Some(host), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(split_host("b"), (Some("b"), None));
        assert_eq!(
            split_host("b.oss-cn-x.aliyuncs.com"),
            (Some("b"), Some("cn-x"))
        );
        assert_eq!(
            split_host("b.oss-cn-x-internal.aliyuncs.com"),
            (Some("b"), Some("cn-x"))
        );
        assert_eq!(
            split_host("oss-cn-x.aliyuncs.com"),
            (Some("oss-cn-x.aliyuncs.com"), None)
        );
    }
}
