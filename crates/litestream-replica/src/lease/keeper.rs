//! Who may write, decided from what was seen and when: no requests, no clock, no waiting.
//!
//! Promise: from the moment that [`Keeper::holds`] says yes to one, it says no to all others, however their wall clocks go, as long as the
//! storage keeps its word about conditions and time passes equally fast for everybody. One that was paused finds out by its own clock.

use std::time::Duration;

use super::record::Record;
use crate::conditional::{Outcome, Tag, When};
use crate::env::{Monotonic, UnixMillis};
use crate::settings::LEASE_TIME_MAX;

/// Of a time to live, the last part in which the holder begins nothing any more: what it has begun has so long to end.
const STILL_PART: u32 = 5;
/// Who wrote no time to live is given at least this.
const TTL_USUAL: Duration = Duration::from_secs(30);

/// What to ask of the storage next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put this on this condition.
    Put(Record, When),
    /// Somebody else has it.
    Held(Record),
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Keeper {
    owner: String,
    token: String,
    ttl: Duration,
    mine: Option<Mine>,
    seen: Option<Seen>,
    /// One more each time that the lease was got, not only renewed.
    epoch: u64,
}

#[derive(Debug)]
struct Mine {
    tag: Tag,
    generation: u64,
    /// When others may have it.
    until: Monotonic,
}

/// Another's record, and since when it stands there unchanged.
#[derive(Debug)]
struct Seen {
    tag: Tag,
    since: Monotonic,
    ttl: Duration,
}

impl Keeper {
    pub fn new(owner: String, token: String, ttl: Duration) -> Keeper {
        Keeper {
            owner,
            token,
            ttl,
            mine: None,
            seen: None,
            epoch: 0,
        }
    }

    /// Which holding this is, if one may begin to write now.
    pub fn holds(&self, now: Monotonic) -> Option<u64> {
        let left = self.mine.as_ref()?.until.since(now);
        (left > self.ttl / STILL_PART).then_some(self.epoch)
    }

    /// How long what is begun now may take before it must have ended or be dropped: what is under way then has the rest to arrive.
    pub fn usable(&self, now: Monotonic) -> Duration {
        let left = self.mine.as_ref().map(|mine| mine.until.since(now));
        left.unwrap_or_default()
            .saturating_sub(self.ttl / STILL_PART)
    }

    /// Whether that is a record of this process.
    pub fn wrote(&self, record: &Record) -> bool {
        record.token == self.token && !self.token.is_empty()
    }

    /// How to renew what one has; `None`: look first.
    pub fn renewal(&self, now: Monotonic, wall: UnixMillis) -> Option<Step> {
        let mine = self.mine.as_ref().filter(|mine| mine.until > now)?;
        let record = self.record(mine.generation, wall);
        Some(Step::Put(record, When::Same(mine.tag.clone())))
    }

    /// What to do about what was found; `asked` is when it was asked for, `answered` when the answer was there.
    pub fn found(
        &mut self,
        found: Option<(Record, Tag)>,
        asked: Monotonic,
        answered: Monotonic,
        wall: UnixMillis,
    ) -> Step {
        let Some((record, tag)) = found else {
            self.seen = None;
            return Step::Put(self.record(1, wall), When::Absent);
        };
        let is_mine = self.wrote(&record);
        let unchanged = self.seen.as_ref().filter(|seen| seen.tag == tag);
        let is_dead = unchanged.is_some_and(|seen| asked.since(seen.since) >= seen.ttl);
        if is_mine || is_dead {
            let generation = if is_mine {
                record.generation
            } else {
                record.generation.saturating_add(1)
            };
            return Step::Put(self.record(generation, wall), When::Same(tag));
        }
        if unchanged.is_none() {
            self.seen = Some(Seen {
                tag,
                // Later than it was written, in any case.
                since: answered,
                ttl: life(&record, wall),
            });
        }
        self.lost();
        Step::Held(record)
    }

    /// What became of a put that was begun at `asked`.
    pub fn put(&mut self, record: &Record, outcome: Outcome, asked: Monotonic) -> bool {
        let Outcome::Done(tag) = outcome else {
            self.lost();
            return false;
        };
        let goes_on = self
            .mine
            .as_ref()
            .is_some_and(|mine| mine.until > asked && mine.generation == record.generation);
        if !goes_on {
            self.epoch += 1;
        }
        self.seen = None;
        self.mine = Some(Mine {
            tag,
            generation: record.generation,
            until: asked + self.ttl,
        });
        true
    }

    /// It is somebody else's, or is not to be had any more.
    pub fn lost(&mut self) {
        self.mine = None;
    }

    /// What to delete to give it back.
    pub fn tag(&self) -> Option<&Tag> {
        self.mine.as_ref().map(|mine| &mine.tag)
    }

    /// Who it is for.
    #[cfg(test)]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Of what is held.
    #[cfg(test)]
    pub fn generation(&self) -> u64 {
        self.mine.as_ref().map_or(0, |mine| mine.generation)
    }

    fn record(&self, generation: u64, wall: UnixMillis) -> Record {
        let ttl_ms = self.ttl.as_millis() as u64;
        Record {
            generation,
            expires_at: Record::time(UnixMillis(wall.0.saturating_add(ttl_ms as i64))),
            owner: self.owner.clone(),
            ttl_ms: Some(ttl_ms),
            token: self.token.clone(),
        }
    }
}

/// How long a record holds from when it was written.
fn life(record: &Record, wall: UnixMillis) -> Duration {
    if let Some(ttl) = record.ttl_ms {
        return Duration::from_millis(ttl).min(LEASE_TIME_MAX);
    }
    // Only its end by another's clock is known.
    let left = record.expires_at.as_millisecond().saturating_sub(wall.0);
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    left.clamp(TTL_USUAL, LEASE_TIME_MAX)
}
