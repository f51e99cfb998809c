//! The bytes of one file, in chunks that two images share until one of them changes.
//!
//! Promise: holes read as zeros; cloning and adopting cost a pointer for each chunk.

use std::ops::Range;
use std::sync::Arc;

/// Size of a chunk: the page of a page cache, the unit in which a real system writes back.
pub const CHUNK: usize = 4096;

/// The bytes of a file.
#[derive(Clone, Default)]
pub struct Content {
    chunks: Vec<Option<Arc<[u8; CHUNK]>>>,
    len: u64,
}

/// The pieces of `len` bytes at `offset`: index of the chunk, and the range inside.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let from = (at % CHUNK as u64) as usize;
        let to = ((end - at) as usize + from).min(CHUNK);
        let index = (at / CHUNK as u64) as usize;
        at += (to - from) as u64;
        Some((index, from..to))
    })
}

/// The chunks that a write of `len` bytes at `offset` touches.
pub fn touched(offset: u64, len: usize) -> Range<usize> {
    let first = (offset / CHUNK as u64) as usize;
    first..(offset + len as u64).div_ceil(CHUNK as u64) as usize
}

impl Content {
    /// A file with these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write_at(bytes, 0);
        content
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads up to the end of the file; returns how much.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        for (index, range) in pieces(offset, len) {
            let target = &mut buf[done..done + range.len()];
            done += range.len();
            match self.chunks.get(index) {
                Some(Some(chunk)) => target.copy_from_slice(&chunk[range]),
                _ => target.fill(0),
            }
        }
        len
    }

    /// Writes all of `data`, growing the file as needed.
    pub fn write_at(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return;
        }
        let chunks = touched(offset, data.len()).end;
        if self.chunks.len() < chunks {
            self.chunks.resize(chunks, None);
        }
        let mut done = 0;
        for (index, range) in pieces(offset, data.len()) {
            let source = &data[done..done + range.len()];
            done += range.len();
            let chunk = self.chunks[index].get_or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[range].copy_from_slice(source);
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// Cuts or extends with zeros.
    pub fn set_len(&mut self, len: u64) {
        let chunks = len.div_ceil(CHUNK as u64) as usize;
        if len < self.len {
            self.chunks.truncate(chunks);
            let tail = (len % CHUNK as u64) as usize;
            if tail > 0
                && let Some(Some(chunk)) = self.chunks.get_mut(chunks - 1)
            {
                Arc::make_mut(chunk)[tail..].fill(0);
            }
        } else {
            self.chunks.resize(chunks, None);
        }
        self.len = len;
    }

    /// Takes over from `other` the chunks in `range` (as they are there, holes too) and the length.
    pub fn adopt(&mut self, other: &Content, range: Range<usize>) {
        self.chunks.resize(other.chunks.len(), None);
        let range = range.start..range.end.min(other.chunks.len());
        if !range.is_empty() {
            self.chunks[range.clone()].clone_from_slice(&other.chunks[range]);
        }
        if other.len < self.len {
            self.set_len(other.len);
        }
        self.len = other.len;
    }

    /// All bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read_at(&mut bytes, 0);
        bytes
    }

    /// A hash of length and bytes.
    pub fn hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut left = self.len as usize;
        for chunk in &self.chunks {
            let part = left.min(CHUNK);
            match chunk {
                Some(bytes) => hasher.update(&bytes[..part]),
                None => hasher.update(&[0; CHUNK][..part]),
            }
            left -= part;
        }
        hasher.update(&self.len.to_le_bytes());
        hasher.digest()
    }
}
