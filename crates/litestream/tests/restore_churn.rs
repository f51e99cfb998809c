//! Restores while compaction and retention run as fast as they can and leave nothing lying for anybody.
//!
//! `LITESTREAM_RESTORES=1000` asks for as many restores, `LITESTREAM_SEED` for another history.

#![allow(clippy::unwrap_used, reason = "a test may end at anything unexpected")]

mod restore_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use litestream::env::UnixMillis;
use litestream::restore::{self, Request, Target};
use litestream_replica::file::FileReplica;
use litestream_replica::{Level, Replica};
use ltx::{Decoder, FileName, Header, PageSize, Txid};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use restore_support::{Pages, Place, encode, env, file_replica, name, put, time};

const PAGE: usize = 512;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |s| s.parse().expect(name))
}

/// What restores may give: the checksum of each state, that of TXID 1 first.
type States = Arc<Mutex<Vec<u64>>>;

/// A database that changes, and its replica.
struct Churn {
    rng: StdRng,
    replica: FileReplica,
    image: Vec<u8>,
    txid: u64,
    states: States,
    /// What lies in the replica.
    files: BTreeMap<(u8, u64, u64), Vec<u8>>,
}

impl Churn {
    fn header(&self, min: u64) -> Header {
        let size = PageSize::new(PAGE as u32).unwrap();
        let commit = (self.image.len() / PAGE) as u32;
        let (min, max) = (Txid::new(min), Txid::new(self.txid));
        Header::new(size, commit, min, max, time(self.txid).0)
    }

    fn page(&self, page: u32) -> Vec<u8> {
        self.image[(page as usize - 1) * PAGE..][..PAGE].to_vec()
    }

    async fn put(&mut self, level: u8, min: u64, max: u64, bytes: Vec<u8>) {
        put(&self.replica, level, min, max, bytes.clone()).await;
        self.files.insert((level, min, max), bytes);
    }

    async fn delete(&mut self, gone: impl Fn(u8, u64) -> bool) {
        let gone: Vec<(u8, u64, u64)> = self
            .files
            .keys()
            .copied()
            .filter(|&(level, _, max)| gone(level, max))
            .collect();
        self.files.retain(|key, _| !gone.contains(key));
        let names: Vec<(Level, FileName)> = gone
            .into_iter()
            .map(|(level, min, max)| (Level::new(level).unwrap(), name(min, max)))
            .collect();
        self.replica.delete(&names).await.unwrap();
    }

    async fn commit(&mut self) {
        self.txid += 1;
        let old = (self.image.len() / PAGE) as u32;
        let new = self.rng.random_range(20..200);
        self.image.resize(new as usize * PAGE, 0);
        let mut changed: Vec<u32> = (old + 1..=new).collect();
        changed.extend((0..5).map(|_| self.rng.random_range(1..=new)));
        for page in &changed {
            let at = (*page as usize - 1) * PAGE;
            self.rng.fill(&mut self.image[at..at + PAGE]);
        }
        let pages: Pages = changed
            .into_iter()
            .map(|page| (page, self.page(page)))
            .collect();
        self.states.lock().push(ltx::crc64(&self.image));
        let bytes = encode(self.header(self.txid), &pages, 0);
        self.put(0, self.txid, self.txid, bytes).await;
    }

    /// All of a level into one file of the next. The newest of level 0 stays, as it always does.
    async fn compact(&mut self, level: u8) {
        let done = self
            .files
            .keys()
            .filter(|k| k.0 == level + 1)
            .map(|k| k.2)
            .max()
            .unwrap_or(0);
        let inputs: Vec<(u64, u64, &[u8])> = self
            .files
            .iter()
            .filter(|((l, _, max), _)| *l == level && *max > done)
            .map(|((_, min, max), bytes)| (*min, *max, &bytes[..]))
            .collect();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return;
        };
        let (min, max) = (first.0, last.1);
        let decoders = inputs
            .iter()
            .map(|(_, _, bytes)| Decoder::new(*bytes).unwrap())
            .collect();
        let merged = ltx::merge(decoders, Vec::new()).unwrap().0;
        self.put(level + 1, min, max, merged).await;
        let newest = self.txid;
        self.delete(|l, m| l == level && m <= max && !(l == 0 && m == newest))
            .await;
    }

    async fn snapshot(&mut self) {
        let pages = (1..=(self.image.len() / PAGE) as u32).map(|page| (page, self.page(page)));
        let bytes = encode(self.header(1), &pages.collect(), 0);
        let max = self.txid;
        self.put(9, 1, max, bytes).await;
        self.delete(|level, m| (level == 9 && m < max) || (level != 9 && level != 0 && m <= max))
            .await;
    }

    async fn run(mut self, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> u64 {
        while !stop.load(Ordering::Relaxed) {
            self.commit().await;
            acknowledged.store(self.txid, Ordering::SeqCst);
            if self.txid.is_multiple_of(3) {
                self.compact(0).await;
            }
            if self.txid.is_multiple_of(9) {
                self.compact(1).await;
            }
            if self.txid.is_multiple_of(20) {
                self.snapshot().await;
            }
            env().clock.sleep_async(Duration::from_millis(1)).await;
        }
        self.txid
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_r07_restores_during_maximal_churn() {
    let folder = tempfile::tempdir().unwrap();
    let states = States::default();
    let mut churn = Churn {
        rng: StdRng::seed_from_u64(from_environment("LITESTREAM_SEED", 7)),
        replica: file_replica(folder.path()),
        image: Vec::new(),
        txid: 0,
        states: Arc::clone(&states),
        files: BTreeMap::new(),
    };
    churn.commit().await;
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(1)),
    );
    let churning = tokio::spawn(churn.run(Arc::clone(&stop), Arc::clone(&acknowledged)));
    let restores = from_environment("LITESTREAM_RESTORES", 60);
    // On a busy machine restores may outrun the churn: then they go on until it was one.
    let calm = || acknowledged.load(Ordering::SeqCst) <= 60 && !churning.is_finished();
    let mut number = 0;
    while number < restores || calm() {
        let place = Place::new();
        // One in three looks for a point in time, which reads headers of files that may go meanwhile.
        let target = if number % 3 == 2 {
            Target::Timestamp(UnixMillis(i64::MAX))
        } else {
            Target::Latest
        };
        let request = Request {
            target,
            ..place.request()
        };
        let at_least = acknowledged.load(Ordering::SeqCst);
        let replica = Arc::new(file_replica(folder.path()));
        let outcome = restore::run(&request, replica, &env(), &|_| {}).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("restore {number}: {e}"));
        let txid = outcome.txid.unwrap().get();
        assert!(
            txid >= at_least,
            "restore {number}: {outcome:?} is older than {at_least}"
        );
        assert_eq!(outcome.time, time(txid));
        let state = states.lock()[txid as usize - 1];
        assert!(
            ltx::crc64(&place.read()) == state,
            "restore {number}: {outcome:?} is no state of the database"
        );
        assert_eq!(place.names(), ["out.db"]);
        number += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let txids = churning.await.unwrap();
    assert!(txids > 60, "only {txids} transactions: that was no churn");
}
