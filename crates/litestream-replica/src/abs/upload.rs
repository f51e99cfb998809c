//! Writing blobs: at once, or in blocks that become a blob together.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};

use super::AbsReplica;
use super::service::encoded;
use crate::env::UnixMillis;
use crate::net::{Head, Payload, Refusal};
use crate::retry::attempts;
use crate::{Error, ErrorKind, Result, object};

/// A blob up to this size is sent at once. Larger ones are sent in blocks, so that what broke is not sent again as a whole.
const SINGLE_BYTES_MAX: u64 = 8 << 20;
/// Of a block, unless there would be too many of them.
const BLOCK_BYTES_MIN: u64 = 8 << 20;
/// The service's own limit.
const BLOCKS_MAX: u64 = 50_000;
const BLOCKS_AT_ONCE: usize = 4;
/// How long one block is tried again, before the whole upload counts as failed.
const BLOCK_PATIENCE: Duration = Duration::from_mins(1);
/// As Litestream does: what lives for minutes would cost a month's fee in a colder tier.
const TIER: &str = "Hot";

/// Bytes of a block of a blob of this size.
fn block_bytes(size: u64) -> u64 {
    let fewest = size.div_ceil(BLOCKS_MAX).next_multiple_of(1 << 20);
    fewest.max(BLOCK_BYTES_MIN)
}

impl AbsReplica {
    pub(super) async fn upload(
        &self,
        key: &str,
        payload: Payload,
        created: UnixMillis,
    ) -> Result<()> {
        if payload.len() <= SINGLE_BYTES_MAX {
            let digest = STANDARD.encode(payload.md5(self.env()).await?);
            return self
                .put(key, &payload, created, |url| {
                    let head = Head::new(Method::PUT, url);
                    head.text("x-ms-blob-type", "BlockBlob")?
                        .text("content-type", "application/octet-stream")?
                        .text("content-md5", &digest)
                })
                .await;
        }
        let blocks = self.put_blocks(key, &payload).await?;
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for id in &blocks {
            // Writing to a string can't fail.
            let _ = write!(list, "<Uncommitted>{id}</Uncommitted>");
        }
        list.push_str("</BlockList>");
        let list = Payload::Bytes(Bytes::from(list));
        self.put(key, &list, created, |url| {
            let head = Head::new(Method::PUT, format!("{url}?comp=blocklist"));
            head.text("content-type", "application/xml")?
                .text("x-ms-blob-content-type", "application/octet-stream")
        })
        .await
    }

    /// Sends what makes a blob visible: with its time, and with its tier if the account has any.
    async fn put(
        &self,
        key: &str,
        body: &Payload,
        created: UnixMillis,
        head: impl Fn(&str) -> Result<Head>,
    ) -> Result<()> {
        let url = self.service.blob(key);
        loop {
            let mut head = head(&url)?;
            if let Some(stamp) = object::stamp(created) {
                head = head.text("x-ms-meta-litestreamtimestamp", &stamp)?;
            }
            let tier = !self.service.tierless.load(Ordering::Relaxed);
            if tier {
                head = head.text("x-ms-access-tier", TIER)?;
            }
            let answer = self.service.send("write", key, head, body.clone()).await?;
            if answer.status() == StatusCode::CREATED {
                return Ok(());
            }
            let refusal = answer.refusal().await;
            if tier && is_about_tiers(&refusal) {
                tracing::debug!(error = %refusal.error(), "abs: this account has no tiers");
                self.service.tierless.store(true, Ordering::Relaxed);
                continue;
            }
            return Err(written(&refusal));
        }
    }

    /// Sends the blocks; gives their names in their order.
    async fn put_blocks(&self, key: &str, payload: &Payload) -> Result<Vec<String>> {
        let (size, each) = (payload.len(), block_bytes(payload.len()));
        // Two uploads of one blob at once must not replace each other's blocks.
        let upload = self.env().entropy.next_u64();
        let sent = stream::iter(0..size.div_ceil(each)).map(async |index| {
            let id = STANDARD.encode(format!("{upload:016x}-{index:06}"));
            let from = index * each;
            let block = payload.part(from, each.min(size - from));
            self.put_block(key, &id, &block).await?;
            Ok::<_, Error>(id)
        });
        sent.buffered(BLOCKS_AT_ONCE).try_collect().await
    }

    async fn put_block(&self, key: &str, id: &str, block: &Payload) -> Result<()> {
        let digest = STANDARD.encode(block.md5(self.env()).await?);
        let url = format!(
            "{}?comp=block&blockid={}",
            self.service.blob(key),
            encoded(id)
        );
        let send = async || {
            let head = Head::new(Method::PUT, &url).text("content-md5", &digest)?;
            let answer = self.service.send("write", key, head, block.clone()).await?;
            if answer.status() == StatusCode::CREATED {
                return Ok(());
            }
            Err(written(&answer.refusal().await))
        };
        attempts(&*self.env().clock, || BLOCK_PATIENCE, send).await
    }
}

/// Why something was not written.
fn written(refusal: &Refusal) -> Error {
    match refusal.code.as_str() {
        // Damaged on its way, or another upload of the same blob has ended: both go better from the beginning.
        "Md5Mismatch" | "InvalidBlockList" => refusal.error_of(ErrorKind::Unreachable),
        _ if refusal.status == 404 => refusal.error_of(ErrorKind::Invalid),
        _ => refusal.error(),
    }
}

/// Whether it was the tier that was refused. Accounts without tiers say that in several ways.
fn is_about_tiers(refusal: &Refusal) -> bool {
    let about = |text: &str| text.to_ascii_lowercase().contains("tier");
    let vague = [
        "UnsupportedHeader",
        "FeatureNotSupported",
        "InvalidHeaderValue",
    ];
    matches!(refusal.status, 400 | 409)
        && (about(&refusal.code)
            || about(&refusal.message)
            || vague.contains(&refusal.code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_with_the_blob() {
        const MIB: u64 = 1 << 20;
        assert_eq!(block_bytes(9 * MIB), 8 * MIB);
        assert_eq!(block_bytes(50_000 * 8 * MIB), 8 * MIB);
        assert_eq!(block_bytes(50_000 * 8 * MIB + 1), 9 * MIB);
        for size in [1, 50_000 * 100 * MIB + 1, 190 << 40] {
            assert!(size.div_ceil(block_bytes(size)) <= BLOCKS_MAX);
        }
    }
}
