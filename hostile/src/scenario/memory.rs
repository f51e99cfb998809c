//! Little memory: a transaction far larger than what may be used, then a full copy of the database, then a restore. The
//! data segment is limited, and the most that was resident is measured.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::Rng as _;

use super::Episode;
use crate::place::Place;
use crate::process::{Process, program};
use crate::writer::Style;

/// The most that may be resident.
const RESIDENT_KIB: u64 = 64 << 10;
/// The most that may be allocated.
const DATA_BYTES: u64 = 96 << 20;

pub fn episode(episode: &mut Episode) -> Result<()> {
    let mut style = Style::random(&mut episode.rng);
    style.page_size = style.page_size.max(4096);
    style.busybody = false;
    let (source, replica) = (episode.work.join("source"), episode.work.join("replica"));
    let mut place = Place::new(&episode.work, source, replica, style)?;
    episode.with(&mut place, |episode, place| {
        let mut app = place.app()?;
        let limits = limits();
        for _ in 0..2 {
            episode.tally.rounds += 1;
            let daemon = place.daemon(&limits, &[])?;
            let kib = episode.rng.random_range(80..160) << 10;
            app.big(kib)?;
            std::thread::sleep(Duration::from_millis(episode.rng.random_range(0..3000)));
            let node = app.pause()?;
            let mut daemon = daemon;
            place.heals(&mut daemon, node)?;
            resident(episode, daemon.id())?;
            daemon.stop()?;
            place.converged(&mut episode.rng)?;
            place.restore(None)?;
            restored_with_little(episode, place)?;
            // The next start copies the whole database.
            std::fs::remove_dir_all(place.state())?;
            episode.tally.hits += 1;
            if episode.enough() {
                break;
            }
            app.go()?;
        }
        Ok(())
    })
}

fn limits() -> Vec<String> {
    vec![
        "prlimit".into(),
        format!("--data={DATA_BYTES}"),
        "--".into(),
    ]
}

/// Checks the most that a running process has used.
fn resident(episode: &mut Episode, pid: u32) -> Result<()> {
    let Some(kib) = peak(pid) else { return Ok(()) };
    episode.tally.peak_kib = episode.tally.peak_kib.max(kib);
    ensure!(
        kib <= RESIDENT_KIB,
        "{kib} KiB were resident, {RESIDENT_KIB} allowed"
    );
    Ok(())
}

fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn restored_with_little(episode: &mut Episode, place: &Place) -> Result<()> {
    let limits = limits();
    let output = place.work.join("little.db");
    let mut restore = Process::spawn(
        Command::new(&limits[0])
            .args(&limits[1..])
            .arg(program("litestream")?)
            .args(["restore", "-o"])
            .arg(&output)
            .arg(format!("file://{}", place.replica.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    let mut most = 0;
    while restore.ended()?.is_none() {
        most = most.max(peak(restore.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    episode.tally.peak_kib = episode.tally.peak_kib.max(most);
    let same = std::fs::read(&output).context("nothing restored")?
        == std::fs::read(place.work.join("restored/app.db"))?;
    ensure!(same, "restored something else with little memory");
    Ok(std::fs::remove_file(output)?)
}
