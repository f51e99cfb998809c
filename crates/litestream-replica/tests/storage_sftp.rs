//! SFTP on real servers.

#![cfg(feature = "sftp")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "looks at the server's files and makes some; what fails is said by the panic"
)]

mod storage_common;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::retry::Patience;
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{ErrorKind, Level, SharedReplica, Source, suite};
use litestream_servers::{Kind, Place};
use ltx::{FileName, Txid};
use storage_common::{conforms, keys, open, open_with, place, start, storage};

const ONCE: Patience = Patience {
    first: Duration::ZERO,
    later: Duration::ZERO,
};
const TIME: UnixMillis = UnixMillis(1_700_000_000_123);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh() {
    conforms(Kind::Sshd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rclone_with_a_password() {
    conforms(Kind::RcloneSftp).await;
}

fn folder(place: &Place) -> PathBuf {
    PathBuf::from(place.key("path").unwrap())
}

/// The place with another value of a key, or without it.
fn with(place: &Place, name: &'static str, value: Option<&str>) -> Storage {
    let mut pairs = place.keys.clone();
    pairs.retain(|(key, _)| *key != name);
    pairs.extend(value.map(|value| (name, value.to_owned())));
    Storage::read(&keys(&pairs), &Keys::new()).unwrap()
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

async fn write(replica: &SharedReplica, txid: u64, bytes: &Bytes) {
    let source = Source::Bytes(bytes.clone());
    replica
        .write(Level::L0, name(txid), source, TIME)
        .await
        .unwrap();
}

fn file_names(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_openssh() {
    let server = start(Kind::Sshd);
    let count = std::cell::Cell::new(0);
    suite::run_v3(async |objects| {
        count.set(count.get() + 1);
        let place = place(&server, &format!("v3-{}", count.get()));
        for (path, bytes) in objects {
            let path = folder(&place).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        open(&storage(&place))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_a_connection_that_was_lost_is_made_again() {
    for kind in [Kind::Sshd, Kind::RcloneSftp] {
        let mut server = start(kind);
        let replica = open(&storage(&place(&server, "again")));
        let bytes = Bytes::from(vec![7; 100_000]);
        write(&replica, 1, &bytes).await;
        server.restart().unwrap();
        write(&replica, 2, &bytes).await;
        server.kill();
        let later = {
            let (replica, bytes) = (replica.clone(), bytes.clone());
            tokio::spawn(async move { write(&replica, 3, &bytes).await })
        };
        server.restart().unwrap();
        later.await.unwrap();
        for txid in 1..=3 {
            let read = replica.read(Level::L0, name(txid), 0, None).await;
            assert!(read.unwrap() == bytes);
        }
        server.kill();
        let gone = open_with(&storage(&place(&server, "again")), ONCE);
        let error = gone.list(Level::L0, None, false).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(
            error.to_string().contains("nothing listens there"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_another_key_than_the_pinned_one_is_refused() {
    let server = start(Kind::Sshd);
    let place = place(&server, "pinned");
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let replica = open(&with(&place, "host-key", Some(other)));
    let error = replica.list(Level::L0, None, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("is not the one given") && text.contains("SHA256:"),
        "{text}"
    );
    // None pinned and the server in no list: it is believed.
    let replica = open(&with(&place, "host-key", None));
    assert!(
        replica
            .list(Level::L0, None, false)
            .await
            .unwrap()
            .is_empty()
    );
}

fn keygen(place: &Place, name: &str, args: &[&str]) -> String {
    std::fs::create_dir_all(folder(place)).unwrap();
    let path = folder(place).join(name);
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-f"])
        .arg(&path)
        .args(args)
        .status();
    assert!(made.unwrap().success());
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_what_to_do() {
    let server = start(Kind::Sshd);
    let place = place(&server, "login");
    let refused = async |storage: Storage| {
        let error = open(&storage).list(Level::L0, None, false).await;
        error.unwrap_err()
    };
    let stranger = keygen(&place, "stranger", &["-t", "ed25519", "-N", ""]);
    let error = refused(with(&place, "key-path", Some(&stranger))).await;
    assert!(error.is_forbidden(), "{error}");
    assert!(error.to_string().contains("does not let"), "{error}");
    for (name, args) in [
        ("new", &["-t", "ed25519", "-N", "secret"][..]),
        ("pem", &["-t", "rsa", "-m", "PEM", "-N", "secret"]),
    ] {
        let locked = keygen(&place, name, args);
        let error = refused(with(&place, "key-path", Some(&locked))).await;
        let text = error.to_string();
        assert!(
            text.contains("sftp: cannot parse sftp key path: "),
            "{text}"
        );
        assert!(
            text.contains("passphrase") && !error.is_retryable(),
            "{text}"
        );
    }
    let error = refused(with(&place, "key-path", Some("/nowhere"))).await;
    assert!(
        error.to_string().contains("cannot read sftp key path"),
        "{error}"
    );

    let server = start(Kind::RcloneSftp);
    let place = self::place(&server, "login");
    let error = refused(with(&place, "password", Some("hunter2"))).await;
    assert!(error.is_forbidden(), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// Every kind of key that ssh-keygen makes, in both of its formats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind() {
    let server = start(Kind::Sshd);
    let place = place(&server, "kinds");
    let authorized = PathBuf::from(format!("{}.pub", place.key("key-path").unwrap()));
    for (name, args) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("ecdsa", &["-t", "ecdsa"]),
        ("rsa", &["-t", "rsa"]),
        ("rsa-pem", &["-t", "rsa", "-m", "PEM"]),
        ("rsa-pkcs8", &["-t", "rsa", "-m", "PKCS8"]),
        ("ecdsa-pem", &["-t", "ecdsa", "-m", "PEM"]),
        ("ecdsa-pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
    ] {
        let path = keygen(&place, name, &[args, &["-N", ""]].concat());
        let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
        let before = std::fs::read_to_string(&authorized).unwrap();
        std::fs::write(&authorized, before + &public).unwrap();
        let replica = open(&with(&place, "key-path", Some(&path)));
        let listed = replica.list(Level::L0, None, false).await;
        assert!(listed.unwrap_or_else(|e| panic!("{name}: {e}")).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_what_is_given_up_or_left_behind_goes_away() {
    let server = start(Kind::Sshd);
    let place = place(&server, "tidy");
    let replica = open(&storage(&place));
    write(&replica, 1, &Bytes::from_static(b"x")).await;
    let level = folder(&place).join("ltx/0");
    let big = Bytes::from(vec![1; 64 << 20]);
    for _ in 0..5 {
        let source = Source::Bytes(big.clone());
        let writing = replica.write(Level::L0, name(2), source, TIME);
        let given_up = tokio::time::timeout(Duration::from_millis(30), writing).await;
        assert!(given_up.is_err(), "a write that large can't be done");
    }
    // Whatever was asked for before is answered before.
    write(&replica, 3, &Bytes::from_static(b"x")).await;
    let whole = [name(1).to_string(), name(3).to_string()];
    assert_eq!(file_names(level.clone()), whole);
    let left = format!("{}.018bcfe56800-0000000000000abc.tmp", name(9));
    let foreign = format!("{}.123.456.tmp", name(9));
    for file in [&left, &foreign] {
        std::fs::write(level.join(file), b"x").unwrap();
    }
    assert_eq!(replica.list(Level::L0, None, false).await.unwrap().len(), 2);
    replica.tidy().await.unwrap();
    let [first, second] = whole;
    assert_eq!(file_names(level), [first, second, foreign]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_at_a_time_where_that_is_asked_for() {
    let server = start(Kind::Sshd);
    let place = place(&server, "slow");
    let replica = open(&with(&place, "concurrent-writes", Some("false")));
    let bytes: Bytes = (0..1_000_000_u32).map(|n| (n / 251) as u8).collect();
    write(&replica, 1, &bytes).await;
    assert!(replica.read(Level::L0, name(1), 0, None).await.unwrap() == bytes);
}

/// Links are followed, other things passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_is_passed_over() {
    let server = start(Kind::Sshd);
    let place = place(&server, "things");
    let replica = open(&storage(&place));
    write(&replica, 1, &Bytes::from_static(b"123")).await;
    let level = folder(&place).join("ltx/0");
    let at = |txid: u64| level.join(name(txid).to_string());
    std::fs::create_dir(at(2)).unwrap();
    std::os::unix::fs::symlink(at(1), at(3)).unwrap();
    std::os::unix::fs::symlink("nowhere", at(4)).unwrap();
    std::fs::write(level.join("notes.txt"), b"x").unwrap();
    let listed = replica.list(Level::L0, None, false).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|f| (f.name, f.size)).collect();
    assert_eq!(listed, [(name(1), 3), (name(3), 3)]);
    let file = folder(&place).join("ltx/1");
    std::fs::write(&file, b"in the way").unwrap();
    let source = Source::Bytes(Bytes::from_static(b"x"));
    let error = replica.write(Level::L1, name(1), source, TIME).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is not a folder"), "{error}");
}
