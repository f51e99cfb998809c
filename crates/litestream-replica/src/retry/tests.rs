//! Back-off without waiting: time is a counter that sleeping advances.

use std::sync::Arc;

use ltx::Txid;
use parking_lot::Mutex;

use super::*;
use crate::env::{Monotonic, UnixMillis};
use crate::faulty::{Faulty, Op, When};
use crate::memory::Memory;
use crate::{ErrorKind, Source};

#[derive(Default)]
struct Counter(Mutex<Duration>);

#[async_trait::async_trait]
impl Clock for Counter {
    fn boot(&self) -> Option<u128> {
        None
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(0)
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(*self.0.lock())
    }
    fn sleep(&self, duration: Duration) {
        *self.0.lock() += duration;
    }
    async fn sleep_async(&self, duration: Duration) {
        self.sleep(duration);
    }
}

const NAME: FileName = FileName {
    min: Txid::new(1),
    max: Txid::new(1),
};
const FILE: Subject<'_> = Subject::Ltx(Level::L0, NAME);
const PATIENCE: Duration = Duration::from_mins(10);

async fn replica(len: usize) -> (Faulty, Bytes) {
    let bytes: Bytes = (0..len).map(|i| (i / 7 + i) as u8).collect();
    let faulty = Faulty::new(Arc::new(Memory::new(crate::env::real::env().disk)));
    faulty
        .write(Level::L0, NAME, Source::Bytes(bytes.clone()), UnixMillis(0))
        .await
        .unwrap();
    (faulty, bytes)
}

#[test]
fn waits_double_to_the_limit_and_start_over() {
    let mut backoff = Backoff::new(Duration::from_secs(1));
    let waits: Vec<u64> = (0..11).map(|_| backoff.next(0).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    backoff.reset();
    assert_eq!(backoff.next(0).as_secs(), 1);
    assert_eq!(Backoff::new(Duration::from_mins(15)).next(0).as_secs(), 900);
}

#[test]
fn jitter_shortens_by_at_most_a_quarter() {
    for rand in [0, 1, u64::MAX / 2, u64::MAX] {
        let wait = Backoff::new(Duration::from_secs(4)).next(rand);
        assert!(
            wait >= Duration::from_millis(2999) && wait <= Duration::from_secs(4),
            "{wait:?}"
        );
    }
    assert_eq!(Backoff::new(Duration::MAX).next(0), Duration::MAX);
}

#[tokio::test]
async fn reads_whole_files_and_ranges() {
    let (faulty, bytes) = replica(20 << 20).await;
    let clock = Counter::default();
    let read = async |offset, len| {
        read_all_retrying(&faulty, FILE, offset, len, &clock, PATIENCE)
            .await
            .unwrap()
    };
    assert_eq!(read(0, None).await, bytes);
    assert_eq!(read(9 << 20, None).await, bytes.slice(9 << 20..));
    assert_eq!(
        read(5, Some(10 << 20)).await,
        bytes.slice(5..(10 << 20) + 5)
    );
    assert_eq!(read(0, Some(0)).await, Bytes::new());
    assert_eq!(read(20 << 20, None).await, Bytes::new());
    assert_eq!(
        read((20 << 20) - 3, Some(100)).await,
        bytes.slice((20 << 20) - 3..)
    );
    assert_eq!(read(0, Some(8 << 20)).await, bytes.slice(..8 << 20));
}

#[tokio::test]
async fn r08_goes_on_where_it_broke_and_progress_renews_patience() {
    let (faulty, bytes) = replica(20 << 20).await;
    let clock = Counter::default();
    // Part 1, three failures, part 2, three failures, part 3: each row of failures fits, both together don't.
    for nth in [2, 3, 4, 6, 7, 8] {
        faulty.fail(Op::Read, nth, ErrorKind::Throttled, When::Before);
    }
    let read = read_all_retrying(&faulty, FILE, 0, None, &clock, Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(read, bytes);
    assert_eq!(faulty.calls(Op::Read), 9);
    assert!(clock.monotonic().0 > Duration::from_secs(2));
}

#[tokio::test]
async fn r08_patience_ends() {
    let (faulty, _) = replica(10).await;
    let clock = Counter::default();
    faulty.fail_always(Op::Read, ErrorKind::Unreachable, When::Before);
    let error = read_all_retrying(&faulty, FILE, 0, None, &clock, PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(clock.monotonic().0 <= PATIENCE);
    assert!(clock.monotonic().0 >= PATIENCE / 4);
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let (faulty, _) = replica(10).await;
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Forbidden,
        ErrorKind::Corrupt,
        ErrorKind::Interrupted,
    ] {
        faulty.fail(Op::Read, 1, kind, When::Before);
        let clock = Counter::default();
        let read = read_all_retrying(&faulty, FILE, 0, None, &clock, PATIENCE).await;
        assert_eq!(read.unwrap_err().kind(), kind);
        assert_eq!(clock.monotonic().0, Duration::ZERO);
    }
    assert_eq!(faulty.calls(Op::Read), 4);
}
