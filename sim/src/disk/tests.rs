use super::*;
use std::sync::atomic::AtomicU32;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.stage_dir(path("/d")).unwrap();
    disk
}

fn create(disk: &SimDisk, name: &str, bytes: &[u8]) -> FileHandle {
    let file = disk.create_new(path(name), 0o644).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn names(disk: &SimDisk, dir: &str) -> Vec<String> {
    let list = disk.list(path(dir)).unwrap();
    list.into_iter()
        .map(|(name, _)| name.into_string().unwrap())
        .collect()
}

fn seeded(seed: u64, work: impl FnOnce() + 'static) {
    let report = sched::run(sched::Config::new(seed), work);
    assert_eq!(report.panic, None);
}

#[test]
fn bytes_read_back_over_chunks_holes_and_cuts() {
    let disk = disk();
    let file = create(&disk, "/d/a", &[1; 10_000]);
    file.write_at(&[2; 5_000], 20_000).unwrap();
    file.set_len(8_000).unwrap();
    file.set_len(30_000).unwrap();
    file.write_at(&[3; 1], 29_999).unwrap();
    let mut expected = vec![0; 30_000];
    expected[..8_000].fill(1);
    expected[29_999] = 3;
    assert_eq!(file.to_vec(), expected);
    let mut buf = [9; 4];
    assert_eq!(file.read_at(&mut buf, 29_998), 2);
    assert_eq!(buf, [0, 3, 9, 9]);
    assert_eq!(file.read_at(&mut buf, 40_000), 0);
    assert_eq!(disk.dump()[1].hash, content_hash(&expected));
    assert_eq!(disk.used(), 30_000);
}

#[test]
fn a_cut_leaves_what_was_synced() {
    let disk = disk();
    let file = create(&disk, "/d/a", b"one");
    file.sync();
    disk.sync_dir(path("/d")).unwrap();
    file.write_at(b"twotwo", 0).unwrap();
    create(&disk, "/d/b", b"never").sync();
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(disk.read(path("/d/a")).unwrap(), b"one");
    assert_eq!(names(&disk, "/d"), ["a"]);
    assert_eq!(disk.used(), 3);
}

#[test]
fn all_but_the_last_change_of_the_disk() {
    let disk = disk();
    let a = create(&disk, "/d/a", b"one");
    let b = create(&disk, "/d/b", b"two");
    a.write_at(b"ONE", 0).unwrap();
    b.write_at(b"TWO", 0).unwrap();
    disk.power_cut(CutImage::AllButLast);
    assert_eq!(disk.read(path("/d/a")).unwrap(), b"ONE");
    assert_eq!(disk.read(path("/d/b")).unwrap(), b"two");
    disk.rename(path("/d/a"), path("/d/c")).unwrap();
    disk.power_cut(CutImage::AllButLast);
    assert_eq!(names(&disk, "/d"), ["a", "b"]);
}

#[test]
fn cuts_and_resizes_wait_for_sync_too() {
    let disk = disk();
    let file = create(&disk, "/d/a", &[7; 9_000]);
    file.sync();
    disk.sync_dir(path("/d")).unwrap();
    file.set_len(10).unwrap();
    file.set_len(5_000).unwrap();
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(disk.read(path("/d/a")).unwrap(), [7; 9_000]);
    file.set_len(10).unwrap();
    file.set_len(5_000).unwrap();
    file.sync();
    disk.power_cut(CutImage::NothingUnsynced);
    let mut expected = vec![0; 5_000];
    expected[..10].fill(7);
    assert_eq!(disk.read(path("/d/a")).unwrap(), expected);
}

#[test]
fn random_images_tear_the_last_write_at_sectors() {
    seeded(1, || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let disk = disk();
            let file = create(&disk, "/d/a", &[1; 2048]);
            file.sync();
            disk.sync_dir(path("/d")).unwrap();
            file.write_at(&[2; 1500], 300).unwrap();
            disk.power_cut(CutImage::Random);
            let bytes = disk.read(path("/d/a")).unwrap();
            assert_eq!(bytes.len(), 2048);
            let kept: usize = bytes.iter().map(|&byte| usize::from(byte == 2)).sum();
            assert_eq!(bytes[300..300 + kept], vec![2; kept]);
            seen.insert(kept);
        }
        let all = [0, 212, 724, 1236, 1500];
        assert_eq!(seen, std::collections::BTreeSet::from(all));
    });
}

#[test]
fn random_images_keep_any_subset_of_files_and_names() {
    seeded(2, || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let disk = disk();
            create(&disk, "/d/a", b"a");
            create(&disk, "/d/b", b"b");
            disk.power_cut(CutImage::Random);
            seen.insert(names(&disk, "/d"));
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    });
}

#[test]
fn a_rename_is_lost_without_a_directory_sync_and_is_atomic() {
    for (sync, expected) in [(false, b"old"), (true, b"new")] {
        let disk = disk();
        create(&disk, "/d/a", b"old").sync();
        disk.sync_dir(path("/d")).unwrap();
        create(&disk, "/d/a.tmp", b"new").sync();
        disk.rename(path("/d/a.tmp"), path("/d/a")).unwrap();
        if sync {
            disk.sync_dir(path("/d")).unwrap();
        }
        assert_eq!(names(&disk, "/d"), ["a"]);
        disk.power_cut(CutImage::NothingUnsynced);
        assert_eq!(disk.read(path("/d/a")).unwrap(), expected);
        assert_eq!(names(&disk, "/d"), ["a"]);
    }
}

#[test]
fn a_rename_between_directories_is_durable_as_a_whole() {
    let disk = disk();
    disk.stage_dir(path("/e")).unwrap();
    create(&disk, "/d/a", b"a").sync();
    disk.sync_dir(path("/d")).unwrap();
    create(&disk, "/e/x", b"x").sync();
    disk.remove(path("/e/x")).unwrap();
    disk.rename(path("/d/a"), path("/e/x")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(names(&disk, "/d"), [""; 0]);
    assert_eq!(disk.read(path("/e/x")).unwrap(), b"a");
}

#[test]
fn hard_links_share_the_file() {
    let disk = disk();
    let file = create(&disk, "/d/a", b"one");
    file.sync();
    disk.sync_dir(path("/d")).unwrap();
    disk.hard_link(path("/d/a"), path("/d/b")).unwrap();
    assert!(disk.hard_link(path("/d/a"), path("/d/b")).is_err());
    assert_eq!(file.metadata().links, 2);
    disk.open(path("/d/b"))
        .unwrap()
        .write_at(b"two", 0)
        .unwrap();
    assert_eq!(disk.read(path("/d/a")).unwrap(), b"two");
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(disk.metadata(path("/d/b")).unwrap().id, file.id());
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(names(&disk, "/d"), ["a"]);
    assert_eq!(file.metadata().links, 1);
}

#[test]
fn a_removed_file_lives_as_long_as_it_is_open() {
    let disk = disk();
    let file = create(&disk, "/d/a", b"still here");
    file.sync();
    disk.sync_dir(path("/d")).unwrap();
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(file.to_vec(), b"still here");
    assert_eq!((file.metadata().links, disk.used()), (0, 10));
    let other = create(&disk, "/d/a", b"");
    assert_ne!(other.id(), file.id());
    drop(file);
    assert_eq!(disk.used(), 0);
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(disk.read(path("/d/a")).unwrap(), b"still here");
    assert_eq!(disk.used(), 10);
    let temporary = disk.temporary();
    temporary.write_at(&[0; 90], 0).unwrap();
    assert_eq!((disk.used(), temporary.unsynced()), (100, 0));
    drop(temporary);
    assert_eq!(disk.used(), 10);
}

#[test]
fn directories_follow_the_rules() {
    let disk = disk();
    disk.create_dir(path("/d/sub"), 0o700).unwrap();
    create(&disk, "/d/sub/a", b"a");
    let code = |result: io::Result<()>| result.unwrap_err().raw_os_error().unwrap();
    assert_eq!(code(disk.remove_dir(path("/d/sub"))), errno::ENOTEMPTY);
    assert_eq!(code(disk.remove(path("/d/sub"))), errno::EISDIR);
    assert_eq!(code(disk.remove_dir(path("/d/sub/a"))), errno::ENOTDIR);
    assert_eq!(code(disk.remove(path("/d/nothing"))), errno::ENOENT);
    assert_eq!(code(disk.create_dir(path("/d/sub"), 0)), errno::EEXIST);
    assert_eq!(code(disk.create_dir(path("/x/y"), 0)), errno::ENOENT);
    disk.rename(path("/d/sub"), path("/d/moved")).unwrap();
    assert_eq!(disk.read(path("/d/moved/../moved/./a")).unwrap(), b"a");
    disk.sync_dir(path("/d")).unwrap();
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(names(&disk, "/d/moved"), [""; 0]);
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = disk();
    let file = create(&disk, "/d/a", &[1; 100]);
    let space = Some(150);
    disk.set_faults(Faults {
        space,
        ..Faults::default()
    });
    let full = |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(errno::ENOSPC);
    assert!(full(file.write_at(&[2; 100], 80)));
    assert_eq!(file.len(), 150);
    assert!(full(file.allocate(151)));
    file.write_at(&[3; 150], 0).unwrap();
    let other = disk.create_new(path("/d/b"), 0).unwrap();
    assert!(full(other.write_at(b"x", 0)));
    drop(file);
    disk.remove(path("/d/a")).unwrap();
    other.write_at(&[0; 150], 0).unwrap();
    assert_eq!(disk.used(), 150);
}

#[test]
fn after_a_failed_sync_the_next_one_lies() {
    let disk = disk();
    let file = create(&disk, "/d/a", b"good");
    file.sync();
    disk.sync_dir(path("/d")).unwrap();
    file.write_at(b"lost", 0).unwrap();
    file.sync_failed();
    file.write_at(b"kept", 8192).unwrap();
    file.sync();
    assert_eq!(&file.to_vec()[..4], b"lost");
    disk.power_cut(CutImage::NothingUnsynced);
    let bytes = disk.read(path("/d/a")).unwrap();
    assert_eq!((&bytes[..4], &bytes[8192..]), (&b"good"[..], &b"kept"[..]));
}

#[test]
fn rules_strike_their_calls_only() {
    seeded(3, || {
        let disk = disk();
        let rule = Rule {
            class: Some(Class::Wal),
            op: Some(Op::Write),
            fault: Fault::Errno(errno::EIO),
            per_million: 500_000,
        };
        disk.set_faults(Faults {
            rules: vec![rule],
            ours: vec!["/d/own".into()],
            ..Faults::default()
        });
        let strikes = |op, name: &str| {
            let verdicts = (0..200).map(|_| disk.admit(op, path(name)));
            verdicts.filter(|&verdict| verdict != Verdict::Go).count()
        };
        assert!((60..140).contains(&strikes(Op::Write, "/d/a-wal")));
        assert_eq!(strikes(Op::Read, "/d/a-wal"), 0);
        assert_eq!(strikes(Op::Write, "/d/a"), 0);
        assert_eq!(strikes(Op::Write, "/d/own/a-wal"), 0);
        assert_eq!(disk.calls(), 800);
    });
}

#[test]
fn one_numbered_call_fails() {
    let disk = disk();
    disk.fail_nth(3, Fault::Errno(errno::EIO));
    let verdicts: Vec<_> = (0..5).map(|_| disk.admit(Op::Read, path("/d/a"))).collect();
    let mut expected = [Verdict::Go; 5];
    expected[2] = Verdict::Fail(errno::EIO);
    assert_eq!(verdicts, expected);
}

#[test]
fn a_stop_holds_everybody_until_they_are_killed() {
    seeded(4, || {
        let disk = disk();
        let worker = sched::Process(1);
        disk.stop_at_nth(5, sched::current());
        for name in ["one", "two"] {
            let disk = disk.clone();
            sched::spawn(worker, name, move || {
                while !sched::is_dead() {
                    disk.admit(Op::Read, path("/d/a"));
                    sched::yield_point(0);
                }
            });
        }
        assert!(sched::park(None));
        assert!(disk.is_stopped());
        sched::sleep(1_000_000);
        assert!(disk.calls() <= 6);
        sched::kill(worker);
        disk.resume();
        assert_eq!(disk.admit(Op::Read, path("/d/a")), Verdict::Go);
    });
}

#[test]
fn listeners_hear_of_changes_by_inode() {
    let disk = disk();
    let file = create(&disk, "/d/a", b"a");
    let heard = Arc::new(AtomicU32::new(0));
    let (count, id) = (heard.clone(), file.id());
    disk.on_write(move |inode| {
        assert_eq!(inode, id);
        count.fetch_add(1, Ordering::Relaxed);
    });
    file.write_at(b"b", 0).unwrap();
    file.set_len(0).unwrap();
    disk.rename(path("/d/a"), path("/d/b")).unwrap();
    disk.remove(path("/d/b")).unwrap();
    file.sync();
    assert_eq!(heard.load(Ordering::Relaxed), 4);
}

#[test]
fn damage_at_rest_is_durable() {
    let disk = disk();
    create(&disk, "/d/a", b"abc").sync();
    disk.sync_dir(path("/d")).unwrap();
    let before = disk.tree_hash();
    disk.corrupt(path("/d/a"), |bytes| bytes[1] ^= 1).unwrap();
    disk.power_cut(CutImage::NothingUnsynced);
    assert_eq!(disk.read(path("/d/a")).unwrap(), b"acc");
    assert_ne!(disk.tree_hash(), before);
}

#[test]
fn locks_belong_to_processes_and_go_with_any_handle() {
    seeded(5, || {
        let disk = disk();
        create(&disk, "/d/a", b"");
        let (one, two) = (sched::Process(1), sched::Process(2));
        let open_as = |process| {
            let (disk, slot) = (disk.clone(), Arc::new(Mutex::new(None)));
            let into = slot.clone();
            sched::join(sched::spawn(process, "opener", move || {
                *into.lock() = Some(disk.open(path("/d/a")).unwrap());
            }));
            slot.lock().take().unwrap()
        };
        let (a, b, c) = (open_as(one), open_as(one), open_as(two));
        assert!(a.lock(0..2, Some(Hold::Exclusive)));
        assert!(b.lock(1..2, Some(Hold::Shared)));
        assert!(!c.lock(0..2, Some(Hold::Shared)));
        assert_eq!(c.lock_of_others(1..2, Hold::Exclusive), Some(Hold::Shared));
        assert!(c.lock(1..2, Some(Hold::Shared)));
        drop(b);
        assert!(c.lock(0..2, Some(Hold::Exclusive)));
        assert!(!a.lock(0..1, Some(Hold::Shared)));
        assert!(disk.is_locked(path("/d/a"), 0..1));
        disk.process_died(two);
        assert!(a.lock(0..1, Some(Hold::Exclusive)));
    });
}
