//! Followers under kills and power cuts (see `litestream_sim::follow`).

use litestream_sim::follow::episode;

const EPISODES: u64 = 400;

#[test]
fn r32_followers_survive_kills_and_power_cuts_at_any_step() {
    let (mut kills, mut hot, mut reads) = (0, 0, 0);
    for seed in 0..EPISODES {
        let outcome = episode(seed);
        assert_eq!(outcome.failure, None, "seed {seed}");
        kills += outcome.kills;
        hot += outcome.hot;
        reads += outcome.reads;
    }
    println!("{kills} kills, {hot} with a journal left, {reads} reads");
    assert!(
        hot > 100 && reads > 1000,
        "{kills} kills, {hot} hot, {reads} reads"
    );
    assert_eq!(episode(7), episode(7));
}
