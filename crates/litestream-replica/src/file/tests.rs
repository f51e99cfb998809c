//! What only a folder can get wrong; the rest is in the conformance suite.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the folder past the code under test"
)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

mod every_step;

use super::*;
use crate::env::real;

const TIME: UnixMillis = UnixMillis(1_700_000_000_123);
const L0: Level = Level::L0;

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn bytes(text: &'static str) -> Source {
    Source::Bytes(Bytes::from_static(text.as_bytes()))
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn k03_s12_names_that_are_not_ltx_are_skipped() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().into(), real::env(), None);
    replica
        .write_blocking(L0, name(2), &bytes("two"), TIME)
        .unwrap();
    let dir = root.path().join("ltx/0");
    for junk in [
        "0000000000000001-0000000000000001.ltx.tmp",
        "0000000000000001-000000000000000A.ltx",
        "0000000000000000-0000000000000001.ltx",
        "0000000000000003-0000000000000001.ltx",
        "notes.txt",
        ".ltx",
    ] {
        fs::write(dir.join(junk), "junk").unwrap();
    }
    fs::create_dir(dir.join(name(7).to_string())).unwrap();
    symlink("nowhere", dir.join(name(8).to_string())).unwrap();
    symlink(name(2).to_string(), dir.join(name(9).to_string())).unwrap();
    let listed: Vec<_> = replica
        .list_blocking(L0, None)
        .unwrap()
        .iter()
        .map(|f| (f.name, f.size))
        .collect();
    assert_eq!(listed, [(name(2), 3), (name(9), 3)]);
}

#[test]
fn r21_only_a_missing_folder_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| FileReplica::new(root.path().join(path), real::env(), None);
    assert!(at("missing").list_blocking(L0, None).unwrap().is_empty());

    fs::write(root.path().join("file"), "not a folder").unwrap();
    let error = at("file").list_blocking(L0, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("/file/ltx/0"), "{error}");
    assert!(
        at("file")
            .write_blocking(L0, name(1), &bytes("x"), TIME)
            .is_err()
    );
    assert!(
        at("file")
            .read_blocking(L0, name(1), 0, None)
            .unwrap_err()
            .kind()
            != ErrorKind::NotFound
    );

    fs::create_dir_all(root.path().join("closed/ltx/0")).unwrap();
    fs::set_permissions(
        root.path().join("closed"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let listed = at("closed").list_blocking(L0, None);
    // Root may list anything.
    if fs::read_dir(root.path().join("closed")).is_err() {
        assert!(listed.unwrap_err().is_forbidden());
    }
    fs::set_permissions(
        root.path().join("closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
}

#[test]
fn layout_and_modes_without_a_database() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().join("a/b"), real::env(), None);
    replica
        .write_blocking(Level::SNAPSHOT, name(1), &bytes("x"), TIME)
        .unwrap();
    let file = root
        .path()
        .join("a/b/ltx/9/0000000000000001-0000000000000001.ltx");
    assert_eq!(
        replica.local_path(Level::SNAPSHOT, name(1)),
        Some(file.clone())
    );
    assert_eq!(fs::read(&file).unwrap(), b"x");
    assert_eq!(mode(&file), 0o600);
    for dir in ["a", "a/b", "a/b/ltx", "a/b/ltx/9"] {
        assert_eq!(mode(&root.path().join(dir)), 0o700);
    }
    let modified = fs::metadata(&file).unwrap();
    assert_eq!(
        modified.mtime() * 1000 + modified.mtime_nsec() / 1_000_000,
        TIME.0
    );
}

#[test]
fn files_and_folders_get_the_modes_of_the_database() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o1775)).unwrap();
    let db = data.join("db");
    fs::write(&db, "").unwrap();
    fs::set_permissions(&db, fs::Permissions::from_mode(0o664)).unwrap();
    let staged = data.join("staged");
    fs::write(&staged, "staged").unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), Some(db));
    replica
        .write_blocking(L0, name(1), &bytes("x"), TIME)
        .unwrap();
    replica
        .write_blocking(L0, name(2), &Source::File(staged), TIME)
        .unwrap();
    for dir in ["r", "r/ltx", "r/ltx/0"] {
        assert_eq!(mode(&root.path().join(dir)), 0o775);
    }
    for txid in [1, 2] {
        assert_eq!(mode(&replica.local_path(L0, name(txid)).unwrap()), 0o664);
    }
}

#[test]
fn a_large_staged_file_is_shared_not_copied() {
    let root = tempfile::tempdir().unwrap();
    let staged = root.path().join("staged");
    let content = vec![7; 2 << 20];
    fs::write(&staged, &content).unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    let path = replica.local_path(L0, name(1)).unwrap();
    for _ in 0..2 {
        replica
            .write_blocking(L0, name(1), &Source::File(staged.clone()), TIME)
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().ino(),
            fs::metadata(&staged).unwrap().ino()
        );
        assert_eq!(names_in(path.parent().unwrap()), [name(1).to_string()]);
    }
    // Over a different file.
    replica
        .write_blocking(L0, name(1), &bytes("other"), TIME)
        .unwrap();
    assert_eq!(fs::read(&staged).unwrap(), content);
    replica
        .write_blocking(L0, name(1), &Source::File(staged.clone()), TIME)
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().ino(),
        fs::metadata(&staged).unwrap().ino()
    );
    assert_eq!(names_in(path.parent().unwrap()), [name(1).to_string()]);
}

#[test]
fn a_symbolic_link_as_source_is_copied() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("staged"), "staged").unwrap();
    symlink("staged", root.path().join("link")).unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    replica
        .write_blocking(L0, name(1), &Source::File(root.path().join("link")), TIME)
        .unwrap();
    let path = replica.local_path(L0, name(1)).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read(&path).unwrap(), b"staged");
}

#[test]
fn a_missing_source_is_named() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().into(), real::env(), None);
    let error = replica
        .write_blocking(L0, name(1), &Source::File(root.path().join("gone")), TIME)
        .unwrap_err();
    assert!(error.is_not_found());
    assert!(error.subject().ends_with("/gone"), "{error}");
}

#[test]
fn folders_removed_meanwhile_are_made_again() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    for _ in 0..2 {
        replica
            .write_blocking(L0, name(1), &bytes("x"), TIME)
            .unwrap();
        fs::remove_dir_all(root.path().join("r")).unwrap();
    }
    replica.delete_blocking(&[(L0, name(1))]).unwrap();
}

#[tokio::test]
async fn only_our_own_leftovers_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let env = real::env();
    let dir = root.path().join("ltx/0");
    fs::create_dir_all(&dir).unwrap();
    let now = env.clock.now().0;
    let old = key::temp_name(name(1), now - 3_700_000, 1);
    let young = key::temp_name(name(1), now, 2);
    let foreign = format!("{}.tmp", name(1));
    for file in [&old, &young, &foreign] {
        fs::write(dir.join(file), "left").unwrap();
    }
    let replica = FileReplica::new(root.path().into(), env, None);
    replica.list_blocking(L0, None).unwrap();
    assert_eq!(names_in(&dir).len(), 3, "reading changes nothing");
    replica
        .write_blocking(L0, name(2), &bytes("x"), TIME)
        .unwrap();
    crate::Replica::tidy(&replica).await.unwrap();
    let mut expected = vec![foreign, name(2).to_string()];
    expected.sort();
    assert_eq!(names_in(&dir), expected);
}

/// A copy of the folder with fresh modification times means the same (R02).
#[tokio::test]
async fn r02_exact_times_come_from_the_headers() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().to_owned(), crate::env::real::env(), None);
    let page_size = ltx::PageSize::new(512).unwrap();
    let header = ltx::Header::new(page_size, 1, Txid::new(1), Txid::new(1), 1_700_000_000_123);
    let mut encoder = ltx::Encoder::new(Vec::new(), header).unwrap();
    encoder.write_page(ltx::PageNo::FIRST, &[7; 512]).unwrap();
    let (bytes, _) = encoder.finish(0).unwrap();
    replica
        .write_blocking(L0, name(1), &Source::Bytes(bytes.into()), UnixMillis(5000))
        .unwrap();
    let times = |files: Vec<FileInfo>| files.iter().map(|f| f.created.0).collect::<Vec<_>>();
    assert_eq!(
        times(
            crate::Replica::list(&replica, L0, None, false)
                .await
                .unwrap()
        ),
        [5000]
    );
    assert_eq!(
        times(
            crate::Replica::list(&replica, L0, None, true)
                .await
                .unwrap()
        ),
        [1_700_000_000_123]
    );
}

#[test]
fn c02_a_small_staged_file_is_copied() {
    let root = tempfile::tempdir().unwrap();
    let staged = root.path().join("staged");
    fs::write(&staged, "staged").unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    replica
        .write_blocking(L0, name(1), &Source::File(staged.clone()), TIME)
        .unwrap();
    fs::write(&staged, "broken").unwrap();
    assert_eq!(
        fs::read(replica.local_path(L0, name(1)).unwrap()).unwrap(),
        b"staged"
    );
}
