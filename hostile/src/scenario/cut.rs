//! Power cuts: the file system below the source, the replica or both loses what was not synced, at any moment under load.
//!
//! What was acknowledged survives in the replica. If the source lost commits that the replica has, replication goes on
//! after them without mixing the two histories.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use super::Episode;
use crate::app::App;
use crate::daemon::Daemon;
use crate::mount::{Disk, Kind};
use crate::place::{Acknowledged, Place};
use crate::process::until;
use crate::writer::Style;

/// What lies on the disk whose power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Source,
    Replica,
    Both,
}

pub fn episode(episode: &mut Episode) -> Result<()> {
    let kinds = [Kind::Ext4, Kind::Xfs, Kind::Ext4Writeback];
    let number = episode.number as usize;
    let kind = kinds[(number + number / 3) % 3];
    let on = [On::Source, On::Both, On::Replica][number % 3];
    let mut style = Style::random(&mut episode.rng);
    if episode.rng.random_bool(0.1) {
        "OFF".clone_into(&mut style.synchronous);
    }
    let at = episode.work.join("disk");
    let disk = Disk::new(kind, episode.work.join("disk.img"), at.clone())?;
    let folder = |name: &str, broken: bool| {
        if broken {
            at.join(name)
        } else {
            episode.work.join(name)
        }
    };
    let source = folder("source", on != On::Replica);
    let replica = folder("replica", on != On::Source);
    let mut place = Place::new(&episode.work, source, replica, style)?;
    let done = episode.with(&mut place, |episode, place| {
        let mut app = place.app()?;
        app.pause()?;
        disk.sync()?;
        app.go()?;
        let mut app = Some(app);
        for _ in 0..3 {
            let running = match app.take() {
                Some(app) => app,
                None => place.app()?,
            };
            app = round(episode, place, &disk, on, running)?;
        }
        Ok(())
    });
    done.map_err(|e| e.context(format!("{kind:?} below {on:?}, {:?}", place.style)))
}

fn round(
    episode: &mut Episode,
    place: &mut Place,
    disk: &Disk,
    on: On,
    mut app: App,
) -> Result<Option<App>> {
    episode.tally.rounds += 1;
    let daemon = before(episode, place, &mut app)?;
    disk.cut(episode.rng.random_bool(0.2))?;
    episode.tally.hits += 1;
    std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..80)));
    if on == On::Replica {
        app.must_live()?;
    }
    if let Some(mut daemon) = daemon {
        if on == On::Replica && episode.rng.random_bool(0.5) {
            return lives_on(episode, place, disk, app, daemon);
        }
        daemon.kill()?;
        // What it said was durable when it said so.
        let said = daemon.uploaded().unwrap_or(0);
        place.acknowledged.txid = place.acknowledged.txid.max(said);
    }
    if on == On::Replica {
        app.pause()?;
        episode.note_app(&app);
        disk.restart()?;
        place.replica_survived()?;
        place.source_survived(false)?;
        app.go()?;
        return again(episode, place, Some(app));
    }
    app.kill()?;
    disk.restart()?;
    place.replica_survived()?;
    place.source_survived(true)?;
    again(episode, place, None)
}

/// Work until the moment of the cut; what was acknowledged is noted, sometimes just before.
fn before(episode: &mut Episode, place: &mut Place, app: &mut App) -> Result<Option<Daemon>> {
    if episode.rng.random_bool(0.25) {
        load(&mut episode.rng, app, 300)?;
        let node = app.pause()?;
        place.once()?;
        let txid = place.contiguous()?;
        place.acknowledged = Acknowledged { txid, node };
        app.go()?;
        return Ok(None);
    }
    let mut daemon = place.daemon(&[], &[])?;
    load(&mut episode.rng, app, 2200)?;
    if episode.rng.random_bool(0.5) {
        let node = app.pause()?;
        episode.note_app(app);
        place.heals(&mut daemon, node)?;
        app.go()?;
        if episode.rng.random_bool(0.6) {
            load(&mut episode.rng, app, 1500)?;
        }
    }
    Ok(Some(daemon))
}

/// Some work for the application, most often short.
fn load(rng: &mut StdRng, app: &mut App, longest_ms: u64) -> Result<()> {
    let limit = Duration::from_millis(rng.random_range(10..longest_ms));
    if rng.random_bool(0.4) {
        app.big(rng.random_range(100..5000))?;
    }
    let start = Instant::now();
    while start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    app.must_live()
}

/// The machine is up again: application and replication start in either order, and all is equal in the end.
fn again(episode: &mut Episode, place: &mut Place, app: Option<App>) -> Result<Option<App>> {
    let daemon_first = episode.rng.random_bool(0.5);
    let mut daemon = daemon_first.then(|| place.daemon(&[], &[])).transpose()?;
    if daemon_first {
        std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..100)));
    }
    let mut app = match app {
        Some(app) => app,
        None => place.app()?,
    };
    load(&mut episode.rng, &mut app, 300)?;
    if daemon.is_none() && episode.rng.random_bool(0.7) {
        daemon = Some(place.daemon(&[], &[])?);
        load(&mut episode.rng, &mut app, 300)?;
    }
    let node = app.pause()?;
    episode.note_app(&app);
    match daemon {
        Some(mut daemon) => {
            if episode.rng.random_bool(0.5) {
                let took = place.heals(&mut daemon, node)?;
                episode.note_healing(took);
            }
            daemon.stop()?;
        }
        None => place.once()?,
    }
    place.converged(&mut episode.rng)?;
    app.go()?;
    Ok(Some(app))
}

/// Only the replica's disk failed; it comes back below a daemon that goes on.
fn lives_on(
    episode: &mut Episode,
    place: &mut Place,
    disk: &Disk,
    mut app: App,
    mut daemon: Daemon,
) -> Result<Option<App>> {
    load(&mut episode.rng, &mut app, 1500)?;
    // Stopped meanwhile, so that it never sees the empty folder below the mount.
    until(
        "the disk can be taken away",
        Duration::from_secs(20),
        || {
            daemon.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(2));
            let done = disk.try_restart();
            daemon.signal(Signal::CONT);
            Ok(done?.then_some(()))
        },
    )?;
    let said = daemon.uploaded().unwrap_or(0);
    load(&mut episode.rng, &mut app, 500)?;
    let node = app.pause()?;
    episode.note_app(&app);
    let took = place.heals(&mut daemon, node)?;
    episode.note_healing(took);
    ensure!(
        place.contiguous()? >= said,
        "TXID {said} was uploaded and is gone"
    );
    daemon.stop()?;
    place.converged(&mut episode.rng)?;
    app.go()?;
    Ok(Some(app))
}
