//! The memory behind a `-shm` file, which SQLite reads and writes through pointers.
//!
//! Promise: a region never moves and lives as long as anybody has the file open.

use std::cell::{RefCell, UnsafeCell};
use std::ffi::c_void;

use crate::disk::FileHandle;

/// What SQLite asks for each time; a multiple of a memory page.
pub const REGION: usize = 32 << 10;
type Region = Box<[UnsafeCell<u64>]>;

/// The memory of one `-shm` file; all processes that have it mapped see the same.
pub struct Regions {
    file: FileHandle,
    regions: RefCell<Vec<Region>>,
}

/// Where a region begins; it never moves.
fn start(region: &Region) -> *mut u8 {
    UnsafeCell::raw_get(region.as_ptr()).cast()
}

impl Regions {
    pub fn new(file: FileHandle) -> Regions {
        Regions {
            file,
            regions: RefCell::default(),
        }
    }

    pub fn count(&self) -> usize {
        self.regions.borrow().len()
    }

    pub fn grow(&self, count: usize) {
        let mut regions = self.regions.borrow_mut();
        while regions.len() < count {
            regions.push((0..REGION / 8).map(|_| UnsafeCell::new(0)).collect());
        }
    }

    pub fn pointer(&self, index: usize) -> *mut c_void {
        let regions = self.regions.borrow();
        regions
            .get(index)
            .map_or(std::ptr::null_mut(), |region| start(region).cast())
    }

    /// The bytes of the first region; none if there is none.
    pub fn head(&self) -> Vec<u8> {
        self.copy(1)
    }

    /// All bytes.
    pub fn save(&self) -> Vec<u8> {
        self.copy(usize::MAX)
    }

    fn copy(&self, most: usize) -> Vec<u8> {
        let regions = self.regions.borrow();
        let mut bytes = Vec::with_capacity(regions.len().min(most) * REGION);
        for region in regions.iter().take(most) {
            let from = start(region);
            // SAFETY: the region is REGION bytes long and lives in its box; SQLite writes it only while it runs, and
            // now this code runs on the one thread of the episode. Any bytes are valid.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from, REGION) });
        }
        bytes
    }

    /// Puts back what [`Regions::save`] gave.
    pub fn restore(&self, bytes: &[u8]) {
        let regions = self.regions.borrow();
        for (region, bytes) in regions.iter().zip(bytes.chunks_exact(REGION)) {
            let to = start(region);
            // SAFETY: as above; both sides are REGION bytes long and don't overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, REGION) };
        }
    }

    /// Writes the memory into the file.
    pub fn flush(&self) {
        let bytes = self.save();
        if !bytes.is_empty() {
            self.file.overlay(&bytes);
        }
    }
}
