//! The LTX file format: bytes in, bytes out.
//!
//! Everything a Litestream replica holds is LTX files: a header, compressed database pages in ascending
//! order, an index of where each page lies, and two checksums. This crate reads, writes, merges and verifies
//! them. It promises that bad input of any kind is an [`Error`], never a panic and never wrong data, that
//! memory stays bounded by the page size (plus, for writing, about nine bytes of index per page), and that it
//! does nothing but transform bytes: no async, no file system, no clock.
#![forbid(unsafe_code)]

mod chain;
mod checksum;
mod decoder;
mod encoder;
mod error;
mod frame;
mod header;
mod image;
mod index;
mod lz4frame;
mod lz4stream;
mod merge;
mod order;
mod page;
mod source;
mod spill;
mod txid;
mod varint;

pub use chain::Chain;
pub use checksum::{Checksum, Crc64, DatabaseChecksum, crc64, crc64_combine};
pub use decoder::Decoder;
pub use encoder::{Encoder, Written};
pub use error::{Error, Result};
pub use frame::{
    Compressor, FrameEncoding, FramePrefix, PAGE_HEADER_SIZE, decompress_frame, frame_encoding,
    frame_prefix, max_frame_size,
};
pub use header::{HEADER_SIZE, Header, NO_CHECKSUM, TRAILER_SIZE, Trailer};
pub use image::write_image;
pub use index::{IndexEntry, IndexReader, index_location};
pub use lz4stream::Lz4Reader;
pub use merge::{merge, merge_spilling};
pub use page::{LOCK_BYTE, PageNo, PageSize};
pub use spill::Spill;
pub use txid::{FileName, Txid};
