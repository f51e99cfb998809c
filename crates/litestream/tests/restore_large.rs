//! A database beyond 1 GiB, in pages of 512 bytes: the lock page, and memory and time that don't depend on size.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real file system"
)]

mod restore_support;

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt;

use litestream_replica::Level;
use ltx::{Encoder, Header, PageSize, Txid};
use parking_lot::Mutex;
use restore_support::{Pages, Place, encode, file_replica, name, page_no, put, run};

/// Bytes of memory by the name the kernel gives them.
fn memory_used(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().unwrap() << 10
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn page(content: u8, size: PageSize) -> Vec<u8> {
    vec![content; size.bytes()]
}

#[tokio::test]
async fn w36_r24_a_database_beyond_the_lock_page() {
    let size = PageSize::new(512).unwrap();
    let lock = size.lock_page().get();
    let commit = lock + 3;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("ltx/9");
    std::fs::create_dir_all(&dir).unwrap();
    // Almost all pages are zeros: the test is about their number.
    let filled = [1, 2, 1000, 1_000_000, lock - 1, lock + 1, lock + 3];
    let file = BufWriter::new(File::create(dir.join(name(1, 5).to_string())).unwrap());
    let mut encoder = Encoder::new(
        file,
        Header::new(size, commit, Txid::new(1), Txid::new(5), 0),
    )
    .unwrap();
    let (zeros, ones) = (page(0, size), page(1, size));
    for number in (1..=commit).filter(|n| *n != lock) {
        encoder
            .write_page(
                page_no(number),
                if filled.contains(&number) {
                    &ones
                } else {
                    &zeros
                },
            )
            .unwrap();
    }
    encoder.finish(0).unwrap();
    let replica = file_replica(folder.path());
    // It shrinks by a page, and pages on both sides of the lock page change.
    let changed = [5, lock - 1, lock + 2];
    let pages: Pages = changed.iter().map(|n| (*n, page(2, size))).collect();
    let commit = commit - 1;
    put(
        &replica,
        0,
        6,
        6,
        encode(
            Header::new(size, commit, Txid::new(6), Txid::new(6), 0),
            &pages,
            0,
        ),
    )
    .await;
    assert_eq!(
        replica.list_blocking(Level::SNAPSHOT, None).unwrap().len(),
        1
    );

    let place = Place::new();
    let peak = Mutex::new((0, 0));
    let before = (memory_used("VmRSS"), descriptors());
    let progress = |_| {
        let mut peak = peak.lock();
        *peak = (peak.0.max(memory_used("VmRSS")), peak.1.max(descriptors()));
    };
    let replica = std::sync::Arc::new(replica);
    litestream::restore::run(
        &place.request(),
        replica.clone(),
        &restore_support::env(),
        &progress,
    )
    .await
    .unwrap();
    let peak = peak.into_inner();
    assert!(
        peak.0.saturating_sub(before.0) < 48 << 20,
        "{} MiB more memory",
        (peak.0 - before.0) >> 20
    );
    assert!(
        peak.1 - before.1 < 32,
        "{} descriptors more",
        peak.1 - before.1
    );

    let output = File::open(&place.output).unwrap();
    assert_eq!(output.metadata().unwrap().len(), u64::from(commit) * 512);
    let mut chunk = vec![0; 1 << 20];
    for at in (0..u64::from(commit) * 512).step_by(chunk.len()) {
        let len = output.read_at(&mut chunk, at).unwrap();
        let mut expected = vec![0; len];
        let first = (at / 512) as u32 + 1;
        let numbers = first..first + (len / 512) as u32;
        for (content, pages) in [(1, &filled[..]), (2, &changed[..])] {
            for number in pages.iter().filter(|n| numbers.contains(n)) {
                let start = (number - first) as usize * 512;
                expected[start..start + 512].fill(content);
            }
        }
        assert!(chunk[..len] == expected, "from page {first}");
    }

    let earlier = Place::new();
    let mut request = earlier.request();
    request.target = litestream::restore::Target::Txid(Txid::new(5));
    let outcome = run(&request, (*replica).clone()).await.unwrap();
    assert_eq!(outcome.pages, u64::from(commit) + 1);
}
