//! Compaction: sixty files of level 1, a gigabyte together, become one of level 2.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use ltx::{Decoder, Encoder, FileName, Header, PageNo, PageSize, Txid};
use rusqlite::Connection;

use crate::args::Args;
use crate::engine::Plan;
use crate::program::Program;
use crate::replica::{self, level};
use crate::report::{Report, Target};
use crate::rows::Rows;
use crate::scratch::Scratch;

const INPUTS_MB: u64 = 1024;
const FILES: u64 = 60;
/// Transactions that each of them stands for.
const TRANSACTIONS: u64 = 30;
const PAGE: u32 = 4096;
/// Of a page, how much can't be compressed.
const RANDOM_BYTES: usize = 2000;
const LIMIT: Duration = Duration::from_mins(5);
const PLAN: Plan = Plan {
    levels: 2,
    snapshots: 0,
};

/// Runs it; the size is that of all inputs together.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let made = inputs(&args.dir, args.size_mb(INPUTS_MB))?;
    for _ in 0..args.rounds(3) {
        for program in &args.programs {
            one(args, report, program, &made)?;
        }
    }
    Ok(())
}

fn one(args: &Args, report: &mut Report, program: &Program, made: &Path) -> Result<()> {
    let scratch = Scratch::new(&args.dir, "levels")?;
    // The files get second names: nobody writes to them.
    let mut copy = Command::new("cp");
    if !copy
        .arg("-al")
        .args([made, &scratch.replica])
        .status()?
        .success()
    {
        bail!("cp -al {} failed", made.display());
    }
    Connection::open(&scratch.db)?
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)")?;
    let sizes = paths(made, 1).into_iter().map(std::fs::metadata);
    let bytes: u64 = sizes.map(|m| m.map_or(0, |m| m.len())).sum();
    rustix::fs::sync();
    let running = program.replicate_as(PLAN, &scratch)?;
    let (began, ended) = replica::wait_made(&scratch.dir, 2, &running, LIMIT)?;
    let cpu = running.cpu()?;
    let started = running.started();
    let usage = running.kill()?;
    let wall = (ended - began).as_secs_f64();
    let mib = bytes >> 20;
    let mut add = |name: &str, target, value| {
        let name = format!("{mib} MiB in {FILES} files: {name}");
        report.add(&name, target, program.who, value);
    };
    add("merge, s", Target::None, wall);
    add("merge, MB/s", Target::None, bytes as f64 / 1e6 / wall);
    add(
        "start to result, s",
        Target::None,
        (ended - started).as_secs_f64(),
    );
    add("CPU, s", Target::None, cpu);
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    let outcome = scratch.compare(|| same(made, &scratch.replica));
    report.check(program.who, "levels", outcome);
    Ok(())
}

/// A replica with a snapshot and the inputs, made once. A tenth of the pages gets half of the writes.
fn inputs(dir: &Path, size_mb: u64) -> Result<PathBuf> {
    let root = dir.join(format!("levels-{size_mb}mb"));
    if root.exists() {
        return Ok(root);
    }
    eprintln!("   making {}", root.display());
    let unfinished = root.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    let each = (size_mb << 20) / FILES / (RANDOM_BYTES as u64 + 60);
    let pages = (each * 30) as u32;
    let mut rows = Rows::new(11);
    let mut all = begin(&unfinished, 9, pages, 1, 1)?;
    let mut page = vec![0; PAGE as usize];
    for number in 1..=pages {
        fill(&mut page, number, &[]);
        all.write_page(PageNo::new(number).context("page 0")?, &page)?;
    }
    all.finish(0)?;
    for n in 0..FILES {
        let mut changed = std::collections::BTreeSet::new();
        while (changed.len() as u64) < each {
            let end = if rows.below(2) == 0 {
                pages / 10
            } else {
                pages
            };
            changed.insert(1 + rows.below(u64::from(end)) as u32);
        }
        let min = 2 + n * TRANSACTIONS;
        let mut file = begin(&unfinished, 1, pages, min, min + TRANSACTIONS - 1)?;
        for number in changed {
            fill(&mut page, number, &rows.blob(RANDOM_BYTES));
            file.write_page(PageNo::new(number).context("page 0")?, &page)?;
        }
        file.finish(0)?;
    }
    std::fs::rename(&unfinished, &root)?;
    rustix::fs::sync();
    Ok(root)
}

fn fill(page: &mut [u8], number: u32, random: &[u8]) {
    page.fill(0);
    page[..4].copy_from_slice(&number.to_be_bytes());
    page[4..4 + random.len()].copy_from_slice(random);
    for (at, byte) in page[4 + random.len()..].iter_mut().enumerate() {
        *byte = b"the customer's order was shipped "[at % 33];
    }
}

fn begin(root: &Path, to: u8, pages: u32, min: u64, max: u64) -> Result<Encoder<File>> {
    let (min, max) = (Txid::new(min), Txid::new(max));
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let size = PageSize::new(PAGE).context("page size")?;
    let dir = level(root, to);
    std::fs::create_dir_all(&dir)?;
    let file = File::create(dir.join(FileName::new(min, max).to_string()))?;
    Ok(Encoder::new(file, Header::new(size, pages, min, max, now))?)
}

fn paths(root: &Path, number: u8) -> Vec<PathBuf> {
    let names = replica::files(root, number).into_iter();
    names.map(|name| level(root, number).join(name)).collect()
}

/// Whether applying level 2 is the same as applying level 1, page for page.
fn same(made: &Path, replica: &Path) -> Result<()> {
    let results = paths(replica, 2);
    let [result] = results.as_slice() else {
        bail!("{} files in level 2", results.len());
    };
    let (mut expected, mut found) = (Pages::default(), Pages::default());
    for input in paths(made, 1) {
        expected.apply(&input)?;
    }
    found.apply(result)?;
    if expected.commit != found.commit || expected.range != found.range {
        bail!("another size or other transactions");
    }
    let (a, b) = (&expected.hashes, &found.hashes);
    let differing = (0..a.len().max(b.len()))
        .filter(|i| a.get(*i) != b.get(*i))
        .count();
    if differing > 0 {
        bail!("{differing} pages differ");
    }
    Ok(())
}

/// What applying files leads to; where there is nothing, the hash is 0.
#[derive(Default)]
struct Pages {
    hashes: Vec<u64>,
    commit: u32,
    range: Option<(Txid, Txid)>,
}

impl Pages {
    fn apply(&mut self, path: &Path) -> Result<()> {
        let mut decoder = Decoder::new(BufReader::with_capacity(1 << 20, File::open(path)?))?;
        let header = *decoder.header();
        let mut page = vec![0; header.page_size.bytes()];
        while let Some(number) = decoder.next_page(&mut page)? {
            let at = number.get() as usize;
            if self.hashes.len() <= at {
                self.hashes.resize(at + 1, 0);
            }
            let mut hasher = DefaultHasher::new();
            page.hash(&mut hasher);
            self.hashes[at] = hasher.finish() | 1;
        }
        decoder.finish()?;
        self.commit = header.commit;
        let first = self.range.map_or(header.min_txid, |range| range.0);
        self.range = Some((first, header.max_txid));
        Ok(())
    }
}
