//! The linked SQLite survives the race in which older versions lose commits (see `old-sqlite/`).

use litestream_sim::race::episode;

#[test]
fn the_linked_sqlite_loses_nothing() {
    let mut checkpoints = 0;
    for seed in 0..1_500 {
        let outcome = episode(seed);
        assert_eq!(outcome.failure, None, "seed {seed}");
        assert_eq!(outcome.commits, 60);
        checkpoints += outcome.checkpoints;
    }
    assert!(checkpoints > 20_000, "{checkpoints}");
    assert_eq!(episode(7), episode(7));
}
