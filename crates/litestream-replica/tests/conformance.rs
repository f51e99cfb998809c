//! Every backend is held to the same contract.

use std::sync::Arc;

use litestream_replica::faulty::Faulty;
use litestream_replica::file::FileReplica;
use litestream_replica::memory::Memory;
use litestream_replica::{SharedReplica, env, suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let scratch = tempfile::tempdir().unwrap();
    let env = env::real::env();
    let make = async |_: &str| Arc::new(Memory::new(env.disk.clone())) as SharedReplica;
    suite::run(make, &env, scratch.path().to_path_buf()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file() {
    let scratch = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let env = env::real::env();
    let make = async |case: &str| {
        Arc::new(FileReplica::new(root.path().join(case), env.clone(), None)) as SharedReplica
    };
    suite::run(make, &env, scratch.path().to_path_buf()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_without_faults() {
    let scratch = tempfile::tempdir().unwrap();
    let env = env::real::env();
    let make = async |_: &str| {
        Arc::new(Faulty::new(Arc::new(Memory::new(env.disk.clone())))) as SharedReplica
    };
    suite::run(make, &env, scratch.path().to_path_buf()).await;
}
