//! The real machine does what the traits say.

use std::os::unix::fs::symlink;

use super::*;
use crate::env::Wake;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn disk_create_new_refuses_existing_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let file = RealDisk.create_new(&path, 0o600).unwrap();
    file.write_at(b"hello", 3).unwrap();
    assert_eq!(file.metadata().unwrap().len, 8);
    assert_eq!(file.metadata().unwrap().mode, 0o600);
    assert_eq!(
        RealDisk.create_new(&path, 0o600).err().unwrap().kind(),
        io::ErrorKind::AlreadyExists
    );

    let link = dir.path().join("link");
    symlink(dir.path().join("target"), &link).unwrap();
    assert!(RealDisk.create_new(&link, 0o600).is_err());
    assert!(
        RealDisk.metadata(&dir.path().join("target")).is_err(),
        "the link was followed"
    );
    assert_eq!(
        RealDisk.symlink_metadata(&link).unwrap().kind,
        Kind::Symlink
    );
}

#[test]
fn file_allocates_grows_and_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create_new(&dir.path().join("a"), 0o600).unwrap();
    for len in [100_000, 10, 0] {
        file.allocate(len).unwrap();
        assert_eq!(file.metadata().unwrap().len, len);
    }
    file.start_writeback(0, 10);
    file.sync().unwrap();
    file.sync_all().unwrap();
}

#[test]
fn file_reads_exactly_or_says_that_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create_new(&dir.path().join("a"), 0o600).unwrap();
    file.write_at(b"0123456789", 0).unwrap();
    let mut buf = [0; 4];
    file.read_exact_at(&mut buf, 6).unwrap();
    assert_eq!(&buf, b"6789");
    assert_eq!(
        file.read_exact_at(&mut buf, 7).unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
}

#[test]
fn modification_time_keeps_milliseconds_also_before_1970() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let file = RealDisk.create_new(&path, 0o600).unwrap();
    for time in [1_700_000_000_123, 0, -1, -1500] {
        file.set_modified(UnixMillis(time)).unwrap();
        assert_eq!(RealDisk.metadata(&path).unwrap().modified, UnixMillis(time));
    }
}

#[test]
fn directories_get_their_mode_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    RealDisk.create_dir_all(&path, 0o777).unwrap();
    RealDisk.create_dir_all(&path, 0o700).unwrap();
    assert_eq!(RealDisk.metadata(&path).unwrap().mode, 0o777);
    RealDisk.sync_dir(&path).unwrap();
    let names: Vec<_> = RealDisk
        .list(dir.path())
        .unwrap()
        .into_iter()
        .map(|e| (e.name, e.kind))
        .collect();
    assert_eq!(names, vec![("a".into(), Kind::Dir)]);
    assert!(RealDisk.create_dir_all(&path, 0o700).is_ok());
    RealDisk.create_new(&path.join("file"), 0o600).unwrap();
    assert!(RealDisk.create_dir_all(&path.join("file"), 0o700).is_err());
}

#[test]
fn clock_goes_on() {
    let clock = RealClock::new();
    let (wall, start) = (clock.now(), clock.monotonic());
    clock.sleep(Duration::from_millis(2));
    assert!(clock.monotonic().since(start) >= Duration::from_millis(2));
    assert!(wall.0 > 1_600_000_000_000);
}

#[test]
fn entropy_fills_all_of_the_buffer() {
    let mut buf = [0; 4096];
    RealEntropy.fill(&mut buf);
    assert!(buf.chunks(16).all(|chunk| chunk.iter().any(|b| *b != 0)));
    assert_ne!(RealEntropy.next_u64(), RealEntropy.next_u64());
}

#[test]
fn threads_report_panics() {
    let quiet = RealSpawn.spawn("quiet", Box::new(|| {})).unwrap();
    quiet.join().unwrap();
    let loud = RealSpawn
        .spawn("loud", Box::new(|| panic!("on purpose")))
        .unwrap();
    assert!(loud.join().unwrap_err().to_string().contains("on purpose"));
    assert!(RealSpawn.parallelism() >= 1);
}

#[tokio::test]
async fn threads_wait_for_futures_of_the_runtime_that_they_were_started_from() {
    let (reply, answer) = tokio::sync::oneshot::channel();
    let thread = RealSpawn
        .spawn(
            "waits",
            Box::new(move || {
                let spawn: &dyn Spawn = &RealSpawn;
                let (send, receive) = tokio::sync::oneshot::channel();
                spawn.task("answers", Box::pin(async move { send.send(5).unwrap() }));
                let got = spawn.wait_for(async {
                    RealClock::new().sleep_async(Duration::from_millis(1)).await;
                    receive.await.unwrap()
                });
                reply.send(got).unwrap();
            }),
        )
        .unwrap();
    assert_eq!(answer.await, Ok(5));
    thread.join().unwrap();
}

#[tokio::test]
async fn tasks_end_by_themselves_or_when_aborted() {
    struct Ends(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let (send, dropped) = tokio::sync::oneshot::channel();
    let ends = Ends(Some(send));
    let task = RealSpawn.task(
        "for ever",
        Box::pin(async move {
            let _ends = ends;
            std::future::pending::<()>().await;
        }),
    );
    assert!(!task.is_finished());
    task.abort();
    dropped.await.unwrap();
}

#[tokio::test]
async fn offloaded_work_gives_its_result_or_its_panic() {
    let spawn: &dyn Spawn = &RealSpawn;
    assert_eq!(spawn.offloaded(|| 7).await.unwrap(), 7);
    let panicked = spawn.offloaded(|| panic!("on purpose")).await;
    assert!(panicked.unwrap_err().to_string().contains("panic"));
}

fn watchers() -> Vec<Box<dyn Watcher>> {
    vec![
        RealWatch.watcher().unwrap(),
        Box::new(polling::Polling::new()),
    ]
}

#[test]
fn watcher_sees_writes_made_before_and_during_the_wait() {
    for mut watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        assert!(watcher.set_paths(&[&path]).is_err(), "missing file");
        let file = RealDisk.create_new(&path, 0o600).unwrap();
        watcher.set_paths(&[&path]).unwrap();
        assert!(!watcher.wait(Some(Duration::ZERO)).unwrap());

        file.write_at(b"before", 0).unwrap();
        file.write_at(b"and again", 0).unwrap();
        assert!(watcher.wait(Some(LONG)).unwrap());
        assert!(
            !watcher.wait(Some(Duration::from_millis(5))).unwrap(),
            "two changes count as one"
        );

        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            file.write_at(b"during", 100).unwrap();
        });
        assert!(watcher.wait(Some(LONG)).unwrap());
        writer.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watcher_sees_writes_made_before_and_during_a_wait_without_a_thread() {
    for mut watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let file = RealDisk.create_new(&path, 0o600).unwrap();
        watcher.set_paths(&[&path]).unwrap();
        let short = Duration::from_millis(5);
        assert!(!watcher.wait_async(short).await.unwrap());

        file.write_at(b"before", 0).unwrap();
        file.write_at(b"and again", 0).unwrap();
        assert!(watcher.wait_async(LONG).await.unwrap());
        let used_up = watcher.wait(Some(Duration::ZERO)).unwrap();
        assert!(used_up, "a thread is told of it, too");
        assert!(
            !watcher.wait_async(short).await.unwrap(),
            "two count as one"
        );

        let waker = watcher.waker();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            file.write_at(b"during", 100).unwrap();
        });
        let start = Instant::now();
        assert!(watcher.wait_async(LONG).await.unwrap());
        writer.join().unwrap();
        assert!(watcher.wait(Some(Duration::ZERO)).unwrap(), "not used up");
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        assert!(watcher.wait_async(LONG).await.unwrap());
        ringer.join().unwrap();
        assert!(start.elapsed() < LONG, "nothing was waited out");
        assert!(!watcher.wait_async(short).await.unwrap());
        // A thread's wait uses up what a future would have told.
        watcher.waker().wake();
        assert!(watcher.wait(Some(LONG)).unwrap());
        assert!(!watcher.wait_async(short).await.unwrap());
    }
}

#[test]
fn watcher_sees_removal_of_an_open_file() {
    for mut watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let _open = RealDisk.create_new(&path, 0o600).unwrap();
        watcher.set_paths(&[&path]).unwrap();
        RealDisk.remove(&path).unwrap();
        assert!(watcher.wait(Some(LONG)).unwrap());
    }
}

#[test]
fn watcher_follows_only_the_last_path() {
    for mut watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let old = RealDisk.create_new(&a, 0o600).unwrap();
        let new = RealDisk.create_new(&b, 0o600).unwrap();
        watcher.set_paths(&[&a]).unwrap();
        watcher.set_paths(&[&b]).unwrap();
        old.write_at(b"x", 0).unwrap();
        assert!(!watcher.wait(Some(Duration::from_millis(5))).unwrap());
        watcher.set_paths(&[&b]).unwrap();
        new.write_at(b"x", 0).unwrap();
        assert!(watcher.wait(Some(LONG)).unwrap());
    }
}

#[test]
fn watcher_sees_either_of_two_files_again_and_again() {
    for mut watcher in watchers() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let files = [&a, &b].map(|path| RealDisk.create_new(path, 0o600).unwrap());
        watcher.set_paths(&[&a, &b]).unwrap();
        for round in 0..6u8 {
            files[usize::from(round) % 2]
                .write_at(&[round], round.into())
                .unwrap();
            assert!(watcher.wait(Some(LONG)).unwrap(), "{round}");
            assert!(!watcher.wait(Some(Duration::from_millis(5))).unwrap());
        }
        // Gone while nobody waits, and never to come back: told once.
        RealDisk.remove(&a).unwrap();
        assert!(watcher.wait(Some(LONG)).unwrap());
    }
}

/// A user has 128 inotify instances by default.
#[test]
fn many_watchers_need_few_descriptors() {
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let dir = tempfile::tempdir().unwrap();
    let mut watchers: Vec<_> = (0..300)
        .map(|n| {
            let path = dir.path().join(n.to_string());
            RealDisk.create_new(&path, 0o600).unwrap();
            let mut watcher = RealWatch.watcher().unwrap();
            watcher.set_paths(&[&path]).unwrap();
            watcher
        })
        .collect();
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + 100, "{before} {after}");
    std::fs::write(dir.path().join("299"), "x").unwrap();
    assert!(watchers[299].wait(Some(LONG)).unwrap());
    assert!(!watchers[7].wait(Some(Duration::ZERO)).unwrap());
}

#[test]
fn waker_ends_the_current_and_the_next_wait() {
    for mut watcher in watchers() {
        let waker: Arc<dyn Wake> = watcher.waker();
        waker.wake();
        waker.wake();
        assert!(watcher.wait(None).unwrap());
        assert!(!watcher.wait(Some(Duration::ZERO)).unwrap());
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        assert!(watcher.wait(None).unwrap());
        thread.join().unwrap();
    }
}

/// What came into a folder before it was watched was not told: whoever watches must look again.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_was_not_watched_before_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let both = [dir.path().to_owned(), sub.clone()];
    let folders = env().watch.folders(Box::new(|_| {})).unwrap();
    assert!(folders.set(&both).has_new);
    assert!(!folders.set(&both).has_new);
    assert!(!folders.set(&both[..1]).has_new);
    assert!(folders.set(&both).has_new);
    // Another folder of the same name.
    std::fs::remove_dir(&sub).unwrap();
    std::fs::create_dir(&sub).unwrap();
    assert!(folders.set(&both).has_new);
    std::fs::remove_dir(&sub).unwrap();
    let set = folders.set(&both);
    assert!(!set.has_new);
    assert_eq!(set.failed.len(), 1);
    assert_eq!(set.failed[0].0, sub);
}
