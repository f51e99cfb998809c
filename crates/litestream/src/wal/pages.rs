//! The newest version of each page in a range of frames, within a memory budget.
//!
//! Below the budget the pages themselves are kept, so that the bytes that were checksummed are the bytes that are
//! written. A transaction larger than the budget keeps only where each page lies: 8 bytes a page.

use std::collections::HashMap;

use ltx::{PageNo, PageSize};

/// Where the newest version of a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Here.
    Memory(&'a [u8]),
    /// In the frame with this 0-based index.
    Frame(u32),
}

/// Newest page versions; see the module.
pub struct PageSet {
    page_size: PageSize,
    budget_bytes: usize,
    kept: Kept,
}

enum Kept {
    /// Page number to slot; slot `i` is at `i * page_size` in the slab.
    Memory {
        slots: HashMap<PageNo, u32>,
        slab: Vec<u8>,
    },
    /// (page number, frame) in the order pushed, sorted and thinned whenever it doubled.
    Offsets {
        log: Vec<(PageNo, u32)>,
        thin_at: usize,
    },
}

/// First thinning of the offset log; later ones when it doubled since the last.
const THIN_AT_MIN: usize = 1 << 16;

impl PageSet {
    /// An empty set that keeps at most about `budget_bytes` of pages.
    pub fn new(page_size: PageSize, budget_bytes: usize) -> PageSet {
        PageSet {
            page_size,
            budget_bytes,
            kept: Kept::Memory {
                slots: HashMap::new(),
                slab: Vec::new(),
            },
        }
    }

    /// An empty set that keeps offsets only.
    pub fn offsets_only(page_size: PageSize) -> PageSet {
        PageSet {
            page_size,
            budget_bytes: 0,
            kept: Kept::Offsets {
                log: Vec::new(),
                thin_at: THIN_AT_MIN,
            },
        }
    }

    /// Whether the pages kept reach a third of the budget: the caller ends its range at the next commit.
    pub fn is_full(&self) -> bool {
        match &self.kept {
            Kept::Memory { slab, .. } => slab.len() > self.budget_bytes / 3,
            Kept::Offsets { .. } => true,
        }
    }

    /// Whether one more page may exceed the budget.
    pub fn is_exhausted(&self) -> bool {
        match &self.kept {
            Kept::Memory { slab, .. } => slab.len() + self.page_size.bytes() > self.budget_bytes,
            Kept::Offsets { .. } => false,
        }
    }

    /// Takes note of a frame. Frames must come in WAL order.
    pub fn push(&mut self, page: PageNo, frame: u32, data: &[u8]) {
        match &mut self.kept {
            Kept::Memory { slots, slab } => {
                if let Some(&slot) = slots.get(&page) {
                    let at = slot as usize * self.page_size.bytes();
                    slab[at..at + data.len()].copy_from_slice(data);
                } else {
                    slots.insert(page, (slab.len() / self.page_size.bytes()) as u32);
                    slab.extend_from_slice(data);
                }
            }
            Kept::Offsets { log, thin_at } => {
                log.push((page, frame));
                if log.len() >= *thin_at {
                    thin(log);
                    *thin_at = (log.len() * 2).max(THIN_AT_MIN);
                }
            }
        }
    }

    /// The pages up to `commit` in ascending order, each with what [`PageSet::place`] wants. Ends the collecting.
    pub fn sorted(&mut self, commit: u32) -> Vec<(PageNo, u32)> {
        let mut out: Vec<(PageNo, u32)> = match &mut self.kept {
            Kept::Memory { slots, .. } => {
                let mut all: Vec<_> = slots.iter().map(|(&p, &s)| (p, s)).collect();
                all.sort_unstable();
                all
            }
            Kept::Offsets { log, .. } => {
                thin(log);
                std::mem::take(log)
            }
        };
        out.truncate(out.partition_point(|e| e.0.get() <= commit));
        out
    }

    /// Turns an entry of [`PageSet::sorted`] into the place of its page.
    pub fn place(&self, entry: u32) -> Place<'_> {
        match &self.kept {
            Kept::Memory { slab, .. } => {
                let at = entry as usize * self.page_size.bytes();
                Place::Memory(&slab[at..at + self.page_size.bytes()])
            }
            Kept::Offsets { .. } => Place::Frame(entry),
        }
    }
}

/// Sorts by page and keeps the newest frame of each.
fn thin(log: &mut Vec<(PageNo, u32)>) {
    log.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    log.dedup_by_key(|e| e.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: u32) -> PageNo {
        PageNo::new(n).expect("not zero")
    }

    #[test]
    fn newest_version_wins_and_pages_above_the_commit_are_dropped() {
        let size = PageSize::new(512).expect("valid");
        let mut memory = PageSet::new(size, 1 << 20);
        let mut offsets = PageSet::offsets_only(size);
        for (frame, number) in [3, 1, 3, 9, 1].into_iter().enumerate() {
            let content = [frame as u8; 512];
            memory.push(page(number), frame as u32, &content);
            offsets.push(page(number), frame as u32, &content);
        }
        let sorted = memory.sorted(8);
        assert_eq!(
            sorted.iter().map(|e| e.0).collect::<Vec<_>>(),
            [page(1), page(3)]
        );
        assert_eq!(memory.place(sorted[0].1), Place::Memory(&[4; 512]));
        assert_eq!(memory.place(sorted[1].1), Place::Memory(&[2; 512]));
        assert_eq!(offsets.sorted(8), [(page(1), 4), (page(3), 2)]);
    }

    #[test]
    fn memory_stays_within_its_budget() {
        let size = PageSize::new(512).expect("valid");
        let mut set = PageSet::new(size, 9 * 512);
        for n in 1..=3 {
            assert!(!set.is_full());
            set.push(page(n), n, &[0; 512]);
        }
        set.push(page(4), 4, &[0; 512]);
        assert!(set.is_full() && !set.is_exhausted());
        for n in 5..=9 {
            set.push(page(n), n, &[0; 512]);
        }
        assert!(set.is_exhausted());
    }

    #[test]
    fn a_long_log_of_few_pages_stays_short() {
        let mut set = PageSet::offsets_only(PageSize::new(512).expect("valid"));
        for frame in 0..1_000_000 {
            set.push(page(frame % 10 + 1), frame, &[]);
        }
        let Kept::Offsets { log, .. } = &set.kept else {
            panic!("offsets")
        };
        assert!(log.capacity() <= 4 * THIN_AT_MIN, "{}", log.capacity());
        assert_eq!(set.sorted(10).len(), 10);
    }
}
