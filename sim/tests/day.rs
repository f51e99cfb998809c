//! What the default policy asks of a storage in an hour of one commit per second: each figure bounded.

use litestream_sim::day::Day;

#[test]
fn an_hour_costs_what_it_should() {
    let hour = Day { rate: 1, hours: 1 };
    let figures = hour.run().expect("an hour");
    assert_eq!(figures.restored, Some(true));
    assert_eq!(figures.commits, 3600);
    let (work, idle) = (&figures.work, &figures.idle);
    // One file of level 0 a second; a level now and then; no snapshot beside the first file.
    assert!(work.put[0] <= 3602, "{}", work.put[0]);
    // One at the start, and what the jitter of the slots brings.
    assert!(work.put[1] <= 124 && work.put[2] <= 14 && work.put[3] <= 2);
    assert_eq!(work.put[4..], [0; 6]);
    assert_eq!(work.list, 10, "each level once, at the start");
    assert_eq!(work.get, 0);
    assert_eq!(idle.all(), 0);
    // Level 0 is kept for five minutes; before, its first file kept all of it.
    assert!(figures.objects[0][0] <= 360, "{:?}", figures.objects);
    assert!(figures.objects[1][0] <= 60, "{:?}", figures.objects);
    for level in 1..=3 {
        assert!(
            work.put_bytes[level] <= work.put_bytes[0],
            "level {level}: {:?}",
            work.put_bytes
        );
    }
}
