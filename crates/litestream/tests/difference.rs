//! A gap costs what changed: whatever happened to the database while nobody watched, the next file holds exactly the pages that differ,
//! history stays, and the checksums of all files chain.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;

use std::path::PathBuf;

use common::{ALL_PAGE_SIZES, Bench, assert_same, fill};
use litestream::restore::Target;
use litestream_replica::Level;
use ltx::{Chain, Checksum, DatabaseChecksum, Header, PageNo, PageSize, Txid};
use rusqlite::Connection;

/// A level-0 file of the replica: its header and its pages.
async fn file(bench: &Bench, txid: Txid) -> (Header, Vec<u32>) {
    let name = ltx::FileName::single(txid);
    let bytes = bench.replica.read(Level::L0, name, 0, None).await.unwrap();
    let mut decoder = ltx::Decoder::new(&bytes[..]).unwrap();
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = Vec::new();
    while let Some(number) = decoder.next_page(&mut page).unwrap() {
        pages.push(number.get());
    }
    decoder.finish().unwrap();
    (header, pages)
}

fn checksum(image: &[u8]) -> Checksum {
    let size = match u16::from_be_bytes([image[16], image[17]]) {
        1 => 65536,
        n => u32::from(n),
    };
    let size = PageSize::new(size).unwrap();
    let mut sum = DatabaseChecksum::new();
    for (page, number) in image.chunks(size.bytes()).zip(1..) {
        let number = PageNo::new(number).unwrap();
        if number != size.lock_page() {
            sum.toggle(Checksum::page(number, page));
        }
    }
    sum.value()
}

/// Pages of `new` that are not as in `old`, and page 1.
fn differing(old: &[u8], new: &[u8], size: usize) -> Vec<u32> {
    let old: Vec<&[u8]> = old.chunks(size).collect();
    let pages = new.chunks(size).enumerate();
    let differ = pages.filter(|(i, page)| *i == 0 || old.get(*i) != Some(page));
    differ.map(|(i, _)| i as u32 + 1).collect()
}

/// Every file says what it changes, each begins with what the one before left, and it is true.
async fn assert_chain(bench: &Bench) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for txid in bench.level0().await {
        let (header, _) = file(bench, txid).await;
        let chain = header.chain();
        let image = bench.restore(Target::Txid(txid)).await;
        assert_eq!(chain.after, Some(checksum(&image)), "after {txid}");
        if let Some(last) = chains.last() {
            assert!(last.continues_with(&chain), "before {txid}");
        }
        chains.push(chain);
    }
    chains
}

struct Past {
    bench: Bench,
    app: Connection,
    page_size: u32,
}

impl Past {
    /// A database that was replicated for a while; the replicator is gone.
    async fn new(page_size: u32) -> Past {
        let bench = Bench::new();
        let app = bench.app(page_size);
        fill(&app, 600, 400);
        let replicator = bench.start();
        for _ in 0..3 {
            fill(&app, 10, 300);
            replicator.sync().await.unwrap();
        }
        replicator.close().await;
        Past {
            bench,
            app,
            page_size,
        }
    }

    fn ledger(&self) -> PathBuf {
        self.bench.settings().meta_path.join("ledger")
    }

    /// Replicates on; the first file must hold exactly what differs.
    async fn costs_what_changed(&self, what: &str) {
        let before = self.bench.level0().await;
        let old = self.bench.restore_latest().await;
        let replicator = self.bench.start();
        let txid = replicator.sync().await.unwrap();
        assert_eq!(txid, before[before.len() - 1].next(), "{what}: one file");
        replicator.close().await;
        let new = self.bench.restore_latest().await;
        assert_same(&self.bench.source_image(), &new);
        let (header, pages) = file(&self.bench, txid).await;
        let expected = differing(&old, &new, self.page_size as usize);
        assert_eq!(pages, expected, "{what}: exactly the pages that differ");
        assert_eq!(header.chain().before, Some(checksum(&old)), "{what}");
        let all = new.len() / self.page_size as usize;
        assert!(pages.len() < all, "{what}: {} of {all}", pages.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_752_a_checkpoint_while_down_costs_what_was_written() {
    for page_size in ALL_PAGE_SIZES {
        let past = Past::new(page_size).await;
        for round in 0..5 {
            past.app
                .execute("UPDATE t SET b=randomblob(400) WHERE id % 97 = ?1", [round])
                .unwrap();
            past.app
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
        }
        past.costs_what_changed(&format!("page size {page_size}"))
            .await;
        let chains = assert_chain(&past.bench).await;
        let gaps = chains.iter().filter(|c| c.before.is_none()).count();
        assert_eq!(gaps, 0, "no file begins without a past");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_shrank_while_down_costs_what_was_written() {
    let past = Past::new(4096).await;
    past.app
        .execute_batch("DELETE FROM t WHERE id > 300; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        .unwrap();
    // What VACUUM moved differs, what it left where it was does not.
    let old = past.bench.restore_latest().await;
    let replicator = past.bench.start();
    let txid = replicator.sync().await.unwrap();
    replicator.close().await;
    past.bench.assert_restores().await;
    let new = past.bench.restore_latest().await;
    assert!(new.len() < old.len());
    let (_, pages) = file(&past.bench, txid).await;
    assert_eq!(pages, differing(&old, &new, 4096));
    assert_chain(&past.bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_in_place_while_replicating_and_while_down() {
    let past = Past::new(4096).await;
    let replicator = past.bench.start();
    past.app
        .execute_batch("DELETE FROM t WHERE id % 3 = 0; VACUUM;")
        .unwrap();
    replicator.sync().await.unwrap();
    fill(&past.app, 5, 300);
    replicator.sync().await.unwrap();
    replicator.close().await;
    past.bench.assert_restores().await;
    past.app
        .execute_batch(
            "DELETE FROM t WHERE id % 3 = 1; VACUUM; PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(n) VALUES(1);",
        )
        .unwrap();
    let replicator = past.bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    past.bench.assert_restores().await;
    past.bench.assert_contiguous().await;
    assert_chain(&past.bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_put_back_costs_what_differs() {
    for while_running in [false, true] {
        let past = Past::new(4096).await;
        let older = past.bench.source_image();
        let replicator = past.bench.start();
        past.app
            .execute("UPDATE t SET b=randomblob(400) WHERE id % 50 = 7", [])
            .unwrap();
        replicator.sync().await.unwrap();
        let Past { bench, app, .. } = past;
        if !while_running {
            replicator.close().await;
        }
        drop(app);
        let aside = bench.dir.path().join("older");
        std::fs::write(&aside, &older).unwrap();
        for side in ["app.db-wal", "app.db-shm"] {
            let _ = std::fs::remove_file(bench.dir.path().join(side));
        }
        std::fs::rename(&aside, bench.db()).unwrap();
        let app = Connection::open(bench.db()).unwrap();
        let again = if while_running {
            replicator
        } else {
            bench.start()
        };
        let txid = again.sync().await.unwrap();
        again.close().await;
        let past = Past {
            bench,
            app,
            page_size: 4096,
        };
        past.bench.assert_restores().await;
        let old = past
            .bench
            .restore(Target::Txid(Txid::new(txid.get() - 1)))
            .await;
        let (_, pages) = file(&past.bench, txid).await;
        assert_eq!(pages, differing(&old, &older, 4096), "{while_running}");
        assert!(pages.len() < older.len() / 4096 / 2);
        assert_chain(&past.bench).await;
        past.app
            .query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0))
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_ledger_is_built_anew_and_never_believed() {
    for damage in [
        "removed",
        "flipped",
        "cut",
        "garbage",
        "of another position",
    ] {
        let past = Past::new(4096).await;
        let path = past.ledger();
        let kept = std::fs::read(&path).unwrap();
        match damage {
            "removed" => std::fs::remove_file(&path).unwrap(),
            "cut" => std::fs::write(&path, &kept[..kept.len() - 8]).unwrap(),
            "garbage" => std::fs::write(&path, vec![0xA5; 9000]).unwrap(),
            "flipped" => {
                let mut bytes = kept.clone();
                bytes[4096 + 8 * 40 + 3] ^= 4;
                std::fs::write(&path, bytes).unwrap();
            }
            _ => {
                let replicator = past.bench.start();
                fill(&past.app, 5, 300);
                replicator.sync().await.unwrap();
                replicator.close().await;
                std::fs::write(&path, &kept).unwrap();
            }
        }
        // Replication goes on where the WAL continues, and the ledger comes back by itself.
        let replicator = past.bench.start();
        for _ in 0..2 {
            fill(&past.app, 5, 300);
            replicator.sync().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        replicator.close().await;
        past.bench.assert_restores().await;
        let last = *past.bench.level0().await.last().unwrap();
        let (header, _) = file(&past.bench, last).await;
        assert!(header.chain().before.is_some(), "{damage}: chained again");
        past.app
            .execute("UPDATE t SET b=randomblob(400) WHERE id % 97 = 3", [])
            .unwrap();
        past.app
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        past.costs_what_changed(damage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_behind_the_newest_file_is_completed_from_it() {
    let past = Past::new(4096).await;
    // As if killed before, or in the middle of, the ledger's own update.
    for half in [false, true] {
        let replicator = past.bench.start();
        replicator.sync().await.unwrap();
        let kept = std::fs::read(past.ledger()).unwrap();
        past.app
            .execute("UPDATE t SET b=randomblob(400) WHERE id % 20 = 3", [])
            .unwrap();
        replicator.sync().await.unwrap();
        replicator.close().await;
        let now = std::fs::read(past.ledger()).unwrap();
        assert_ne!(kept, now);
        let mut then = kept;
        if half {
            let (middle, len) = (then.len() / 2, then.len());
            then[middle..].copy_from_slice(&now[middle..len]);
        }
        std::fs::write(past.ledger(), &then).unwrap();
        past.app
            .execute("UPDATE t SET b=randomblob(400) WHERE id % 97 = 3", [])
            .unwrap();
        past.app
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        past.costs_what_changed("behind").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_changed_behind_sqlites_back_is_found_by_the_next_snapshot() {
    let past = Past::new(4096).await;
    let replicator = past.bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    past.app
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let replicator = past.bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    // Same length and time, and the WAL continues: nothing but the content tells.
    let modified = std::fs::metadata(past.bench.db())
        .unwrap()
        .modified()
        .unwrap();
    let file_ = std::fs::OpenOptions::new()
        .write(true)
        .open(past.bench.db())
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file_, &[0x5A; 100], 4096 * 40 + 3000).unwrap();
    file_.set_modified(modified).unwrap();
    drop(file_);
    let replicator = past.bench.start();
    let before = past.bench.level0().await.len();
    replicator.snapshot().await.unwrap();
    replicator.close().await;
    let after = past.bench.level0().await;
    assert_eq!(after.len(), before + 1, "one file with what differs");
    let (_, pages) = file(&past.bench, after[after.len() - 1]).await;
    assert_eq!(pages, [1, 41]);
    assert_chain(&past.bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_folder_costs_what_changed_since() {
    for page_size in [512, 4096, 65536] {
        let past = Past::new(page_size).await;
        past.app
            .execute("UPDATE t SET b=zeroblob(400) WHERE id % 97 = 3", [])
            .unwrap();
        past.app
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        std::fs::remove_dir_all(past.bench.settings().meta_path).unwrap();
        past.costs_what_changed("no state folder").await;
        assert_chain(&past.bench).await;
        past.bench.assert_contiguous().await;
        // And from there on as if nothing had been.
        let replicator = past.bench.start();
        fill(&past.app, 5, 300);
        replicator.sync().await.unwrap();
        replicator.close().await;
        past.bench.assert_restores().await;
        assert_eq!(past.bench.full_files().await.len(), 1, "{page_size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_ahead_costs_what_differs() {
    let past = Past::new(4096).await;
    // The state folder of before, as from a backup of the machine.
    let meta = past.bench.settings().meta_path;
    let kept = past.bench.dir.path().join("kept");
    copy(&meta, &kept);
    let replicator = past.bench.start();
    for _ in 0..3 {
        fill(&past.app, 10, 300);
        replicator.sync().await.unwrap();
    }
    replicator.close().await;
    std::fs::remove_dir_all(&meta).unwrap();
    std::fs::rename(&kept, &meta).unwrap();
    past.costs_what_changed("ahead").await;
    assert_chain(&past.bench).await;
    past.bench.assert_contiguous().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}
