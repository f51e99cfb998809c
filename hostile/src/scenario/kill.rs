//! SIGKILL at system calls: a daemon under load with checkpoints and restarts of the WAL inside, killed at the n-th call.
//! The application goes on meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::Rng as _;
use rustix::process::Signal;

use super::Episode;
use crate::app::App;
use crate::place::Place;
use crate::process::was_killed;
use crate::trace::{self, Points};
use crate::writer::Style;

/// Of each call, the first so many of a thread.
const WINDOW: u64 = 150;
/// More than a checkpoint's worth, at 4096 bytes a page.
const BIG_KIB: usize = 4500;

pub fn episode(episode: &mut Episode) -> Result<()> {
    let style = Style::random(&mut episode.rng);
    let (source, replica) = (episode.work.join("source"), episode.work.join("replica"));
    let mut place = Place::new(&episode.work, source, replica, style)?;
    episode.with(&mut place, |episode, place| {
        let mut app = place.app()?;
        if episode.points.is_empty() {
            let trace = episode.work.join("trace");
            window(episode, place, &mut app, &trace::watch(&trace), &[])?;
            *episode.points = Points::of(&trace, WINDOW, &mut episode.rng)?;
        }
        for _ in 0..6 {
            round(episode, place, &mut app)?;
            if episode.enough() {
                break;
            }
        }
        Ok(())
    })
}

fn round(episode: &mut Episode, place: &mut Place, app: &mut App) -> Result<()> {
    for _ in 0..episode.rng.random_range(1..3) {
        let point = episode.points.take();
        let before = trace::kill_at(&episode.work.join("trace"), &point);
        let once = episode.rng.random_bool(0.15);
        let args: &[&str] = if once { &["-once"] } else { &[] };
        episode.tally.rounds += 1;
        let hit = window(episode, place, app, &before, args);
        let hit = hit.with_context(|| format!("killed at {point:?}"))?;
        episode.tally.hits += u64::from(hit);
        // Nobody watches for a while.
        std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..30)));
    }
    app.pause()?;
    episode.note_app(app);
    place.replica_survived()?;
    place.once()?;
    place.converged(&mut episode.rng)?;
    app.go()
}

/// Runs litestream under load until it is killed or the time is over; whether it was killed.
fn window(
    episode: &mut Episode,
    place: &mut Place,
    app: &mut App,
    before: &[String],
    args: &[&str],
) -> Result<bool> {
    let mut daemon = place.daemon(before, args)?;
    let limit = Duration::from_millis(episode.rng.random_range(300..1400));
    let mut big = [0.05, 0.5].map(|part| limit.mul_f64(part)).to_vec();
    let start = Instant::now();
    while start.elapsed() < limit && daemon.ended()?.is_none() {
        if big.first().is_some_and(|at| start.elapsed() > *at) {
            app.big(BIG_KIB)?;
            big.remove(0);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    app.must_live()?;
    if daemon.ended()?.is_none() {
        daemon.signal(Signal::TERM);
    }
    let status = daemon.wait(Duration::from_mins(1))?;
    if was_killed(status) {
        return Ok(true);
    }
    daemon.succeeds()?;
    Ok(false)
}
