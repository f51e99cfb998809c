//! Free ports on the loopback interface.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::TcpListener;

use anyhow::{Result, bail};

/// Below the ports that systems hand out to connections: nobody takes one by chance while its server is down.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;
/// So many are tried before something else must be wrong.
const TRIES: u16 = 200;

/// A port that nobody listens on. Chosen at random, so that tests side by side seldom meet.
pub(crate) fn free() -> Result<u16> {
    let start = (RandomState::new().build_hasher().finish() % u64::from(COUNT)) as u16;
    for step in 0..TRIES {
        let port = FIRST + (start + step * 7) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1")
}
