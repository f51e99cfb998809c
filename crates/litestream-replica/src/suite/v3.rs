//! What every backend must do with the objects of Litestream 0.3, which it only ever reads.

use bytes::Bytes;

use crate::{ErrorKind, Level, SharedReplica, v3};

const SNAPSHOT: &str = "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4";
const WAL: &str = "generations/0123456789abcdef/wal/00000000_00000000.wal.lz4";
/// Beyond 4 GiB.
const WAL_FAR: &str = "generations/fedcba9876543210/wal/0000001f_123456789.wal.lz4";
/// Not for the backend to judge.
const STRANGE: &str = "generations/0123456789abcdef/wal/00000000.wal.lz4";
const NOTES: &str = "generations/notes.txt";

/// An object of 0.3 that must be there when a case begins: its path from the root, and its bytes.
pub type Given = (&'static str, Bytes);

/// Runs the cases. `make` gives a replica in a place that it shares with nothing, in which exactly these objects lie.
pub async fn run(make: impl AsyncFn(&[Given]) -> SharedReplica) {
    none(make(&[]).await).await;
    let given = given();
    all_are_listed_and_read(make(&given).await, &given).await;
    missing_are_not_found(make(&given).await).await;
    many_are_listed(&make).await;
}

fn given() -> Vec<Given> {
    let bytes = |len: usize, salt: usize| (0..len).map(|i| (i / 5 + i * salt) as u8).collect();
    vec![
        (SNAPSHOT, bytes(3 << 20, 1)),
        (WAL, bytes(1000, 2)),
        (WAL_FAR, bytes(1, 3)),
        (STRANGE, bytes(10, 4)),
        (NOTES, Bytes::new()),
    ]
}

async fn list(replica: &SharedReplica) -> Vec<v3::Object> {
    let listed = replica.list_v3().await;
    listed.unwrap_or_else(|e| panic!("list_v3: {e}"))
}

async fn read(replica: &SharedReplica, path: &str, offset: u64, len: Option<u64>) -> Bytes {
    let read = replica.read_v3(path, offset, len).await;
    read.unwrap_or_else(|e| panic!("read_v3 {path}: {e}"))
}

async fn none(replica: SharedReplica) {
    assert!(list(&replica).await.is_empty());
}

async fn all_are_listed_and_read(replica: SharedReplica, given: &[Given]) {
    let listed = list(&replica).await;
    let mut expected: Vec<_> = given.iter().map(|(p, b)| (*p, b.len() as u64)).collect();
    expected.sort_unstable();
    let got: Vec<_> = listed.iter().map(|o| (o.path.as_str(), o.size)).collect();
    assert_eq!(got, expected, "by path, whatever their names");
    assert!(listed.iter().all(|o| o.created.0 > 0), "{listed:?}");
    for (path, bytes) in given {
        assert!(read(&replica, path, 0, None).await == *bytes, "{path}");
    }
    let wal = &given[1].1;
    for (offset, len, expected) in [
        (0, Some(0), 0..0),
        (0, Some(1), 0..1),
        (250, Some(500), 250..750),
        (250, None, 250..1000),
        (999, Some(10), 999..1000),
        (1000, Some(1), 0..0),
        (5000, None, 0..0),
        (u64::MAX, Some(u64::MAX), 0..0),
    ] {
        let part = read(&replica, WAL, offset, len).await;
        assert_eq!(part, wal.slice(expected), "from {offset}, length {len:?}");
    }
    for level in Level::all() {
        let files = replica.list(level, None, false).await.expect("list");
        assert!(files.is_empty(), "objects of 0.3 are no LTX files");
    }
}

async fn missing_are_not_found(replica: SharedReplica) {
    for path in [
        "generations/0123456789abcdef/wal/00000000_00000001.wal.lz4",
        "generations/0000000000000000/snapshots/00000000.snapshot.lz4",
    ] {
        let error = replica.read_v3(path, 0, None).await.expect_err(path);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    for path in ["", "generations/../x", "/etc/passwd", "ltx/0/x"] {
        assert!(replica.read_v3(path, 0, None).await.is_err(), "{path}");
    }
}

/// More than fit on a page of any service's listing.
async fn many_are_listed(make: &impl AsyncFn(&[Given]) -> SharedReplica) {
    // Names with a lifetime of the program, as long as there is one program.
    let paths: Vec<&'static str> = (0..1100_u64)
        .map(|offset| {
            let start = v3::Position { index: 0, offset };
            &*v3::wal_path(v3::Generation(7), start).leak()
        })
        .collect();
    let given: Vec<Given> = paths
        .iter()
        .map(|p| (*p, Bytes::from_static(b"x")))
        .collect();
    let listed = list(&make(&given).await).await;
    assert!(listed.iter().map(|o| o.path.as_str()).eq(paths));
}
