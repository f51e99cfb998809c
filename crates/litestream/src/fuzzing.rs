//! Parsers that are private otherwise, for the fuzz targets alone. No part of the library's promise.

use ltx::Txid;

use crate::staging::SavedCursor;

/// Reads a noted cursor as it lies beside the staged files, and writes it again.
pub fn cursor(text: &str, txid: Txid) -> Option<String> {
    let (noted, saved) = SavedCursor::parse(text)?;
    (noted == txid).then(|| saved.encode(txid))
}
