//! Signatures of version 4, in the header `Authorization`.
//!
//! Promise: what is signed is what is sent: the path and query as they stand in the request.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use reqsign_aliyun_oss::Credential;
use reqsign_core::hash::{hex_hmac_sha256, hex_sha256, hmac_sha256};
use reqsign_core::{Context, SignRequest};

use crate::env::{Clock, UnixMillis};

const SCHEME: &str = "OSS4-HMAC-SHA256";
/// The only kind of body that version 4 knows: those are checked by their MD5, and by TLS.
const CONTENT: &str = "UNSIGNED-PAYLOAD";

/// What signs requests to a bucket.
pub(super) struct Signature {
    pub(super) region: String,
    /// What stands before the path of a request's URL in what is signed: the bucket, where the URL has it in its host.
    pub(super) before: String,
    pub(super) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl SignRequest for Signature {
    type Credential = Credential;

    async fn sign_request(
        &self,
        _context: &Context,
        parts: &mut Parts,
        credential: Option<&Credential>,
        _expires_in: Option<Duration>,
    ) -> reqsign_core::Result<()> {
        match credential {
            Some(credential) => self.sign(parts, credential, self.clock.now()),
            None => Err(reqsign_core::Error::credential_invalid(
                "there are no credentials",
            )),
        }
    }
}

impl Signature {
    fn sign(
        &self,
        parts: &mut Parts,
        credential: &Credential,
        now: UnixMillis,
    ) -> reqsign_core::Result<()> {
        let now = Timestamp::from_millisecond(now.0)
            .map_err(|e| reqsign_core::Error::unexpected(format!("the clock: {e}")))?;
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let headers = &mut parts.headers;
        headers.insert("x-oss-content-sha256", HeaderValue::from_static(CONTENT));
        headers.insert("x-oss-date", HeaderValue::from_str(&time)?);
        if let Some(token) = &credential.security_token {
            headers.insert("x-oss-security-token", HeaderValue::from_str(token)?);
        }
        let date = &time[..8];
        let scope = format!("{date}/{}/oss/aliyun_v4_request", self.region);
        let text = format!(
            "{SCHEME}\n{time}\n{scope}\n{}",
            hex_sha256(self.canonical(parts).as_bytes())
        );
        let mut key = format!("aliyun_v4{}", credential.access_key_secret).into_bytes();
        for part in [date, &self.region, "oss", "aliyun_v4_request"] {
            key = hmac_sha256(&key, part.as_bytes());
        }
        let signature = hex_hmac_sha256(&key, text.as_bytes());
        let id = &credential.access_key_id;
        let value = format!("{SCHEME} Credential={id}/{scope},Signature={signature}");
        let mut value = HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        parts.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The request in the one form that both sides agree on.
    fn canonical(&self, parts: &Parts) -> String {
        let mut query: Vec<(&str, &str)> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        query.sort_unstable();
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| match value {
                "" => name.to_owned(),
                value => format!("{name}={value}"),
            })
            .collect();
        format!(
            "{}\n{}{}\n{}\n{}\n\n{CONTENT}",
            parts.method,
            self.before,
            parts.uri.path(),
            query.join("&"),
            signed(&parts.headers)
        )
    }
}

/// The headers that are signed, a line each.
fn signed(headers: &HeaderMap) -> String {
    let is_signed =
        |name: &str| name == "content-type" || name == "content-md5" || name.starts_with("x-oss-");
    let mut lines: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| is_signed(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?.trim())))
        .collect();
    lines.sort_unstable();
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;
    use crate::env::real;

    /// Requests of Litestream 0.5.17 as they were seen on the wire, with their signatures.
    #[test]
    fn signatures_are_those_of_litestream() {
        const EMPTY: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";
        const FILE: &str = "/db1%20x%2By/0000/0000000000000001-0000000000000001.ltx";
        for (method, target, time, headers, signature) in [
            (
                Method::GET,
                "/?prefix=db1%20x%2By%2F0009%2F&list-type=2&encoding-type=url".to_owned(),
                1_796_042_136_000,
                vec![
                    ("content-md5", EMPTY),
                    ("content-type", "application/octet-stream"),
                ],
                "50a0952e4efe484ffdeb3266c7e3c1e487dc0c90ecd60356ac45cba900bf2a89",
            ),
            (
                Method::POST,
                format!("{FILE}?encoding-type=url&uploads"),
                1_796_042_137_000,
                vec![
                    ("content-md5", EMPTY),
                    ("content-type", "text/x-tex"),
                    (
                        "x-oss-meta-litestream-timestamp",
                        "2026-11-30T12:35:37.477Z",
                    ),
                ],
                "c9ad7c3597f5c0dd1b037f716609a1c86b1da827cbf6d7fbd15657722b1f22b2",
            ),
            (
                Method::PUT,
                format!("{FILE}?partNumber=1&uploadId=U1"),
                1_796_042_137_000,
                vec![("range", "bytes=0-1")],
                "bd8690e073ad6640808791f60ef6c27d6795c8cd7d51d984bb73cd57d9059a72",
            ),
        ] {
            // Whether the bucket stands in the path or in the host makes no difference.
            for (base, before) in [
                ("http://127.0.0.1/testb", ""),
                ("http://testb.host", "/testb"),
            ] {
                let mut request = Request::builder()
                    .method(&method)
                    .uri(format!("{base}{target}"));
                for (name, value) in &headers {
                    request = request.header(*name, *value);
                }
                let (mut parts, ()) = request.body(()).unwrap().into_parts();
                let signer = Signature {
                    region: "cn-hangzhou".into(),
                    before: before.into(),
                    clock: real::env().clock,
                };
                let credential = Credential {
                    access_key_id: "AKID".into(),
                    access_key_secret: "SECRET".into(),
                    ..Credential::default()
                };
                signer
                    .sign(&mut parts, &credential, UnixMillis(time))
                    .unwrap();
                let expected = format!(
                    "OSS4-HMAC-SHA256 Credential=AKID/20261130/cn-hangzhou/oss/aliyun_v4_request,Signature={signature}"
                );
                assert_eq!(parts.headers[AUTHORIZATION], expected);
            }
        }
    }
}
