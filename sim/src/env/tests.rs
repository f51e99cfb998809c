use std::path::Path;

use litestream_replica::file::FileReplica;
use litestream_replica::suite;
use tokio::sync::oneshot;

use super::*;
use crate::disk::{Fault, Faults, Op, Rule, errno};
use crate::sched::{Config, Report};

const A: Process = Process(1);
const B: Process = Process(2);

fn episode(seed: u64, main: impl FnOnce(SimDisk) + 'static) -> Report {
    let report = sched::run(Config::new(seed), move || main(SimDisk::new()));
    assert_eq!(
        (&report.panic, &report.deadlock, report.leaked),
        (&None, &None, 0)
    );
    report
}

fn in_process(process: Process, work: impl FnOnce() + 'static) -> sched::FiberId {
    sched::spawn(process, "test", work)
}

#[test]
fn files_keep_what_is_written() {
    episode(1, |disk| {
        let env = env(A, disk.clone());
        let path = Path::new("/data/file");
        env.disk.create_dir_all(Path::new("/data"), 0o755).unwrap();
        let file = env.disk.create_new(path, 0o600).unwrap();
        file.write_at(b"hello", 3).unwrap();
        let mut buf = [0; 8];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"\0\0\0hello");
        let found = env.disk.metadata(path).unwrap();
        assert_eq!((found.len, found.mode), (8, 0o600));
        assert_eq!(found, file.metadata().unwrap());
        let plain = env.disk.canonicalize(Path::new("/data/../data/./file"));
        assert_eq!(plain.unwrap(), path);
        let missing = env.disk.open(Path::new("/data/other")).err().unwrap();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        assert!(disk.calls() > 8);
    });
}

#[test]
fn planned_faults_reach_the_engine_and_interruptions_are_repeated() {
    episode(2, |disk| {
        let env = env(A, disk.clone());
        let path = Path::new("/file");
        let file = env.disk.create_new(path, 0o600).unwrap();
        let rules = |op, fault| Faults {
            rules: vec![Rule {
                class: None,
                op: Some(op),
                fault,
                per_million: 500_000,
            }],
            ..Faults::default()
        };
        disk.set_faults(rules(Op::Write, Fault::Errno(errno::EINTR)));
        for n in 0..100 {
            file.write_at(&[7; 100], n * 100).unwrap();
        }
        disk.set_faults(rules(Op::Read, Fault::Short(errno::EINTR)));
        let mut buf = vec![0; 10_000];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [7; 10_000]);
        disk.set_faults(rules(Op::Sync, Fault::Errno(errno::EIO)));
        let failures = (0..100).filter(|_| file.sync().is_err()).count();
        assert!((20..80).contains(&failures), "{failures}");
    });
}

#[test]
fn a_watcher_sees_changes_by_others_and_wake_ups() {
    episode(3, |disk| {
        let (ours, theirs) = (env(A, disk.clone()), env(B, disk));
        let path = Path::new("/watched");
        let file = theirs.disk.create_new(path, 0o600).unwrap();
        let (start, second) = (sched::now(), 1_000_000_000);
        let watcher = in_process(A, move || {
            let mut watcher = ours.watch.watcher().unwrap();
            watcher.set_paths(&[path]).unwrap();
            let waker = watcher.waker();
            ours.spawn
                .spawn(
                    "waker",
                    Box::new(move || {
                        sched::sleep(20 * second);
                        waker.wake();
                    }),
                )
                .unwrap();
            assert!(watcher.wait(None).unwrap());
            assert_eq!((sched::now() - start) / second, 10);
            assert!(!watcher.wait(Some(Duration::from_secs(5))).unwrap());
            watcher.wait_quiet(None).unwrap();
            assert_eq!((sched::now() - start) / second, 20);
            assert!(!watcher.wait(Some(Duration::from_secs(1))).unwrap());
            let missing = watcher.set_paths(&[Path::new("/missing")]).unwrap_err();
            assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        });
        sched::sleep(10 * second);
        file.write_at(b"x", 0).unwrap();
        sched::join(watcher);
    });
}

#[test]
fn tasks_threads_and_offloaded_work_are_fibers() {
    episode(4, |disk| {
        let env = env(A, disk);
        let fiber = in_process(A, move || {
            let (send, receive) = oneshot::channel();
            let clock = Arc::clone(&env.clock);
            env.spawn.task(
                "answers",
                Box::pin(async move {
                    clock.sleep_async(Duration::from_secs(1)).await;
                    send.send(5).unwrap();
                }),
            );
            assert_eq!(env.spawn.wait_for(receive), Ok(5));
            let endless = env.spawn.task("endless", Box::pin(std::future::pending()));
            sched::sleep(1_000_000);
            assert!(!endless.is_finished());
            endless.abort();
            sched::sleep(1_000_000);
            assert!(endless.is_finished());
            assert_eq!(sched::block_on(env.spawn.offloaded(|| 7)).unwrap(), 7);
            let thread = env.spawn.spawn("thread", Box::new(|| sched::sleep(1)));
            thread.unwrap().join().unwrap();
        });
        sched::join(fiber);
        assert!(!sched::has_panicked(fiber));
    });
}

#[test]
fn the_killed_change_nothing_more() {
    episode(5, |disk| {
        let env = env(A, disk.clone());
        struct WritesOnDrop(Box<dyn litestream_replica::env::File>);
        impl Drop for WritesOnDrop {
            fn drop(&mut self) {
                assert!(self.0.write_at(b"dead", 0).is_err());
            }
        }
        in_process(A, move || {
            let file = env.disk.create_new(Path::new("/file"), 0o600).unwrap();
            file.write_at(b"live", 0).unwrap();
            let file = WritesOnDrop(file);
            loop {
                env.clock.sleep(Duration::from_secs(1));
                file.0.metadata().unwrap();
            }
        });
        sched::sleep(10_000_000_000);
        let calls = disk.calls();
        sched::kill(A);
        assert_eq!(disk.read(Path::new("/file")).unwrap(), b"live");
        assert_eq!(disk.calls(), calls);
    });
}

#[test]
fn a_replica_in_a_folder_of_this_disk_conforms() {
    for (seed, case) in suite::CASES.iter().enumerate() {
        episode(seed as u64, move |disk| {
            disk.stage_dir(Path::new("/tmp")).unwrap();
            let env = env(A, disk);
            let replica = Arc::new(FileReplica::new("/replica".into(), env.clone(), None));
            sched::block_on(suite::run_case(case, replica, &env, "/tmp".into()));
        });
    }
}
