//! Deleting, a thousand objects by one request.
//!
//! Promise: success means that the service named every object as deleted.

use std::collections::HashSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;

use super::listing::decoded;
use super::service::Service;
use crate::net::{Head, Payload, Xml};
use crate::{Error, ErrorKind, Result};

/// The service's own limit.
const BATCH: usize = 1000;
/// How many failures are told.
const TOLD_MAX: usize = 5;
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Deletes the objects of these keys. Those that are not there are no error.
pub(super) async fn delete(service: &Service, keys: &[String]) -> Result<()> {
    for batch in keys.chunks(BATCH) {
        many(service, batch).await?;
    }
    Ok(())
}

async fn many(service: &Service, keys: &[String]) -> Result<()> {
    let mut list =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Delete><Quiet>false</Quiet>");
    for key in keys {
        let key = quick_xml::escape::escape(key);
        // Writing to a string can't fail.
        let _ = write!(list, "<Object><Key>{key}</Key></Object>");
    }
    list.push_str("</Delete>");
    let list = Payload::Bytes(Bytes::from(list));
    let digest = STANDARD.encode(list.md5(service.env()).await?);
    let head = Head::new(Method::POST, format!("{}?delete", service.bucket()))
        .text("content-md5", &digest)?
        .text("content-type", "application/xml")?;
    let subject = keys.first().map_or("", String::as_str);
    let answer = service.succeed("delete", subject, head, list).await?;
    let answer = answer.bytes(ANSWER_BYTES_MAX).await?;
    let answer = Xml::parse(&answer)
        .map_err(|text| Error::new(ErrorKind::Other, "delete", subject, text))?;
    let is_encoded = answer.text_of("EncodingType").eq_ignore_ascii_case("url");
    let named: HashSet<String> = answer
        .children("Deleted")
        .map(|deleted| match deleted.text_of("Key") {
            key if is_encoded => decoded(key),
            key => key.to_owned(),
        })
        .collect();
    let left: Vec<&str> = keys
        .iter()
        .map(String::as_str)
        .filter(|key| !named.contains(*key))
        .collect();
    let Some(first) = left.first() else {
        return Ok(());
    };
    let told = left[..left.len().min(TOLD_MAX)].join(", ");
    let more = if left.len() > TOLD_MAX { ", …" } else { "" };
    let text = format!(
        "the service did not name {} of {} objects as deleted: {told}{more}",
        left.len(),
        keys.len()
    );
    Err(Error::new(ErrorKind::Other, "delete", *first, text))
}
