//! Names in, plans or explanations out.

use litestream_replica::v3::snapshot_path;
use proptest::prelude::*;

use super::*;

const A: Generation = Generation(0xaaaa);
const B: Generation = Generation(0xbbbb);

fn object(path: String, created: i64) -> Object {
    Object {
        path,
        size: 10,
        created: UnixMillis(created),
    }
}

fn snapshot(of: Generation, index: u64, created: i64) -> Object {
    object(snapshot_path(of, index), created)
}

fn wal(of: Generation, index: u64, offset: u64, created: i64) -> Object {
    object(wal_path(of, Position { index, offset }), created)
}

fn plan_of(objects: &[Object], until: Option<i64>) -> Result<Option<V3Plan>, V3Error> {
    Catalogue::new(objects.to_vec(), until.map(UnixMillis)).plan()
}

fn starts(plan: &V3Plan) -> Vec<(u64, u64)> {
    let starts = plan
        .segments
        .iter()
        .map(|s| (s.start.index, s.start.offset));
    starts.collect()
}

fn two_generations() -> Vec<Object> {
    vec![
        wal(B, 1, 0, 70),
        wal(A, 0, 0, 11),
        snapshot(A, 0, 10),
        wal(A, 0, 500, 12),
        snapshot(A, 1, 20),
        wal(A, 1, 0, 21),
        wal(A, 2, 0, 31),
        snapshot(B, 0, 50),
        wal(B, 0, 300, 61),
        wal(B, 0, 0, 60),
    ]
}

#[test]
fn the_newest_snapshot_and_all_wal_since() {
    let plan = plan_of(&two_generations(), None).unwrap().unwrap();
    assert_eq!((plan.generation, plan.index), (B, 0));
    assert_eq!(starts(&plan), [(0, 0), (0, 300), (1, 0)]);
    assert_eq!((plan.bytes(), plan.newest()), (40, UnixMillis(70)));
    assert_eq!(
        plan.last(),
        Position {
            index: 1,
            offset: 0
        }
    );
    assert_eq!(plan.newer_elsewhere, None);
}

#[test]
fn a_time_takes_snapshots_before_it_and_wal_up_to_it() {
    for (until, generation, index, expected) in [
        (11, A, 0, &[(0, 0)][..]),
        (12, A, 0, &[(0, 0), (0, 500)]),
        (20, A, 0, &[(0, 0), (0, 500)]),
        (21, A, 1, &[(1, 0)]),
        (50, A, 1, &[(1, 0), (2, 0)]),
        (51, B, 0, &[]),
        (60, B, 0, &[(0, 0)]),
        (1000, B, 0, &[(0, 0), (0, 300), (1, 0)]),
    ] {
        let plan = plan_of(&two_generations(), Some(until)).unwrap().unwrap();
        assert_eq!(
            (plan.generation, plan.index),
            (generation, index),
            "{until}"
        );
        assert_eq!(starts(&plan), expected, "{until}");
    }
    assert!(plan_of(&two_generations(), Some(10)).unwrap().is_none());
    assert!(plan_of(&[], None).unwrap().is_none());
}

#[test]
fn r18_a_snapshot_alone_is_a_backup() {
    let plan = plan_of(&[snapshot(A, 3, 5)], None).unwrap().unwrap();
    assert_eq!((plan.objects().count(), plan.newest()), (1, UnixMillis(5)));
}

#[test]
fn r14_a_missing_index_names_what_can_be_restored() {
    let mut objects = two_generations();
    objects.retain(|o| !o.path.contains("00000001.snapshot"));
    objects.retain(|o| !o.path.contains("bbbb") && o.created.0 != 21);
    let error = plan_of(&objects, None).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot restore the 0.3 backup: generations/000000000000aaaa/wal/00000001_00000000.wal.lz4 is missing, or younger than the time asked for, although generations/000000000000aaaa/wal/00000002_00000000.wal.lz4 exists; the last point that can be restored is the end of generations/000000000000aaaa/wal/00000000_000001f4.wal.lz4 of 1970-01-01T00:00:00.012Z: restore it with -timestamp 1970-01-01T00:00:00.012Z"
    );
    assert_eq!(
        starts(&plan_of(&objects, Some(12)).unwrap().unwrap()),
        [(0, 0), (0, 500)]
    );
}

#[test]
fn a_wal_begins_at_its_beginning() {
    for missing in [wal(A, 0, 0, 11), wal(A, 1, 0, 21)] {
        let all = [
            snapshot(A, 0, 10),
            wal(A, 0, 0, 11),
            wal(A, 0, 900, 12),
            wal(A, 1, 0, 21),
            wal(A, 1, 400, 22),
        ];
        let left: Vec<Object> = all.into_iter().filter(|o| *o != missing).collect();
        let error = plan_of(&left, None).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{} is missing", missing.path)),
            "{error}"
        );
    }
    // WAL from before the snapshot is none of its business.
    let objects = [snapshot(A, 5, 10), wal(A, 3, 77, 2), wal(A, 5, 0, 11)];
    assert_eq!(starts(&plan_of(&objects, None).unwrap().unwrap()), [(5, 0)]);
}

#[test]
fn r12_offsets_beyond_4_gib_are_in_order() {
    let far = 0x1_0000_1000;
    let objects = [
        snapshot(A, 0, 1),
        wal(A, 0, far, 4),
        wal(A, 0, 0, 2),
        wal(A, 0, 0xffff_f000, 3),
    ];
    assert!(objects[1].path.ends_with("00000000_100001000.wal.lz4"));
    let plan = plan_of(&objects, None).unwrap().unwrap();
    assert_eq!(starts(&plan), [(0, 0), (0, 0xffff_f000), (0, far)]);
}

#[test]
fn r12_an_unreadable_name_is_explained_where_it_may_matter() {
    let strange = |of: Generation, created| {
        object(
            format!("generations/{of}/wal/00000000_0000.wal.lz4"),
            created,
        )
    };
    let mut objects = two_generations();
    objects.push(strange(B, 1));
    let error = plan_of(&objects, None).unwrap_err().to_string();
    assert!(error.contains("wal/00000000_0000.wal.lz4"), "{error}");
    // Too young for the time asked for; or of an older generation.
    assert!(plan_of(&objects, Some(0)).unwrap().is_none());
    let mut objects = two_generations();
    objects.push(strange(A, 12));
    assert!(plan_of(&objects, None).unwrap().is_some());
    objects.push(object("generations/notes.txt".to_owned(), 99));
    objects.push(object(
        format!(
            "{}.tmp",
            wal_path(
                B,
                Position {
                    index: 1,
                    offset: 9
                }
            )
        ),
        99,
    ));
    assert!(plan_of(&objects, None).unwrap().is_some());
}

#[test]
fn wal_without_any_snapshot_is_damage_and_not_absence() {
    let objects = [wal(A, 0, 0, 5)];
    assert!(matches!(
        plan_of(&objects, None),
        Err(V3Error::NoSnapshot { .. })
    ));
    assert!(plan_of(&objects, Some(9)).unwrap().is_none());
}

#[test]
fn r16_newer_wal_of_an_older_snapshot_is_told() {
    let objects = [
        snapshot(A, 0, 1),
        wal(A, 0, 0, 9),
        snapshot(B, 0, 2),
        wal(B, 0, 0, 3),
    ];
    let plan = plan_of(&objects, None).unwrap().unwrap();
    assert_eq!((plan.generation, plan.newer_elsewhere), (B, Some(A)));
}

#[test]
fn a_plan_is_confirmed_by_what_only_adds_to_it() {
    let plan = |objects: &[Object]| plan_of(objects, None).unwrap().unwrap();
    let mut objects = vec![snapshot(A, 0, 1), wal(A, 0, 0, 2)];
    let first = plan(&objects);
    objects.push(wal(A, 1, 0, 4));
    let second = plan(&objects);
    objects.push(wal(A, 0, 70, 3));
    let third = plan(&objects);
    assert!(confirmed(&first, &second) && confirmed(&first, &third) && confirmed(&first, &first));
    assert!(!confirmed(&second, &third) && !confirmed(&second, &first));
}

proptest! {
    #[test]
    fn r15_r17_r20_any_set_in_any_order_gives_a_whole_plan_or_an_error(
        objects in prop::collection::vec((0..3_u64, 0..2, prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::from(u32::MAX))], prop_oneof![0..4_u64, Just(u64::MAX)], 0..9_i64), 0..20),
        until in prop::option::of(-1..10_i64),
    ) {
        let made = |&(generation, kind, index, offset, created): &(u64, i32, u64, u64, i64)| match kind {
            0 => snapshot(Generation(generation), index, created),
            _ => wal(Generation(generation), index, offset, created),
        };
        let mut all: Vec<Object> = objects.iter().map(made).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all.dedup_by(|a, b| a.path == b.path);
        let result = plan_of(&all, until);
        all.reverse();
        let reversed = plan_of(&all, until);
        prop_assert_eq!(format!("{result:?}"), format!("{reversed:?}"));
        if let Ok(Some(plan)) = result {
            let mut at = (plan.index, None);
            for (index, offset) in starts(&plan) {
                match at {
                    (i, None) => prop_assert!(index == i && offset == 0),
                    (i, Some(o)) if i == index => prop_assert!(offset > o),
                    (i, Some(_)) => prop_assert!(index == i + 1 && offset == 0),
                }
                at = (index, Some(offset));
            }
        }
    }
}
