//! Listing objects, with the metadata that carries their times.

use http::Method;
use serde_json::Value;

use super::GsReplica;
use super::service::encoded;
use crate::env::UnixMillis;
use crate::net::{Head, Payload};
use crate::object::{Listed, stamp_millis};
use crate::{Error, ErrorKind, Result};

/// The name of the metadata that carries a file's time.
pub(super) const TIME: &str = "litestream-timestamp";
/// What is asked for of each object: no more than is used.
const FIELDS: &str = "items(name,size,timeCreated,metadata),nextPageToken";
/// The service's own limit.
const PAGE_OBJECTS_MAX: usize = 1000;
const PAGE_BYTES_MAX: usize = 64 << 20;

impl GsReplica {
    /// All objects whose names begin with `prefix`.
    pub(super) async fn list_below(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut url = format!(
                "{}?prefix={}&maxResults={PAGE_OBJECTS_MAX}&fields={}&prettyPrint=false",
                self.service.objects(),
                encoded(prefix),
                encoded(FIELDS)
            );
            if !token.is_empty() {
                url = format!("{url}&pageToken={}", encoded(&token));
            }
            let head = Head::new(Method::GET, url);
            let answer = self.service.send("list", prefix, head, Payload::empty());
            let answer = answer.await?;
            if !answer.status().is_success() {
                return Err(self.service.bucket_error(&answer.refusal().await));
            }
            let page = answer.bytes(PAGE_BYTES_MAX).await?;
            let failed = |text: &str| Error::new(ErrorKind::Other, "list", prefix, text);
            match read_page(&page, &mut all).map_err(failed)? {
                Some(next) if next != token => token = next,
                Some(_) => {
                    return Err(failed("the service gives the same page again and again"));
                }
                None => return Ok(all),
            }
        }
    }
}

/// Adds the objects of a page; gives the token of the next.
fn read_page(
    page: &[u8],
    into: &mut Vec<Listed>,
) -> std::result::Result<Option<String>, &'static str> {
    let page: Value = serde_json::from_slice(page).map_err(|_| "the answer is no JSON")?;
    let page = page.as_object().ok_or("the answer is no listing")?;
    let items = page.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let key = text("name").ok_or("an object without a name")?.to_owned();
        let size = text("size").and_then(|size| size.parse().ok());
        let created = metadata(item).and_then(stamp_millis);
        into.push(Listed {
            key,
            size: size.ok_or("an object without a size")?,
            created: created
                .or_else(|| stamp_millis(text("timeCreated")?))
                .unwrap_or(UnixMillis(0)),
        });
    }
    let next = page.get("nextPageToken").and_then(Value::as_str);
    Ok(next.filter(|token| !token.is_empty()).map(str::to_owned))
}

/// The time that an object carries.
fn metadata(item: &Value) -> Option<&str> {
    let all = item.get("metadata")?.as_object()?;
    let found = all.iter().find(|(name, _)| name.eq_ignore_ascii_case(TIME));
    found?.1.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_pages_are_read_however_little_is_in_them() {
        let page = br#"{"nextPageToken":"n","items":[
{"name":"a","size":"7","timeCreated":"2000-01-01T00:00:00Z","metadata":{"Litestream-Timestamp":"2023-11-14T22:13:20.123Z"}},
{"name":"b","size":"0","timeCreated":"2000-01-01T00:00:00.5Z","metadata":{"litestream-timestamp":"yesterday"}},
{"name":"c","size":"1"}]}"#;
        let mut listed = Vec::new();
        let next = read_page(page, &mut listed).unwrap();
        assert_eq!(next.as_deref(), Some("n"));
        let found: Vec<_> = listed
            .iter()
            .map(|l| (l.key.as_str(), l.size, l.created.0))
            .collect();
        let expected = [
            ("a", 7, 1_700_000_000_123),
            ("b", 0, 946_684_800_500),
            ("c", 1, 0),
        ];
        assert_eq!(found, expected);
        for page in [
            "",
            "[]",
            r#"{"items":[{}]}"#,
            r#"{"items":[{"name":"a","size":7}]}"#,
        ] {
            assert!(read_page(page.as_bytes(), &mut listed).is_err(), "{page}");
        }
        assert_eq!(read_page(b"{}", &mut listed).unwrap(), None);
    }
}
