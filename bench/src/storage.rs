//! Storage behind a network: how near an upload and a restore come to what a plain client gets out of the same server, what they take, and what
//! distance costs.

mod requests;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use litestream_replica::env::{UnixMillis, real};
use litestream_replica::settings::{Opening, Storage, open};
use litestream_replica::{Level, SharedReplica, Source};
use litestream_servers::proxy::{Class, Fault, Mode, Proxy};
use litestream_servers::{Kind, Place, Server, home};
use ltx::{FileName, HEADER_SIZE, Header};

use crate::args::Args;
use crate::check;
use crate::fabricate;
use crate::process::Running;
use crate::program::{Program, Who};
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;

const LARGE_MB: u64 = 1024;
const FAR_MB: u64 = 20;
const FAR_FILES: u64 = 500;
/// What each request takes longer.
const DISTANCE: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_mins(10);

/// Runs it: `large` moves one big snapshot to each kind of storage and back (`large-nats` to one), `far` restores many small files over a
/// distance, `requests` counts what both programs ask for.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    if args.wants_part("far") {
        far(args, report)?;
    }
    if args.wants_part("requests") {
        requests::requests(args, report)?;
    }
    // The emulator of Google's is by far the slowest of them.
    let kinds = [
        Kind::RcloneS3,
        Kind::Azurite,
        Kind::Nats,
        Kind::Sshd,
        Kind::Nginx,
        Kind::Oss,
        Kind::Gcs,
    ];
    let size = args.size_mb(LARGE_MB);
    for kind in kinds {
        let part = format!("large-{}", kind.name());
        if args.wants_part("large") || args.wants_part(&part) {
            let source = template(&args.dir, Content::Mixed, size)?;
            large(args, report, &source, kind)
                .with_context(|| format!("{} MB to {}", size, kind.name()))?;
        }
    }
    Ok(())
}

/// Replicates a database that is there, until its first copy is, and restores it.
fn large(args: &Args, report: &mut Report, source: &Path, kind: Kind) -> Result<()> {
    let what = kind.name();
    for round in 0..args.rounds(1) {
        if kind == Kind::RcloneS3 {
            plain(report, source, what)?;
        }
        for program in &args.programs {
            // The original needs an adapter for long uploads to the emulator.
            let kind = match (kind, program.who) {
                (Kind::Gcs, Who::Theirs) => Kind::GcsForOracle,
                (kind, _) => kind,
            };
            let server = Server::start(kind)?;
            let place = server.new_place(&format!("r{round}"))?;
            let scratch = Scratch::with_copy(&args.dir, what, source)?;
            if let Err(error) = there_and_back(report, &scratch, what, program, &place) {
                ensure!(program.who == Who::Theirs, "{error:#}");
                report.check(program.who, what, Err(error));
            }
        }
    }
    Ok(())
}

fn there_and_back(
    report: &mut Report,
    scratch: &Scratch,
    what: &str,
    program: &Program,
    place: &Place,
) -> Result<()> {
    let begin = Instant::now();
    let running = start(program, scratch, place, "", &["replicate"])?;
    let replica = opened(place)?;
    wait_for_first_copy(&replica, &running)?;
    let wall = begin.elapsed().as_secs_f64();
    let usage = running.stop()?;
    let mut add = |name: &str, target, value| {
        report.add(&format!("{what}: {name}"), target, program.who, value);
    };
    add("first copy, s", Target::None, wall);
    add("first copy: CPU, s", Target::None, usage.cpu);
    add(
        "first copy: peak RSS, MiB",
        Target::AtMost(96.0),
        usage.rss_mib,
    );
    let restored = scratch.restored.display().to_string();
    let words = ["restore", "-o", restored.as_str()];
    let (code, usage) = start(program, scratch, place, "", &words)?.wait(WAIT_MAX)?;
    ensure!(code == Some(0), "restore: {}", last_line(&scratch.log));
    add("restore, s", Target::None, usage.wall);
    add("restore: CPU, s", Target::None, usage.cpu);
    add(
        "restore: peak RSS, MiB",
        Target::AtMost(96.0),
        usage.rss_mib,
    );
    let outcome = scratch.compare(|| check::same_bytes(&scratch.db, &scratch.restored));
    report.check(program.who, what, outcome);
    Ok(())
}

/// What rclone itself gets out of its server, with as many parts at once as Litestream sends.
fn plain(report: &mut Report, source: &Path, what: &str) -> Result<()> {
    let server = Server::start(Kind::RcloneS3)?;
    let place = server.new_place("plain")?;
    let key = |name: &str| place.key(name).unwrap_or_default().to_owned();
    let back = source.with_extension("back");
    let remote = format!(":s3:{}/plain", key("bucket"));
    let there = source.display().to_string();
    for (name, from, to) in [
        ("first copy, s", &there, &remote),
        ("restore, s", &remote, &back.display().to_string()),
    ] {
        let mut command = Command::new(home().join("venv/bin/rclone"));
        command
            .args(["copyto", from, to, "--s3-provider", "Other"])
            .args([
                "--s3-upload-concurrency",
                "5",
                "--s3-chunk-size",
                "5Mi",
                "--s3-force-path-style",
            ])
            .args(["--multi-thread-streams", "8", "--config", "/dev/null"])
            .args(["--s3-endpoint", &key("endpoint")])
            .args(["--s3-access-key-id", &key("access-key-id")])
            .args(["--s3-secret-access-key", &key("secret-access-key")]);
        let log = source.with_extension("plain-log");
        let (code, usage) = Running::start(&mut command, &log)?.wait(WAIT_MAX)?;
        ensure!(code == Some(0), "rclone: {}", last_line(&log));
        report.add(
            &format!("{what}: {name}"),
            Target::None,
            Who::Base,
            usage.wall,
        );
    }
    std::fs::remove_file(back)?;
    Ok(())
}

/// A snapshot and many small files, each request 20 ms away.
fn far(args: &Args, report: &mut Report) -> Result<()> {
    let source = template(&args.dir, Content::Mixed, FAR_MB)?;
    let scratch = Scratch::with_copy(&args.dir, "far", &source)?;
    fabricate::snapshot(&scratch.db, &scratch.replica)?;
    fabricate::updates(&scratch.db, &scratch.replica, FAR_FILES)?;
    let server = Server::start(Kind::RcloneS3)?;
    let proxy = Proxy::http(server.port())?;
    let place = server.new_place_through("far", proxy.port())?;
    let middle = upload(&scratch.replica, &opened(&place)?)?;
    proxy.add(Fault::new(Mode::Delay(DISTANCE)))?;
    for _ in 0..args.rounds(3) {
        for program in &args.programs {
            for (name, flags, seconds) in [
                ("newest", vec![], 1.0),
                ("by -timestamp", vec!["-timestamp", middle.as_str()], 1.2),
            ] {
                let restored = scratch.dir.join("far.db");
                let _ = std::fs::remove_file(&restored);
                let path = restored.display().to_string();
                let mut words = vec!["restore", "-o", path.as_str()];
                words.extend(flags);
                proxy.forget();
                let (code, usage) = start(program, &scratch, &place, "", &words)?.wait(WAIT_MAX)?;
                ensure!(code == Some(0), "restore: {}", last_line(&scratch.log));
                let counts = proxy.counts();
                let what = format!("{FAR_MB} MB + {FAR_FILES} files at 20 ms, {name}");
                let mut add = |name: &str, target, value| {
                    report.add(&format!("{what}: {name}"), target, program.who, value);
                };
                add("restore, s", Target::AtMost(seconds), usage.wall);
                let requests = |wanted: Option<Class>| {
                    let fits = |(_, class): &(String, Class)| wanted.is_none_or(|w| w == *class);
                    counts
                        .requests
                        .iter()
                        .filter(|(key, _)| fits(key))
                        .map(|(_, n)| *n)
                        .sum::<u64>() as f64
                };
                add("requests", Target::None, requests(None));
                add("of these lists", Target::None, requests(Some(Class::List)));
                if name == "newest" {
                    let outcome = check::same_bytes(&scratch.db, &restored);
                    report.check(program.who, &what, outcome);
                }
            }
        }
    }
    Ok(())
}

/// Runs a program with a configuration for the place, and `more` of it.
fn start(
    program: &Program,
    scratch: &Scratch,
    place: &Place,
    more: &str,
    words: &[&str],
) -> Result<Running> {
    let config = scratch.dir.join("litestream.yml");
    std::fs::write(&config, place.config(&scratch.db) + more)?;
    let mut command = Command::new(&program.path);
    command
        .arg(words[0])
        .arg("-config")
        .arg(&config)
        .args(&words[1..]);
    if words[0] == "restore" {
        command.arg(&scratch.db);
    }
    for (name, value) in &place.env {
        command.env(name, value);
    }
    // The original refuses S3 where it is set.
    command.env_remove("AWS_CA_BUNDLE");
    Running::start(&mut command, &scratch.log)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}

/// Our own client of a place.
fn opened(place: &Place) -> Result<SharedReplica> {
    use litestream_replica::settings::{Keys, Secret, Value, ValueKind, lookup};
    let mut keys = Keys::new();
    for (name, text) in &place.keys {
        let kind = lookup(name).with_context(|| format!("key {name}"))?.kind;
        let value = match kind {
            ValueKind::Secret => Value::Secret(Secret::new(text.as_str())),
            ValueKind::Bool => Value::Bool(text == "true"),
            ValueKind::Text => Value::Text(text.clone()),
            other => bail!("{name}: {other:?}"),
        };
        keys.set(name, value);
    }
    let storage = Storage::read(&keys, &Keys::new())?;
    let env = real::env();
    Ok(open(&storage, &Opening::command(&env))?)
}

fn wait_for_first_copy(replica: &SharedReplica, running: &Running) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begin = Instant::now();
    loop {
        running.check_alive()?;
        // The first copy is the first file of level 0; the server may be too busy to say so for the moment.
        let there = runtime.block_on(replica.list(Level::L0, None, false));
        if there.is_ok_and(|files| !files.is_empty()) {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < WAIT_MAX,
            "no first copy within {WAIT_MAX:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Copies a folder's files as they are; returns the time of the middle one of level 0.
fn upload(folder: &Path, replica: &SharedReplica) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut files: Vec<(Level, FileName, PathBuf, UnixMillis)> = Vec::new();
    for level in [Level::L0, Level::SNAPSHOT] {
        for entry in std::fs::read_dir(folder.join("ltx").join(level.to_string()))? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|n| FileName::parse(n.to_str()?))
                .context("name")?;
            let bytes = std::fs::read(&path)?;
            let header = Header::decode(bytes.get(..HEADER_SIZE).context("header")?)?;
            files.push((level, name, path, UnixMillis(header.timestamp_ms)));
        }
    }
    files.sort_by_key(|(level, name, ..)| (*level, name.min));
    runtime.block_on(async {
        for batch in files.chunks(16) {
            let mut writes = Vec::new();
            for (level, name, path, created) in batch.iter().cloned() {
                let replica = Arc::clone(replica);
                writes.push(tokio::spawn(async move {
                    replica
                        .write(level, name, Source::File(path), created)
                        .await
                }));
            }
            for write in writes {
                write.await??;
            }
        }
        anyhow::Ok(())
    })?;
    let level_0: Vec<_> = files.iter().filter(|file| file.0 == Level::L0).collect();
    let middle = level_0[level_0.len() / 2].3;
    Ok(rfc3339(middle))
}

fn rfc3339(at: UnixMillis) -> String {
    let out = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ", "-d"])
        .arg(format!("@{}.{:03}", at.0 / 1000, at.0 % 1000))
        .output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .unwrap_or_default()
}
