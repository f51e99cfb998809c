//! Restores in an episode, by the product's own restore.

use std::path::PathBuf;
use std::sync::Arc;

use litestream::restore::{self, IntegrityCheck, Request, Target};
use litestream_replica::env::{Env, UnixMillis};
use litestream_replica::memory::Memory;
use litestream_replica::{Replica as _, SharedReplica, Source};
use ltx::FileName;

use crate::chain::Stored;
use crate::sched;
use crate::world::RESTORES;

/// The newest state; the file that was made is removed again.
pub fn latest(env: &Env, replica: SharedReplica, number: u64) -> Result<Vec<u8>, String> {
    target(env, replica, Target::Latest, number)
}

/// A state of the replica.
pub fn target(
    env: &Env,
    replica: SharedReplica,
    target: Target,
    number: u64,
) -> Result<Vec<u8>, String> {
    let output = PathBuf::from(format!("{RESTORES}/{number:016x}.db"));
    let request = Request {
        output: output.clone(),
        target,
        parallelism: 1,
        force: false,
        integrity_check: IntegrityCheck::None,
        vfs: Some("sim".to_owned()),
    };
    sched::block_on(restore::run(&request, replica, env, &|_| {})).map_err(|e| e.to_string())?;
    let read = || {
        let file = env.disk.open(&output)?;
        let mut bytes = vec![0; file.metadata()?.len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        env.disk.remove(&output)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read().map_err(|e| e.to_string())
}

/// A replica that holds these files and never fails.
pub fn frozen(env: &Env, stored: &Stored) -> SharedReplica {
    let memory = Memory::new(Arc::clone(&env.disk));
    for (&(level, min, max), bytes) in stored {
        let created = ltx::Header::decode(bytes).map_or(0, |h| h.timestamp_ms);
        let write = memory.write(
            level,
            FileName { min, max },
            Source::Bytes(bytes.clone()),
            UnixMillis(created),
        );
        // Bytes in memory can't fail to be kept.
        let _ = sched::block_on(write);
    }
    Arc::new(memory)
}
