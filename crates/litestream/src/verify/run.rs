//! One verification from beginning to end.

use std::collections::BTreeMap;
use std::sync::Arc;

use litestream_replica::chain::position::position;
use litestream_replica::env::{Env, Monotonic, UnixMillis};
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{Checksum, FileName, Txid};

use super::memory::ProvedState;
use super::report::{Finding, Live, Point, Report};
use super::{
    Depth, Event, Memory, Options, Progress, VerifyError, deep, heads, layout, links, replay,
    target, words,
};
use crate::restore::pace::Pace;
use crate::restore::plan::list;

/// Listings tried before what they show is believed.
const LISTINGS_MAX: usize = 3;

/// Verifies a replica. What was proved is put into `memory` as it is proved, so that a run that is stopped, by dropping the future,
/// leaves what it did; threads end soon after.
pub async fn run(
    options: &Options,
    replica: &SharedReplica,
    env: &Env,
    memory: &mut Memory,
    progress: Progress<'_>,
) -> Result<Report, VerifyError> {
    memory.begin(&replica.location());
    let mut run = Run {
        options,
        replica,
        env,
        progress,
        pace: options.bandwidth.map(|b| Pace::new(&env.clock, b)),
        began: env.clock.monotonic(),
        now: env.clock.now(),
        files: listed(replica, options.expected, memory).await?,
        heads: BTreeMap::new(),
        bad: Vec::new(),
        gone: Vec::new(),
        done: Done::default(),
        points: Vec::new(),
        reached: memory.state().map(|state| state.txid),
        proved: None,
        checksum: None,
        states_proved: 0,
        too_large: false,
    };
    let bytes = run.files.iter().map(|f| f.size).sum();
    progress(Event::Listed {
        files: run.files.len(),
        bytes,
    });
    memory.retain(&run.files);
    run.heads(memory).await?;
    if options.depth == Depth::Deep {
        deep::read(&mut run, memory).await?;
    }
    let contradictions = links::contradictions(&run.sound_heads());
    run.bad.extend(contradictions);
    target::prove(&mut run, memory).await?;
    run.report(memory).await
}

/// What was read.
#[derive(Default)]
pub(super) struct Done {
    pub files: usize,
    pub bytes: u64,
    pub remembered: usize,
}

/// What a file is known by.
pub(super) type Key = (Level, FileName);

/// What is known so far.
pub(super) struct Run<'a> {
    pub options: &'a Options,
    pub replica: &'a SharedReplica,
    pub env: &'a Env,
    pub progress: Progress<'a>,
    pub pace: Option<Arc<Pace>>,
    began: Monotonic,
    pub now: UnixMillis,
    /// All files, as they were listed first.
    pub files: Vec<FileInfo>,
    /// Those of which the header is known, and its checksum.
    pub heads: BTreeMap<Key, (links::Head, u64)>,
    /// Findings that are about a file's content.
    pub bad: Vec<Finding>,
    /// Files that were not there any more.
    pub gone: Vec<FileInfo>,
    pub done: Done,
    /// The states that were proved page by page.
    pub points: Vec<replay::Point>,
    /// What was proved before.
    reached: Option<Txid>,
    /// The newest state that was proved, and whether a file confirms its checksum.
    pub proved: Option<(Point, bool)>,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    pub states_proved: usize,
    pub too_large: bool,
}

impl Run<'_> {
    /// Reads the headers that are needed beforehand: all, or, where all is read anyway, of what may not have to be.
    async fn heads(&mut self, memory: &mut Memory) -> Result<(), VerifyError> {
        let Options {
            depth,
            full,
            max_age,
            ..
        } = *self.options;
        let remembered = |f: &FileInfo| !full && memory.knows(f, self.now, max_age).is_some();
        let wanted: Vec<FileInfo> = match depth {
            Depth::Quick => self.files.clone(),
            Depth::Deep => self
                .files
                .iter()
                .filter(|f| remembered(f))
                .copied()
                .collect(),
        };
        let pace = self.pace.as_deref();
        for (file, read) in heads::read_all(&wanted, pace, self.replica, self.env).await {
            match read {
                Ok((header, sum)) => {
                    if memory
                        .knows(&file, self.now, None)
                        .is_some_and(|known| known != sum)
                    {
                        memory.forget(&file);
                    }
                    let head = links::Head::new(file, header);
                    self.heads.insert((file.level, file.name), (head, sum));
                }
                Err(error) => self.wrong(&file, error, memory)?,
            }
        }
        Ok(())
    }

    /// These files will be read, too.
    pub fn expect(&self, files: &[FileInfo]) {
        let bytes: u64 = files.iter().map(|f| f.size).sum();
        (self.progress)(Event::Reading {
            files: self.done.files + files.len(),
            bytes: self.done.bytes + bytes,
        });
    }

    /// A file can't be read, or is not what was written.
    pub fn wrong(
        &mut self,
        file: &FileInfo,
        error: crate::restore::RestoreError,
        memory: &mut Memory,
    ) -> Result<(), VerifyError> {
        use crate::restore::RestoreError;
        memory.forget(file);
        match error {
            RestoreError::Gone(_) => self.gone.push(*file),
            error if error.is_damage() || matches!(error, RestoreError::Length { .. }) => {
                self.bad.push(words::damage(file, &error));
            }
            error => return Err(VerifyError::Read(error)),
        }
        Ok(())
    }

    /// Whether it was proved lately and is unchanged.
    pub fn remembers(&self, memory: &Memory, file: &FileInfo) -> bool {
        let known = memory.knows(file, self.now, self.options.max_age);
        let read = self
            .heads
            .get(&(file.level, file.name))
            .map(|(_, sum)| *sum);
        !self.options.full && known.is_some() && known == read
    }

    /// Whether something is wrong with a file, or it is gone.
    pub fn is_bad(&self, file: &FileInfo) -> bool {
        self.bad.iter().any(|f| f.is_of(file)) || self.gone.contains(file)
    }

    /// The files with which nothing is wrong.
    pub fn sound_files(&self) -> Vec<FileInfo> {
        let sound = self.files.iter().filter(|f| !self.is_bad(f));
        sound.copied().collect()
    }

    fn sound_heads(&self) -> Vec<links::Head> {
        let heads = self.heads.values().map(|(head, _)| *head);
        heads.filter(|head| !self.is_bad(&head.info)).collect()
    }

    /// Level 0 may have been trimmed by Litestream, whose files say nothing of the database.
    fn is_foreign(&self) -> bool {
        self.heads.values().any(|(head, _)| head.after.is_none())
    }

    async fn report(mut self, memory: &mut Memory) -> Result<Report, VerifyError> {
        let (files, mut findings) = self.settled().await?;
        self.bad.retain(|finding| {
            let listed = |f: &&FileInfo| finding.is_of(f);
            // What was replaced or removed meanwhile is no longer wrong.
            let then = self.files.iter().find(listed);
            then.is_none() || then == files.iter().find(listed)
        });
        findings.append(&mut self.bad);
        let known = |f: &FileInfo| {
            self.heads
                .get(&(f.level, f.name))
                .map(|(head, _)| head.header.timestamp_ms)
        };
        let cost = super::cost::Cost::new(&files, &findings, known);
        let restorable = cost.ranges();
        let newest = restorable.last().map(|r| r.last);
        for finding in &mut findings {
            finding.lost = cost.of(finding);
            words::mend(finding.kind, finding.lost.is_some()).clone_into(&mut finding.mend);
        }
        findings.sort_by_key(|f| (!f.kind.is_damage(), f.level, f.file));
        if let Some((point, chained)) = self.proved {
            memory.prove_state(ProvedState {
                txid: point.txid,
                time: point.time,
                chained,
                checksum: self.checksum.map_or(0, Checksum::get),
                at: self.now,
            });
        }
        Ok(Report {
            location: self.replica.location(),
            files: self.files.len(),
            bytes: self.files.iter().map(|f| f.size).sum(),
            files_read: self.done.files,
            bytes_read: self.done.bytes,
            files_remembered: self.done.remembered,
            elapsed: self.env.clock.monotonic().since(self.began),
            restorable,
            newest,
            proved: self.proved.map(|(point, _)| point),
            chained: self.proved.is_some_and(|(_, chained)| chained),
            checksum: self.checksum,
            live: Live::Unknown,
            states_proved: self.states_proved,
            too_large: self.too_large,
            findings,
        })
    }

    /// The files as they are now, and what their names show: what is only so for a moment is not believed.
    async fn settled(&self) -> Result<(Vec<FileInfo>, Vec<Finding>), VerifyError> {
        let (expected, foreign) = (self.options.expected, self.is_foreign());
        let mut files = self.files.clone();
        let mut tries = 0;
        loop {
            let mut findings = layout::examine(&files, foreign);
            findings.extend(layout::went_back(
                position(&files).contiguous,
                expected,
                self.reached,
            ));
            let gone: Vec<&FileInfo> = self.gone.iter().filter(|f| files.contains(f)).collect();
            let doubt = findings.iter().any(|f| f.kind.is_damage());
            if (!doubt && gone.is_empty() && self.bad.is_empty()) || tries == LISTINGS_MAX {
                findings.extend(
                    gone.into_iter().map(|file| {
                        words::damage(file, &crate::restore::RestoreError::Gone(*file))
                    }),
                );
                return Ok((files, findings));
            }
            files = unique(list(self.replica, false).await?);
            tries += 1;
        }
    }
}

/// All files, each once.
async fn listed(
    replica: &SharedReplica,
    expected: Option<Txid>,
    memory: &Memory,
) -> Result<Vec<FileInfo>, VerifyError> {
    let files = unique(list(replica, true).await?);
    if files.is_empty() && expected.is_none() && memory.state().is_none() {
        let location = replica.location();
        return Err(VerifyError::Empty { location });
    }
    Ok(files)
}

fn unique(mut files: Vec<FileInfo>) -> Vec<FileInfo> {
    files.sort_by_key(|f| (f.level, f.name.min, f.name.max));
    files.dedup_by_key(|f| (f.level, f.name));
    files
}
