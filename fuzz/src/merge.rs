//! Merges: of scripted chains, whose effect is known, and of any bytes, which must not panic.

use ltx::{Decoder, Header, Result, Txid, merge, write_image};

use crate::decode::{read, write};
use crate::script::Script;

/// Chains stay short, as databases stay small.
const FILES_MAX: usize = 12;

/// The first byte decides: odd is raw files, each behind its length in four bytes; even is a script.
pub fn ltx_merge(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    if mode & 1 == 1 {
        merge_raw(rest);
    } else {
        merge_chain(mode & 2 != 0, rest);
    }
}

fn merge_files(files: &[Vec<u8>]) -> Result<(Vec<u8>, Header)> {
    let inputs = files
        .iter()
        .map(|file| Decoder::new(&file[..]))
        .collect::<Result<_>>()?;
    let (file, header, _) = merge(inputs, Vec::new())?;
    Ok((file, header))
}

/// A merge that succeeds is a valid file with the newest version of each page.
fn merge_raw(mut data: &[u8]) {
    let mut files = Vec::new();
    while let Some((size, rest)) = data.split_first_chunk()
        && files.len() < FILES_MAX
    {
        let size = (u32::from_be_bytes(*size) as usize).min(rest.len());
        let (file, rest) = rest.split_at(size);
        files.push(file.to_vec());
        data = rest;
    }
    let Ok((file, header)) = merge_files(&files) else {
        return;
    };
    let merged = read(&file).unwrap();
    assert!(merged.header == header);
    let inputs: Vec<_> = files.iter().map(|file| read(file).unwrap()).collect();
    for (number, page) in &merged.pages {
        let newest = inputs
            .iter()
            .rev()
            .find_map(|input| input.pages.get(number));
        assert!(newest == Some(page), "page {number} is not the newest");
    }
}

/// Merging equals applying one by one, also in two halves.
fn merge_chain(from_snapshot: bool, data: &[u8]) {
    let mut script = Script::new(data);
    let page_size = script.page_size();
    let split = usize::from(script.byte());
    let mut size = if from_snapshot {
        0
    } else {
        u32::from(script.byte()) % 24
    };
    let start = vec![0xEE; size as usize * page_size.bytes()];
    let mut txid = Txid::new(if from_snapshot { 1 } else { 0x1000 });
    let mut files = Vec::new();
    while files.is_empty() || (!script.is_empty() && files.len() < FILES_MAX) {
        let content = script.transaction(page_size, txid, size);
        size = content.header.commit;
        files.push(write(&content).unwrap());
        txid = txid.next();
    }
    let mut one_by_one = start.clone();
    for file in &files {
        apply(&mut one_by_one, file);
    }

    let (whole, header) = merge_files(&files).unwrap();
    assert!(header.max_txid.next() == txid);
    let mut image = start.clone();
    apply(&mut image, &whole);
    assert!(image == one_by_one, "merged at once");

    let at = split % files.len();
    if at > 0 {
        let halves = [
            merge_files(&files[..at]).unwrap().0,
            merge_files(&files[at..]).unwrap().0,
        ];
        assert!(merge_files(&halves).unwrap().0 == whole, "merged in halves");
    }
}

fn apply(image: &mut Vec<u8>, file: &[u8]) {
    let decoder = Decoder::new(file).unwrap();
    let page_size = decoder.header().page_size;
    image.resize(decoder.header().commit as usize * page_size.bytes(), 0);
    write_image(decoder, |number, page| {
        let at = number.offset(page_size) as usize;
        image[at..at + page.len()].copy_from_slice(page);
        Ok(())
    })
    .unwrap();
}
