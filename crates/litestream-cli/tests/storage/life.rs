//! On each kind of server: a life with crashes, and turns of both programs on one replica.

use std::thread::sleep;
use std::time::Duration;

use litestream_servers::proxy::{Fault, Mode, Proxy};
use litestream_servers::{Kind, Server};

use crate::bench::{Bench, ours};
use crate::load::Load;
use crate::oracle::{self, app, fill};

/// Compaction, snapshots and the end of single transactions all happen within seconds.
const BUSY: &str =
    "levels: [{interval: 1s}, {interval: 3s}]\nsnapshot: {interval: 4s}\nl0-retention: 2s";
/// Both programs compact now and then.
const CALM: &str = "levels: [{interval: 2s}]";

fn ms(ms: u64) {
    sleep(Duration::from_millis(ms));
}

/// The server crashes twice under load, the second time while much is uploaded; one that keeps nothing is cut off.
fn crashes(server: &mut Server) {
    let proxy = if server.kind().backend() == "nats" || server.kind().backend() == "sftp" {
        Proxy::tcp(server.port())
    } else {
        Proxy::http(server.port())
    };
    let proxy = proxy.unwrap();
    let place = server.new_place_through("crashes", proxy.port()).unwrap();
    let bench = Bench::new(&format!("crashes of {}", server.kind().name()), place, BUSY);
    let load = Load::start(&bench.db());
    let running = bench.start(&ours());
    ms(1200);
    for large in [false, true] {
        if large {
            load.write_much();
            ms(20);
        }
        if server.keeps_data() {
            server.kill();
            ms(600);
            server.restart().unwrap();
        } else {
            proxy.add(Fault::new(Mode::Refuse)).unwrap();
            proxy.cut_all();
            ms(600);
            proxy.clear();
        }
        ms(1500);
    }
    load.stop();
    bench.stop(running);
    assert!(proxy.counts().connections > 1, "no connection was lost");
    bench.check("after crashes");
    bench.verify("after crashes");
}

/// Original, ours, original, ours on one replica, live and in one go.
fn turns(server: &Server) {
    let (original, ours) = (oracle::program(), ours());
    let place = server.new_place("turns").unwrap();
    let bench = Bench::new(&format!("turns on {}", server.kind().name()), place, CALM);
    let conn = app(&bench.db(), 4096, "NONE");
    fill(&conn, 200, 1000);
    for (turn, program) in [&original, &ours, &original, &ours].into_iter().enumerate() {
        if turn < 2 {
            let running = bench.start(program);
            // The original looks once a second.
            for _ in 0..4 {
                ms(450);
                fill(&conn, 3, 5000);
            }
            ms(1200);
            bench.stop(running);
        } else {
            fill(&conn, 3, 100);
            bench.once(program);
            fill(&conn, 1, 2 << 20);
            bench.once(program);
        }
        bench.check(&format!("turn {turn}"));
    }
    bench.verify("after all turns");
}

fn life(kind: Kind) {
    let mut server = Server::start(kind).unwrap();
    crashes(&mut server);
    turns(&server);
}

/// Several at once: they mostly wait.
fn lives(kinds: &[Kind]) {
    std::thread::scope(|scope| {
        for kind in kinds {
            let named = std::thread::Builder::new().name(kind.name().to_owned());
            named.spawn_scoped(scope, || life(*kind)).unwrap();
        }
    });
}

#[test]
fn on_s3() {
    lives(&[Kind::Moto, Kind::MotoAuth, Kind::RcloneS3]);
}

#[test]
fn on_google_storage_and_azure() {
    lives(&[Kind::GcsForOracle, Kind::Azurite, Kind::AzuriteSas]);
}

#[test]
fn on_oss() {
    lives(&[Kind::Oss]);
}

#[test]
fn on_sftp() {
    lives(&[Kind::Sshd, Kind::RcloneSftp]);
}

#[test]
fn on_nats() {
    lives(&[Kind::Nats, Kind::NatsOld]);
}

#[test]
fn on_webdav() {
    lives(&[Kind::RcloneWebdav, Kind::Nginx, Kind::Wsgidav]);
}

#[test]
fn on_webdav_of_apache() {
    lives(&[Kind::ApacheBasic, Kind::ApacheDigest]);
}

#[test]
#[ignore = "the server must be built from source for minutes"]
fn on_s3s_fs() {
    lives(&[Kind::S3sFs]);
}

#[test]
#[ignore = "the server must be built from source for half an hour"]
fn on_garage() {
    lives(&[Kind::Garage]);
}
