//! System calls that fail for a while: a running daemon lives on, the application notices nothing, and all is made up for
//! once they work again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;

use super::Episode;
use crate::app::App;
use crate::daemon::Daemon;
use crate::place::Place;
use crate::trace::Failing;
use crate::writer::Style;

/// Calls and how they can fail. Not fcntl: an unlock that fails is no fault that exists. Not read and write: files are
/// used by pread and pwrite; the others are events and the log. Not poll and epoll: strace may let go in the middle of a call,
/// which then fails with ENOSYS; a process that is stopped and continued gets their EINTR, too.
const FAULTS: &[(&str, &[&str])] = &[
    ("pwrite64", &["EIO", "ENOSPC", "EINTR", "EAGAIN"]),
    ("pread64", &["EIO", "EINTR", "EAGAIN"]),
    ("?fsync,?fdatasync", &["EIO", "ENOSPC", "EINTR"]),
    ("?rename,?renameat,?renameat2", &["EIO", "ENOSPC"]),
    ("?link,?linkat", &["EIO", "EMLINK", "ENOSPC", "EPERM"]),
    ("?unlink,?unlinkat", &["EIO", "EBUSY"]),
    ("openat", &["EIO", "ENOSPC", "EMFILE", "EINTR"]),
    ("ftruncate", &["EIO", "EINTR"]),
    ("?utimensat,?fchmod,?fchown", &["EIO", "EPERM"]),
    ("copy_file_range", &["EIO", "ENOSPC", "EINTR"]),
    ("getdents64", &["EIO"]),
    ("?newfstatat,?statx,?fstat,?stat,?lstat", &["EIO"]),
    (
        "pwrite64,?fsync,?fdatasync,openat,?rename,?linkat",
        &["EIO", "ENOSPC"],
    ),
    ("pread64,pwrite64,openat,?fsync,?fdatasync", &["EINTR"]),
];

/// Healing that took longer is worth a look.
const SLOW: Duration = Duration::from_secs(10);

pub fn episode(episode: &mut Episode) -> Result<()> {
    let style = Style::random(&mut episode.rng);
    let (source, replica) = (episode.work.join("source"), episode.work.join("replica"));
    let mut place = Place::new(&episode.work, source, replica, style)?;
    episode.with(&mut place, |episode, place| {
        let mut app = place.app()?;
        for _ in 0..2 {
            let mut daemon = place.daemon(&[], &[])?;
            if episode.rng.random_bool(0.7) {
                daemon.wait_for("ltx file uploaded", Duration::from_secs(20))?;
            }
            for _ in 0..episode.rng.random_range(1..4) {
                round(episode, place, &mut app, &mut daemon)?;
            }
            app.pause()?;
            daemon.stop()?;
            place.converged(&mut episode.rng)?;
            if episode.enough() {
                break;
            }
            app.go()?;
        }
        Ok(())
    })
}

fn round(
    episode: &mut Episode,
    place: &mut Place,
    app: &mut App,
    daemon: &mut Daemon,
) -> Result<()> {
    episode.tally.rounds += 1;
    if episode.rng.random_bool(0.08) {
        return stopped(episode, place, app, daemon);
    }
    let rng = &mut episode.rng;
    let (calls, errors) = *FAULTS.choose(rng).unwrap_or(&FAULTS[0]);
    let error = *errors.choose(rng).unwrap_or(&"EIO");
    let n = rng.random_range(1..12);
    let when = match rng.random_range(0..4) {
        0 => String::new(),
        1 => format!(":when={n}"),
        2 => format!(":when={n}+"),
        _ => format!(":when={n}+{}", rng.random_range(1..5)),
    };
    let how = format!("error={error}{when}");
    let limit = Duration::from_millis(rng.random_range(100..1800));
    let before = episode.tally.healing;
    let result = faulty(episode, place, app, daemon, (calls, &how), limit);
    let took = episode.tally.healing;
    if took > before && took > SLOW {
        let took = took.as_secs_f64();
        println!(
            "{calls} {how} for {limit:?}: {took:.1} s until all was made up for\n{}\n",
            daemon.tail()
        );
    }
    result.map_err(|e| e.context(format!("{calls} {how} for {limit:?}")))
}

fn faulty(
    episode: &mut Episode,
    place: &mut Place,
    app: &mut App,
    daemon: &mut Daemon,
    (calls, how): (&str, &str),
    limit: Duration,
) -> Result<()> {
    let failing = Failing::start(daemon.id(), &episode.work, calls, how)?;
    let start = Instant::now();
    let mut big = episode.rng.random_bool(0.7);
    while start.elapsed() < limit {
        if big && start.elapsed() > limit / 3 {
            app.big(4500)?;
            big = false;
        }
        std::thread::sleep(Duration::from_millis(10));
        app.must_live()?;
        daemon.must_live()?;
    }
    episode.tally.hits += failing.end()?.min(1);
    healed(episode, place, app, daemon)
}

/// Stopped again and again for a moment, in the middle of whatever it does.
fn stopped(
    episode: &mut Episode,
    place: &mut Place,
    app: &mut App,
    daemon: &mut Daemon,
) -> Result<()> {
    app.big(4500)?;
    for _ in 0..episode.rng.random_range(5..40) {
        daemon.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..60)));
        daemon.signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..40)));
    }
    app.must_live()?;
    episode.tally.hits += 1;
    healed(episode, place, app, daemon).context("stopped and continued")
}

fn healed(
    episode: &mut Episode,
    place: &mut Place,
    app: &mut App,
    daemon: &mut Daemon,
) -> Result<()> {
    let node = app.pause()?;
    episode.note_app(app);
    let took = place.heals(daemon, node)?;
    episode.note_healing(took);
    app.go()
}
