//! Requests to a bucket: where objects are, and what every request carries.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::Request;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_aliyun_oss::Credential;
use reqsign_core::Signer;

use super::credentials;
use super::sign::Signature;
use crate::env::Env;
use crate::net::{Answer, Client, Head, Payload, Refusal, uri};
use crate::settings::Oss;
use crate::{Error, ErrorKind, Result, signing};

/// Of a part, unless set otherwise or there would be too many.
const PART_BYTES: u64 = 6 << 20;
/// The service's own limit.
const PART_BYTES_MIN: u64 = 100 << 10;
/// What stays as it is in a value of a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// What stays as it is in a key.
const KEY: &AsciiSet = &VALUE.remove(b'/');

pub(super) struct Service {
    client: Client,
    signer: Signer<Credential>,
    /// The bucket's URL, without a slash at its end.
    bucket: String,
    pub(super) part_bytes: u64,
    pub(super) concurrency: usize,
}

/// A value as it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

impl Service {
    pub(super) fn new(settings: &Oss, client: Client) -> Result<Service> {
        let place = place(settings)?;
        let provider = credentials::provider(settings.access_key.as_ref());
        let signature = Signature {
            region: settings.region.clone(),
            before: place.before_path,
            clock: Arc::clone(&client.env().clock),
        };
        Ok(Service {
            signer: Signer::new(signing::context(&client), provider, signature),
            client,
            bucket: place.url,
            part_bytes: settings.part_size.unwrap_or(PART_BYTES).max(PART_BYTES_MIN),
            concurrency: settings.concurrency.max(1) as usize,
        })
    }

    pub(super) fn env(&self) -> &Env {
        self.client.env()
    }

    /// The URL of an object.
    pub(super) fn object(&self, key: &str) -> String {
        format!("{}/{}", self.bucket, utf8_percent_encode(key, KEY))
    }

    /// The URL of the bucket.
    pub(super) fn bucket(&self) -> String {
        format!("{}/", self.bucket)
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
        let signed = self.signer.sign(&mut parts, None).await;
        signed.map_err(|e| signing::failed(op, subject, &e))?;
        let request = Request::from_parts(parts, body);
        self.client.send(op, subject, request).await
    }

    /// As [`Service::send`]; an answer that is no success is an error as well.
    pub(super) async fn succeed(
        &self,
        op: &'static str,
        subject: &str,
        head: Head,
        body: Payload,
    ) -> Result<Answer> {
        let answer = self.send(op, subject, head, body).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(bucket_error(&answer.refusal().await))
    }
}

/// Why a request failed that is about no object which could be missing.
pub(super) fn bucket_error(refusal: &Refusal) -> Error {
    let error = refusal.error();
    if error.is_not_found() {
        return refusal.error_of(ErrorKind::Invalid);
    }
    error
}

/// Where a bucket is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    url: String,
    /// The bucket as signatures name it, where it is no part of the URL's path.
    before_path: String,
}

/// The bucket is a part of the host, unless that is an address.
fn place(settings: &Oss) -> Result<Place> {
    let Oss { bucket, region, .. } = settings;
    let endpoint = settings
        .endpoint
        .clone()
        .unwrap_or_else(|| format!("https://oss-{region}.aliyuncs.com"));
    let endpoint = endpoint.trim_end_matches('/');
    let parsed = uri(endpoint)?;
    let host = parsed.host().unwrap_or_default();
    let six = host.trim_start_matches('[').trim_end_matches(']');
    if host.parse::<IpAddr>().is_ok() || six.parse::<Ipv6Addr>().is_ok() {
        return Ok(Place {
            url: format!("{endpoint}/{bucket}"),
            before_path: String::new(),
        });
    }
    let place = match endpoint.split_once("://") {
        Some((scheme, rest)) => Place {
            url: format!("{scheme}://{bucket}.{rest}"),
            before_path: format!("/{bucket}"),
        },
        None => return Err(Error::invalid(format_args!("oss: no endpoint: {endpoint}"))),
    };
    uri(&place.url)?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Storage;

    #[test]
    fn buckets_are_in_the_host_or_in_the_path() {
        for (url, endpoint, expected, before) in [
            (
                "oss://b/p",
                None,
                "https://b.oss-cn-hangzhou.aliyuncs.com",
                "/b",
            ),
            (
                "oss://b.oss-cn-x.aliyuncs.com/p",
                None,
                "https://b.oss-cn-x.aliyuncs.com",
                "/b",
            ),
            (
                "oss://b.oss-cn-x-internal.aliyuncs.com/p",
                None,
                "https://b.oss-cn-x-internal.aliyuncs.com",
                "/b",
            ),
            (
                "oss://b/p",
                Some("http://127.0.0.1:5560"),
                "http://127.0.0.1:5560/b",
                "",
            ),
            (
                "oss://b/p",
                Some("http://[::1]:5560/"),
                "http://[::1]:5560/b",
                "",
            ),
            (
                "oss://b/p",
                Some("https://oss.example:8443"),
                "https://b.oss.example:8443",
                "/b",
            ),
        ] {
            let Ok(Storage::Oss(mut settings)) = Storage::from_url(url) else {
                panic!("another storage")
            };
            if endpoint.is_some() {
                settings.endpoint = endpoint.map(str::to_owned);
            }
            let place = place(&settings).unwrap();
            assert_eq!(
                (place.url.as_str(), place.before_path.as_str()),
                (expected, before)
            );
        }
    }
}
