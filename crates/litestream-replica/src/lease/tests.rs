//! A thousand rounds of writers that are paused, cut off, killed and have wrong clocks: never two at once.

use super::*;
use crate::env::Monotonic;
use crate::env::real;
use crate::memory::Memory;

const TTL: Duration = Duration::from_secs(30);

/// Keeps its word about conditions.
#[derive(Default)]
struct Store {
    object: Option<(Record, Tag)>,
    versions: u64,
}

impl Store {
    fn put(&mut self, record: Record, when: &When) -> Outcome {
        let allowed = match (when, &self.object) {
            (When::Always, _) | (When::Absent, None) => true,
            (When::Same(tag), Some((_, now))) => tag == now,
            (When::Absent, Some(_)) | (When::Same(_), None) => false,
        };
        if !allowed {
            return Outcome::Refused;
        }
        self.versions += 1;
        let tag = Tag(format!("v{}", self.versions));
        self.object = Some((record, tag.clone()));
        Outcome::Done(tag)
    }
}

/// What a writer has under way.
enum Doing {
    Nothing,
    /// Asked for the object at this time; the answer is not there yet.
    Looking {
        asked: u64,
    },
    /// Is about to put, having decided at this time.
    Putting {
        asked: u64,
        record: Record,
        when: When,
    },
    /// Put, and the answer is on its way, or lost.
    Answer {
        asked: u64,
        record: Record,
        outcome: Outcome,
        lost: bool,
    },
    Found {
        asked: u64,
        found: Option<(Record, Tag)>,
    },
}

struct Writer {
    keeper: Keeper,
    doing: Doing,
    /// What its wall clock is wrong by, in milliseconds.
    skew: i64,
    /// Does nothing until then.
    paused_until: u64,
    /// Checked that it may, and begins a write at this time.
    writing: Option<(u64, u64)>,
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn at(ms: u64) -> Monotonic {
    Monotonic(Duration::from_millis(ms))
}

fn writer(number: u64, random: &mut Random) -> Writer {
    Writer {
        keeper: Keeper::new(format!("h:{number}"), format!("t{number}"), TTL),
        doing: Doing::Nothing,
        skew: random.next(7_200_000) as i64 - 3_600_000,
        paused_until: 0,
        writing: None,
    }
}

/// Something that was written.
struct Write {
    generation: u64,
    who: String,
    begin: u64,
    end: u64,
}

/// One round: who wrote when.
fn round(seed: u64) -> Vec<Write> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut store = Store::default();
    let mut writers: Vec<Writer> = (0..3).map(|n| writer(n, &mut random)).collect();
    let mut next_writer = 3;
    let mut writes = Vec::new();
    let mut now = 0;
    while now < 600_000 {
        now += 1 + random.next(400);
        let which = random.next(3) as usize;
        match random.next(400) {
            // Stopped, for longer than it holds or shorter.
            0 => writers[which].paused_until = now + random.next(70_000),
            // Killed, and another begins.
            1 => {
                writers[which] = writer(next_writer, &mut random);
                next_writer += 1;
            }
            _ => {}
        }
        let writer = &mut writers[which];
        if writer.paused_until > now {
            continue;
        }
        let wall = UnixMillis(1_700_000_000_000 + now as i64 + writer.skew);
        step(writer, now, wall, &mut store, &mut random, &mut writes);
    }
    writes
}

fn step(
    writer: &mut Writer,
    now: u64,
    wall: UnixMillis,
    store: &mut Store,
    random: &mut Random,
    writes: &mut Vec<Write>,
) {
    // A write was begun while it was allowed. It ends now, unless the time is over: then it was dropped.
    if let Some((generation, begun)) = writer.writing.take() {
        let end = begun + writer.keeper.usable(at(begun)).as_millis() as u64;
        writes.push(Write {
            generation,
            who: writer.keeper.owner().to_owned(),
            begin: begun,
            end: now.min(end),
        });
    }
    writer.doing = match std::mem::replace(&mut writer.doing, Doing::Nothing) {
        Doing::Nothing if random.next(3) == 0 => match writer.keeper.renewal(at(now), wall) {
            Some(Step::Put(record, when)) => Doing::Putting {
                asked: now,
                record,
                when,
            },
            _ => Doing::Looking { asked: now },
        },
        Doing::Looking { asked } => Doing::Found {
            asked,
            found: store.object.clone(),
        },
        Doing::Found { asked, found } => match writer.keeper.found(found, at(asked), at(now), wall)
        {
            Step::Put(record, when) => Doing::Putting {
                asked: now,
                record,
                when,
            },
            Step::Held(_) => Doing::Nothing,
        },
        // Between these two it may have been paused for long.
        Doing::Putting {
            asked,
            record,
            when,
        } => {
            let outcome = store.put(record.clone(), &when);
            Doing::Answer {
                asked,
                record,
                outcome,
                lost: random.next(20) == 0,
            }
        }
        Doing::Nothing | Doing::Answer { lost: true, .. } => Doing::Nothing,
        Doing::Answer {
            asked,
            record,
            outcome,
            lost: false,
        } => {
            writer.keeper.put(&record, outcome, at(asked));
            Doing::Nothing
        }
    };
    if writer.keeper.holds(at(now)).is_some() {
        let generation = writer.keeper.generation();
        writer.writing = Some((generation, now));
    }
}

#[test]
fn never_two_writers_at_once_in_a_thousand_rounds() {
    let (mut all, mut takeovers) = (0, 0);
    for seed in 0..1000 {
        let mut writes = round(seed);
        writes.sort_by_key(|write| write.begin);
        for pair in writes.windows(2) {
            let [before, after] = pair else { continue };
            if before.generation == after.generation {
                assert_eq!(
                    before.who, after.who,
                    "seed {seed}: one generation is one writer"
                );
                continue;
            }
            assert!(
                before.generation < after.generation,
                "seed {seed}: generation {} and then {} again",
                before.generation,
                after.generation
            );
            assert!(
                before.end <= after.begin,
                "seed {seed}: {} wrote until {}, {} from {}",
                before.who,
                before.end,
                after.who,
                after.begin
            );
            takeovers += 1;
        }
        all += writes.len();
    }
    assert!(
        all > 100_000 && takeovers > 2_000,
        "{all} writes, {takeovers} takeovers"
    );
}

#[test]
fn what_nobody_renews_is_had_by_who_waits_within_its_time() {
    let mut store = Store::default();
    let mut first = Keeper::new("h:1".into(), "a".into(), TTL);
    let wall = UnixMillis(0);
    let Step::Put(record, when) = first.found(None, at(0), at(0), wall) else {
        panic!("it is free");
    };
    let outcome = store.put(record.clone(), &when);
    assert!(first.put(&record, outcome, at(0)) && first.holds(at(1)).is_some());
    let mut second = Keeper::new("h:2".into(), "b".into(), TTL);
    let mut now = 1000;
    // Its clock is a day ahead: that says nothing.
    let wall = UnixMillis(86_400_000);
    loop {
        match second.found(store.object.clone(), at(now), at(now), wall) {
            Step::Held(record) => assert_eq!(record.owner, "h:1"),
            Step::Put(record, When::Same(_)) => {
                assert_eq!(record.generation, 2);
                break;
            }
            Step::Put(..) => panic!("not without a condition"),
        }
        now += 2000;
    }
    assert!((30_000..=33_000).contains(&now), "{now}");
    assert!(first.holds(at(now)).is_none());
}

fn file(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

async fn write(replica: &Leased, txid: u64) -> Result<FileInfo> {
    let source = Source::Bytes(Bytes::from_static(b"x"));
    replica
        .write(Level::L0, file(txid), source, UnixMillis(1))
        .await
}

async fn list(replica: &Leased) -> Result<()> {
    for level in Level::all() {
        replica.list(level, None, false).await?;
    }
    Ok(())
}

fn leased(memory: &Arc<Memory>, owner: &str, ttl_ms: u64) -> Leased {
    let inner = Arc::clone(memory) as SharedReplica;
    Leased::new(
        inner,
        owner.to_owned(),
        Duration::from_millis(ttl_ms),
        &real::env(),
    )
    .unwrap()
}

#[tokio::test]
async fn the_loser_writes_nothing_names_the_winner_and_goes_on_when_it_is_free() {
    let memory = Arc::new(Memory::new(real::env().disk));
    let (one, two) = (
        leased(&memory, "h:1", 60_000),
        leased(&memory, "h:2", 60_000),
    );
    list(&one).await.unwrap();
    write(&one, 1).await.unwrap();
    for error in [
        list(&two).await.unwrap_err(),
        write(&two, 2).await.unwrap_err(),
        two.delete(&[(Level::L0, file(1))]).await.unwrap_err(),
        two.tidy().await.unwrap_err(),
    ] {
        assert!(
            error.is_held() && error.to_string().contains("h:1"),
            "{error}"
        );
    }
    // Reading needs no lease.
    assert_eq!(two.read(Level::L0, file(1), 0, None).await.unwrap(), "x");
    one.close().await;
    let error = write(&two, 2).await.unwrap_err();
    assert!(
        error.is_held() && error.to_string().contains("looked at first"),
        "{error}"
    );
    list(&two).await.unwrap();
    write(&two, 2).await.unwrap();
    // What is left over of a writer that has ended changes nothing, and begins nothing.
    assert!(write(&one, 3).await.is_err());
    let error = list(&one).await.unwrap_err();
    assert!(error.to_string().contains("h:2"), "{error}");
    two.close().await;
    list(&one).await.unwrap();
    write(&one, 1).await.unwrap();
    let names = memory.list(Level::L0, None, false).await.unwrap();
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn it_is_renewed_as_long_as_the_writer_lives_and_taken_over_soon_after() {
    let memory = Arc::new(Memory::new(real::env().disk));
    let (one, two) = (leased(&memory, "h:1", 300), leased(&memory, "h:2", 300));
    list(&one).await.unwrap();
    let clock = real::env().clock;
    for _ in 0..6 {
        clock.sleep_async(Duration::from_millis(150)).await;
        assert!(list(&two).await.unwrap_err().is_held());
        write(&one, 1).await.unwrap();
    }
    drop(one);
    let died = clock.monotonic();
    while list(&two).await.is_err() {
        clock.sleep_async(Duration::from_millis(20)).await;
    }
    let waited = clock.monotonic().since(died);
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
    write(&two, 2).await.unwrap();
}

#[tokio::test]
async fn storage_that_ignores_conditions_is_found_out() {
    let memory = Arc::new(Memory::new(real::env().disk).ignoring_conditions());
    let one = leased(&memory, "h:1", 60_000);
    for _ in 0..2 {
        let error = list(&one).await.unwrap_err();
        assert!(
            error.to_string().contains("ignores the condition"),
            "{error}"
        );
    }
    assert!(write(&one, 1).await.is_err());
}

#[tokio::test]
async fn an_object_that_is_no_lease_is_left_alone() {
    let memory = Arc::new(Memory::new(real::env().disk));
    let store = memory.conditional().unwrap();
    store
        .put(NAME, Bytes::from_static(b"mine"), When::Always)
        .await
        .unwrap();
    let error = list(&leased(&memory, "h:1", 60_000)).await.unwrap_err();
    assert!(error.to_string().contains("not a lease"), "{error}");
    assert_eq!(store.get(NAME).await.unwrap().unwrap().0, "mine");
}
