//! Looking at folders must not cost the locks that hold the WAL: whoever closes a file by hand drops those of the whole process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::oracle::fill;
use crate::world::{Daemon, World, count, wait_for};

/// The locks that the daemon holds on a database and on its WAL-index: kind, first and last byte.
fn locks(daemon: &Daemon<'_>, name: &str) -> Vec<String> {
    let inodes = ["", "-shm"].map(|suffix| {
        let path = daemon.world.path(&format!("{name}{suffix}"));
        format!(":{}", fs::metadata(path).unwrap().ino())
    });
    let pid = daemon.running.child.id().to_string();
    let table = fs::read_to_string("/proc/locks").unwrap();
    let mut held: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [.., kind, of, file, first, last] = words[..] else {
                return None;
            };
            let which = inodes.iter().position(|inode| file.ends_with(inode))?;
            (of == pid).then(|| format!("{which} {kind} {first} {last}"))
        })
        .collect();
    held.sort();
    held
}

fn looked_at_again(daemon: &Daemon<'_>) {
    let text = ["\"configuration reloaded\""];
    let before = count(&daemon.running.log(), &text);
    let done = daemon.world.place.run(&["reload", "-config", "c.yml"]);
    assert_eq!(done.code, 0, "{done:?}");
    wait_for(|| count(&daemon.running.log(), &text), |now| *now > before);
}

#[test]
fn scans_and_reloads_keep_the_locks() {
    let world = World::new(
        "
dbs:
  - {dir: DIR/d, pattern: '*', watch: true, replica: {path: DIR/r}}
",
    );
    world.folder("d");
    let conn = world.database("d/a.db");
    fill(&conn, 5, 100);
    // A name that could be one of a database, so that the folder is looked at each second.
    fs::write(world.path("d/notes"), "no database").unwrap();
    std::os::unix::fs::symlink(world.path("d/a.db"), world.path("linked.db")).unwrap();
    let daemon = world.start();
    daemon.wait_for_names(&["d/a.db"]);
    daemon.sync("d/a.db");
    let held = locks(&daemon, "d/a.db");
    // SHARED on the database; CHECKPOINT and a mark that SQLite keeps on the WAL-index.
    assert!(held.len() >= 3, "{held:?}");
    for _ in 0..3 {
        looked_at_again(&daemon);
        assert_eq!(locks(&daemon, "d/a.db"), held);
    }
    // Registered by another hand, and found by the folder, too.
    fs::copy(world.path("d/a.db"), world.path("d/b.tmp")).unwrap();
    wait_for(|| daemon.names(), |names| names.len() == 2);
    let answer = daemon.ask("POST", "/unregister", &path_of(&world, "d/b.tmp"));
    assert_eq!(answer["status"], "unregistered");
    let body = format!(
        "{{\"path\":\"{}\",\"replica_url\":\"file://{}\"}}",
        world.text("d/b.tmp"),
        world.text("elsewhere")
    );
    assert_eq!(
        daemon.ask("POST", "/register", &body)["status"],
        "registered"
    );
    daemon.sync("d/b.tmp");
    let other = locks(&daemon, "d/b.tmp");
    assert!(other.len() >= 3, "{other:?}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(locks(&daemon, "d/b.tmp"), other);
    assert_eq!(locks(&daemon, "d/a.db"), held);
    fill(&conn, 5, 100);
    daemon.assert_follows("d/a.db", "r/a.db");
    daemon.end_well();
}

fn path_of(world: &World, name: &str) -> String {
    format!("{{\"path\":\"{}\"}}", world.text(name))
}
