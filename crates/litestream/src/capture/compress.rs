//! Compression of many pages at once, on as many threads as may compute, with the output in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use litestream_replica::env::{Env, Task};
use ltx::{Compressor, Encoder, FileName, PageNo, PageSize};
use parking_lot::Mutex;

use super::source::PageSource;
use super::track::Track;
use crate::error::{Error, Result};
use crate::ledger::Entry;
use crate::sqlite::Sentinel;
use crate::staging::Writer;

/// Pages compressed as one piece of work, in bytes.
const BATCH_BYTES: usize = 512 << 10;
/// Below this much content threads cost more than they save.
const PARALLEL_BYTES_MIN: usize = 4 << 20;
/// Batches in flight for each thread: one being worked on, one waiting.
const BATCHES_PER_THREAD: usize = 2;

/// Some pages, and their compressed form once worked on.
struct Batch {
    numbers: Vec<PageNo>,
    pages: Vec<u8>,
    blocks: Vec<u8>,
    ends: Vec<usize>,
    /// What the ledger keeps of the pages, if that is wanted.
    sums: Vec<Entry>,
    summed: bool,
}

impl Batch {
    fn new(summed: bool) -> Batch {
        Batch {
            sums: Vec::new(),
            summed,
            numbers: Vec::new(),
            pages: Vec::new(),
            blocks: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Takes pages from the source until full or at its end.
    fn fill(
        &mut self,
        source: &mut impl PageSource,
        sentinel: &Sentinel,
        page_size: PageSize,
    ) -> Result<()> {
        self.numbers.clear();
        let size = page_size.bytes();
        self.pages.resize(BATCH_BYTES.max(size), 0);
        for page in self.pages.chunks_exact_mut(size) {
            match source.next(sentinel, page)? {
                Some(number) => self.numbers.push(number),
                None => break,
            }
        }
        Ok(())
    }

    fn compress(&mut self, compressor: &mut Compressor, page_size: PageSize) {
        self.blocks.clear();
        self.ends.clear();
        self.sums.clear();
        let pages = self.pages.chunks_exact(page_size.bytes());
        for (number, page) in self.numbers.iter().zip(pages) {
            compressor.compress(page, &mut self.blocks);
            self.ends.push(self.blocks.len());
            if self.summed {
                self.sums.push(Entry::of(*number, page));
            }
        }
    }

    fn encode(
        &self,
        encoder: &mut Encoder<Writer>,
        page_size: PageSize,
        track: &mut Track<'_>,
    ) -> Result<(), ltx::Error> {
        let mut start = 0;
        for ((number, page), &end) in self
            .numbers
            .iter()
            .zip(self.pages.chunks_exact(page_size.bytes()))
            .zip(&self.ends)
        {
            encoder.write_compressed(*number, &self.blocks[start..end], page)?;
            start = end;
        }
        for (number, sum) in self.numbers.iter().zip(&self.sums) {
            track.page(*number, *sum);
        }
        Ok(())
    }
}

type Job = (Batch, mpsc::SyncSender<Batch>);
/// Where work is put, and the threads that take it; they end when the former is dropped.
type Threads = (mpsc::Sender<Job>, Vec<Box<dyn Task>>);

/// Writes all pages of `source` to `encoder`, and tells `track` of them.
#[allow(clippy::too_many_arguments)] // the parts of one capture
pub(super) fn write_pages(
    env: &Env,
    encoder: &mut Encoder<Writer>,
    name: FileName,
    page_size: PageSize,
    source: &mut impl PageSource,
    sentinel: &Sentinel,
    stop: &AtomicBool,
    track: &mut Track<'_>,
) -> Result<()> {
    let is_small = source.count() * page_size.bytes() < PARALLEL_BYTES_MIN;
    let threads = if is_small { 1 } else { env.spawn.parallelism() };
    if threads <= 1 {
        let (mut batch, mut compressor) = (Batch::new(track.wants()), Compressor::new());
        loop {
            check(stop)?;
            batch.fill(source, sentinel, page_size)?;
            if batch.numbers.is_empty() {
                return Ok(());
            }
            batch.compress(&mut compressor, page_size);
            batch
                .encode(encoder, page_size, track)
                .map_err(|source| Error::Encode { name, source })?;
        }
    }
    let (jobs, tasks) = start_threads(env, threads, page_size)?;
    let result = feed(
        &jobs,
        encoder,
        name,
        page_size,
        source,
        sentinel,
        stop,
        track,
        threads * BATCHES_PER_THREAD,
    );
    drop(jobs);
    for task in tasks {
        task.join()
            .map_err(Error::io("compression thread", "ltx"))?;
    }
    result
}

fn start_threads(env: &Env, threads: usize, page_size: PageSize) -> Result<Threads> {
    let (jobs, queue) = mpsc::channel::<Job>();
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks = Vec::new();
    for _ in 0..threads {
        let queue = Arc::clone(&queue);
        let work = move || {
            let mut compressor = Compressor::new();
            loop {
                let job = queue.lock().recv();
                let Ok((mut batch, done)) = job else { return };
                batch.compress(&mut compressor, page_size);
                let _ = done.send(batch); // nobody waits any more after an error
            }
        };
        tasks.push(
            env.spawn
                .spawn("compress", Box::new(work))
                .map_err(Error::io("start thread", "compress"))?,
        );
    }
    Ok((jobs, tasks))
}

#[allow(clippy::too_many_arguments)] // one loop, split off for its early returns
fn feed(
    jobs: &mpsc::Sender<Job>,
    encoder: &mut Encoder<Writer>,
    name: FileName,
    page_size: PageSize,
    source: &mut impl PageSource,
    sentinel: &Sentinel,
    stop: &AtomicBool,
    track: &mut Track<'_>,
    in_flight_max: usize,
) -> Result<()> {
    let mut in_flight: VecDeque<mpsc::Receiver<Batch>> = VecDeque::new();
    let mut spare = Vec::new();
    let mut at_end = false;
    loop {
        check(stop)?;
        while !at_end && in_flight.len() < in_flight_max {
            let mut batch = spare.pop().unwrap_or_else(|| Batch::new(track.wants()));
            batch.fill(source, sentinel, page_size)?;
            if batch.numbers.is_empty() {
                at_end = true;
                break;
            }
            let (done, result) = mpsc::sync_channel(1);
            jobs.send((batch, done)).map_err(|_| Error::Closed)?;
            in_flight.push_back(result);
        }
        let Some(result) = in_flight.pop_front() else {
            return Ok(());
        };
        let batch = result.recv().map_err(|_| Error::Closed)?;
        batch
            .encode(encoder, page_size, track)
            .map_err(|source| Error::Encode { name, source })?;
        spare.push(batch);
    }
}

fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        Err(Error::Closed)
    } else {
        Ok(())
    }
}
