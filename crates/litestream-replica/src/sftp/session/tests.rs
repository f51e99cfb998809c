//! Sessions with a real server.

use bytes::BytesMut;
use litestream_servers::{Kind, Server};

use super::*;
use crate::retry::Fetch;
use crate::settings::Sftp;
use crate::sftp::connect::Link;
use crate::sftp::transfer::Download;
use crate::sftp::{file, folders};

fn settings(server: &Server) -> Sftp {
    let place = server.new_place("session").unwrap();
    let key = |name: &str| place.key(name).map(str::to_owned);
    Sftp {
        host: key("host").unwrap(),
        user: key("user").unwrap(),
        password: None,
        key_path: key("key-path"),
        host_key: key("host-key"),
        concurrent_writes: true,
        path: key("path").unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_can_not_rename_over_a_file_is_helped() {
    let server = Server::start(Kind::Sshd).unwrap();
    let settings = settings(&server);
    let env = crate::env::real::env();
    let link = Link::new(&settings, &env).unwrap();
    let mut session = link.dial().await.unwrap();
    assert!(session.can_rename_over && session.can_sync);
    (session.can_rename_over, session.can_sync) = (false, false);
    let session = Arc::new(session);
    let folder = format!("{}/a/b", settings.path);
    folders::make(&session, &folder).await.unwrap();
    let at = |name: &str| format!("{folder}/{name}");
    let create = async |name: &str, bytes: &[u8]| {
        let file = file::create(&session, &at(name)).await.unwrap();
        file.file().unwrap().write(0, bytes).await.unwrap();
        file.file().unwrap().sync().await.unwrap();
        file.finish(&at(&format!("{name}-done"))).await.unwrap();
    };
    create("one", b"1").await;
    create("two", b"2").await;
    session
        .rename_over(&at("one-done"), &at("new"))
        .await
        .unwrap();
    session
        .rename_over(&at("two-done"), &at("new"))
        .await
        .unwrap();
    let new = file::open(&session, &at("new")).await;
    assert_eq!(new.unwrap().read(0, 9).await.unwrap(), b"2");
    let missing = session.rename_over(&at("one"), &at("other")).await;
    assert!(missing.unwrap_err().is_not_found());
    let missing = session.rename_over(&at("one"), &at("new")).await;
    assert!(missing.unwrap_err().is_not_found());
    // It fails, and not because of a file that is in the way.
    folders::make(&session, &at("folder")).await.unwrap();
    let over_folder = session.rename_over(&at("new"), &at("folder")).await;
    assert!(over_folder.is_err());
    session
        .ask("", "", session.raw.rmdir(at("folder")))
        .await
        .unwrap();
    let new = file::open(&session, &at("new")).await;
    assert_eq!(new.unwrap().read(0, 9).await.unwrap(), b"2");
    let above = session.rename_over(&at("new"), "/nowhere/x").await;
    assert!(above.is_err());
    let left = folders::list(&session, &folder).await.unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_end_with_their_session() {
    let server = Server::start(Kind::Sshd).unwrap();
    let env = crate::env::real::env();
    let session = Link::new(&settings(&server), &env)
        .unwrap()
        .dial()
        .await
        .unwrap();
    let unanswered = || {
        session.ask(
            "ask",
            "x",
            std::future::pending::<std::result::Result<(), SftpError>>(),
        )
    };
    let before = env.clock.monotonic();
    let breaking = async {
        env.clock.sleep_async(Duration::from_millis(100)).await;
        session.failed("ask", "y", &SftpError::UnexpectedPacket)
    };
    let (first, second, _) = tokio::join!(unanswered(), unanswered(), breaking);
    let third = unanswered().await;
    for ended in [first, second, third] {
        assert!(ended.unwrap_err().is_retryable());
    }
    assert!(env.clock.monotonic().since(before) < SILENCE_MAX / 4);
    assert_eq!(session.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_became_shorter_does_not_end_where_reading_goes_on() {
    let server = Server::start(Kind::Sshd).unwrap();
    let settings = settings(&server);
    let env = crate::env::real::env();
    let link = Link::new(&settings, &env).unwrap();
    let session = Arc::new(link.dial().await.unwrap());
    folders::make(&session, &settings.path).await.unwrap();
    let path = format!("{}/file", settings.path);
    let file = file::create(&session, &format!("{path}.new"))
        .await
        .unwrap();
    file.file().unwrap().write(0, b"123").await.unwrap();
    file.finish(&path).await.unwrap();
    let limits = crate::settings::Opening::command(&env).limits();
    let download = Download {
        link: &link,
        limits: &limits,
        path: &path,
    };
    for (come, len, fine) in [
        (0, Some(9), true),
        (2, Some(9), true),
        (3, None, true),
        (4, Some(9), false),
        (4, None, false),
    ] {
        let mut into = BytesMut::zeroed(come);
        let read = download.fetch(come as u64, len, &mut into).await;
        assert_eq!(read.is_ok(), fine, "{come} {len:?}");
        assert!(read.is_ok() || read.unwrap_err().is_retryable());
    }
    let mut into = BytesMut::new();
    download.fetch(4, None, &mut into).await.unwrap();
}

#[test]
fn what_servers_say_of_a_full_disk() {
    assert!(says_full("write: No space left on device"));
    assert!(says_full("Disk quota exceeded"));
    assert!(!says_full("Failure"));
}
