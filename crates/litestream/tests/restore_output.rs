//! What may be at the output, how it is replaced, and what is left when a restore does not end.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real file system"
)]

mod restore_support;

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use litestream::env::{DirEntry, Disk, Env, File, Held, Metadata};
use litestream::restore::{self, Event, IntegrityCheck, RestoreError};
use litestream_replica::faulty::{Faulty, Op};
use litestream_replica::memory::Memory;
use restore_support::{History, Place, copy, env, file_replica, memory, run};

async fn small() -> (History, Memory) {
    let history = History::random(1, 1024, 3, 10);
    let replica = history.memory().await;
    (history, replica)
}

fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn r27_an_existing_database_is_not_overwritten() {
    let (history, replica) = small().await;
    let place = Place::new();
    write(&place.output, b"precious");
    let error = run(&place.request(), replica.clone()).await.unwrap_err();
    let path = place.output.display();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot restore, output path already exists and is not empty: {path}. Use -force to overwrite"
        )
    );
    assert_eq!(place.read(), b"precious");
    let mut request = place.request();
    request.force = true;
    run(&request, replica).await.unwrap();
    assert!(place.read() == history.image(3));
    assert_eq!(place.names(), ["out.db"]);
}

#[tokio::test]
async fn an_empty_file_counts_as_absent() {
    let (history, replica) = small().await;
    let place = Place::new();
    write(&place.output, b"");
    run(&place.request(), replica).await.unwrap();
    assert!(place.read() == history.image(3));
}

#[tokio::test]
async fn d18_force_changes_nothing_before_the_restore_is_sure() {
    let (history, replica) = small().await;
    let broken = history.memory().await;
    restore_support::put(&broken, 0, 2, 2, history.l0[1][..200].to_vec()).await;
    for replica in [memory(), broken] {
        let place = Place::new();
        write(&place.output, b"old database");
        write(place.dir.path().join("out.db-wal"), b"old wal");
        let mut request = place.request();
        request.force = true;
        run(&request, replica).await.unwrap_err();
        assert_eq!(place.read(), b"old database");
        assert_eq!(place.names(), ["out.db", "out.db-wal"]);
    }
    // Nor when SQLite refuses the result: the made-up pages are no database.
    let place = Place::new();
    write(&place.output, b"old database");
    let mut request = place.request();
    (request.force, request.integrity_check) = (true, IntegrityCheck::Quick);
    let error = run(&request, replica).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("post-restore integrity check: integrity check failed: "),
        "{error}"
    );
    assert_eq!(
        (place.read(), place.names()),
        (b"old database".to_vec(), vec!["out.db".to_owned()])
    );
}

#[tokio::test]
async fn d20_r28_sidecars_are_refused_or_go_with_the_old_database() {
    let (history, replica) = small().await;
    for database in [None, Some(&b""[..]), Some(b"old")] {
        for sidecar in ["out.db-wal", "out.db-shm", "out.db-journal"] {
            let place = Place::new();
            if let Some(database) = database {
                write(&place.output, database);
            }
            let sidecar = place.dir.path().join(sidecar);
            write(&sidecar, b"");
            let mut request = place.request();
            let error = run(&request, replica.clone()).await.unwrap_err();
            match database {
                Some(b"old") => assert!(matches!(error, RestoreError::OutputExists(_))),
                _ => assert_eq!(
                    error.to_string(),
                    format!(
                        "cannot restore, SQLite sidecar path already exists: {}. Use -force to overwrite",
                        sidecar.display()
                    )
                ),
            }
            request.force = true;
            run(&request, replica.clone()).await.unwrap();
            assert!(place.read() == history.image(3));
            assert_eq!(place.names(), ["out.db"]);
        }
    }
}

#[tokio::test]
async fn d19_only_regular_files_are_replaced() {
    let (_, replica) = small().await;
    let place = Place::new();
    let fifo = place.dir.path().join("fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let socket = place.dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (output, text) in [
        (
            fifo.clone(),
            "not a regular file but a FIFO, socket or device",
        ),
        (socket, "not a regular file but a FIFO, socket or device"),
        (
            PathBuf::from("/dev/null"),
            "not a regular file but a FIFO, socket or device",
        ),
        (place.dir.path().to_owned(), "output path is a directory"),
        (place.dir.path().join(".."), "output path is a directory"),
    ] {
        for force in [false, true] {
            let mut request = place.request();
            (request.output, request.force) = (output.clone(), force);
            let error = run(&request, replica.clone())
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(text) && error.contains(&output.display().to_string()),
                "{error}"
            );
        }
    }
    assert!(std::fs::metadata(fifo).unwrap().file_type().is_fifo());
    assert!(
        std::fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

#[tokio::test]
async fn d19_links_are_followed() {
    let (history, replica) = small().await;
    let place = Place::new();
    let real = place.dir.path().join("real.db");
    symlink(&real, &place.output).unwrap();
    let error = run(&place.request(), replica.clone()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("symbolic link to a file that does not exist"),
        "{error}"
    );
    write(&real, b"old");
    write(place.dir.path().join("real.db-wal"), b"old");
    let mut request = place.request();
    request.force = true;
    run(&request, replica).await.unwrap();
    assert!(
        std::fs::symlink_metadata(&place.output)
            .unwrap()
            .is_symlink()
    );
    assert!(std::fs::read(&real).unwrap() == history.image(3));
    assert_eq!(place.names(), ["out.db", "real.db"]);
}

#[tokio::test]
async fn r31_missing_folders_are_made_for_the_owner_alone() {
    let (history, replica) = small().await;
    let place = Place::new();
    let mut request = place.request();
    request.output = place.dir.path().join("a/b/out.db");
    run(&request, memory()).await.unwrap_err();
    assert!(place.names().is_empty(), "not for nothing");
    run(&request, replica.clone()).await.unwrap();
    assert!(std::fs::read(&request.output).unwrap() == history.image(3));
    assert_eq!(
        std::fs::metadata(place.dir.path().join("a"))
            .unwrap()
            .mode()
            & 0o777,
        0o700
    );
    write(place.dir.path().join("file"), b"x");
    request.output = place.dir.path().join("file/out.db");
    let error = run(&request, replica).await.unwrap_err();
    assert!(error.to_string().contains("out.db"), "{error}");
}

#[tokio::test]
async fn r23_the_mode_is_that_of_the_replaced_file_or_the_umask() {
    let (_, replica) = small().await;
    let place = Place::new();
    let probe = place.dir.path().join("probe");
    write(&probe, b"");
    let usual = std::fs::metadata(&probe).unwrap().mode() & 0o777;
    run(&place.request(), replica.clone()).await.unwrap();
    assert_eq!(
        std::fs::metadata(&place.output).unwrap().mode() & 0o777,
        usual
    );
    std::fs::set_permissions(&place.output, std::fs::Permissions::from_mode(0o660)).unwrap();
    let mut request = place.request();
    request.force = true;
    run(&request, replica).await.unwrap();
    assert_eq!(
        std::fs::metadata(&place.output).unwrap().mode() & 0o777,
        0o660
    );
}

#[tokio::test]
async fn r09_leftovers_of_killed_restores_are_removed() {
    let (_, replica) = small().await;
    let place = Place::new();
    for number in 0..3 {
        write(
            place
                .dir
                .path()
                .join(format!(".out.db.restore-{number:016x}.tmp")),
            b"left",
        );
    }
    let others = [
        ".other.db.restore-0000000000000000.tmp",
        ".out.db.restore-00.tmp",
    ];
    for other in others {
        write(place.dir.path().join(other), b"not ours");
    }
    run(&place.request(), replica).await.unwrap();
    assert_eq!(place.names(), [others[0], others[1], "out.db"]);
}

#[tokio::test]
async fn d25_a_dropped_restore_leaves_nothing() {
    let history = History::random(1, 4096, 3, 2000);
    let replica = history.memory().await;
    for nth in 1..8 {
        let faulty = Faulty::new(Arc::new(replica.clone()));
        let _stall = faulty.stall(Op::Read, nth);
        let place = Place::new();
        let request = place.request();
        let restore = run(&request, faulty.clone());
        tokio::select! {
            result = restore => panic!("read {nth} is stalled, but: {result:?}"),
            () = async { while faulty.calls(Op::Read) < nth { tokio::task::yield_now().await } } => {}
        }
        assert!(place.names().is_empty(), "{:?}", place.names());
    }
}

#[tokio::test]
async fn d25_a_dropped_local_restore_leaves_nothing() {
    let history = History::random(1, 4096, 3, 2000);
    let folder = tempfile::tempdir().unwrap();
    let local = file_replica(folder.path());
    copy(&history.memory().await, &local).await;
    for steps in 0..10 {
        let place = Place::new();
        let (left, enough) = (AtomicI64::new(steps), tokio::sync::Notify::new());
        let progress = |event| {
            if matches!(event, Event::Progress { .. } | Event::Planned { .. })
                && left.fetch_sub(1, Ordering::Relaxed) == 0
            {
                enough.notify_one();
            }
        };
        let request = place.request();
        let environment = env();
        let restore = restore::run(&request, Arc::new(local.clone()), &environment, &progress);
        tokio::select! {
            biased;
            () = enough.notified() => assert!(place.names().is_empty(), "{:?}", place.names()),
            result = restore => assert!(result.is_ok()),
        }
    }
}

#[tokio::test]
async fn r33_a_database_that_appears_meanwhile_is_not_overwritten() {
    let (_, replica) = small().await;
    let place = Place::new();
    let output = place.output.clone();
    let progress = move |event| {
        if matches!(event, Event::Planned { .. }) {
            write(&output, b"made by the application");
        }
    };
    let error = restore::run(&place.request(), Arc::new(replica), &env(), &progress)
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::OutputExists(_)), "{error}");
    assert_eq!(place.read(), b"made by the application");
    assert_eq!(place.names(), ["out.db"]);
}

#[tokio::test]
async fn integrity_checks_pass_and_leave_no_files() {
    let source = Place::new();
    // Characters that mean something in a URI, and a database in WAL mode.
    let connection = rusqlite::Connection::open(&source.output).unwrap();
    connection.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    let image = source.read();
    let pages = image
        .chunks(4096)
        .enumerate()
        .map(|(at, page)| (at as u32 + 1, page.to_vec()))
        .collect();
    let one = ltx::Txid::new(1);
    let header = ltx::Header::new(
        ltx::PageSize::new(4096).unwrap(),
        (image.len() / 4096) as u32,
        one,
        one,
        0,
    );
    let replica = memory();
    restore_support::put(
        &replica,
        0,
        1,
        1,
        restore_support::encode(header, &pages, 0),
    )
    .await;
    for check in [
        IntegrityCheck::None,
        IntegrityCheck::Quick,
        IntegrityCheck::Full,
    ] {
        let place = Place::new();
        let mut request = place.request();
        request.output = place.dir.path().join("a b?c#d%41&immutable=0.db");
        request.integrity_check = check;
        run(&request, replica.clone()).await.unwrap();
        assert!(std::fs::read(&request.output).unwrap() == image);
        assert_eq!(place.names().len(), 1);
    }
}

/// A disk that asks before each change whether it may be done.
struct Asking<F> {
    inner: Arc<dyn Disk>,
    may: F,
    /// To whom the output seems to belong, if not to us. Setting one is asked for as the path `uid:gid`.
    owner: Option<(u32, u32)>,
}

impl<F: Fn(&Path) -> io::Result<()> + Send + Sync> Disk for Asking<F> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.inner.open(path)
    }
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.inner.open_rw(path)
    }
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        (self.may)(path)?;
        self.inner.create_new(path, mode)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.may)(path)?;
        self.inner.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        (self.may)(path)?;
        self.inner.remove_dir(path)
    }
    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>> {
        self.inner.lock(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.may)(from)?;
        self.inner.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.may)(from)?;
        self.inner.hard_link(from, to)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let mut found = self.inner.metadata(path)?;
        if path.ends_with("out.db")
            && let Some(owner) = self.owner
        {
            (found.uid, found.gid) = owner;
        }
        Ok(found)
    }
    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.symlink_metadata(path)
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        (self.may)(path)?;
        self.inner.create_dir(path, mode)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        match self.owner {
            Some(_) => (self.may)(Path::new(&format!("{uid}:{gid}"))),
            None => self.inner.set_owner(path, uid, gid),
        }
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.set_mode(path, mode)
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonicalize(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.may)(dir)?;
        self.inner.sync_dir(dir)
    }
}

fn asking(may: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) -> Env {
    Env {
        disk: Arc::new(Asking {
            inner: env().disk,
            may,
            owner: None,
        }),
        ..env()
    }
}

const OLD: [(&str, &str); 4] = [
    ("", "old database"),
    ("-wal", "old wal"),
    ("-shm", "old shm"),
    // As kept with `journal_mode=persist`: whoever opens the database rolls back any other.
    ("-journal", "\0old journal"),
];

/// What a power cut between any two changes leaves: the old database with all its sidecars under one name, wherever
/// they are, or the new one alone at the output.
#[tokio::test]
async fn r28_the_swap_survives_a_power_cut_at_any_point() {
    let (history, replica) = small().await;
    let mut swapped = 0;
    for changes in 0..20 {
        let place = Place::new();
        for (suffix, content) in OLD {
            write(
                place.dir.path().join(format!("out.db{suffix}")),
                content.as_bytes(),
            );
        }
        let left = AtomicI64::new(changes);
        let environment = asking(move |_| match left.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => Err(io::Error::other("power cut")),
            _ => Ok(()),
        });
        let mut request = place.request();
        request.force = true;
        let result = restore::run(&request, Arc::new(replica.clone()), &environment, &|_| {}).await;
        let names = place.names();
        if std::fs::read(&place.output).is_ok_and(|bytes| bytes == history.image(3)) {
            swapped += 1;
            assert!(
                !names.iter().any(|n| n.starts_with("out.db-")),
                "an old sidecar beside the new database: {names:?}"
            );
            continue;
        }
        assert!(result.is_err());
        // Nothing of the old is lost, and what is left at the output is not half of it.
        let old = names.iter().filter(|n| n.starts_with("out.db")).count();
        assert_eq!(old, 4, "{names:?}");
        for (suffix, content) in OLD {
            let holds = |name: &String| {
                name.ends_with(suffix)
                    && std::fs::read(place.dir.path().join(name)).unwrap() == content.as_bytes()
            };
            assert!(names.iter().any(holds), "{content}: {names:?}");
        }
        let moved = |suffix: &str| !names.contains(&format!("out.db{suffix}"));
        assert!(
            moved("") || !["-wal", "-shm", "-journal"].into_iter().any(moved),
            "the database first: {names:?}"
        );
    }
    assert!(swapped > 3, "both sides of the swap were seen");
}

/// A rename that fails puts everything back.
#[tokio::test]
async fn a_failed_swap_is_undone() {
    let (_, replica) = small().await;
    let place = Place::new();
    for (suffix, content) in OLD {
        write(
            place.dir.path().join(format!("out.db{suffix}")),
            content.as_bytes(),
        );
    }
    let tries = AtomicI64::new(0);
    // The first change to the temporary file is its creation, the second its renaming.
    let environment = asking(move |path| match path.extension() {
        Some(tmp) if tmp == "tmp" && tries.fetch_add(1, Ordering::Relaxed) == 1 => {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        _ => Ok(()),
    });
    let mut request = place.request();
    request.force = true;
    let error = restore::run(&request, Arc::new(replica), &environment, &|_| {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("out.db"), "{error}");
    assert_eq!(
        place.names(),
        ["out.db", "out.db-journal", "out.db-shm", "out.db-wal"]
    );
    for (suffix, content) in OLD {
        assert_eq!(
            std::fs::read(place.dir.path().join(format!("out.db{suffix}"))).unwrap(),
            content.as_bytes()
        );
    }
}

/// A database that was closed properly is one file: there is always either it or the new one.
#[tokio::test]
async fn a_whole_database_is_at_the_output_whenever_the_swap_is_killed() {
    let (history, replica) = small().await;
    let mut swapped = 0;
    for changes in 0..10 {
        let place = Place::new();
        let connection = rusqlite::Connection::open(&place.output).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x)")
            .unwrap();
        drop(connection);
        let old = place.read();
        write(place.dir.path().join("out.db-shm"), b"stale");
        let left = AtomicI64::new(changes);
        let environment = asking(move |_| match left.fetch_sub(1, Ordering::Relaxed) {
            ..=0 => Err(io::Error::other("killed")),
            _ => Ok(()),
        });
        let mut request = place.request();
        request.force = true;
        let result = restore::run(&request, Arc::new(replica.clone()), &environment, &|_| {}).await;
        let bytes = place.read();
        swapped += usize::from(bytes == history.image(3));
        assert!(bytes == old || bytes == history.image(3));
        if changes > 5 {
            result.unwrap();
            assert_eq!(place.names(), ["out.db"]);
        }
        let aside = |name: &String| name.contains("before-restore");
        assert!(!place.names().iter().any(aside), "{:?}", place.names());
    }
    assert!(
        (5..10).contains(&swapped),
        "both sides of the swap were seen"
    );
}

#[tokio::test]
async fn what_a_killed_swap_set_aside_is_put_back() {
    let (history, replica) = small().await;
    let aside = "out.db.before-restore-0123456789abcdef";
    for moved in 1..=4 {
        let place = Place::new();
        for (at, (suffix, content)) in OLD.iter().enumerate() {
            let name = if at < moved { aside } else { "out.db" };
            write(
                place.dir.path().join(format!("{name}{suffix}")),
                content.as_bytes(),
            );
        }
        write(
            place
                .dir
                .path()
                .join(".out.db.restore-0000000000000000.tmp"),
            b"left",
        );
        let error = run(&place.request(), replica.clone()).await.unwrap_err();
        assert!(matches!(error, RestoreError::OutputExists(_)), "{error}");
        assert_eq!(
            place.names(),
            ["out.db", "out.db-journal", "out.db-shm", "out.db-wal"]
        );
        for (suffix, content) in OLD {
            let bytes = std::fs::read(place.dir.path().join(format!("out.db{suffix}"))).unwrap();
            assert_eq!(bytes, content.as_bytes());
        }
        let mut request = place.request();
        request.force = true;
        run(&request, replica.clone()).await.unwrap();
        assert!(place.read() == history.image(3));
        assert_eq!(place.names(), ["out.db"]);
    }
}

/// The swap was done, or which of several comes back is not clear: nothing is touched.
#[tokio::test]
async fn what_else_was_set_aside_stays() {
    let (history, replica) = small().await;
    let aside = [
        "out.db.before-restore-0123456789abcdef",
        "out.db.before-restore-1123456789abcdef",
        "out.db.before-restore-1123456789abcdef-wal",
    ];
    for (output, left) in [
        (true, &aside[..1]),
        (false, &aside[..]),
        (false, &aside[2..]),
    ] {
        let place = Place::new();
        for name in left {
            write(place.dir.path().join(name), name.as_bytes());
        }
        if output {
            write(&place.output, b"");
        }
        run(&place.request(), replica.clone()).await.unwrap();
        assert!(place.read() == history.image(3));
        assert_eq!(place.names()[1..], *left);
    }
}

#[tokio::test]
async fn a_database_in_use_is_not_replaced() {
    let (history, replica) = small().await;
    for (setup, then) in [
        // An idle connection in WAL mode.
        ("PRAGMA journal_mode=wal", "SELECT * FROM t"),
        (
            "PRAGMA journal_mode=delete",
            "BEGIN IMMEDIATE; INSERT INTO t VALUES(2)",
        ),
        ("PRAGMA journal_mode=delete", "BEGIN; SELECT * FROM t"),
    ] {
        let place = Place::new();
        let connection = rusqlite::Connection::open(&place.output).unwrap();
        connection
            .execute_batch(&format!(
                "{setup}; CREATE TABLE t(x); INSERT INTO t VALUES(1); {then}"
            ))
            .unwrap();
        let mut request = place.request();
        request.force = true;
        let (before, names) = (place.read(), place.names());
        let error = run(&request, replica.clone()).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!(
                "cannot restore, output database is in use by another process: {}",
                place.output.display()
            )),
            "{error}"
        );
        assert!(place.read() == before);
        assert_eq!(place.names(), names);
        let count: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert!(count > 0);
        drop(connection);
        run(&request, replica.clone()).await.unwrap();
        assert!(place.read() == history.image(3));
        assert_eq!(place.names(), ["out.db"]);
    }
}

#[tokio::test]
async fn the_group_is_kept_also_by_one_who_cannot_give_files_away() {
    let (_, replica) = small().await;
    let place = Place::new();
    write(&place.output, b"old");
    let me = std::fs::metadata(&place.output).unwrap();
    let (uid, gid) = (me.uid(), me.gid());
    let other = gid + 1;
    let both = format!("{}:{other}", uid + 1);
    let group = format!("{uid}:{other}");
    for (owner, asked) in [
        ((uid, gid), vec![]),
        ((uid, other), vec![group.clone()]),
        ((uid + 1, other), vec![both.clone(), group]),
    ] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (seen_by_disk, both) = (Arc::clone(&seen), both.clone());
        let environment = Env {
            disk: Arc::new(Asking {
                inner: env().disk,
                may: move |path: &Path| {
                    let path = path.to_str().unwrap().to_owned();
                    if path == both {
                        seen_by_disk.lock().unwrap().push(path);
                        return Err(io::ErrorKind::PermissionDenied.into());
                    }
                    if !path.contains('/') {
                        seen_by_disk.lock().unwrap().push(path);
                    }
                    Ok(())
                },
                owner: Some(owner),
            }),
            ..env()
        };
        let mut request = place.request();
        request.force = true;
        restore::run(&request, Arc::new(replica.clone()), &environment, &|_| {})
            .await
            .unwrap();
        assert_eq!(*seen.lock().unwrap(), asked);
    }
}

#[tokio::test]
async fn new_folders_are_durable() {
    let (_, replica) = small().await;
    let place = Place::new();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen_by_disk = Arc::clone(&seen);
    let environment = asking(move |path| {
        seen_by_disk.lock().unwrap().push(path.to_owned());
        Ok(())
    });
    let mut request = place.request();
    let (dir, a, b) = (
        place.dir.path().to_owned(),
        place.dir.path().join("a"),
        place.dir.path().join("a/b"),
    );
    request.output = b.join("out.db");
    restore::run(&request, Arc::new(replica), &environment, &|_| {})
        .await
        .unwrap();
    // Both are made, then both of their folders are synced.
    assert_eq!(seen.lock().unwrap()[..4], [a.clone(), b, dir, a]);
}
