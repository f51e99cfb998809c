use std::collections::BTreeMap;

use litestream_replica::env::real;
use ltx::{Chain, PageNo, PageSize, Txid};
use proptest::prelude::*;

use super::{Build, Entry, Ledger, Whole};

/// Pages of a model database and the seed of their content.
type Model = BTreeMap<u32, u64>;

fn page(number: u32) -> PageNo {
    PageNo::new(number).expect("not zero")
}

fn sum(number: u32, seed: u64) -> Entry {
    Entry::of(page(number), &seed.to_le_bytes())
}

fn whole(model: &Model) -> Whole {
    let mut all = Whole::default();
    for (n, seed) in model {
        all.add(sum(*n, *seed));
    }
    all
}

fn size() -> PageSize {
    PageSize::new(4096).expect("valid")
}

/// New size and pages written.
#[derive(Clone, Debug)]
struct Step {
    commit: u32,
    writes: Vec<u32>,
    seed: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0u32..1500,
        prop::collection::vec(1u32..1500, 0..40),
        any::<u64>(),
    );
    let step = step.prop_map(|(commit, writes, seed)| Step {
        commit,
        writes,
        seed,
    });
    prop::collection::vec(step, 1..8)
}

/// Makes the step in the model; the pages that its file holds.
fn make(model: &mut Model, step: &Step) -> Vec<(PageNo, Entry)> {
    let old = model.len() as u32;
    let mut pages: Vec<u32> = (old + 1..=step.commit).collect();
    pages.extend(step.writes.iter().filter(|n| **n <= step.commit));
    pages.sort_unstable();
    pages.dedup();
    model.retain(|n, _| *n <= step.commit);
    for n in &pages {
        model.insert(*n, step.seed.wrapping_add(u64::from(*n)));
    }
    pages
        .iter()
        .map(|n| (page(*n), sum(*n, model[n])))
        .collect()
}

fn apply(ledger: &mut Ledger, model: &Model, pages: &[(PageNo, Entry)], list_max: usize) {
    let (txid, commit) = (ledger.head().txid.next(), model.len() as u32);
    let mut update = ledger.update_within(list_max);
    for (page, sum) in pages {
        update.push(*page, *sum).expect("push");
    }
    assert_eq!(
        update.after(commit).expect("after"),
        whole(model).sum.value()
    );
    update.apply(txid, commit, None).expect("apply");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// After each step the ledger says what the database is, also read anew, and whether steps are remembered or written at once.
    #[test]
    fn follows_a_database_that_is_written_grows_and_shrinks(steps in steps(), list_max in prop_oneof![Just(3usize), Just(1 << 18)]) {
        let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
        let mut ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
        let mut model = Model::new();
        for step in &steps {
            let pages = make(&mut model, step);
            apply(&mut ledger, &model, &pages, list_max);
            let again = Ledger::open(&*env.disk, dir.path()).expect("open").expect("there");
            prop_assert_eq!(again.head(), ledger.head());
            prop_assert!(again.is_proved().expect("read"));
            let mut entries = again.entries();
            let mut found = Model::new();
            while let Some((page, entry)) = entries.next().expect("read") {
                prop_assert_eq!(entry, Some(sum(page.get(), model[&page.get()])));
                found.insert(page.get(), model[&page.get()]);
            }
            prop_assert_eq!(&found, &model);
        }
    }

    /// Whatever part of an update a kill let through, the file completes it.
    #[test]
    fn is_completed_from_the_file_after_a_kill(steps in steps(), done in 0usize..50) {
        let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
        let mut ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
        let mut model = Model::new();
        let first = Step { commit: 700, writes: Vec::new(), seed: 5 };
        let pages = make(&mut model, &first);
        apply(&mut ledger, &model, &pages, 1 << 18);
        let before = whole(&model).sum.value();
        let pages = make(&mut model, &steps[0]);
        for (page, sum) in pages.iter().take(done) {
            ledger.file.write_at(&sum.encode(), Ledger::offset(page.get())).expect("write");
        }
        let ledger = Ledger::open(&*env.disk, dir.path()).expect("open").expect("there");
        let mut completion = ledger.complete();
        let chain = Chain { before: Some(before), after: Some(whole(&model).sum.value()) };
        let commit = model.len() as u32;
        prop_assert!(completion.follows(Txid::new(2), commit, chain).expect("follows"));
        for (page, sum) in &pages {
            completion.page(*page, *sum).expect("write");
        }
        let ledger = completion.finish().expect("read").expect("proved");
        prop_assert_eq!(ledger.head().txid, Txid::new(2));
        prop_assert_eq!(ledger.head().whole, whole(&model));
    }

    /// Pages that are captured before or after they are scanned, and a size that changes meanwhile.
    #[test]
    fn is_built_while_the_database_is_written(steps in steps(), slice in 1u32..400) {
        let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
        let mut model = Model::new();
        make(&mut model, &Step { commit: 900, writes: Vec::new(), seed: 5 });
        let ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
        let mut build = Build::new(ledger);
        let mut steps = steps.iter();
        while build.next() <= model.len() as u32 {
            let end = (build.next() + slice - 1).min(model.len() as u32);
            let sums: Vec<_> = (build.next()..=end).map(|n| Some(sum(n, model[&n]))).collect();
            build.scanned(&sums).expect("write");
            if let Some(step) = steps.next() {
                let pages = make(&mut model, step);
                build.captured(&pages, model.len() as u32).expect("write");
            }
        }
        let ledger = build.finish(Txid::new(9), model.len() as u32, None).expect("finish");
        prop_assert_eq!(ledger.head().whole, whole(&model));
        let again = Ledger::open(&*env.disk, dir.path()).expect("open").expect("there");
        prop_assert!(again.is_proved().expect("read"));
    }
}

#[test]
fn a_single_flipped_bit_anywhere_is_noticed() {
    let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
    let mut ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
    let mut model = Model::new();
    let pages = make(
        &mut model,
        &Step {
            commit: 20,
            writes: Vec::new(),
            seed: 1,
        },
    );
    apply(&mut ledger, &model, &pages, 1 << 18);
    let path = dir.path().join(super::NAME);
    let file = env.disk.open_rw(&path).expect("open");
    let len = file.metadata().expect("stat").len;
    for at in (0..super::HEAD_BYTES as u64).chain(4096..len) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_at(&[byte[0] ^ 1 << (at % 8)], at)
            .expect("write");
        let found = Ledger::open(&*env.disk, dir.path()).expect("open");
        let trusted = found.is_some_and(|l| l.is_proved().expect("read"));
        assert!(!trusted, "byte {at}");
        file.write_at(&byte, at).expect("write");
    }
}

#[test]
fn an_update_that_was_begun_and_given_up_leaves_no_ledger() {
    let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
    let mut ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
    let mut model = Model::new();
    let pages = make(
        &mut model,
        &Step {
            commit: 20,
            writes: Vec::new(),
            seed: 1,
        },
    );
    apply(&mut ledger, &model, &pages, 1 << 18);
    let mut update = ledger.update_within(2);
    update.push(page(3), sum(3, 9)).expect("push");
    update.push(page(4), sum(4, 9)).expect("push");
    drop(update);
    assert!(matches!(
        super::State::Ready(ledger).filter_usable(),
        super::State::Lost
    ));
    assert!(
        Ledger::open(&*env.disk, dir.path())
            .expect("open")
            .is_none()
    );
}

/// The polynomial of CRC-64/ISO is x^64 + x^4 + x^3 + x + 1: these two changes cancel out.
#[test]
fn changes_that_cancel_out_in_the_checksum_are_seen() {
    let old = [7; 4096];
    let mut new = old;
    new[1000] ^= 0x10;
    new[1008] ^= 0x1B;
    let (old, new) = (Entry::of(page(5), &old), Entry::of(page(5), &new));
    assert_eq!(old.sum, new.sum, "the checksum alone does not tell");
    assert_ne!(old, new);
}

/// The same change in two pages leaves the checksum of the database as it was: a head that is newer than the entries must not be believed.
#[test]
fn the_same_change_in_two_pages_is_seen() {
    let (env, dir) = (real::env(), tempfile::tempdir().expect("folder"));
    let mut ledger = Ledger::create(&*env.disk, dir.path(), 0o600, size()).expect("create");
    let (mut old, mut new) = (Whole::default(), Whole::default());
    let mut pages = Vec::new();
    for number in 1..=2 {
        let content = [number as u8; 512];
        let mut changed = content;
        changed[100] ^= 1;
        old.add(Entry::of(page(number), &content));
        new.add(Entry::of(page(number), &changed));
        pages.push((page(number), Entry::of(page(number), &content)));
    }
    assert_eq!(old.sum, new.sum);
    let mut update = ledger.update();
    for (page, entry) in &pages {
        update.push(*page, *entry).expect("push");
    }
    update.after(2).expect("after");
    update.apply(Txid::new(1), 2, None).expect("apply");
    let head = super::Head {
        whole: new,
        txid: Txid::new(2),
        ..*ledger.head()
    };
    ledger.write_head(head).expect("write");
    let again = Ledger::open(&*env.disk, dir.path())
        .expect("open")
        .expect("there");
    assert!(!again.is_proved().expect("read"));
}
