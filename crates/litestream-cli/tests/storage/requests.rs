//! How many requests of S3 things cost. Storage is paid by the request, and each takes a round trip.

use std::time::{Duration, Instant};

use litestream_servers::proxy::{Class, Counts, Proxy};
use litestream_servers::{Kind, Server};

use crate::bench::{Bench, ours};
use crate::oracle::{self, app, assert_same, fill};

const LEVELS: u64 = 10;

fn wait_for(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn assert_at_most(what: &str, counts: &Counts, class: Class, most: u64) {
    let count = counts.class(class);
    println!("{what}: {count} {class:?}");
    assert!(
        count <= most,
        "{what}: {count} {class:?} rather than {most}: {counts:#?}"
    );
}

#[test]
fn replication_and_restore_ask_for_no_more_than_they_need() {
    let server = Server::start(Kind::Moto).unwrap();
    let proxy = Proxy::http(server.port()).unwrap();
    let mut place = server.new_place_through("requests", proxy.port()).unwrap();
    place.keys.push(("sync-interval", "50ms".to_owned()));
    // No compaction while requests are counted.
    let bench = Bench::new("requests", place, "levels: [{interval: 240h}]");
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 10, 1000);
    bench.once(&ours());

    // The start looks at each level once, for uploads left unfinished, and into the newest file; then a transaction is
    // one request.
    proxy.forget();
    let running = bench.start(&ours());
    let puts = |least| move |counts: Counts| counts.class(Class::Put) >= least;
    fill(&conn, 1, 100);
    wait_for("the first upload", || puts(1)(proxy.counts()));
    let counts = proxy.counts();
    assert_at_most("start", &counts, Class::List, LEVELS + 1);
    assert_at_most("start", &counts, Class::Get, 4);
    assert_at_most("start", &counts, Class::Head, 0);
    proxy.forget();
    for done in 1..=30 {
        fill(&conn, 1, 100);
        wait_for("an upload", || puts(done)(proxy.counts()));
    }
    let counts = proxy.counts();
    assert_at_most("30 transactions", &counts, Class::Put, 30);
    assert_eq!(counts.all(), 30, "nothing else is asked: {counts:#?}");

    // Nothing is asked while nothing is written.
    proxy.forget();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.counts().all(), 0, "idle: {:#?}", proxy.counts());

    // 12 MiB go in parts of 5 MiB, at most five at once.
    fill(&conn, 12, 1 << 20);
    wait_for("a large upload", || proxy.counts().class(Class::Post) >= 2);
    let counts = proxy.counts();
    assert_at_most("a large upload", &counts, Class::Put, 3);
    assert_at_most("a large upload", &counts, Class::Post, 2);
    assert!(counts.most_at_once <= 5, "{counts:#?}");
    bench.stop(running);

    // A restore lists each level once, and what Litestream 0.3 would have left. It reads each of the 32 small files in
    // one go, the large one in pieces of a MiB, and looks into one or two beforehand.
    proxy.forget();
    let expected = oracle::image(&bench.db());
    assert_same("restored", &expected, &bench.restored(&ours(), None));
    let counts = proxy.counts();
    assert_at_most("restore", &counts, Class::List, LEVELS + 1);
    assert_at_most("restore", &counts, Class::Get, 32 + 13 + 4);
    assert_at_most("restore", &counts, Class::Head, 0);
}
