//! A full disk: of the replica, of the folder for staged files, or of the source. Litestream says so, the application gets
//! no error that is not its own, and once there is room all is made up for.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::Episode;
use crate::app::App;
use crate::daemon::Daemon;
use crate::mount::Memory;
use crate::place::Place;
use crate::process::until;
use crate::writer::Style;

const FULL: &str = "No space left on device";
const ENOUGH_KIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Replica,
    State,
    Source,
}

pub fn episode(episode: &mut Episode) -> Result<()> {
    let on = [On::Replica, On::State, On::Source][episode.number as usize % 3];
    let mut style = Style::random(&mut episode.rng);
    style.tolerant = on == On::Source;
    let (source, replica) = (episode.work.join("source"), episode.work.join("replica"));
    let kib = episode.rng.random_range(64..3000);
    let mut place = Place::new(&episode.work, source, replica, style)?;
    let at = match on {
        On::Replica => place.replica.clone(),
        On::State => place.state(),
        On::Source => place.source.clone(),
    };
    // The source must have room to begin.
    let kib = if on == On::Source { kib + 8000 } else { kib };
    let disk = Memory::new(at, kib)?;
    let done = episode.with(&mut place, |episode, place| {
        let mut app = place.app()?;
        let mut daemon = place.daemon(&[], &[])?;
        for _ in 0..2 {
            round(episode, place, &disk, kib, on, &mut app, &mut daemon)?;
            if episode.enough() {
                break;
            }
        }
        app.pause()?;
        daemon.stop()?;
        place.converged(&mut episode.rng)
    });
    done.map_err(|e| e.context(format!("{on:?} on {kib} KiB, {:?}", place.style)))
}

fn round(
    episode: &mut Episode,
    place: &mut Place,
    disk: &Memory,
    kib: u64,
    on: On,
    app: &mut App,
    daemon: &mut Daemon,
) -> Result<()> {
    episode.tally.rounds += 1;
    disk.leave(kib)?;
    let ballast = match on {
        On::Replica => place.replica.join("ballast"),
        On::State => place.state().join("ballast"),
        On::Source => place.source.join("ballast"),
    };
    let before = daemon.log().matches(FULL).count();
    let by_others = episode.rng.random_bool(0.5);
    let said = until(
        "the full disk is in the log",
        Duration::from_mins(1),
        || {
            if by_others {
                fill(&ballast);
            }
            app.big(2000)?;
            std::thread::sleep(Duration::from_millis(150));
            app.must_live()?;
            daemon.must_live()?;
            Ok((daemon.log().matches(FULL).count() > before).then_some(()))
        },
    );
    // On its own full disk the application stops writing, and there may be nothing that litestream needs.
    ensure!(
        said.is_ok() || on == On::Source,
        "a full disk and no word of it"
    );
    episode.tally.hits += u64::from(said.is_ok());
    std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..2000)));
    app.must_live()?;
    daemon.must_live()?;
    let _ = std::fs::remove_file(&ballast);
    disk.resize(ENOUGH_KIB)?;
    let node = app.pause()?;
    episode.note_app(app);
    let took = place.heals(daemon, node)?;
    episode.note_healing(took);
    app.go()
}

/// Somebody else's file takes all the room that is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write as _;
    let Ok(mut file) = std::fs::File::options()
        .create(true)
        .append(true)
        .open(ballast)
    else {
        return;
    };
    for size in [65536, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
