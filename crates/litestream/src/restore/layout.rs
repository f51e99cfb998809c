//! The fixed places of an LTX file, checked: its header, where its index lies, its trailer.

use std::ops::Range;

use litestream_replica::FileInfo;
use ltx::{Checksum, Header, IndexReader, PAGE_HEADER_SIZE, PageSize, Trailer, index_location};

use super::error::RestoreError;

/// Bytes at the end of a file from which its index is found.
pub(crate) const TAIL: usize = 24;

/// Reads a header and checks that it is the one of this file, and of this chain, if it has to have one page size.
pub(crate) fn decode_header(
    info: FileInfo,
    bytes: &[u8],
    page_size: Option<PageSize>,
) -> Result<Header, RestoreError> {
    let header = Header::decode(bytes).map_err(RestoreError::damaged(info))?;
    check_name(info, &header)?;
    if let Some(page_size) = page_size.filter(|size| *size != header.page_size) {
        let what = format!(
            "its page size is {}, that of the newest file {page_size}",
            header.page_size
        );
        return Err(RestoreError::mismatch(info, what));
    }
    Ok(header)
}

/// Checks that a header is the one of this file.
pub(crate) fn check_name(info: FileInfo, header: &Header) -> Result<(), RestoreError> {
    if header.file_name() == info.name {
        return Ok(());
    }
    let what = format!("its header is that of {}", header.file_name());
    Err(RestoreError::mismatch(info, what))
}

/// Where the index lies, from the last bytes of a file.
pub(crate) fn locate_index(info: FileInfo, tail: &[u8]) -> Result<Range<u64>, RestoreError> {
    let Some(tail) = tail.last_chunk::<TAIL>() else {
        return Err(RestoreError::damaged(info)(ltx::Error::Truncated {
            offset: info.size,
        }));
    };
    index_location(info.size, tail).map_err(RestoreError::damaged(info))
}

/// Checks that the frames end where the index begins.
pub(crate) fn check_index_start(
    info: FileInfo,
    reader: &IndexReader,
    index: &Range<u64>,
) -> Result<(), RestoreError> {
    if reader.expected_start() == index.start {
        return Ok(());
    }
    Err(RestoreError::mismatch(
        info,
        "the page index does not begin where the page block ends",
    ))
}

/// Reads the trailer from the last bytes of a file.
pub(crate) fn decode_trailer(
    info: FileInfo,
    header: &Header,
    tail: &[u8],
) -> Result<Trailer, RestoreError> {
    let trailer = Trailer::decode(&tail[tail.len() - ltx::TRAILER_SIZE..])
        .map_err(RestoreError::damaged(info))?;
    let value = trailer.post_apply_checksum;
    let rule = match (header.tracks_checksum(), value) {
        (false, 1..) => "with the no-checksum flag it must be zero",
        (true, v) if v & Checksum::FLAG == 0 => {
            "without the no-checksum flag it must be there, with its top bit set"
        }
        _ => return Ok(trailer),
    };
    Err(RestoreError::damaged(info)(ltx::Error::ApplyChecksum {
        which: "post",
        value,
        rule,
    }))
}

/// Checks what stands between the last frame and the index.
pub(crate) fn check_page_block_end(info: FileInfo, bytes: &[u8]) -> Result<(), RestoreError> {
    if bytes == [0; PAGE_HEADER_SIZE] {
        return Ok(());
    }
    Err(RestoreError::mismatch(
        info,
        "the page block does not end where the page index begins",
    ))
}
