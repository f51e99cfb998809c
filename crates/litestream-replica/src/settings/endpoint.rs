//! Endpoints: the scheme where none is written, and what the host says of the provider.

/// An endpoint with its scheme. One rule for keys and URLs: without a scheme it is `http://` for a host on this machine
/// or in a private network, and `https://` for all others.
pub fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") {
        endpoint.to_owned()
    } else if is_local(endpoint) {
        format!("http://{endpoint}")
    } else {
        format!("https://{endpoint}")
    }
}

/// The full endpoint if it is only assumed to be `http://`.
pub fn assumed_http(endpoint: &str) -> Option<String> {
    (!endpoint.contains("://") && is_local(endpoint)).then(|| with_scheme(endpoint))
}

/// Host and port of an endpoint, in lower case.
pub fn host(endpoint: &str) -> String {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest[..end].to_ascii_lowercase()
}

/// Whether a host is on this machine or in a private network, by its text.
pub fn is_local(endpoint: &str) -> bool {
    let host = host(endpoint);
    let name = if host.starts_with('[') {
        host.split(']')
            .next()
            .unwrap_or_default()
            .trim_start_matches('[')
    } else {
        host.split(':').next().unwrap_or_default()
    };
    let private_172 = name
        .strip_prefix("172.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|second| second.parse::<u8>().ok())
        .is_some_and(|second| (16..32).contains(&second));
    // In lower case already.
    let ends = |suffix: &str| name.strip_suffix(suffix).is_some();
    matches!(name, "localhost" | "127.0.0.1" | "::1")
        || name.starts_with("10.")
        || name.starts_with("192.168.")
        || private_172
        || ends(".local")
        || ends(".localhost")
}

/// Who runs an S3 service, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon, or one without peculiarities.
    Plain,
    /// Wants a header for consistent reads and no Content-MD5.
    Tigris,
    /// Allows few requests at once.
    R2,
    /// Changes Accept-Encoding on the way.
    Google,
    /// Knows no bucket names in hosts.
    PathStyle,
}

/// The provider behind an endpoint.
pub fn provider(endpoint: &str) -> Provider {
    let host = host(endpoint);
    let name = host.split(':').next().unwrap_or_default();
    let below = |domain: &str| {
        name == domain
            || name
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if ["fly.storage.tigris.dev", "t3.storage.dev"]
        .into_iter()
        .any(below)
    {
        Provider::Tigris
    } else if below("r2.cloudflarestorage.com") {
        Provider::R2
    } else if below("storage.googleapis.com")
        || (name.starts_with("storage.") && name.ends_with(".rep.googleapis.com"))
        || name == "restricted.googleapis.com"
        || (name.starts_with("storage-") && name.ends_with(".p.googleapis.com"))
    {
        Provider::Google
    } else if ["backblazeb2.com", "filebase.com", "supabase.co"]
        .into_iter()
        .any(below)
    {
        Provider::PathStyle
    } else if [
        "amazonaws.com",
        "digitaloceanspaces.com",
        "scw.cloud",
        "your-objectstorage.com",
    ]
    .into_iter()
    .any(below)
    {
        Provider::Plain
    } else if host.contains(':') {
        // A port and no known name: a server of one's own, such as MinIO.
        Provider::PathStyle
    } else {
        Provider::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        for (endpoint, with) in [
            ("x.example", "https://x.example"),
            ("http://x.example", "http://x.example"),
            ("localhost:9000", "http://localhost:9000"),
            ("172.16.0.1", "http://172.16.0.1"),
            ("172.32.0.1", "https://172.32.0.1"),
            ("minio.local/x", "http://minio.local/x"),
            ("notlocal", "https://notlocal"),
        ] {
            assert_eq!(with_scheme(endpoint), with);
        }
    }

    #[test]
    fn providers() {
        for (endpoint, expected) in [
            ("https://fly.storage.tigris.dev", Provider::Tigris),
            ("https://a.r2.cloudflarestorage.com", Provider::R2),
            ("https://storage.googleapis.com", Provider::Google),
            ("http://minio:9000", Provider::PathStyle),
            ("https://s3.eu.backblazeb2.com", Provider::PathStyle),
            ("https://fra1.digitaloceanspaces.com", Provider::Plain),
            ("https://evilbackblazeb2.com", Provider::Plain),
        ] {
            assert_eq!(provider(endpoint), expected, "{endpoint}");
        }
    }
}
