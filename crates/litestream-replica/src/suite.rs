//! The conformance suite: what every backend must do, case by case.
//!
//! [`run`] panics at the first case that fails, naming it. It is part of the library so that a backend in another
//! crate can be held to the same contract. The files it writes begin with a valid LTX header that carries their time,
//! since a backend may look there.

use std::future::Future;
use std::path::PathBuf;

use bytes::Bytes;
use ltx::{FileName, Header, PageSize, Txid};
use tokio::sync::oneshot;

use crate::env::{Env, UnixMillis};
use crate::{ErrorKind, FileInfo, Level, SharedReplica, Source};

mod cases;
mod v3;

pub use v3::{Given, run as run_v3};

/// The names of all cases.
pub const CASES: &[&str] = cases::NAMES;

/// Runs every case, each against a new, empty replica from `make` (which is told the case's name). `scratch` is a
/// local folder for sources.
pub async fn run(make: impl AsyncFn(&str) -> SharedReplica, env: &Env, scratch: PathBuf) {
    for &name in CASES {
        run_case(name, make(name).await, env, scratch.clone()).await;
    }
}

/// Runs the case of that name against a new, empty replica.
pub async fn run_case(name: &str, replica: SharedReplica, env: &Env, scratch: PathBuf) {
    let bench = Bench {
        replica,
        env: env.clone(),
        scratch,
        case: name.to_owned(),
    };
    assert!(
        cases::call(name, &bench).await,
        "there is no case named {name}"
    );
}

/// What a case works with.
struct Bench {
    replica: SharedReplica,
    env: Env,
    scratch: PathBuf,
    case: String,
}

fn name(min: u64, max: u64) -> FileName {
    FileName::new(Txid::new(min), Txid::new(max))
}

/// A file of `len` bytes (at least a header) that differs by name, time and `salt`.
fn content(name: FileName, created: UnixMillis, len: usize, salt: u8) -> Bytes {
    let page_size = PageSize::new(4096).expect("4096 is a page size");
    let header = Header {
        flags: 0,
        page_size,
        commit: 1,
        min_txid: name.min,
        max_txid: name.max,
        timestamp_ms: created.0,
        // A snapshot has none; every other file must.
        pre_apply_checksum: if name.min.get() == 1 { 0 } else { 1 << 63 },
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: [0; 20],
    };
    let mut bytes = header.encode().to_vec();
    let mut state = name.max.get() ^ u64::from(salt) << 32;
    bytes.resize_with(len.max(bytes.len()), || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes.into()
}

impl Bench {
    /// Runs a future beside the others.
    fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, ended) = oneshot::channel();
        let work = async { drop(done.send(work.await)) };
        self.env.spawn.task(&self.case, Box::pin(work));
        ended
    }

    async fn write(&self, level: Level, name: FileName, created: i64, len: usize) -> Bytes {
        let created = UnixMillis(created);
        let bytes = content(name, created, len, 0);
        let info = self
            .replica
            .write(level, name, Source::Bytes(bytes.clone()), created)
            .await;
        let expected = FileInfo {
            level,
            name,
            size: bytes.len() as u64,
            created,
        };
        assert_eq!(
            info.expect("write"),
            expected,
            "{}: what write returns",
            self.case
        );
        bytes
    }

    async fn read(&self, level: Level, name: FileName, offset: u64, len: Option<u64>) -> Bytes {
        self.replica
            .read(level, name, offset, len)
            .await
            .unwrap_or_else(|e| panic!("{}: read {name}: {e}", self.case))
    }

    async fn list(&self, level: Level, seek: Option<u64>) -> Vec<FileInfo> {
        let files = self.replica.list(level, seek.map(Txid::new), true).await;
        files.unwrap_or_else(|e| panic!("{}: list level {level}: {e}", self.case))
    }

    async fn names(&self, level: Level, seek: Option<u64>) -> Vec<(u64, u64)> {
        self.list(level, seek)
            .await
            .iter()
            .map(|f| (f.name.min.get(), f.name.max.get()))
            .collect()
    }

    async fn assert_missing(&self, level: Level, name: FileName) {
        let error = self
            .replica
            .read(level, name, 0, None)
            .await
            .expect_err("the file is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", self.case);
        let error = self
            .replica
            .read(level, name, 5, Some(5))
            .await
            .expect_err("the file is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}: {error}", self.case);
    }

    /// A finished local file, as staging makes it.
    fn local_file(&self, file_name: &str, bytes: &Bytes) -> PathBuf {
        let path = self.scratch.join(format!("{}-{file_name}", self.case));
        let file = self
            .env
            .disk
            .create_new(&path, 0o600)
            .expect("create a source");
        file.write_at(bytes, 0).expect("write a source");
        path
    }
}
