//! Memory that is not in use, given back to the system: what opening a thousand databases took is not needed afterwards.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use super::shm::{REGION_SIZE, WORDS};

/// Gives back what the allocator keeps of memory that SQLite and everybody else have freed. May take some milliseconds.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only looks at the allocator's own free lists, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes a WAL-index out of this process's resident memory until it is looked at again. It stays in the page cache, which all
/// processes share, and loses nothing.
pub(super) fn let_go(index: NonNull<[AtomicU32; WORDS]>) {
    #[cfg(not(target_os = "linux"))]
    let _ = index;
    #[cfg(target_os = "linux")]
    // SAFETY: the mapping of a file, made by SQLite's "unix" VFS as shared and as long as this; the range stays mapped.
    // What does not begin at a page is refused.
    let _ = unsafe {
        rustix::mm::madvise(
            index.as_ptr().cast(),
            REGION_SIZE as usize,
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
}
