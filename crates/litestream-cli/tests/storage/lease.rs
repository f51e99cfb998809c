//! Two daemons on one replica: never do both write, and who waits goes on when it may.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use litestream_servers::{Kind, Place, Server};

use crate::bench::{Bench, Running, ours};
use crate::oracle::{self, app, fill};

const TTL: Duration = Duration::from_secs(3);

fn leased(server: &Server) -> Place {
    let mut place = server.new_place("lease").unwrap();
    place.keys.push(("lease", "true".to_owned()));
    place.keys.push(("lease-ttl", "3s".to_owned()));
    place
}

fn signal(running: &Running, name: &str) {
    let pid = running.pid().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Waits until what is restored is the bench's database.
fn wait_for_state(bench: &Bench, when: &str) {
    let expected = oracle::image(&bench.db());
    let begin = Instant::now();
    while bench.try_restored(&ours()).as_ref() != Some(&expected) {
        let waited = begin.elapsed();
        assert!(waited < 10 * TTL, "{when}: {waited:?}\n{}", bench.log());
        sleep(Duration::from_millis(200));
    }
}

fn one_writer_at_a_time(kind: Kind) {
    let server = Server::start(kind).unwrap();
    let place = leased(&server);
    let one = Bench::new("the first writer", place.clone(), "");
    let two = Bench::new("the second writer", place, "");
    let (conn_one, conn_two) = (app(&one.db(), 4096, "NONE"), app(&two.db(), 4096, "NONE"));
    fill(&conn_one, 50, 300);
    fill(&conn_two, 20, 900);

    let first = one.start(&ours());
    wait_for_state(&one, "the first writer begins");
    let second = two.start(&ours());
    two.wait_for_log(&format!("lease already held by {}", owner(&first)));
    for _ in 0..10 {
        fill(&conn_one, 2, 200);
        fill(&conn_two, 2, 200);
        sleep(TTL / 6);
    }
    wait_for_state(&one, "the second writer waits");

    // Longer than the lease lasts.
    signal(&first, "-STOP");
    let stopped = Instant::now();
    fill(&conn_one, 3, 5000);
    wait_for_state(&two, "the second writer takes over");
    let waited = stopped.elapsed();
    assert!(waited < 4 * TTL, "{waited:?}");
    signal(&first, "-CONT");
    one.wait_for_log(&format!("lease already held by {}", owner(&second)));
    for _ in 0..4 {
        fill(&conn_one, 2, 200);
        fill(&conn_two, 2, 200);
        sleep(TTL / 6);
    }
    wait_for_state(&two, "the first writer was woken");

    // It gives the lease back.
    two.stop(second);
    wait_for_state(&one, "the first writer goes on");
    fill(&conn_one, 2, 200);
    one.stop(first);
    one.check("at the end");
    one.verify("at the end");
}

fn owner(running: &Running) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    format!("{}:{}", host.trim(), running.pid())
}

#[test]
fn one_writer_at_a_time_on_s3() {
    one_writer_at_a_time(Kind::Moto);
}

#[test]
fn one_writer_at_a_time_on_azure() {
    one_writer_at_a_time(Kind::Azurite);
}

#[test]
fn a_service_that_ignores_conditions_is_refused_a_lease() {
    let server = Server::start(Kind::RcloneS3).unwrap();
    let bench = Bench::new("lease", leased(&server), "");
    fill(&app(&bench.db(), 4096, "NONE"), 5, 100);
    let running = bench.start(&ours());
    bench.wait_for_log("ignores the condition");
    assert!(
        bench.try_restored(&ours()).is_none(),
        "something was written"
    );
    drop(running);
}
