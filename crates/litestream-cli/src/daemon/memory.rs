//! Memory that is not in use is given back: when all databases have been opened, and from time to time.

use std::time::Duration;

use litestream::env::Env;

/// By the first time start-up is over, most often; by the second, however many databases there are.
const FIRST: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
const EVERY: Duration = Duration::from_mins(10);

/// Runs as long as the daemon.
pub async fn tend(env: Env) {
    let mut pauses = FIRST.into_iter();
    loop {
        let pause = pauses.next().unwrap_or(EVERY);
        env.clock.sleep_async(pause).await;
        // It fails only if the daemon is ending.
        let _ = env
            .spawn
            .offloaded(litestream::sqlite::give_back_memory)
            .await;
    }
}
