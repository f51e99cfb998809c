//! The checksums of all pages of a database, and when each of them changed.

use ltx::{Checksum, PageNo, PageSize};

use super::Sums;

/// See the module.
#[derive(Default)]
pub(super) struct State {
    page_size: Option<PageSize>,
    /// Pages of the database.
    commit: u32,
    /// XOR of the checksums of its pages.
    sum: u64,
    /// By page; zero if there is none. Those beyond the end are what a database that grows again finds there.
    sums: Vec<u64>,
    /// The point at which each changed last.
    changed: Vec<u32>,
    /// How many of the database's pages changed last at each point.
    counts: Counts,
    /// Pages of the database that have a checksum.
    present: u32,
}

/// How a file differs from what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The size of the database or of its pages.
    Size,
    /// This page, and maybe more.
    Page(u32),
}

/// What a file would make of the database.
pub(super) struct After {
    pub sum: u64,
    present: u32,
}

impl State {
    pub fn page_size(&self) -> Option<PageSize> {
        self.page_size
    }

    /// Checksum of the database.
    pub fn sum(&self) -> u64 {
        self.sum | Checksum::FLAG
    }

    fn get(&self, page: u32) -> u64 {
        self.sums.get(page as usize - 1).copied().unwrap_or(0)
    }

    /// What the file would make of it.
    pub fn after(&self, file: &Sums) -> After {
        let commit = file.header.commit;
        let (mut sum, mut present) = (0, 0);
        if !file.header.is_snapshot() {
            (sum, present) = (self.sum, self.present);
            for page in commit + 1..=self.commit {
                let old = self.get(page);
                sum ^= old;
                present -= u32::from(old != 0);
            }
            for page in self.commit + 1..=commit.min(self.sums.len() as u32) {
                let old = self.get(page);
                sum ^= old;
                present += u32::from(old != 0);
            }
        }
        for (page, new) in file.pages.iter().zip(&file.checksums) {
            let old = if file.header.is_snapshot() {
                0
            } else {
                self.get(*page)
            };
            sum ^= old ^ new;
            present += u32::from(old == 0);
        }
        After {
            sum: sum | Checksum::FLAG,
            present,
        }
    }

    /// The first page that would be in no file, and how many there are.
    pub fn missing(&self, file: &Sums, after: &After) -> Option<(PageNo, u32)> {
        let commit = file.header.commit;
        let lock_page = file.header.page_size.lock_page().get();
        let wanted = commit - u32::from(commit >= lock_page);
        if after.present >= wanted {
            return None;
        }
        let mut held = file.pages.iter().copied().peekable();
        let first = (1..=commit).find(|&page| {
            let in_file = held.next_if_eq(&page).is_some();
            let here = !file.header.is_snapshot() && self.get(page) != 0;
            !in_file && !here && page != lock_page
        });
        Some((PageNo::new(first?)?, wanted - after.present))
    }

    /// Applies a file. `node` is the number of the point that it leads to.
    pub fn apply(&mut self, file: &Sums, node: u32) {
        let commit = file.header.commit;
        if self.page_size != Some(file.header.page_size) {
            *self = State::default();
        }
        self.page_size = Some(file.header.page_size);
        let held = self.sums.len() as u32;
        for page in commit + 1..=self.commit {
            self.leave(page);
        }
        for page in self.commit + 1..=commit.min(held) {
            self.enter(page);
        }
        self.commit = commit;
        if held < commit {
            self.sums.resize(commit as usize, 0);
            self.changed.resize(commit as usize, 0);
        }
        for (page, new) in file.pages.iter().zip(&file.checksums) {
            let at = *page as usize - 1;
            if self.sums[at] != *new {
                self.leave(*page);
                self.sums[at] = *new;
                self.changed[at] = node;
                self.enter(*page);
            }
        }
        if file.header.is_snapshot() {
            // Nothing of what was before it can come back.
            self.sums.truncate(commit as usize);
            self.changed.truncate(commit as usize);
        }
    }

    /// A page is no longer part of the database.
    fn leave(&mut self, page: u32) {
        let (sum, at) = (self.get(page), page as usize - 1);
        if sum != 0 {
            self.sum ^= sum;
            self.present -= 1;
            self.counts.add(self.changed[at], u32::MAX);
        }
    }

    /// A page is part of the database from now on.
    fn enter(&mut self, page: u32) {
        let (sum, at) = (self.get(page), page as usize - 1);
        if sum != 0 {
            self.sum ^= sum;
            self.present += 1;
            self.counts.add(self.changed[at], 1);
        }
    }

    /// Whether a file that ends here holds something else.
    pub fn difference(&self, file: &Sums) -> Option<Difference> {
        if self.page_size != Some(file.header.page_size) || self.commit != file.header.commit {
            return Some(Difference::Size);
        }
        let mut pages = file.pages.iter().zip(&file.checksums);
        let differs = pages.find(|(page, sum)| self.get(**page) != **sum);
        differs.map(|(page, _)| Difference::Page(*page))
    }

    /// How many pages changed after a point.
    pub fn changed_since(&self, node: u32) -> u32 {
        self.counts.after(node)
    }

    /// How many of them the file holds.
    pub fn changed_in(&self, node: u32, file: &Sums) -> u32 {
        let changed = |page: &&u32| self.changed.get(**page as usize - 1) > Some(&node);
        file.pages.iter().filter(changed).count() as u32
    }
}

/// Numbers by index, with the sum of those beyond one: a binary indexed tree.
#[derive(Default)]
struct Counts {
    tree: Vec<u32>,
    total: u32,
}

impl Counts {
    /// Adds, wrapping, so that what was added can be taken away.
    fn add(&mut self, index: u32, count: u32) {
        self.grow(index as usize + 1);
        self.total = self.total.wrapping_add(count);
        let mut at = index as usize + 1;
        while at <= self.tree.len() {
            self.tree[at - 1] = self.tree[at - 1].wrapping_add(count);
            at += at & at.wrapping_neg();
        }
    }

    /// New places take over the sums that they stand for.
    fn grow(&mut self, len: usize) {
        while self.tree.len() < len {
            let at = self.tree.len() + 1;
            let from = at - (at & at.wrapping_neg());
            let below = self.up_to(at - 1).wrapping_sub(self.up_to(from));
            self.tree.push(below);
        }
    }

    /// The sum of the first `len`.
    fn up_to(&self, len: usize) -> u32 {
        let (mut at, mut sum) = (len.min(self.tree.len()), 0u32);
        while at > 0 {
            sum = sum.wrapping_add(self.tree[at - 1]);
            at -= at & at.wrapping_neg();
        }
        sum
    }

    /// The sum of those beyond `index`.
    fn after(&self, index: u32) -> u32 {
        self.total.wrapping_sub(self.up_to(index as usize + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_beyond_an_index() {
        let mut counts = Counts::default();
        let mut plain = [0u32; 40];
        for step in 0..400u32 {
            let index = (step * 7 + step / 9) % 40.min(1 + step / 4);
            counts.add(index, 1);
            plain[index as usize] += 1;
            if step % 5 == 4 && plain[(step % 40) as usize] > 0 {
                counts.add(step % 40, u32::MAX);
                plain[(step % 40) as usize] -= 1;
            }
            for at in 0..40 {
                let expected: u32 = plain[at + 1..].iter().sum();
                assert_eq!(counts.after(at as u32), expected);
            }
        }
    }
}
