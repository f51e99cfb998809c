//! The simulator's scheduler, disk and VFS, compiled against an old SQLite.

#[path = "../../src/disk/mod.rs"]
pub mod disk;
#[path = "../../src/race.rs"]
pub mod race;
#[path = "../../src/sched/mod.rs"]
pub mod sched;
#[path = "../../src/vfs/mod.rs"]
pub mod vfs;
