//! Files in pieces, many of them under way at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::connect::Link;
use super::file::{self, OpenFile};
use crate::blocks::Blocks;
use crate::limits::{Direction, Limits};
use crate::retry::Fetch;
use crate::{Error, ErrorKind, Result};

/// What every server takes in one request.
const PIECE_BYTES: u32 = 32 << 10;
/// Requests under way for one file.
pub(super) const PIECES_MAX: usize = 64;
/// How much of a local file is read at a time.
const BLOCK_BYTES: u64 = 256 << 10;

/// A file to be read from any byte on.
pub(super) struct Download<'a> {
    pub(super) link: &'a Link,
    pub(super) limits: &'a Arc<Limits>,
    pub(super) path: &'a str,
}

#[async_trait::async_trait]
impl Fetch for Download<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let _place = self.limits.begin().await;
        let session = self.link.session().await?;
        let file = file::open(&session, self.path).await?;
        // What has come already was there: the file does not end before.
        let is_resumed = !into.is_empty();
        let (len, is_known) = match len {
            Some(len) if len <= u64::from(PIECE_BYTES) && !is_resumed => (len, false),
            len => {
                let size = file.size().await?;
                if is_resumed && size.is_some_and(|size| size < offset) {
                    return Err(self.shrunk());
                }
                let left = size.map(|size| size.saturating_sub(offset));
                let len = len.unwrap_or(u64::MAX).min(left.unwrap_or(u64::MAX));
                (len, left.is_some())
            }
        };
        let end = (into.len() as u64).saturating_add(len);
        // Where the server does not tell the size, pieces are asked for until one is short.
        let pieces = (0..len.div_ceil(u64::from(PIECE_BYTES))).map(|n| {
            let at = n * u64::from(PIECE_BYTES);
            let want = (len - at).min(u64::from(PIECE_BYTES));
            piece(&file, offset.saturating_add(at), want as u32)
        });
        let mut pieces = stream::iter(pieces).buffered(PIECES_MAX);
        while let Some((piece, is_last)) = pieces.try_next().await? {
            self.limits.pass(Direction::Down, piece.len() as u64).await;
            into.extend_from_slice(&piece);
            if is_last {
                break;
            }
        }
        if is_known && (into.len() as u64) < end {
            return Err(self.shrunk());
        }
        Ok(())
    }
}

impl Download<'_> {
    fn shrunk(&self) -> Error {
        let text = "the file became shorter while it was read";
        Error::new(ErrorKind::Unreachable, "read", self.path, text)
    }
}

/// A whole piece; less, and `true`, only at the end of the file.
async fn piece(file: &OpenFile, offset: u64, len: u32) -> Result<(Bytes, bool)> {
    let first = file.read(offset, len).await?;
    if first.len() as u32 >= len {
        return Ok((first.into(), false));
    }
    let mut all = BytesMut::from(first.as_slice());
    while !all.is_empty() && (all.len() as u32) < len {
        let at = offset.saturating_add(all.len() as u64);
        let more = file.read(at, len - all.len() as u32).await?;
        if more.is_empty() {
            break;
        }
        all.extend_from_slice(&more);
    }
    let is_last = (all.len() as u32) < len;
    Ok((all.freeze(), is_last))
}

/// Writes all of a source into an open file.
pub(super) async fn upload(
    file: &OpenFile,
    blocks: Blocks,
    limits: &Arc<Limits>,
    at_once: usize,
) -> Result<()> {
    pieces(blocks, Arc::clone(limits))
        .map_ok(|(offset, piece)| async move { file.write(offset, &piece).await })
        .try_buffer_unordered(at_once)
        .try_collect::<()>()
        .await
}

/// A source in pieces and where they belong, as fast as they may go.
fn pieces(blocks: Blocks, limits: Arc<Limits>) -> BoxStream<'static, Result<(u64, Bytes)>> {
    let blocks = stream::try_unfold((blocks, limits), |(mut blocks, limits)| async move {
        let Some((offset, block)) = blocks.next(BLOCK_BYTES).await? else {
            return Ok(None);
        };
        limits.pass(Direction::Up, block.len() as u64).await;
        let mut pieces = Vec::new();
        for from in (0..block.len()).step_by(PIECE_BYTES as usize) {
            let end = (from + PIECE_BYTES as usize).min(block.len());
            pieces.push(Ok((offset + from as u64, block.slice(from..end))));
        }
        Ok(Some((stream::iter(pieces), (blocks, limits))))
    });
    blocks.try_flatten().boxed()
}
