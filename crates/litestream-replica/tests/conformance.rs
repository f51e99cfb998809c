//! Every backend is held to the same contract.

use std::sync::Arc;

use litestream_replica::env::UnixMillis;
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

fn memory_with(objects: &[(&str, bytes::Bytes)]) -> Memory {
    let memory = Memory::new(env::real::env().disk);
    for (path, bytes) in objects {
        memory.put_v3(path, bytes.clone(), UnixMillis(1_700_000_000_000));
    }
    memory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_memory() {
    suite::run_v3(async |objects| Arc::new(memory_with(objects)) as SharedReplica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_faulty_without_faults() {
    suite::run_v3(async |objects| {
        Arc::new(Faulty::new(Arc::new(memory_with(objects)))) as SharedReplica
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(
    clippy::disallowed_methods,
    reason = "the files of another program are made"
)]
async fn v3_file() {
    let root = tempfile::tempdir().unwrap();
    suite::run_v3(async |objects| {
        let root = tempfile::tempdir_in(root.path()).unwrap().keep();
        for (path, bytes) in objects {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Arc::new(FileReplica::new(root, env::real::env(), None)) as SharedReplica
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(
    clippy::disallowed_methods,
    reason = "the files of another program are made"
)]
async fn r21_a_folder_of_0_3_that_cannot_be_listed_is_not_empty() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("generations"), b"no folder").unwrap();
    let replica = FileReplica::new(root.path().to_owned(), env::real::env(), None);
    assert!(
        litestream_replica::Replica::list_v3(&replica)
            .await
            .is_err()
    );
    let circle = tempfile::tempdir().unwrap();
    std::fs::create_dir(circle.path().join("generations")).unwrap();
    std::os::unix::fs::symlink(".", circle.path().join("generations/again")).unwrap();
    let replica = FileReplica::new(circle.path().to_owned(), env::real::env(), None);
    let error = litestream_replica::Replica::list_v3(&replica)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}
