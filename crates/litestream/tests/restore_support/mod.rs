//! What the restore tests share: made-up histories of a database, the LTX files they give, and the images they must
//! give back.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real file system"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litestream::env::{Env, UnixMillis, real};
use litestream::restore::{self, IntegrityCheck, Outcome, Request, RestoreError, Target};
use litestream_replica::file::FileReplica;
use litestream_replica::memory::Memory;
use litestream_replica::{FileInfo, Level, Replica, SharedReplica, Source};
use ltx::{Decoder, Encoder, FileName, Header, PageNo, PageSize, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Page contents by number.
pub type Pages = BTreeMap<u32, Vec<u8>>;

pub fn page_no(n: u32) -> PageNo {
    PageNo::new(n).expect("not zero")
}

/// One LTX file.
pub fn encode(header: Header, pages: &Pages, post_apply: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), header).expect("header");
    for (page, data) in pages {
        encoder.write_page(page_no(*page), data).expect("page");
    }
    encoder.finish(post_apply).expect("finish").0
}

/// A database that changed a number of times.
pub struct History {
    pub page_size: PageSize,
    /// The database after each TXID; the first is that of TXID 1.
    pub images: Vec<Vec<u8>>,
    /// The L0 file of each TXID.
    pub l0: Vec<Vec<u8>>,
}

impl History {
    /// `txids` transactions that write, grow and shrink at random. The first has `pages` pages.
    pub fn random(seed: u64, page_size: u32, txids: usize, pages: u32) -> History {
        let mut rng = StdRng::seed_from_u64(seed);
        let page_size = PageSize::new(page_size).expect("page size");
        let mut history = History {
            page_size,
            images: Vec::new(),
            l0: Vec::new(),
        };
        let mut image = Vec::new();
        for txid in 1..=txids {
            let old = (image.len() / page_size.bytes()) as u32;
            let new = match (txid, rng.random_range(0..4)) {
                (1, _) => pages,
                (_, 0) => old + rng.random_range(1..10),
                (_, 1) => rng.random_range(1..=old),
                _ => old,
            };
            image.resize(new as usize * page_size.bytes(), 0);
            // All pages that are new, and some others.
            let mut changed: Vec<u32> = (old + 1..=new).collect();
            changed.extend((0..rng.random_range(1..6)).map(|_| rng.random_range(1..=new)));
            let mut pages = Pages::new();
            for page in changed {
                let mut data = vec![0; page_size.bytes()];
                match rng.random_range(0..4) {
                    0 => {}
                    1 => data[..8].copy_from_slice(&rng.random::<[u8; 8]>()),
                    _ => rng.fill(&mut data[..]),
                }
                let at = (page as usize - 1) * page_size.bytes();
                image[at..at + page_size.bytes()].copy_from_slice(&data);
                pages.insert(page, data);
            }
            let txid = Txid::new(txid as u64);
            history.l0.push(encode(
                Header::new(page_size, new, txid, txid, time(txid.get()).0),
                &pages,
                0,
            ));
            history.images.push(image.clone());
        }
        history
    }

    pub fn last(&self) -> u64 {
        self.l0.len() as u64
    }

    /// The database after a TXID.
    pub fn image(&self, txid: u64) -> &[u8] {
        &self.images[txid as usize - 1]
    }

    /// L0 files `min` to `max` as one file.
    pub fn merged(&self, min: u64, max: u64) -> Vec<u8> {
        let inputs = (min..=max)
            .map(|t| Decoder::new(&self.l0[t as usize - 1][..]).expect("decode"))
            .collect();
        ltx::merge(inputs, Vec::new()).expect("merge").0
    }

    /// Writes L0 file `txid`.
    pub async fn put_l0(&self, replica: &dyn Replica, txid: u64) {
        put(replica, 0, txid, txid, self.l0[txid as usize - 1].clone()).await;
    }

    /// Writes the merge of `min` to `max` to a level.
    pub async fn put_merged(&self, replica: &dyn Replica, level: u8, min: u64, max: u64) {
        put(replica, level, min, max, self.merged(min, max)).await;
    }

    /// A replica in memory with all L0 files.
    pub async fn memory(&self) -> Memory {
        let replica = memory();
        for txid in 1..=self.last() {
            self.put_l0(&replica, txid).await;
        }
        replica
    }
}

/// The time of a TXID.
pub fn time(txid: u64) -> UnixMillis {
    UnixMillis(1_700_000_000_000 + txid as i64 * 1000)
}

pub fn name(min: u64, max: u64) -> FileName {
    FileName::new(Txid::new(min), Txid::new(max))
}

pub async fn put(replica: &dyn Replica, level: u8, min: u64, max: u64, bytes: Vec<u8>) {
    let level = Level::new(level).expect("level");
    replica
        .write(
            level,
            name(min, max),
            Source::Bytes(bytes.into()),
            time(max),
        )
        .await
        .expect("write");
}

pub fn memory() -> Memory {
    Memory::new(env().disk)
}

pub fn file_replica(root: &Path) -> FileReplica {
    FileReplica::new(root.to_owned(), env(), None)
}

pub fn env() -> Env {
    real::env()
}

/// Everything in a replica, copied to another.
pub async fn copy(from: &Memory, to: &dyn Replica) {
    for FileInfo {
        level,
        name,
        created,
        ..
    } in from.files()
    {
        let bytes = from.read(level, name, 0, None).await.expect("read");
        to.write(level, name, Source::Bytes(bytes), created)
            .await
            .expect("write");
    }
}

/// A folder and an output in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub output: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().expect("folder");
        let output = dir.path().join("out.db");
        Place { dir, output }
    }

    pub fn request(&self) -> Request {
        Request {
            output: self.output.clone(),
            target: Target::Latest,
            parallelism: 8,
            force: false,
            integrity_check: IntegrityCheck::None,
            vfs: None,
        }
    }

    /// What is in the folder.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("list");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub fn read(&self) -> Vec<u8> {
        std::fs::read(&self.output).expect("read output")
    }
}

pub async fn run(
    request: &Request,
    replica: impl Replica + 'static,
) -> Result<Outcome, RestoreError> {
    let replica: SharedReplica = Arc::new(replica);
    restore::run(request, replica, &env(), &|_| {}).await
}

/// Restores and gives the bytes. Nothing but the output may be left in the folder.
pub async fn restored(
    replica: impl Replica + 'static,
    target: Target,
) -> Result<Vec<u8>, RestoreError> {
    let place = Place::new();
    let request = Request {
        target,
        ..place.request()
    };
    let result = run(&request, replica).await;
    match result {
        Ok(_) => {
            assert_eq!(place.names(), ["out.db"]);
            Ok(place.read())
        }
        Err(error) => {
            assert!(
                place.names().is_empty(),
                "a failed restore leaves nothing, but there is {:?}",
                place.names()
            );
            Err(error)
        }
    }
}
