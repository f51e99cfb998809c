//! What can be wrong with an LTX file, or with a request to write one.
//!
//! Every variant carries the page where there is one. The file's name is not known here: whoever opened the
//! file adds it.

use crate::{FileName, Txid};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an LTX file was refused, or could not be written.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file ends in the middle of a section.
    #[error("the file is cut short: more bytes were expected after offset {offset}")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
    /// The magic number is not there.
    #[error("not an LTX file: it starts with bytes {found:02x?} instead of \"LTX1\"")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Flag bits that this version of the format does not have.
    #[error("unknown header flags {0:#x}: damaged, or written by a newer version")]
    HeaderFlags(u32),
    /// A page size SQLite does not have.
    #[error("page size {0} is not a power of two from 512 to 65536")]
    PageSize(u32),
    /// Transaction numbers are zero or reversed.
    #[error("invalid TXID range {min}-{max}: both must be at least 1 and in order")]
    TxidRange {
        /// First transaction.
        min: Txid,
        /// Last transaction.
        max: Txid,
    },
    /// Text that is not a transaction number.
    #[error("{0:?} is not a TXID: it must be exactly 16 hexadecimal digits")]
    TxidText(String),
    /// A pre- or post-apply checksum where there may be none, or none where there must be one.
    #[error("the {which}-apply checksum is {value:#018x}, but {rule}")]
    ApplyChecksum {
        /// `pre` or `post`.
        which: &'static str,
        /// The value found.
        value: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The WAL fields of the header contradict each other.
    #[error("invalid WAL position in the header: offset {offset}, size {size}")]
    WalPosition {
        /// WAL offset.
        offset: i64,
        /// WAL size.
        size: i64,
    },
    /// A page frame with flag bits that do not exist, or a terminator that is not all zero.
    #[error("page {page}: unknown page flags {flags:#x}")]
    PageFlags {
        /// Page number as found; zero in a damaged end of the page block.
        page: u32,
        /// The flags.
        flags: u16,
    },
    /// Pages must ascend strictly.
    #[error("page {page} follows page {previous}: pages must ascend")]
    PageOrder {
        /// The offending page.
        page: u32,
        /// The page before it.
        previous: u32,
    },
    /// A page beyond the end of the database.
    #[error("page {page} is beyond the database's {commit} pages")]
    PageBeyondCommit {
        /// The offending page.
        page: u32,
        /// Database size in pages.
        commit: u32,
    },
    /// The lock page must never be stored.
    #[error("page {page} is the lock page, which is never stored")]
    LockPage {
        /// The lock page's number.
        page: u32,
    },
    /// A snapshot lacks a page.
    #[error("page {expected} is missing in a snapshot (page {found} comes instead)")]
    SnapshotGap {
        /// The page that had to come.
        expected: u32,
        /// The page that came.
        found: u32,
    },
    /// A snapshot ends before its last page.
    #[error("the snapshot ends after page {last}, but the database has {commit} pages")]
    SnapshotEnd {
        /// The last page that is there, zero if none.
        last: u32,
        /// Database size in pages.
        commit: u32,
    },
    /// A frame larger than any encoding of one page can be.
    #[error("page {page}: compressed size {size} exceeds the maximum of {max}")]
    FrameTooLarge {
        /// Page number.
        page: u32,
        /// Claimed size.
        size: u64,
        /// Greatest possible size.
        max: u64,
    },
    /// The compressed data is damaged.
    #[error("page {page}: invalid LZ4 data: {reason}")]
    Lz4 {
        /// Page number.
        page: u32,
        /// What the decompressor said.
        reason: String,
    },
    /// A page that inflates to something else than one page, or a page to be written that has the wrong size.
    #[error("page {page} has {actual} bytes instead of {expected}")]
    PageLength {
        /// Page number.
        page: u32,
        /// The page size.
        expected: usize,
        /// The size found.
        actual: usize,
    },
    /// A byte range that is not exactly one page frame.
    #[error("page {page}: the frame has {actual} bytes, its range {given}")]
    FrameLength {
        /// Page number.
        page: u32,
        /// Bytes given.
        given: usize,
        /// Bytes of the frame.
        actual: usize,
    },
    /// The caller's page buffer has not the size of a page.
    #[error("page buffer of {actual} bytes given for pages of {expected} bytes")]
    PageBuffer {
        /// The page size.
        expected: usize,
        /// The buffer's size.
        actual: usize,
    },
    /// The page index is malformed.
    #[error("invalid page index: {0}")]
    Index(&'static str),
    /// A well-formed index entry that cannot be true.
    #[error("invalid page index entry for page {page}: {reason}")]
    IndexEntry {
        /// Page number.
        page: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The size of the index does not fit into the file.
    #[error("invalid page index size {size} in a file of {file_size} bytes")]
    IndexSize {
        /// The claimed size.
        size: u64,
        /// The file's size.
        file_size: u64,
    },
    /// The file's content is not what was written.
    #[error("file checksum mismatch: stored {stored:#018x}, computed {computed:#018x}")]
    FileChecksum {
        /// From the trailer.
        stored: u64,
        /// From the content.
        computed: u64,
    },
    /// The snapshot's pages do not have the checksum its trailer claims.
    #[error("database checksum mismatch: stored {stored:#018x}, computed {computed:#018x}")]
    DatabaseChecksum {
        /// From the trailer.
        stored: u64,
        /// From the pages.
        computed: u64,
    },
    /// Bytes after the trailer.
    #[error("the file goes on after its trailer, which ends at offset {offset}")]
    TrailingBytes {
        /// Where the file should end.
        offset: u64,
    },
    /// A merge of nothing.
    #[error("nothing to merge: no files given")]
    NoInputs,
    /// Files of different page sizes cannot be merged.
    #[error("page size {found} differs from the first file's {expected}")]
    MergePageSize {
        /// Page size of the first file.
        expected: u32,
        /// Page size of this file.
        found: u32,
    },
    /// Files to be merged leave a hole or go backwards.
    #[error(
        "{min}-{max} does not continue {previous}: files to merge must be sorted and without a gap"
    )]
    MergeOrder {
        /// Last transaction of the file before.
        previous: Txid,
        /// First transaction of this file.
        min: Txid,
        /// Last transaction of this file.
        max: Txid,
    },
    /// A file to be merged begins with another database than the one before it left.
    #[error("its checksum of the database before it differs from what the file before it left")]
    ChainBroken,
    /// One of several inputs is at fault.
    #[error("{name}: {source}")]
    Input {
        /// The input, named after its header.
        name: FileName,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// Reading or writing failed; says nothing about the file's content.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    /// Whether the data itself is at fault: everything but a failure to read or write.
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Io(_) => false,
            Self::Input { source, .. } => source.is_corrupt(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_io_is_not_corruption() {
        let io = || Error::Io(std::io::Error::other("net"));
        assert!(!io().is_corrupt());
        let name = FileName::single(Txid::new(1));
        assert!(
            !Error::Input {
                name,
                source: Box::new(io())
            }
            .is_corrupt()
        );
        let damaged = Error::Input {
            name,
            source: Box::new(Error::NoInputs),
        };
        assert!(damaged.is_corrupt());
        assert_eq!(
            damaged.to_string(),
            "0000000000000001-0000000000000001.ltx: nothing to merge: no files given"
        );
    }
}
