//! Verifies a replica in the background, and heals what is damaged or missing from what is here.
//!
//! Owns `META/verified-N.json`, what was proved of replica N. Promises: it reads slowly, never more than the policy's bandwidth, and few
//! databases of a process at a time; nothing is deleted; damage is answered by the local file of the same content, each time, else by
//! one snapshot of the live database, after which the newest state can be restored again and what comes later, too. A hole that
//! something stands in for already needs none.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use litestream_replica::Level;
use litestream_replica::env::{Env, Work};
use ltx::FileName;

use crate::depot::{Depot, MERGED};
use crate::error::{Error, Result};
use crate::link::{Link, Verified};
use crate::policy::Policy;
use crate::staging::verify as verify_file;
use crate::upload::{Shipper, Worker};
use crate::verify::{self, Depth, Finding, Kind, Memory, Options};

/// See the module.
pub(crate) struct Guardian {
    pub env: Env,
    pub link: Arc<Link>,
    pub depot: Arc<Depot>,
    pub shipper: Shipper,
    pub policy: Policy,
    pub worker: Worker,
    pub name: String,
    pub memory: PathBuf,
}

/// What a finding is known by: the next verification reports it again.
type Known = (Option<Level>, Option<FileName>, &'static str);

/// What was done about findings.
#[derive(Default)]
struct Answered {
    /// For good: nothing more can be done.
    once: BTreeSet<Known>,
    /// A file was sent again the last time.
    sent: BTreeSet<Known>,
}

impl Guardian {
    /// Runs until the task is aborted.
    pub async fn run(self) {
        let interval = self.policy.verify_interval;
        self.depot.shared.wait_claimed().await;
        let mut answered = Answered::default();
        loop {
            // A tenth of jitter, so that many databases don't come at once.
            let chance = (self.env.entropy.next_u64() >> 32) as f64 / f64::from(u32::MAX);
            let pause = interval.mul_f64(0.95 + 0.1 * chance);
            self.env.clock.sleep_async(pause).await;
            if let Err(error) = self.round(&mut answered).await {
                tracing::error!(db = %self.name, replica = self.link.replica.kind(), %error, "validation check failed");
                self.link.verified(Verified {
                    error: Some(error.to_string()),
                    ..self.link.status().verified.unwrap_or_default()
                });
            }
        }
    }

    async fn round(&self, answered: &mut Answered) -> Result<()> {
        // Many databases are verified one after the other, or together they would take what a limit of each leaves to others.
        let place = self.env.spawn.places(Work::Background).acquire_owned();
        let place = place.await.map_err(|_| Error::Closed)?;
        let expected = self.link.position();
        if expected.is_none() || self.link.progress.borrow().is_down() {
            return Ok(());
        }
        let report = {
            let mut memory = Memory::load(&self.env, &self.memory)?;
            let options = Options {
                expected,
                max_age: Some(self.policy.verify_age),
                bandwidth: Some(self.policy.verify_bandwidth),
                parallelism: 1,
                ..Options::new(Depth::Deep)
            };
            let run = verify::run(
                &options,
                &self.link.replica,
                &self.env,
                &mut memory,
                &|_| {},
            );
            let report = run.await;
            if let Err(error) = memory.save(&self.env, &self.memory) {
                tracing::warn!(db = %self.name, %error, "what was verified will be read again");
            }
            report?
        };
        drop(place);
        let damage: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|f| f.kind.is_damage())
            .collect();
        for finding in &damage {
            let level = finding.level.map(Level::get);
            tracing::warn!(db = %self.name, replica = self.link.replica.kind(), ?level, r#type = finding.kind.word(),
                message = %finding.what, "validation error detected");
        }
        let known: BTreeSet<Known> = damage.iter().map(|f| known_of(f)).collect();
        self.link.verified(Verified {
            at: Some(self.env.clock.now()),
            txid: report.proved.map(|point| point.txid),
            damage: damage.iter().map(|f| f.what.clone()).collect(),
            error: None,
        });
        // What is missing in a hole that is bridged is not here any more either. Whether it still is, is looked at each time.
        let newest = report.newest.map(|point| point.txid) >= expected;
        let bridged = |finding: &Finding| newest && finding.kind == Kind::Hole;
        // What answered a finding may be damaged or lost by now, too; or it is on its way, or the files that are to come again are.
        let waits = !self
            .depot
            .snapshots_for(self.shipper.index, &[])?
            .is_empty();
        if waits {
            // Whoever staged it may not have lived to tell.
            self.link.kick.notify_one();
        }
        let coming = waits || damage.iter().any(|f| f.kind == Kind::WentBack);
        let stands = newest || coming;
        let is_answered = |finding: &Finding| stands && answered.once.contains(&known_of(finding));
        let new: Vec<&Finding> = damage
            .into_iter()
            .filter(|f| !is_answered(f) && !bridged(f))
            .collect();
        let healed = self.heal(&new, &answered.sent).await;
        // What is gone may come back and is news then; what could not be healed is tried again.
        answered.once.retain(|k| known.contains(k));
        answered.sent = healed?;
        // Whether what went back comes again, and what was sent stays whole, shows the next time.
        let lasts = |k: &Known| k.2 != Kind::WentBack.word() && !answered.sent.contains(k);
        answered
            .once
            .extend(new.into_iter().map(known_of).filter(lasts));
        Ok(())
    }

    /// Answers findings; gives those whose file was sent anew. What was `sent` for the same reason the last time did not help.
    async fn heal(&self, findings: &[&Finding], sent: &BTreeSet<Known>) -> Result<BTreeSet<Known>> {
        let (mut bridge, mut doubt) = (false, false);
        let mut now_sent = BTreeSet::new();
        for finding in findings {
            match (finding.kind, finding.level, finding.file) {
                (Kind::WentBack, ..) => doubt = true,
                (Kind::Damaged | Kind::Unreadable, Some(level), Some(name))
                    if self.send_again(level, name).await? =>
                {
                    let known = known_of(finding);
                    bridge |= sent.contains(&known);
                    now_sent.insert(known);
                }
                _ => bridge = true,
            }
        }
        if doubt {
            // What is known of the replica is wrong: it is looked at anew, and what is missing is sent.
            self.link.doubt();
            self.link.kick.notify_one();
        }
        if bridge {
            tracing::info!(db = %self.name, "taking a snapshot that stands in for what is damaged or missing in the replica");
            let name = self.worker.snapshot().await?.what;
            self.depot.snapshot_staged(name);
            self.link.kick.notify_one();
        }
        Ok(now_sent)
    }

    /// Sends a file anew in the place of its damaged copy, if it is still here.
    async fn send_again(&self, level: Level, name: FileName) -> Result<bool> {
        if ![Level::L0, MERGED, Level::SNAPSHOT].contains(&level) {
            return Ok(false);
        }
        let env = self.env.clone();
        let intact = self
            .depot
            .offloaded(move |depot: &Depot| Ok(verify_file(&env, &depot.path(level, name)).is_ok()))
            .await?;
        if !intact {
            return Ok(false);
        }
        let header = self.shipper.header(level, name).await?;
        self.shipper.file(level, name, &header).await?;
        tracing::info!(db = %self.name, %level, %name, "damaged file in the replica replaced by the local one");
        Ok(true)
    }
}

fn known_of(finding: &Finding) -> Known {
    (finding.level, finding.file, finding.kind.word())
}

impl From<verify::MemoryError> for Error {
    fn from(error: verify::MemoryError) -> Error {
        Error::Verify(error.to_string())
    }
}

impl From<verify::VerifyError> for Error {
    fn from(error: verify::VerifyError) -> Error {
        match error {
            verify::VerifyError::Replica(error) => Error::Replica(error),
            other => Error::Verify(other.to_string()),
        }
    }
}
