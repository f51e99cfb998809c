//! Reads what has to be read of all levels, and follows the states that it leads to.

use std::sync::Arc;

use litestream_replica::FileInfo;
use ltx::Header;
use parking_lot::Mutex;

use super::read::{Checked, How, read as read_files};
use super::replay::{Judged, Point, Replay, Sums};
use super::report::{Finding, Kind};
use super::run::Run;
use super::{Event, Memory, VerifyError, links, select, words};
use crate::restore::RestoreError;

/// What the threads found out, until the async side takes it.
#[derive(Default)]
struct Found {
    sound: Vec<links::Head>,
    wrong: Vec<(FileInfo, RestoreError)>,
    judged: Vec<(FileInfo, Judged)>,
    replay: Replay,
    too_large: bool,
}

impl Found {
    fn take(&mut self, file: FileInfo, checked: Checked, pages_max: u32) {
        let sums = match checked {
            Ok(sums) => sums,
            Err(error) => {
                self.wrong.push((file, error));
                return;
            }
        };
        self.sound.push(head(&sums));
        if sums.header.commit > pages_max {
            self.too_large = true;
        } else {
            let judged = self.replay.step(sums).into_iter();
            let speaks = |(_, judged): &(FileInfo, Judged)| {
                !matches!(judged, Judged::Fits | Judged::Unreached)
            };
            self.judged.extend(judged.filter(speaks));
        }
    }
}

fn head(sums: &Sums) -> links::Head {
    links::Head {
        info: sums.info,
        header: sums.header,
        before: sums.before,
        after: sums.after,
    }
}

/// Checksum of a header.
pub(super) fn header_sum(header: &Header) -> u64 {
    ltx::crc64(&header.encode())
}

/// See the module.
pub(super) async fn read(run: &mut Run<'_>, memory: &mut Memory) -> Result<(), VerifyError> {
    let files = run.sound_files();
    let chosen = select::to_read(&files, |f| run.remembers(memory, f));
    run.done.remembered = files.len() - chosen.len();
    run.expect(&chosen);
    run.done.files = chosen.len();
    let found = Arc::new(Mutex::new(Found::default()));
    let (sink_found, pages_max) = (Arc::clone(&found), run.options.pages_max);
    let sink = move |_, file, checked| sink_found.lock().take(file, checked, pages_max);
    let how = How {
        parallelism: run.options.parallelism,
        pace: run.pace.clone(),
        pages_max,
    };
    let (progress, now) = (run.progress, run.now);
    let mut told = 0;
    let mut heads = Vec::new();
    let mut tell = |bytes_read| {
        if bytes_read != told {
            told = bytes_read;
            progress(Event::Progress { bytes_read });
        }
        for head in std::mem::take(&mut found.lock().sound) {
            memory.prove(&head.info, header_sum(&head.header), now);
            heads.push(head);
        }
    };
    let read = read_files(chosen, how, Box::new(sink), run.replica, run.env, &mut tell).await;
    read.map_err(VerifyError::Read)?;
    run.done.bytes = told;
    let found = std::mem::take(&mut *found.lock());
    for head in heads {
        let key = (head.info.level, head.info.name);
        run.heads.insert(key, (head, header_sum(&head.header)));
    }
    take(run, found, memory)
}

fn take(run: &mut Run<'_>, found: Found, memory: &mut Memory) -> Result<(), VerifyError> {
    for (file, error) in found.wrong {
        run.wrong(&file, error, memory)?;
    }
    for (file, judged) in found.judged {
        let (wrong, what) = match judged {
            Judged::Fits | Judged::Unreached => continue,
            Judged::Breaks(wrong) => (file, words::broken(&wrong)),
            Judged::Refutes(other) => {
                (other, format!("it is not what {} says", words::name(&file)))
            }
        };
        memory.forget(&wrong);
        if !run.is_bad(&wrong) {
            run.bad.push(Finding::new(Kind::Chain, Some(&wrong), what));
        }
    }
    run.too_large = found.too_large;
    if !found.too_large {
        let points = found.replay.into_points();
        run.states_proved = points.iter().filter(|p| p.proved).count();
        run.points = points;
    }
    Ok(())
}

/// The state of the replay at a TXID.
pub(super) fn point(points: &[Point], txid: ltx::Txid) -> Option<Point> {
    let at = points.binary_search_by_key(&txid, |p| p.txid).ok()?;
    Some(points[at])
}
