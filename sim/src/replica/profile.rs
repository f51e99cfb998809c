//! What a kind of storage may do to its users, and how often it does.
//!
//! Promise: a [`Profile`] permits only what a backend that keeps the contract of
//! [`Replica`](litestream_replica::Replica) can let through, so whatever breaks above it is a fault of those above.
//! What the contract forbids (a body cut short that passes for whole, a failed write visible in part) cannot be asked for.

use litestream_replica::ErrorKind;

use crate::sched::{self, Nanos};

const MILLI: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MILLI;

/// What a kind of storage may do. Nothing here happens unless [`Faults`] gives it a rate, except latency and the times of files.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The shortest and the longest time that a call takes without a fault.
    pub latency: (Nanos, Nanos),
    /// And how much longer for every KiB that is carried.
    pub nanos_per_kib: Nanos,
    /// How long a call takes that times out.
    pub timeout: Nanos,
    /// Timeouts, throttling, broken services and connections happen.
    pub transient: bool,
    /// Credentials expire, quotas fill.
    pub refusals: bool,
    /// What was sent takes effect although the caller was killed or gave up waiting.
    pub outlives_caller: bool,
    /// How long after its answer a change may still take effect; zero for never. After a failed answer a late write or delete may
    /// change what was written later under the same name.
    pub late_max: Nanos,
    /// A write that succeeded may take effect once more later, as when a client tried again inside.
    pub repeats: bool,
    /// A delete of several files may take some and fail.
    pub partial_deletes: bool,
    /// A delete that is reported done may come late or never.
    pub loose_deletes: bool,
    /// How old a listing may be, file by file; zero for never.
    pub stale_max: Nanos,
    /// Listings come in pages of at most this many, with time passing in between; zero for whole.
    pub page_max: u64,
    /// Files at the border of two pages may be listed twice.
    pub page_duplicates: bool,
    /// A byte of what is read may be another one: checksums are there to notice.
    pub flips: bool,
    /// All files of a level, or all files, may be gone at once, as by a lifecycle rule.
    pub vanishing: bool,
    /// Listings without `exact_times` give the time in the header, not the storage's own.
    pub keeps_times: bool,
    /// By how many milliseconds the storage's own clock may be wrong, either way.
    pub skew_max_ms: u64,
}

impl Profile {
    /// A local disk: what it says is so, and what it does is done when it says so.
    pub fn strict() -> Profile {
        Profile {
            latency: (MILLI / 20, 2 * MILLI),
            nanos_per_kib: 2_000,
            timeout: 30 * SECOND,
            transient: false,
            refusals: true,
            outlives_caller: false,
            late_max: 0,
            repeats: false,
            partial_deletes: true,
            loose_deletes: false,
            stale_max: 0,
            page_max: 0,
            page_duplicates: false,
            flips: true,
            vanishing: true,
            keeps_times: true,
            skew_max_ms: 0,
        }
    }

    /// S3 as it is now: what is answered is so everywhere at once; what is not answered may have happened, or may yet.
    pub fn object_store() -> Profile {
        Profile {
            latency: (5 * MILLI, 120 * MILLI),
            nanos_per_kib: 10_000,
            transient: true,
            outlives_caller: true,
            late_max: 90 * SECOND,
            repeats: true,
            page_max: 7,
            page_duplicates: true,
            keeps_times: false,
            skew_max_ms: 2_000,
            ..Profile::strict()
        }
    }

    /// Storage that converges: listings lag behind, deletes too, some never happen, and its clock is wrong.
    pub fn eventual() -> Profile {
        Profile {
            loose_deletes: true,
            stale_max: 4 * SECOND,
            skew_max_ms: 60_000,
            ..Profile::object_store()
        }
    }

    /// One of the three.
    pub fn random() -> Profile {
        match sched::below(3) {
            0 => Profile::strict(),
            1 => Profile::object_store(),
            _ => Profile::eventual(),
        }
    }
}

/// How often things go wrong, in calls per thousand. What the profile does not permit does not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// No answer for [`Profile::timeout`].
    pub timeout: u32,
    /// 429 and its kin.
    pub throttled: u32,
    /// 500 and 503.
    pub unavailable: u32,
    /// The connection breaks; also in the middle of a body.
    pub reset: u32,
    /// The credentials expired.
    pub forbidden: u32,
    /// The quota is full. Writes only.
    pub no_space: u32,
    /// Takes up to half the timeout.
    pub slow: u32,
    /// Of the failed writes and deletes that take effect all the same, those that do so after their answer.
    pub late: u32,
    /// A write takes effect again later.
    pub repeated: u32,
    /// A delete takes only some of the files.
    pub partial_delete: u32,
    /// A delete is reported done and is not: later, or never.
    pub loose_delete: u32,
    /// A listing is old.
    pub stale_list: u32,
    /// A listing shows files at the borders of pages twice.
    pub duplicate_list: u32,
    /// One bit of what is read is wrong.
    pub flip: u32,
    /// The files of a level, or all, are gone.
    pub vanish: u32,
}

impl Faults {
    /// All goes well.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// What may be survived without losing anything, each on or off and more or less often: no flipped bits and
    /// nothing that vanishes.
    pub fn random() -> Faults {
        let rate = || {
            if sched::chance(500) {
                1 + sched::below(60) as u32
            } else {
                0
            }
        };
        Faults {
            timeout: rate(),
            throttled: rate(),
            unavailable: rate(),
            reset: rate(),
            forbidden: rate() / 8,
            no_space: rate() / 8,
            slow: rate(),
            late: rate() * 10,
            repeated: rate(),
            partial_delete: rate(),
            loose_delete: rate(),
            stale_list: rate() * 4,
            duplicate_list: rate() * 4,
            flip: 0,
            vanish: 0,
        }
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// No answer in time.
    Timeout,
    /// Asked to come back later.
    Throttled,
    /// The service is broken.
    Unavailable,
    /// The connection broke.
    Reset,
    /// The credentials are not, or no longer, good.
    Forbidden,
    /// The storage is full.
    NoSpace,
}

impl Failure {
    /// All of them, for enumeration.
    pub const ALL: [Failure; 6] = [
        Failure::Timeout,
        Failure::Throttled,
        Failure::Unavailable,
        Failure::Reset,
        Failure::Forbidden,
        Failure::NoSpace,
    ];

    /// What a backend reports.
    pub fn kind(self) -> ErrorKind {
        match self {
            Failure::Timeout | Failure::Unavailable | Failure::Reset => ErrorKind::Unreachable,
            Failure::Throttled => ErrorKind::Throttled,
            Failure::Forbidden => ErrorKind::Forbidden,
            Failure::NoSpace => ErrorKind::NoSpace,
        }
    }

    /// Whether the call may have been carried out all the same.
    pub fn is_ambiguous(self) -> bool {
        matches!(
            self,
            Failure::Timeout | Failure::Unavailable | Failure::Reset
        )
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Failure::Timeout => "simulated: timed out",
            Failure::Throttled => "simulated: 429 slow down",
            Failure::Unavailable => "simulated: 503 service unavailable",
            Failure::Reset => "simulated: connection reset by peer",
            Failure::Forbidden => "simulated: 403 credentials expired",
            Failure::NoSpace => "simulated: quota exceeded",
        }
    }
}
