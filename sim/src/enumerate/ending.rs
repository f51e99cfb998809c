//! After the trouble: everything is started again, and has to come right by itself.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use litestream::restore::{self, IntegrityCheck, Request, Target};

use super::stage::{HEALED_MAX, Played, Stage};
use super::{Kind, Point};
use crate::disk::CutImage;
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::oracle;
use crate::sched;
use crate::vfs;
use crate::world::RESTORES;

/// Where a scene restores to.
pub const OUTPUT: &str = "/restored/output.db";

/// Checks everything.
pub fn check(stage: &mut Stage) {
    let checked = if stage.restoring.wanted.is_some() {
        restored(stage)
    } else {
        replicated(stage)
    };
    if checked.is_err() {
        stage
            .world
            .violation("the stage stands still after the act".to_owned());
    }
}

/// One more commit and `sync`: the replica holds what it should.
fn replicated(stage: &mut Stage) -> Played {
    stage.wait_app()?;
    if let Some(Point {
        kind: Kind::CutOffline(image),
        ..
    }) = stage.point
    {
        // More commits than the replica holds files, or none.
        offline(stage, if image == CutImage::Random { 0 } else { 2 })?;
    }
    stage.sql("CREATE TABLE IF NOT EXISTS last(n); INSERT INTO last VALUES (1)")?;
    stage.ask(Ask::Sync)?;
    healed(stage)?;
    let acks = stage.acks.borrow().clone();
    oracle::quiet(&stage.world, &acks);
    stage.disconnect()?;
    stage.close_engine()?;
    oracle::closed(&stage.world);
    Ok(())
}

/// Damage at rest is noticed and answered by itself, where the replica is verified. Looks seldom, since a look works out all states.
pub fn healed(stage: &Stage) -> Played {
    if (stage.scene.policy)().verify_interval.is_zero() {
        return Ok(());
    }
    let until = sched::now() + HEALED_MAX;
    while !oracle::is_newest_sound(&stage.world) {
        if sched::now() > until {
            stage
                .world
                .violation("O9: what is damaged at rest is not healed".to_owned());
            break;
        }
        stage.pass(SECOND / 4)?;
    }
    Ok(())
}

/// The engine starts while nobody can tell what the replica holds.
fn offline(stage: &mut Stage, commits: u32) -> Played {
    stage.world.storage.outage(Duration::from_secs(40));
    stage.start_engine();
    for _ in 0..commits {
        stage.pass(10 * SECOND)?;
        stage.sql(
            "CREATE TABLE IF NOT EXISTS offline(n); INSERT INTO offline VALUES (randomblob(200))",
        )?;
    }
    stage.pass(20 * SECOND)
}

/// What is at the output of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing.
    Nothing,
    /// What was there before.
    Old,
    /// What should come there.
    New,
    /// Anything else.
    Other,
}

/// What is at the output is what was there, or what should come there. The next restore succeeds and leaves nothing over.
fn restored(stage: &mut Stage) -> Played {
    let answer = stage.restoring.answer.borrow_mut().take();
    // What failed undid nothing that a power cut could not take.
    let trapped = stage.point.is_some_and(|point| point.kind.traps());
    let answer = answer.filter(|result| result.is_ok() || !trapped);
    let untouched = if stage.restoring.old.is_some() {
        Found::Old
    } else {
        Found::Nothing
    };
    let mut now = found(stage);
    let good = match &answer {
        Some(Ok(())) => now == Found::New,
        // In place, but perhaps not after a power failure.
        Some(Err(error)) if error.starts_with("restored ") => now == Found::New,
        Some(Err(_)) => now == untouched,
        None => now != Found::Other,
    };
    if !good {
        stage.world.violation(format!(
            "O13: after a restore that ended with {answer:?} the output is {now:?}"
        ));
    }
    if untouched == Found::Old {
        // It puts back what an interrupted swap set aside, and does no more.
        restore(stage, false)?;
        let before = std::mem::replace(&mut now, found(stage));
        if now != before && (before, now) != (Found::Nothing, Found::Old) {
            stage.world.violation(format!(
                "O13: the output was {before:?}, and the next restore makes it {now:?}"
            ));
        }
    }
    restore(stage, now != Found::Nothing)?;
    let (answer, now) = (stage.restoring.answer.borrow_mut().take(), found(stage));
    if answer != Some(Ok(())) || now != Found::New {
        stage.world.violation(format!(
            "O9: the next restore ends with {answer:?} and makes the output {now:?}"
        ));
    }
    look_around(stage);
    Ok(())
}

fn found(stage: &Stage) -> Found {
    let output = Path::new(OUTPUT);
    if stage.world.disk.metadata(output).is_err() {
        return Found::Nothing;
    }
    let found = vfs::committed_image(&stage.world.disk, output).map(|image| image.bytes);
    if found.is_none() {
        Found::Other
    } else if found == stage.restoring.wanted {
        Found::New
    } else if found == stage.restoring.old {
        Found::Old
    } else {
        Found::Other
    }
}

fn look_around(stage: &Stage) {
    for (name, _) in stage
        .world
        .disk
        .list(Path::new(RESTORES))
        .unwrap_or_default()
    {
        let name = name.to_string_lossy();
        // An old database whose place is taken is kept, with a warning.
        let kept = stage.point.is_some() && name.contains(".before-restore-");
        if name != "output.db" && !kept {
            stage.world.violation(format!("O8: {name} is left over"));
        }
    }
}

/// Restores the newest state in a process of its own.
pub fn restore(stage: &mut Stage, force: bool) -> Played {
    let process = stage.subject();
    let answer: Rc<RefCell<Option<Result<(), String>>>> = Rc::default();
    stage.restoring.answer = Rc::clone(&answer);
    let world = stage.world.clone();
    let fiber = sched::spawn(process, "restore", move || {
        let env = crate::env::env(process, world.disk.clone());
        let request = Request {
            output: OUTPUT.into(),
            target: Target::Latest,
            parallelism: 1,
            force,
            integrity_check: IntegrityCheck::Quick,
            vfs: Some("sim".to_owned()),
        };
        let replica = world.replica(&env);
        let result = sched::block_on(restore::run(&request, replica, &env, &|_| {}));
        world.note(|| format!("restore: {result:?}"));
        if !sched::is_dead() {
            *answer.borrow_mut() = Some(result.map(drop).map_err(|e| e.to_string()));
        }
    });
    let ended = stage.wait(HEALED_MAX, |_| sched::is_finished(fiber))?;
    if !ended {
        stage
            .world
            .violation("O9: a restore does not end".to_owned());
        stage.world.note(sched::who_waits);
    }
    Ok(())
}
