//! Any bytes as a file.

use std::collections::BTreeMap;

use ltx::{
    Decoder, Encoder, Header, IndexReader, PageNo, Result, decompress_frame, index_location,
};

/// What a file says: header, pages, post-apply checksum.
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) pages: BTreeMap<PageNo, Vec<u8>>,
    pub(crate) post_apply: u64,
}

/// Reads a file whole.
pub(crate) fn read(file: &[u8]) -> Result<Content> {
    let mut decoder = Decoder::new(file)?;
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = BTreeMap::new();
    while let Some(number) = decoder.next_page(&mut page)? {
        pages.insert(number, page.clone());
    }
    let post_apply = decoder.finish()?.post_apply_checksum;
    Ok(Content {
        header,
        pages,
        post_apply,
    })
}

/// Writes a file whole.
pub(crate) fn write(content: &Content) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(Vec::new(), content.header)?;
    for (number, page) in &content.pages {
        encoder.write_page(*number, page)?;
    }
    Ok(encoder.finish(content.post_apply)?.0)
}

/// Any input is refused, or means the same when read by its index, and when written again. Never a panic.
pub fn ltx_decode(data: &[u8]) {
    let by_index = read_by_index(data);
    let Ok(content) = read(data) else { return };
    assert!(
        by_index.unwrap() == content.pages,
        "the index leads to other pages"
    );
    let again = read(&write(&content).unwrap()).unwrap();
    let header = Header {
        reserved: [0; 20],
        ..content.header
    };
    assert!(again.header == header, "another header after writing again");
    assert!(
        again.pages == content.pages,
        "other pages after writing again"
    );
    assert!(again.post_apply == content.post_apply);
}

/// Reads a file as ranged reads do, from its end.
fn read_by_index(file: &[u8]) -> Option<BTreeMap<PageNo, Vec<u8>>> {
    let header = Header::decode(file).ok()?;
    let range = index_location(file.len() as u64, file.last_chunk()?).ok()?;
    let mut entries = Vec::new();
    let mut reader = IndexReader::with_header(&header);
    let index = &file[range.start as usize..range.end as usize];
    reader.push(index, |entry| entries.push(entry)).ok()?;
    reader.finish().ok()?;
    let mut pages = BTreeMap::new();
    for entry in entries {
        let frame = file.get(entry.offset as usize..(entry.offset + entry.size) as usize)?;
        let mut page = vec![0; header.page_size.bytes()];
        let number = decompress_frame(frame, header.page_size, &mut page).ok()?;
        if number != entry.page {
            return None;
        }
        pages.insert(number, page);
    }
    Some(pages)
}
