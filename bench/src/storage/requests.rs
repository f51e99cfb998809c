//! What both programs ask of S3 for the same work: storage is paid by the request.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use litestream_replica::env::real;
use litestream_servers::proxy::{Class, Counts, Proxy};
use litestream_servers::{Kind, Server};
use rusqlite::Connection;

use super::{WAIT_MAX, last_line, start};
use crate::args::Args;
use crate::check;
use crate::process::Running;
use crate::program::Who;
use crate::report::{Report, Target};
use crate::scratch::Scratch;
use crate::workload;

const COMMITS: u32 = 40;
/// Time between two commits: longer than `sync-interval`, so that each is a file.
const PAUSE: Duration = Duration::from_millis(400);
const SYNC_INTERVAL: &str = "100ms";
/// One compaction into level 1 for so long.
const LEVELS: &str = "levels:\n  - interval: 10s\n";
const QUIET: Duration = Duration::from_secs(10);

/// A new replica, commits while level 1 is made, ten seconds without any, a restart, and restores of the newest state and of a time.
pub(super) fn requests(args: &Args, report: &mut Report) -> Result<()> {
    for program in &args.programs {
        let who = program.who;
        let server = Server::start(Kind::Moto)?;
        let proxy = Proxy::http(server.port())?;
        let mut place = server.new_place_through("requests", proxy.port())?;
        place.keys.push(("sync-interval", SYNC_INTERVAL.to_owned()));
        let scratch = Scratch::new(&args.dir, "requests")?;
        let conn = workload::open(&scratch.db, Duration::from_secs(5))?;
        let replicate = |name: &str| {
            proxy.forget();
            let running = start(program, &scratch, &place, LEVELS, &["replicate"])?;
            let begin = Instant::now();
            while proxy.counts().class(Class::List) == 0 {
                running.check_alive()?;
                ensure!(begin.elapsed() < WAIT_MAX, "{name}: nothing is asked");
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok::<Running, anyhow::Error>(running)
        };
        insert(&conn)?;
        let running = replicate("first start")?;
        let mut middle = String::new();
        for n in 0..COMMITS {
            if n == COMMITS / 2 {
                middle = super::rfc3339(real::env().clock.now());
            }
            insert(&conn)?;
            std::thread::sleep(PAUSE);
        }
        tell(
            report,
            who,
            &format!("{COMMITS} commits with level 1"),
            &proxy.counts(),
        );
        std::thread::sleep(QUIET); // until level 1 is complete
        proxy.forget();
        std::thread::sleep(QUIET);
        tell(report, who, "10 s without commits", &proxy.counts());
        running.stop()?;
        let running = replicate("restart")?;
        std::thread::sleep(Duration::from_secs(2));
        tell(report, who, "restart", &proxy.counts());
        running.stop()?;
        for (name, flags) in [
            ("restore", vec![]),
            ("restore -timestamp", vec!["-timestamp", middle.as_str()]),
        ] {
            let _ = std::fs::remove_file(&scratch.restored);
            let path = scratch.restored.display().to_string();
            let mut words = vec!["restore", "-o", path.as_str()];
            words.extend(flags);
            proxy.forget();
            let (code, _) = start(program, &scratch, &place, LEVELS, &words)?.wait(WAIT_MAX)?;
            ensure!(code == Some(0), "{name}: {}", last_line(&scratch.log));
            tell(report, who, name, &proxy.counts());
            if name == "restore" {
                report.check(who, name, check::same_bytes(&scratch.db, &scratch.restored));
            }
        }
    }
    Ok(())
}

fn tell(report: &mut Report, who: Who, what: &str, counts: &Counts) {
    let classes = [
        ("LIST", Class::List),
        ("GET", Class::Get),
        ("HEAD", Class::Head),
        ("PUT", Class::Put),
        ("POST", Class::Post),
        ("DELETE", Class::Delete),
    ];
    for (name, class) in classes {
        let count = counts.class(class) as f64;
        report.add(&format!("{what}: {name}"), Target::None, who, count);
    }
}

fn insert(conn: &Connection) -> Result<()> {
    conn.execute("INSERT INTO rows (body) VALUES (zeroblob(300))", [])?;
    Ok(())
}
