//! Any bytes as a page index, and as the end of a file.

use ltx::{IndexEntry, IndexReader, index_location};

/// The index reader accepts only consecutive frames of ascending pages, and gives the same entries whatever
/// pieces the index comes in.
pub fn ltx_index(data: &[u8]) {
    if let Some(tail) = data.last_chunk() {
        for file_size in [
            data.len() as u64,
            u64::from_be_bytes(tail[..8].try_into().unwrap()),
            u64::MAX,
        ] {
            if let Ok(range) = index_location(file_size, tail) {
                assert!(
                    106 <= range.start && range.start < range.end && range.end + 24 == file_size
                );
            }
        }
    }
    let whole = read(data, data.len().max(1));
    for piece in [1, 7] {
        assert!(read(data, piece) == whole, "pieces of {piece}");
    }
    let Some(entries) = whole else { return };
    let mut next = 100;
    let mut last = 0;
    for entry in entries {
        assert!(entry.page.get() > last && entry.offset == next && entry.size > 6);
        (last, next) = (entry.page.get(), entry.offset + entry.size);
    }
}

fn read(data: &[u8], piece: usize) -> Option<Vec<IndexEntry>> {
    let mut entries = Vec::new();
    let mut reader = IndexReader::new();
    for bytes in data.chunks(piece) {
        reader.push(bytes, |entry| entries.push(entry)).ok()?;
    }
    reader.finish().ok()?;
    Some(entries)
}
