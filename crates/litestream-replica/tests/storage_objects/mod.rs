//! What the storages of objects are tried with beyond the suite.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test needs all of it; what fails is said by the panic"
)]

use std::cell::Cell;

use bytes::Bytes;
use litestream_replica::conditional::When;
use litestream_replica::env::UnixMillis;
use litestream_replica::{Level, SharedReplica, Source, suite};
use ltx::{FileName, Txid};

/// The cases of 0.3; `open` gives a replica of that name.
pub async fn v3(open: impl Fn(&str) -> SharedReplica) {
    let count = Cell::new(0);
    suite::run_v3(async |objects| {
        count.set(count.get() + 1);
        let replica = open(&format!("v3-{}", count.get()));
        for (path, bytes) in objects {
            let conditional = replica.conditional().unwrap();
            let put = conditional.put(path, bytes.clone(), When::Always);
            put.await.unwrap();
        }
        replica
    })
    .await;
}

/// Writes at once.
const AT_ONCE: usize = 16;

/// A file of 40 MiB.
pub async fn large(replica: &SharedReplica) {
    let bytes: Bytes = (0..40 << 20).map(|i: u32| (i / 7 + i) as u8).collect();
    let name = FileName::new(Txid::new(1), Txid::new(9));
    let time = UnixMillis(1_700_000_000_123);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, &bytes).unwrap();
    for source in [Source::File(path), Source::Bytes(bytes.clone())] {
        let written = replica
            .write(Level::SNAPSHOT, name, source, time)
            .await
            .unwrap();
        assert_eq!(written.size, 40 << 20);
        assert!(replica.read(Level::SNAPSHOT, name, 0, None).await.unwrap() == bytes);
        let listed = replica.list(Level::SNAPSHOT, None, true).await.unwrap();
        assert_eq!(listed, [written]);
    }
}

/// More files than fit on a page.
pub async fn many(replica: &SharedReplica) {
    let time = UnixMillis(1_700_000_000_123);
    let names: Vec<FileName> = (1..=1050).map(|i| FileName::single(Txid::new(i))).collect();
    let write = |name: FileName| {
        let replica = replica.clone();
        let source = Source::Bytes(Bytes::from_static(b"x"));
        tokio::spawn(async move { replica.write(Level::L0, name, source, time).await })
    };
    for some in names.chunks(AT_ONCE) {
        let writes: Vec<_> = some.iter().map(|name| write(*name)).collect();
        for written in writes {
            written.await.unwrap().unwrap();
        }
    }
    let listed = replica.list(Level::L0, None, true).await.unwrap();
    assert!(
        listed
            .iter()
            .map(|file| file.name)
            .eq(names.iter().copied())
    );
    assert!(listed.iter().all(|file| file.created == time));
    let all: Vec<_> = names.iter().map(|name| (Level::L0, *name)).collect();
    replica.delete(&all).await.unwrap();
    assert!(
        replica
            .list(Level::L0, None, false)
            .await
            .unwrap()
            .is_empty()
    );
}
