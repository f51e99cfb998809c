//! The proof of the state that was asked for.
//!
//! Promise: a file that turns out to be damaged is told of, and the proof goes on without it, down to the newest state that can be proved.

use litestream_replica::FileInfo;
use litestream_replica::chain::before::Times;
use litestream_replica::chain::position::position;
use litestream_replica::env::UnixMillis;
use ltx::{Checksum, Header, Txid};

use super::report::Point;
use super::run::Run;
use super::{Event, Memory, Target, VerifyError, deep, prove};
use crate::restore::RestoreError;
use crate::restore::plan::{Plan, list, plan_with};

/// New plans that are tried because files went meanwhile.
const PLANS_MAX: usize = 20;
/// New plans that are tried because files are damaged.
const DAMAGE_MAX: usize = 64;

/// See the module.
pub(super) async fn prove(run: &mut Run<'_>, memory: &mut Memory) -> Result<(), VerifyError> {
    let mut times = Times::new();
    let (mut stale, mut damaged) = (0, 0);
    loop {
        let avoid: Vec<FileInfo> = run
            .files
            .iter()
            .filter(|f| run.is_bad(f))
            .copied()
            .collect();
        let error = match plan(run, &mut times, &avoid).await {
            Ok(None) => return Ok(()),
            Ok(Some(plan)) if known(run, memory, &plan) => return Ok(()),
            Ok(Some(plan)) => match read(run, memory, &plan).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if let Some(file) = error.damaged_file() {
            damaged += 1;
            let again = run.is_bad(&file);
            run.wrong(&file, error, memory)?;
            if again || damaged > DAMAGE_MAX {
                return Ok(());
            }
        } else if error.plan_is_stale() {
            stale += 1;
            if stale > PLANS_MAX {
                return Err(VerifyError::Churn);
            }
        } else if let RestoreError::Late(late) = error {
            times.extend(late.iter().map(|(f, made)| ((f.level, f.name), *made)));
            stale += 1;
            if stale > PLANS_MAX {
                return Err(VerifyError::Churn);
            }
        } else {
            return match (error, run.options.target) {
                (RestoreError::NoBackup | RestoreError::NonContiguous { .. }, target) => {
                    missing(run, target)
                }
                (RestoreError::PageMissing { .. }, _) => Ok(()),
                (error, _) => Err(VerifyError::Read(error)),
            };
        }
    }
}

/// The plan for the target; for the newest state as far as anything leads. `None` if there is none.
async fn plan(
    run: &Run<'_>,
    times: &mut Times,
    avoid: &[FileInfo],
) -> Result<Option<Plan>, RestoreError> {
    let target = match run.options.target {
        Target::Latest => {
            let mut files = list(run.replica, true).await?;
            files.retain(|f| !avoid.contains(f));
            let at = position(&files).contiguous;
            if at.is_zero() {
                return Ok(None);
            }
            Target::Txid(at)
        }
        target => target,
    };
    match plan_with(target, run.replica, times, avoid).await {
        // It was compacted between the two listings.
        Err(RestoreError::NoBackup) if run.options.target == Target::Latest => {
            Err(RestoreError::Vanished("files"))
        }
        plan => plan.map(Some),
    }
}

/// Nothing leads to the target: an error, unless something was found that explains it.
fn missing(run: &Run<'_>, target: Target) -> Result<(), VerifyError> {
    let what = match target {
        Target::Latest => return Ok(()),
        _ if !run.bad.is_empty() => return Ok(()),
        Target::Txid(txid) => format!("TXID {txid}"),
        Target::Timestamp(time) => format!("time {} ms", time.0),
    };
    Err(VerifyError::NoSuchPoint { what })
}

/// Whether the state was proved by now, or before.
fn known(run: &mut Run<'_>, memory: &Memory, plan: &Plan) -> bool {
    if let Some(point) = deep::point(&run.points, plan.max()) {
        let time = UnixMillis(point.timestamp_ms);
        let txid = point.txid;
        run.proved = Some((Point { txid, time }, point.proved));
        run.checksum = Checksum::from_stored(point.sum);
        return true;
    }
    let Some(state) = memory.state().filter(|state| state.txid == plan.max()) else {
        return false;
    };
    let all = plan.files.iter().all(|f| run.remembers(memory, f));
    if all {
        let point = Point {
            txid: state.txid,
            time: state.time,
        };
        run.proved = Some((point, state.chained));
        run.checksum = Checksum::from_stored(state.checksum);
        run.done.remembered = run.done.remembered.max(plan.files.len());
    }
    all
}

async fn read(run: &mut Run<'_>, memory: &mut Memory, plan: &Plan) -> Result<(), RestoreError> {
    let before = run.done.bytes;
    run.expect(&plan.files);
    let progress = run.progress;
    let tell = move |bytes| {
        progress(Event::Progress {
            bytes_read: before + bytes,
        });
    };
    let target = match run.options.target {
        Target::Timestamp(_) => run.options.target,
        _ => Target::Latest,
    };
    let how = (run.options.parallelism, run.pace.clone());
    let (header, filled) = prove::prove(plan, target, how, run.replica, run.env, &tell).await?;
    run.done.bytes += plan.bytes();
    run.done.files += plan.files.len();
    for file in &plan.files {
        if let Some((_, sum)) = run.heads.get(&(file.level, file.name)) {
            memory.prove(file, *sum, run.now);
        }
    }
    run.proved = Some((state(&header), filled.proved));
    run.checksum = filled.checksum;
    run.states_proved = run.states_proved.max(usize::from(filled.proved));
    Ok(())
}

fn state(header: &Header) -> Point {
    let txid: Txid = header.max_txid;
    Point {
        txid,
        time: UnixMillis(header.timestamp_ms),
    }
}
