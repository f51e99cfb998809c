//! SQLite 3.50.2 must be caught losing acknowledged commits, soon, and the same way again from the seed.

use std::time::{Duration, Instant};

use old_sqlite::race::episode;

#[test]
fn sqlite_3_50_2_is_caught_and_the_loss_can_be_replayed() {
    assert_eq!(rusqlite::version(), "3.50.2");
    let start = Instant::now();
    let mut commits = 0;
    for seed in 0.. {
        let outcome = episode(seed);
        commits += outcome.commits;
        let Some(failure) = &outcome.failure else {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{seed} episodes with {commits} commits, and nothing was found in a minute"
            );
            continue;
        };
        let seconds = start.elapsed().as_secs_f64();
        println!("seed {seed} after {seconds:.1} s and {commits} commits: {failure}");
        assert!(failure.contains("lost") || failure.contains("malformed"));
        for _ in 0..3 {
            assert_eq!(episode(seed), outcome);
        }
        return;
    }
}
