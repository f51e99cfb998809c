//! Listing objects, page by page.

use http::Method;
use percent_encoding::percent_decode_str;

use super::service::{Service, encoded};
use crate::env::UnixMillis;
use crate::net::{Head, Payload, Xml};
use crate::object::{Listed, stamp_millis};
use crate::{Error, ErrorKind, Result};

/// The service's own limit; without being asked it gives a tenth.
const PAGE_OBJECTS_MAX: usize = 1000;
const PAGE_BYTES_MAX: usize = 64 << 20;

/// All objects whose keys begin with `prefix`, with the times of their uploads.
pub(super) async fn below(service: &Service, prefix: &str) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let mut url = format!(
            "{}?list-type=2&encoding-type=url&max-keys={PAGE_OBJECTS_MAX}&prefix={}",
            service.bucket(),
            encoded(prefix)
        );
        if !token.is_empty() {
            url = format!("{url}&continuation-token={}", encoded(&token));
        }
        let head = Head::new(Method::GET, url);
        let answer = service.succeed("list", prefix, head, Payload::empty());
        let page = answer.await?.bytes(PAGE_BYTES_MAX).await?;
        let failed = |text: String| Error::new(ErrorKind::Other, "list", prefix, text);
        match read_page(&page, &mut all).map_err(failed)? {
            Some(next) if next != token => token = next,
            Some(_) => {
                let text = "the service gives the same page again and again";
                return Err(failed(text.to_owned()));
            }
            None => return Ok(all),
        }
    }
}

/// Adds the objects of a page; gives the token of the next.
fn read_page(page: &[u8], into: &mut Vec<Listed>) -> std::result::Result<Option<String>, String> {
    let xml = Xml::parse(page)?;
    if xml.name != "ListBucketResult" {
        return Err("the answer is no listing".to_owned());
    }
    let is_encoded = xml.text_of("EncodingType").eq_ignore_ascii_case("url");
    for object in xml.children("Contents") {
        let key = object.text_of("Key");
        if key.is_empty() {
            return Err("an object without a key".to_owned());
        }
        let size = object.text_of("Size").trim().parse();
        into.push(Listed {
            key: if is_encoded {
                decoded(key)
            } else {
                key.to_owned()
            },
            size: size.map_err(|_| "an object without a size")?,
            created: stamp_millis(object.text_of("LastModified")).unwrap_or(UnixMillis(0)),
        });
    }
    let next = xml.text_of("NextContinuationToken");
    let has_more = xml.text_of("IsTruncated").trim() == "true";
    if has_more && next.is_empty() {
        return Err("a part of a list that does not say how it goes on".to_owned());
    }
    Ok(has_more.then(|| next.to_owned()))
}

/// As forms are decoded: so the service's own clients do it.
pub(super) fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_pages_are_read_however_little_is_in_them() {
        let page = br"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken>
<Contents><Key>a%2Bb%2F%20+c</Key><Size>7</Size><LastModified>2023-11-14T22:13:20.000Z</LastModified></Contents>
<Contents><Key>d</Key><Size>0</Size></Contents></ListBucketResult>";
        let mut listed = Vec::new();
        let next = read_page(page, &mut listed).unwrap();
        assert_eq!(next.as_deref(), Some("n"));
        let found: Vec<_> = listed
            .iter()
            .map(|l| (l.key.as_str(), l.size, l.created.0))
            .collect();
        assert_eq!(found, [("a+b/  c", 7, 1_700_000_000_000), ("d", 0, 0)]);
        for page in [
            "",
            "<x/>",
            "<ListBucketResult><Contents/></ListBucketResult>",
            // The end of a list is not guessed: the newest files come last.
            "<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>a</NextMarker></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        ] {
            assert!(read_page(page.as_bytes(), &mut listed).is_err(), "{page}");
        }
        let plain = b"<ListBucketResult><Contents><Key>a+b</Key><Size>1</Size></Contents></ListBucketResult>";
        assert_eq!(read_page(plain, &mut listed).unwrap(), None);
        assert_eq!(listed.last().unwrap().key, "a+b");
    }
}
