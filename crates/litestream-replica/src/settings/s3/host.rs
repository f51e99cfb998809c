//! What the host of an S3 URL says: bucket, region, endpoint.

use crate::settings::url::Url;
use crate::{Error, Result};

/// What a host says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub bucket: Option<String>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub path_style: bool,
}

impl Place {
    fn bucket(name: &str) -> Place {
        Place {
            bucket: Some(name.to_owned()).filter(|n| !n.is_empty()),
            ..Place::default()
        }
    }

    fn at(bucket: &str, region: &str, endpoint: Option<String>, path_style: bool) -> Place {
        Place {
            region: Some(region.to_owned()).filter(|r| !r.is_empty()),
            endpoint,
            path_style,
            ..Place::bucket(bucket)
        }
    }
}

/// Takes a host apart.
pub(super) fn split(host: &str) -> Place {
    if host.starts_with("arn:") {
        let region = host.split(':').nth(3).unwrap_or_default();
        return Place::at(host, region, None, false);
    }
    if host.contains(':') && !host.contains(".com") {
        return with_port(host);
    }
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        // Names of buckets may hold dots; those of regions may not.
        [bucket @ .., "s3", "amazonaws", "com"] if !bucket.is_empty() => {
            Place::at(&bucket.join("."), "", None, false)
        }
        [bucket @ .., "s3", region, "amazonaws", "com"] if !bucket.is_empty() => {
            Place::at(&bucket.join("."), region, None, false)
        }
        [bucket @ .., region, "digitaloceanspaces", "com"] if !bucket.is_empty() => {
            let endpoint = format!("https://{region}.digitaloceanspaces.com");
            Place::at(&bucket.join("."), region, Some(endpoint), false)
        }
        [bucket @ .., "s3", region, "backblazeb2", "com"] if !bucket.is_empty() => {
            let endpoint = format!("https://s3.{region}.backblazeb2.com");
            Place::at(&bucket.join("."), region, Some(endpoint), true)
        }
        [bucket @ .., "s3", "filebase", "com"] if !bucket.is_empty() => Place::at(
            &bucket.join("."),
            "",
            Some("https://s3.filebase.com".into()),
            false,
        ),
        [bucket @ .., "s3", region, "scw", "cloud"] if !bucket.is_empty() => {
            let endpoint = format!("https://s3.{region}.scw.cloud");
            Place::at(&bucket.join("."), region, Some(endpoint), false)
        }
        _ => Place::bucket(host),
    }
}

/// `bucket.host:port`, or a server's `host:port` that names no bucket.
fn with_port(host: &str) -> Place {
    let at = |bucket: &str, server: &str| {
        Place::at(bucket, "us-east-1", Some(format!("http://{server}")), true)
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if name.starts_with('[') || is_ipv4(name) {
        return at("", host);
    }
    match host.split_once('.') {
        Some((bucket, server)) => at(bucket, server),
        None => at("", host),
    }
}

fn is_ipv4(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Whether a URL names an access point.
pub fn is_arn(url: &str) -> bool {
    url.get(..9)
        .is_some_and(|start| start.eq_ignore_ascii_case("s3://arn:"))
}

/// `s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME[/prefix]`, which is no URL for anybody else: the ARN becomes its host.
pub fn arn_url(text: &str) -> Result<Url> {
    let all = text.get(5..).unwrap_or_default();
    let (arn, query) = all.split_once('?').unwrap_or((all, ""));
    let invalid = || Error::invalid(format_args!("invalid s3 access point arn: {arn}"));
    let (head, rest) = arn.split_once('/').ok_or_else(invalid)?;
    let (name, prefix) = rest
        .split_once('/')
        .map_or((rest, None), |(n, p)| (n, Some(p)));
    let fields: Vec<&str> = head.split(':').collect();
    let well_formed = matches!(
        fields.as_slice(),
        [scheme, partition, "s3", _, _, "accesspoint"]
            if scheme.eq_ignore_ascii_case("arn") && !partition.is_empty()
    );
    if !well_formed || name.is_empty() {
        return Err(invalid());
    }
    // Whatever its case was: the service knows lower case.
    let head = format!("arn{}", head.get(3..).unwrap_or_default());
    let path = prefix.map_or_else(|| "/".to_owned(), |p| format!("/{p}"));
    // Read with a host that is one, which is then replaced.
    let mut url = Url::parse(&format!("s3://x{path}?{query}"))?;
    url.host = format!("{head}/{name}");
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (host, bucket, region, endpoint, path_style) in [
            ("b", "b", "", "", false),
            ("b.c", "b.c", "", "", false),
            ("b.s3.amazonaws.com", "b", "", "", false),
            (
                "b.c.s3.eu-west-1.amazonaws.com",
                "b.c",
                "eu-west-1",
                "",
                false,
            ),
            (
                "b.fra1.digitaloceanspaces.com",
                "b",
                "fra1",
                "https://fra1.digitaloceanspaces.com",
                false,
            ),
            (
                "b.s3.us-w.backblazeb2.com",
                "b",
                "us-w",
                "https://s3.us-w.backblazeb2.com",
                true,
            ),
            (
                "b.s3.filebase.com",
                "b",
                "",
                "https://s3.filebase.com",
                false,
            ),
            (
                "b.s3.nl-ams.scw.cloud",
                "b",
                "nl-ams",
                "https://s3.nl-ams.scw.cloud",
                false,
            ),
            (
                "b.localhost:9000",
                "b",
                "us-east-1",
                "http://localhost:9000",
                true,
            ),
            (
                "b.127.0.0.1:9000",
                "b",
                "us-east-1",
                "http://127.0.0.1:9000",
                true,
            ),
            (
                "localhost:9000",
                "",
                "us-east-1",
                "http://localhost:9000",
                true,
            ),
            (
                "127.0.0.1:9000",
                "",
                "us-east-1",
                "http://127.0.0.1:9000",
                true,
            ),
            ("[::1]:9000", "", "us-east-1", "http://[::1]:9000", true),
            ("s3.amazonaws.com", "s3.amazonaws.com", "", "", false),
        ] {
            let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
            let expected = Place {
                bucket: some(bucket),
                region: some(region),
                endpoint: some(endpoint),
                path_style,
            };
            assert_eq!(split(host), expected, "{host}");
        }
    }

    #[test]
    fn access_points() {
        let url = arn_url("s3://ARN:aws:s3:eu:1:accesspoint/n/a/b?concurrency=3").unwrap();
        assert_eq!(
            (url.host.as_str(), url.key().as_str()),
            ("arn:aws:s3:eu:1:accesspoint/n", "a/b")
        );
        assert_eq!(split(&url.host).region.as_deref(), Some("eu"));
        assert_eq!(url.query.len(), 1);
        for bad in [
            "s3://arn:",
            "s3://arn:aws:s3:x",
            "s3://arn:aws:s3:r:1:bucket/x",
            "s3://arn:aws:s3:r:1:accesspoint/",
        ] {
            let error = arn_url(bad).unwrap_err().to_string();
            assert_eq!(error, format!("invalid s3 access point arn: {}", &bad[5..]));
        }
    }
}
