//! Merging consecutive files into one that has the same effect (compaction).
//!
//! Promises that applying the output equals applying the inputs one after the other, and that success means
//! that every input's checksum was right. Compressed data is copied, not made anew. Holds one read buffer per
//! input and one page, whatever the size of the files; the output's page index beside them, but for [`merge_spilling`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};

use crate::frame::{BLOCK_PREFIX, FrameEncoding, frame_encoding};
use crate::{Decoder, Encoder, Error, Header, PageNo, Result, Spill, Written};

/// Smallest page first; of the same page, the newest input first.
type Queue = BinaryHeap<Reverse<(PageNo, Reverse<usize>)>>;

/// Merges `inputs`, which must be sorted by transaction and leave no gap, into one file. Errors name the input
/// at fault. On any error what was written so far must be thrown away.
pub fn merge<R: Read, W: Write>(inputs: Vec<Decoder<R>>, out: W) -> Result<(W, Header, Written)> {
    run(inputs, out, None)
}

/// The same, with a place for the output's page index while it is written.
pub fn merge_spilling<R: Read, W: Write>(
    inputs: Vec<Decoder<R>>,
    out: W,
    spill: Box<dyn Spill>,
) -> Result<(W, Header, Written)> {
    run(inputs, out, Some(spill))
}

fn run<R: Read, W: Write>(
    mut inputs: Vec<Decoder<R>>,
    out: W,
    spill: Option<Box<dyn Spill>>,
) -> Result<(W, Header, Written)> {
    let header = merged_header(&inputs)?;
    let mut encoder = Encoder::new(out, header)?;
    if let Some(spill) = spill {
        encoder.spill_to(spill);
    }
    let mut queue = Queue::with_capacity(inputs.len());
    for index in 0..inputs.len() {
        enqueue(&mut queue, &mut inputs, index)?;
    }
    let mut page = vec![0; header.page_size.bytes()];
    let mut frame = Vec::new();
    let mut previous = None;
    while let Some(Reverse((number, Reverse(index)))) = queue.pop() {
        let input = &mut inputs[index];
        let superseded = previous == Some(number);
        if superseded || number.get() > header.commit {
            // Its content counts for the input's checksum only.
            input
                .next_page(&mut page)
                .map_err(|error| at_input(input, error))?;
        } else {
            input
                .next_frame(&mut frame, &mut page)
                .map_err(|error| at_input(input, error))?;
            match frame_encoding(&frame)?.encoding {
                FrameEncoding::Block => {
                    encoder.write_compressed(number, &frame[BLOCK_PREFIX..], &page)?;
                }
                FrameEncoding::Lz4Frame => encoder.write_page(number, &page)?,
            }
        }
        previous = Some(number);
        enqueue(&mut queue, &mut inputs, index)?;
    }
    for input in inputs {
        let name = input.header().file_name();
        input.finish().map_err(|error| Error::Input {
            name,
            source: Box::new(error),
        })?;
    }
    let (out, written) = encoder.finish(0)?;
    Ok((out, header, written))
}

/// Queues the next page of an input, if it has one.
fn enqueue<R: Read>(queue: &mut Queue, inputs: &mut [Decoder<R>], index: usize) -> Result<()> {
    let input = &mut inputs[index];
    if let Some(page) = input.peek().map_err(|error| at_input(input, error))? {
        queue.push(Reverse((page, Reverse(index))));
    }
    Ok(())
}

fn at_input<R: Read>(input: &Decoder<R>, error: Error) -> Error {
    Error::Input {
        name: input.header().file_name(),
        source: Box::new(error),
    }
}

/// Checks that the inputs continue each other; the header of what they make together.
fn merged_header<R: Read>(inputs: &[Decoder<R>]) -> Result<Header> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Err(Error::NoInputs);
    };
    for pair in inputs.windows(2) {
        check_pair(pair[0].header(), pair[1].header())
            .map_err(|error| at_input(&pair[1], error))?;
    }
    let (first, last) = (first.header(), last.header());
    // The output never tracks database checksums, so none of the inputs' are carried over, only what chains.
    let header = Header::new(
        first.page_size,
        last.commit,
        first.min_txid,
        last.max_txid,
        last.timestamp_ms,
    );
    Ok(header.with_chain(first.chain().joined(&last.chain())))
}

fn check_pair(before: &Header, after: &Header) -> Result<()> {
    if before.page_size != after.page_size {
        return Err(Error::MergePageSize {
            expected: before.page_size.get(),
            found: after.page_size.get(),
        });
    }
    if after.min_txid > before.max_txid.next() || after.max_txid <= before.max_txid {
        let (previous, min, max) = (before.max_txid, after.min_txid, after.max_txid);
        return Err(Error::MergeOrder { previous, min, max });
    }
    let adjoins = after.min_txid == before.max_txid.next();
    if adjoins && !before.chain().continues_with(&after.chain()) {
        return Err(Error::ChainBroken);
    }
    Ok(())
}
