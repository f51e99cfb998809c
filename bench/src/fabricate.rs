//! Replicas made without a replicator: a snapshot, and files of level 0 on top from real transactions.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use ltx::{Encoder, Header, PageNo, PageSize, Txid};
use rusqlite::{Connection, params};

use crate::replica::level;
use crate::rows::Rows;
use crate::wal::{FRAME_HEADER, beside};

const WAL_HEADER: u64 = 32;

/// Writes a snapshot of `db`, a database at rest, as transaction 1.
pub fn snapshot(db: &Path, replica: &Path) -> Result<()> {
    let file = File::open(db)?;
    let page_size = page_size(&file)?;
    let pages = (file.metadata()?.len() / page_size.get() as u64) as u32;
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut page = vec![0; page_size.bytes()];
    let mut encoder = begin(replica, 9, page_size, pages, 1)?;
    for number in 1..=pages {
        input.read_exact(&mut page)?;
        let number = PageNo::new(number).context("page 0")?;
        if number != page_size.lock_page() {
            encoder.write_page(number, &page)?;
        }
    }
    encoder.finish(0)?;
    Ok(())
}

/// Commits `count` small updates to `db` and writes each as a file of level 0, from transaction 2 on.
pub fn updates(db: &Path, replica: &Path, count: u64) -> Result<()> {
    let conn = Connection::open(db)?;
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0")?;
    let last: i64 = conn.query_row("SELECT max(id) FROM docs", [], |row| row.get(0))?;
    let mut rows = Rows::new(2);
    {
        let mut update = conn.prepare("UPDATE docs SET body = ?1 WHERE id = ?2")?;
        for _ in 0..count {
            update.execute(params![rows.document(), 1 + rows.below(last as u64) as i64])?;
        }
    }
    // Reading the log is allowed while the database is open: locks are on the other files.
    let written = from_wal(&beside(db, "-wal"), replica)?;
    if written != count {
        bail!("{written} transactions in the log, not {count}");
    }
    conn.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn from_wal(wal: &Path, replica: &Path) -> Result<u64> {
    let mut file = File::open(wal)?;
    let mut header = [0; WAL_HEADER as usize];
    file.read_exact(&mut header)?;
    let page_size = PageSize::new(number(&header, 8)).context("page size of the log")?;
    let frames = (file.metadata()?.len() - WAL_HEADER) / (FRAME_HEADER + page_size.get() as u64);
    file.seek(SeekFrom::Start(WAL_HEADER))?;
    let mut input = BufReader::with_capacity(1 << 20, file);
    let (mut transaction, mut txid) = (std::collections::BTreeMap::new(), 1);
    for _ in 0..frames {
        let (mut head, mut page) = ([0; FRAME_HEADER as usize], vec![0; page_size.bytes()]);
        input.read_exact(&mut head)?;
        input.read_exact(&mut page)?;
        transaction.insert(PageNo::new(number(&head, 0)).context("page 0")?, page);
        let commit = number(&head, 4);
        if commit != 0 {
            txid += 1;
            let mut encoder = begin(replica, 0, page_size, commit, txid)?;
            for (number, page) in std::mem::take(&mut transaction) {
                encoder.write_page(number, &page)?;
            }
            encoder.finish(0)?;
        }
    }
    Ok(txid - 1)
}

fn begin(
    replica: &Path,
    to: u8,
    page_size: PageSize,
    commit: u32,
    txid: u64,
) -> Result<Encoder<File>> {
    let txid = Txid::new(txid);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let header = Header::new(page_size, commit, txid, txid, now);
    let dir = level(replica, to);
    std::fs::create_dir_all(&dir)?;
    let file = File::create(dir.join(format!("{txid}-{txid}.ltx")))?;
    Ok(Encoder::new(file, header)?)
}

fn page_size(db: &File) -> Result<PageSize> {
    let mut field = [0; 2];
    db.read_exact_at(&mut field, 16)?;
    let size = match u16::from_be_bytes(field) {
        1 => 65536,
        size => u32::from(size),
    };
    PageSize::new(size).context("page size of the database")
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u32::from_be_bytes(*field))
}
