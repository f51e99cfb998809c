//! Against a model that knows all times; and how many requests it takes.

use std::sync::Arc;

use bytes::Bytes;
use ltx::{PageSize, Txid};
use proptest::prelude::*;

use super::*;
use crate::chain::listing::list_all;
use crate::chain::plan::{Target, plan};
use crate::faulty::{Faulty, Op, When};
use crate::memory::Memory;
use crate::{ErrorKind, Source};

/// A level, min and max TXID, and the time in the header.
type Made = (u8, u64, u64, i64);

/// A replica whose listings give all files the same wrong time.
async fn replica(files: &[Made]) -> Faulty {
    let memory = Memory::new(crate::env::real::env().disk);
    let shared: SharedReplica = Arc::new(memory);
    for &(level, min, max, time) in files {
        let (min, max) = (Txid::new(min), Txid::new(max));
        let size = PageSize::new(512).unwrap();
        let header = Header::new(size, 1, min, max, time);
        let source = Source::Bytes(Bytes::copy_from_slice(&header.encode()));
        let level = Level::new(level).unwrap();
        shared
            .write(level, FileName::new(min, max), source, UnixMillis(i64::MAX))
            .await
            .unwrap();
    }
    Faulty::new(shared)
}

async fn listed(replica: &Faulty) -> (SharedReplica, Vec<FileInfo>) {
    let shared: SharedReplica = Arc::new(replica.clone());
    let levels: Vec<Level> = Level::all().collect();
    let files = list_all(&shared, &levels, false).await.unwrap();
    (shared, files)
}

async fn before(replica: &Faulty, time: i64) -> Result<Plan, BeforeError> {
    let (shared, files) = listed(replica).await;
    plan_before(&shared, &files, UnixMillis(time), &mut Times::new()).await
}

/// What a planner that knows all times says.
fn model(files: &[Made], time: i64) -> Result<Plan, PlanError> {
    let infos: Vec<FileInfo> = files
        .iter()
        .map(|&(level, min, max, made)| FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size: 100,
            created: UnixMillis(made),
        })
        .collect();
    plan(&infos, Target::Before(UnixMillis(time)))
}

#[tokio::test]
async fn r02_listings_with_fresh_times_change_nothing() {
    let files = [(9, 1, 3, 35), (1, 1, 2, 20), (0, 3, 3, 30), (0, 4, 4, 40)];
    let replica = replica(&files).await;
    for time in 0..50 {
        let found = before(&replica, time).await.map_err(|e| e.to_string());
        assert_eq!(
            found,
            model(&files, time).map_err(|e| e.to_string()),
            "{time}"
        );
    }
    let end = |time| {
        let replica = &replica;
        async move { before(replica, time).await.unwrap().max_txid().get() }
    };
    assert_eq!(
        (end(30).await, end(31).await, end(40).await, end(41).await),
        (2, 3, 3, 4)
    );
}

#[tokio::test]
async fn r02_a_compacted_file_with_the_time_of_its_compaction_is_not_taken() {
    let files = [(0, 1, 1, 10), (0, 2, 2, 20), (0, 3, 3, 30), (1, 1, 2, 500)];
    let replica = replica(&files).await;
    let plan = before(&replica, 25).await.unwrap();
    assert!(plan.files.iter().all(|f| f.level == Level::L0));
    assert_eq!(
        (plan.max_txid().get(), plan.files[1].created),
        (2, UnixMillis(20))
    );
}

#[tokio::test]
async fn r03_a_hundred_thousand_files_take_few_requests() {
    let files: Vec<Made> = (1..=90_000)
        .map(|t| (0, t, t, t as i64))
        .chain((1..=9_000).map(|n| (1, 10 * n - 9, 10 * n, 10 * n as i64)))
        .chain((1..=1_000).map(|n| (9, 1, 90 * n, 90 * n as i64 + 7)))
        .collect();
    let replica = replica(&files).await;
    let clock = crate::env::real::env().clock;
    for time in [2, 1_234, 45_000, 89_999, 90_001] {
        let calls = |op| replica.calls(op);
        let (read, listed, begun) = (calls(Op::Read), calls(Op::List), clock.monotonic());
        assert_eq!(
            before(&replica, time).await.unwrap().max_txid().get() as i64,
            time - 1
        );
        let requests = calls(Op::Read) - read + calls(Op::List) - listed;
        assert!(requests <= 150, "{requests} requests");
        assert!(clock.monotonic().since(begun).as_secs() < 2);
    }
}

#[tokio::test]
async fn a_file_that_is_gone_is_told_a_damaged_header_is_not() {
    let replica = replica(&[(0, 1, 1, 10), (0, 2, 2, 20)]).await;
    replica.fail(Op::Read, 2, ErrorKind::NotFound, When::Before);
    let error = before(&replica, 15).await.unwrap_err();
    assert!(
        matches!(error, BeforeError::Read { ref source, .. } if source.is_not_found()),
        "{error}"
    );
    let (shared, _) = listed(&replica).await;
    let name = FileName::single(Txid::new(2));
    let source = Source::Bytes(Bytes::from_static(b"damaged"));
    shared
        .write(Level::L0, name, source, UnixMillis(14))
        .await
        .unwrap();
    assert_eq!(before(&replica, 15).await.unwrap().max_txid().get(), 2);
}

fn history() -> impl Strategy<Value = Vec<Made>> {
    // Level 0 from somewhere on, two levels above it from and to somewhere, snapshots that were made a little later.
    let runs = || prop::collection::vec(1..6u64, 1..12);
    let levels = (1..40u64, 0..10u64, runs(), runs(), 0..20u64);
    (
        levels,
        prop::collection::btree_set(1..40u64, 0..4),
        prop::collection::vec(1..9i64, 60),
    )
        .prop_map(|((first, some, one, two, above), snapshots, steps)| {
            let time = |txid: u64| steps.iter().take(txid as usize).sum::<i64>();
            let mut files: Vec<Made> = (first..first + some).map(|t| (0, t, t, time(t))).collect();
            for (level, runs, from) in [(1, one, above), (2, two, 0)] {
                let mut min = 1;
                for run in runs {
                    if min >= from {
                        files.push((level, min, min + run - 1, time(min + run - 1)));
                    }
                    min += run;
                }
            }
            files.extend(snapshots.into_iter().map(|t| (9, 1, t, time(t) + 3)));
            files
        })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #[test]
    fn r01_every_time_gives_what_the_model_says(files in history()) {
        block_on(async {
            let replica = replica(&files).await;
            for time in 0..300 {
                let found = before(&replica, time).await.map_err(|e| e.to_string());
                prop_assert_eq!(found, model(&files, time).map_err(|e| e.to_string()), "{}", time);
            }
            Ok(())
        })?;
    }

    #[test]
    fn where_clocks_were_set_back_no_file_is_from_later(
        mut files in history(),
        skews in prop::collection::vec((any::<prop::sample::Index>(), -40..40i64), 1..6),
        time in 0..200i64,
    ) {
        for (index, skew) in skews {
            if !files.is_empty() {
                let at = index.index(files.len());
                files[at].3 += skew;
            }
        }
        block_on(async {
            let replica = replica(&files).await;
            let first = before(&replica, time).await.map_err(|e| e.to_string());
            if let Ok(plan) = &first {
                let mut end = 0;
                for f in &plan.files {
                    prop_assert!(f.name.min.get() <= end + 1 && f.name.max.get() > end);
                    end = f.name.max.get();
                }
                for f in plan.needed() {
                    prop_assert!(f.created.0 < time);
                    let made = (f.level.get(), f.name.min.get(), f.name.max.get(), f.created.0);
                    prop_assert!(files.contains(&made), "the time is that of the header");
                }
            }
            prop_assert_eq!(first, before(&replica, time).await.map_err(|e| e.to_string()));
            Ok(())
        })?;
    }
}
