//! Replicas as compaction and retention leave them at some moment, made up from a seed.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use litestream_replica::chain::compact::compact_inputs;
use litestream_replica::chain::retain::l0_retention;
use litestream_replica::env::UnixMillis;
use litestream_replica::memory::Memory;
use litestream_replica::{FileInfo, Level, Replica, Source};
use ltx::{
    Chain, Checksum, DatabaseChecksum, Decoder, Encoder, FileName, Header, PageNo, PageSize, Txid,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::restore_support::memory;

/// Which files say what the database was before and after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chains {
    All,
    Some,
    None,
}

/// A database by pages.
type Image = BTreeMap<u32, Vec<u8>>;

/// A replica and what is in it.
pub struct Made {
    pub replica: Memory,
    pub chains: Chains,
    page_size: PageSize,
    image: Image,
    /// After each TXID that a file of level 0 ended with.
    sums: BTreeMap<u64, Checksum>,
    commits: BTreeMap<u64, u32>,
    txid: u64,
    now: i64,
    deletes: bool,
}

fn sum_of(image: &Image) -> Checksum {
    let mut sum = DatabaseChecksum::new();
    for (page, data) in image {
        sum.toggle(Checksum::page(PageNo::new(*page).unwrap(), data));
    }
    sum.value()
}

fn encode(header: Header, pages: &Image) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), header).unwrap();
    for (page, data) in pages {
        let page = PageNo::new(*page).unwrap();
        encoder.write_page(page, data).unwrap();
    }
    encoder.finish(0).unwrap().0
}

fn noise(rng: &mut StdRng, page_size: PageSize) -> Vec<u8> {
    let mut data = vec![0; page_size.bytes()];
    match rng.random_range(0..4) {
        0 => data[..8].copy_from_slice(&rng.random::<[u8; 8]>()),
        1 => {
            let half = data.len() / 2;
            rng.fill(&mut data[..half]);
        }
        _ => rng.fill(&mut data[..]),
    }
    data
}

impl Made {
    /// As it may be after some while.
    pub async fn random(seed: u64) -> Made {
        let mut rng = StdRng::seed_from_u64(seed);
        let page_size = match rng.random_range(0..10) {
            0 => 65536,
            1 => 4096,
            2 => 1024,
            _ => 512,
        };
        let mut made = Made {
            replica: memory(),
            chains: match rng.random_range(0..6) {
                0 => Chains::None,
                1 => Chains::Some,
                _ => Chains::All,
            },
            page_size: PageSize::new(page_size).unwrap(),
            image: Image::new(),
            sums: BTreeMap::new(),
            commits: BTreeMap::new(),
            txid: 0,
            now: 1_700_000_000_000,
            deletes: true,
        };
        let steps = rng.random_range(1..80);
        made.deletes = rng.random_range(0..3) > 0;
        made.commit(&mut rng).await;
        made.go_on(&mut rng, steps).await;
        made
    }

    /// Lets time pass.
    pub async fn go_on(&mut self, rng: &mut StdRng, steps: usize) {
        for _ in 0..steps {
            self.now += rng.random_range(1..2000);
            match rng.random_range(0..20) {
                0..12 => self.commit(rng).await,
                12..15 => self.compact(1).await,
                15 => self.compact(2).await,
                16 => self.compact(3).await,
                17 => self.snapshot(rng).await,
                18 if self.deletes => self.trim(rng).await,
                19 if self.deletes => self.expire(rng).await,
                _ => {}
            }
        }
    }

    pub fn last(&self) -> u64 {
        self.txid
    }

    pub fn describe(&self) -> String {
        let files = self.replica.files();
        let lines = files
            .iter()
            .map(|f| format!("  {} {}-{}", f.level, f.name.min.get(), f.name.max.get()));
        format!(
            "{:?} {}\n{}",
            self.chains,
            self.page_size,
            lines.collect::<Vec<_>>().join("\n")
        )
    }

    fn chained(&self, rng: &mut StdRng, header: Header, chain: Chain) -> Header {
        let says = match self.chains {
            Chains::All => true,
            Chains::Some => rng.random(),
            Chains::None => false,
        };
        if says {
            header.with_chain(chain)
        } else {
            header
        }
    }

    async fn put(&self, level: u8, header: &Header, bytes: Vec<u8>) {
        let level = Level::new(level).unwrap();
        let source = Source::Bytes(bytes.into());
        let created = UnixMillis(header.timestamp_ms);
        let written = self
            .replica
            .write(level, header.file_name(), source, created);
        written.await.unwrap();
    }

    /// A transaction, or some taken together.
    async fn commit(&mut self, rng: &mut StdRng) {
        let before = (self.txid > 0).then(|| sum_of(&self.image));
        let old = self.image.len() as u32;
        let new = match (self.txid, rng.random_range(0..4)) {
            (0, _) => rng.random_range(1..25),
            (_, 0) => old + rng.random_range(1..10),
            (_, 1) => rng.random_range(1..=old),
            _ => old,
        };
        let mut pages = Image::new();
        let more: Vec<u32> = (0..rng.random_range(1..6))
            .map(|_| rng.random_range(1..=new))
            .collect();
        for page in (old + 1..=new).chain(more) {
            pages.insert(page, noise(rng, self.page_size));
        }
        self.image.retain(|page, _| *page <= new);
        self.image.extend(pages.clone());
        let min = self.txid + 1;
        self.txid = min
            + if min > 1 && rng.random_range(0..8) == 0 {
                rng.random_range(0..4)
            } else {
                0
            };
        let after = sum_of(&self.image);
        self.sums.insert(self.txid, after);
        self.commits.insert(self.txid, new);
        let (min, max) = (Txid::new(min), Txid::new(self.txid));
        let header = Header::new(self.page_size, new, min, max, self.now);
        let after = Some(after);
        let header = self.chained(rng, header, Chain { before, after });
        self.put(0, &header, encode(header, &pages)).await;
    }

    async fn compact(&mut self, level: u8) {
        let inputs = compact_inputs(&self.replica.files(), Level::new(level).unwrap());
        if inputs.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for f in &inputs {
            bytes.push(self.replica.read(f.level, f.name, 0, None).await.unwrap());
        }
        let inputs = bytes
            .iter()
            .map(|b| Decoder::new(&b[..]).unwrap())
            .collect();
        let (bytes, header, _) = ltx::merge(inputs, Vec::new()).unwrap();
        self.put(level, &header, bytes).await;
    }

    async fn snapshot(&mut self, rng: &mut StdRng) {
        let (min, max) = (Txid::new(1), Txid::new(self.txid));
        let header = Header::new(self.page_size, self.image.len() as u32, min, max, self.now);
        let after = Some(sum_of(&self.image));
        let chain = Chain {
            before: None,
            after,
        };
        let header = self.chained(rng, header, chain);
        self.put(9, &header, encode(header, &self.image)).await;
    }

    /// Level 0; where files without a chain are, also as Litestream does: amid compacted files.
    async fn trim(&mut self, rng: &mut StdRng) {
        let files = self.replica.files();
        let keep = Duration::from_millis(rng.random_range(1..20_000));
        let mut doomed = l0_retention(&files, UnixMillis(self.now), keep, None);
        if self.chains == Chains::None && rng.random() {
            let end = files
                .iter()
                .filter(|f| f.level == Level::L1)
                .map(|f| f.name.max)
                .max();
            let level0: Vec<&FileInfo> = files.iter().filter(|f| f.level == Level::L0).collect();
            let covered = level0.iter().filter(|f| Some(f.name.max) <= end).count();
            let count = rng.random_range(0..=covered.min(level0.len() - 1));
            doomed = level0[..count].iter().map(|f| (f.level, f.name)).collect();
        }
        self.replica.delete(&doomed).await.unwrap();
    }

    async fn expire(&mut self, rng: &mut StdRng) {
        let keep = Duration::from_millis(rng.random_range(1..40_000));
        let doomed = expired(&self.replica.files(), UnixMillis(self.now), keep);
        self.replica.delete(&doomed).await.unwrap();
    }

    /// A file of the same name from another history, right in itself.
    pub fn foreign(&self, file: &FileInfo, rng: &mut StdRng) -> Option<Vec<u8>> {
        let name: FileName = file.name;
        let commit = *self.commits.get(&name.max.get())?;
        let pages: Image = if name.min.get() == 1 {
            (1..=commit)
                .map(|page| (page, noise(rng, self.page_size)))
                .collect()
        } else {
            let count = rng.random_range(1..4);
            let page = |rng: &mut StdRng| rng.random_range(1..=commit);
            (0..count)
                .map(|_| (page(rng), noise(rng, self.page_size)))
                .collect()
        };
        let whole = name.min.get() == 1;
        let other = Checksum::from_crc(rng.random());
        let chain = Chain {
            before: (!whole).then_some(other),
            after: Some(if whole {
                sum_of(&pages)
            } else {
                Checksum::from_crc(rng.random())
            }),
        };
        let header = Header::new(self.page_size, commit, name.min, name.max, file.created.0);
        Some(encode(header.with_chain(chain), &pages))
    }
}

/// What Litestream deletes after a snapshot: snapshots older than `keep`, the newest aside, and in the levels between what ends before the
/// last of those, the newest of each aside.
fn expired(files: &[FileInfo], now: UnixMillis, keep: Duration) -> Vec<(Level, FileName)> {
    let of = |level: Level| {
        let mut names: Vec<FileInfo> = files.iter().filter(|f| f.level == level).copied().collect();
        names.sort_unstable_by_key(|f| (f.name.max, f.name.min));
        names.pop();
        names
    };
    let cutoff = now.0 - keep.as_millis() as i64;
    let old = of(Level::SNAPSHOT)
        .into_iter()
        .take_while(|f| f.created.0 < cutoff);
    let mut doomed: Vec<(Level, FileName)> = old.map(|f| (f.level, f.name)).collect();
    let Some(last) = doomed.last().map(|(_, name)| name.max) else {
        return doomed;
    };
    for level in Level::all().filter(|l| ![Level::L0, Level::SNAPSHOT].contains(l)) {
        let below = of(level).into_iter().filter(|f| f.name.max < last);
        doomed.extend(below.map(|f| (level, f.name)));
    }
    doomed
}
