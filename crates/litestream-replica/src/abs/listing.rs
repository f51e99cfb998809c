//! Listing blobs, with the metadata that carries their times.

use http::Method;

use super::AbsReplica;
use super::service::encoded;
use crate::env::UnixMillis;
use crate::net::{Head, Payload, Xml, date_millis};
use crate::object::{Listed, stamp_millis};
use crate::{Error, ErrorKind, Result};

/// The name of the metadata that carries a file's time; hyphens are not allowed there.
const TIME: &str = "litestreamtimestamp";
/// Metadata by which folders are told from files, in accounts that have folders.
const FOLDER: &str = "hdi_isfolder";
/// The service's own limit; its answer stays far below the other.
const PAGE_BLOBS_MAX: usize = 5000;
const PAGE_BYTES_MAX: usize = 64 << 20;

impl AbsReplica {
    /// All blobs whose names begin with `prefix`.
    pub(super) async fn list_below(&self, prefix: &str) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        let mut marker = String::new();
        loop {
            let mut url = format!(
                "{}?restype=container&comp=list&include=metadata&maxresults={PAGE_BLOBS_MAX}&prefix={}",
                self.service.container(),
                encoded(prefix)
            );
            if !marker.is_empty() {
                url = format!("{url}&marker={}", encoded(&marker));
            }
            let request = Head::new(Method::GET, &url);
            let answer = self
                .service
                .send("list", prefix, request, Payload::empty())
                .await?;
            if !answer.status().is_success() {
                let refusal = answer.refusal().await;
                let error = refusal.error();
                // Whatever is missing is no empty level.
                let missing = error.kind() == ErrorKind::NotFound;
                return Err(if missing {
                    refusal.error_of(ErrorKind::Invalid)
                } else {
                    error
                });
            }
            let page = answer.bytes(PAGE_BYTES_MAX).await?;
            let next = read_page(&page, &mut all)
                .map_err(|text| Error::new(ErrorKind::Other, "list", prefix, text))?;
            match next {
                Some(next) if next != marker => marker = next,
                Some(_) => {
                    let text = "the service gives the same page again and again";
                    return Err(Error::new(ErrorKind::Other, "list", prefix, text));
                }
                None => return Ok(all),
            }
        }
    }
}

/// Adds the blobs of a page; gives the marker of the next.
fn read_page(page: &[u8], into: &mut Vec<Listed>) -> std::result::Result<Option<String>, String> {
    let xml = Xml::parse(page)?;
    let blobs = xml.child("Blobs").ok_or("the answer is no listing")?;
    for blob in blobs.children("Blob") {
        if metadata(blob, FOLDER).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            continue;
        }
        let properties = blob
            .child("Properties")
            .ok_or("a blob without properties")?;
        let size = properties.text_of("Content-Length").trim();
        let size = size.parse().map_err(|_| "a blob without a size")?;
        let created = metadata(blob, TIME).and_then(stamp_millis);
        let date = |name: &str| date_millis(properties.text_of(name));
        into.push(Listed {
            key: blob.text_of("Name").to_owned(),
            size,
            created: created
                .or_else(|| date("Creation-Time"))
                .or_else(|| date("Last-Modified"))
                .unwrap_or(UnixMillis(0)),
        });
    }
    let next = xml.text_of("NextMarker");
    Ok((!next.is_empty()).then(|| next.to_owned()))
}

/// A value of a blob's metadata; the service keeps the case of names or does not.
fn metadata<'a>(blob: &'a Xml, name: &str) -> Option<&'a str> {
    let all = blob.child("Metadata")?;
    let found = all
        .inside
        .iter()
        .find(|xml| xml.name.eq_ignore_ascii_case(name));
    found.map(|xml| xml.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s11_pages_are_read_however_little_is_in_them() {
        let page = br#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="c"><Blobs>
<Blob><Name>a</Name><Properties><Creation-Time>Sun, 06 Nov 1994 08:49:37 GMT</Creation-Time><Content-Length>7</Content-Length></Properties>
<Metadata><LitestreamTimestamp>2023-11-14T22:13:20.123Z</LitestreamTimestamp></Metadata></Blob>
<Blob><Name>b</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified><Content-Length>0</Content-Length></Properties>
<Metadata><litestreamtimestamp>yesterday</litestreamtimestamp></Metadata></Blob>
<Blob><Name>folder</Name><Properties/><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>
</Blobs><NextMarker>n&amp;1</NextMarker></EnumerationResults>"#;
        let mut listed = Vec::new();
        assert_eq!(
            read_page(page, &mut listed).unwrap().as_deref(),
            Some("n&1")
        );
        let found: Vec<_> = listed
            .iter()
            .map(|l| (l.key.as_str(), l.size, l.created.0))
            .collect();
        assert_eq!(
            found,
            [("a", 7, 1_700_000_000_123), ("b", 0, 784_111_777_000)]
        );
        for page in [
            "",
            "<x/>",
            "<x><Blobs><Blob/></Blobs></x>",
            "<x><Blobs><Blob><Properties/></Blob></Blobs></x>",
        ] {
            assert!(read_page(page.as_bytes(), &mut listed).is_err(), "{page}");
        }
        let last = read_page(b"<x><Blobs/></x>", &mut listed);
        assert_eq!(last.unwrap(), None);
    }
}
