//! Applying a file to a database image.

use std::io::{self, Read};

use crate::{Decoder, Header, PageNo, Result, Trailer};

/// Hands every page to `put` in ascending order, then verifies the file. The pages must not be trusted before
/// this returned successfully. The lock page never comes: the caller leaves a hole there. The image's size is
/// the header's commit times its page size.
pub fn write_image<R: Read>(
    mut decoder: Decoder<R>,
    mut put: impl FnMut(PageNo, &[u8]) -> io::Result<()>,
) -> Result<(Header, Trailer)> {
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    while let Some(number) = decoder.next_page(&mut page)? {
        put(number, &page)?;
    }
    Ok((header, decoder.finish()?))
}
