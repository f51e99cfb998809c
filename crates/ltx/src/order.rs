//! Which page may follow which: the one place that knows the rules for ascending numbers, the lock page, the
//! database's end and snapshots without gaps. Reader, writer and index share it.

use crate::{Error, Header, PageNo, Result};

/// Where in the sequence of pages a file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageOrder {
    commit: u32,
    lock_page: PageNo,
    is_snapshot: bool,
    last: Option<PageNo>,
}

impl PageOrder {
    /// Before the first page of a file with this header.
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            commit: header.commit,
            lock_page: header.page_size.lock_page(),
            is_snapshot: header.is_snapshot(),
            last: None,
        }
    }

    /// Whether `page` may come next.
    pub(crate) fn check(&self, page: PageNo) -> Result<()> {
        if let Some(last) = self.last.filter(|&last| page <= last) {
            return Err(Error::PageOrder {
                page: page.get(),
                previous: last.get(),
            });
        }
        if page.get() > self.commit {
            return Err(Error::PageBeyondCommit {
                page: page.get(),
                commit: self.commit,
            });
        }
        if page == self.lock_page {
            return Err(Error::LockPage { page: page.get() });
        }
        if self.is_snapshot {
            let expected = self.after_last();
            if page != expected {
                return Err(Error::SnapshotGap {
                    expected: expected.get(),
                    found: page.get(),
                });
            }
        }
        Ok(())
    }

    fn after_last(&self) -> PageNo {
        let next = self.last.map_or(PageNo::FIRST, PageNo::next);
        if next == self.lock_page {
            next.next()
        } else {
            next
        }
    }

    /// Takes note that `page`, which was checked, is there.
    pub(crate) fn accept(&mut self, page: PageNo) {
        self.last = Some(page);
    }

    /// Whether the file may end here.
    pub(crate) fn check_end(&self) -> Result<()> {
        let last = self.last.map_or(0, PageNo::get);
        let wanted = if self.commit == self.lock_page.get() {
            self.commit - 1
        } else {
            self.commit
        };
        if self.is_snapshot && last != wanted {
            return Err(Error::SnapshotEnd {
                last,
                commit: self.commit,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageSize, Txid};

    fn order(commit: u32, min: u64, last: u32) -> PageOrder {
        let page_size = PageSize::new(65536).unwrap();
        let header = Header::new(page_size, commit, Txid::new(min), Txid::new(9), 0);
        let mut order = PageOrder::new(&header);
        order.last = PageNo::new(last);
        order
    }

    fn page(number: u32) -> PageNo {
        PageNo::new(number).unwrap()
    }

    #[test]
    fn w36_a_snapshot_steps_over_the_lock_page() {
        let lock = PageSize::new(65536).unwrap().lock_page().get();
        let before = order(lock + 5, 1, lock - 1);
        assert!(matches!(
            before.check(page(lock)),
            Err(Error::LockPage { .. })
        ));
        assert!(before.check(page(lock + 1)).is_ok());
        assert!(matches!(
            before.check(page(lock + 2)),
            Err(Error::SnapshotGap { .. })
        ));
        assert!(matches!(before.check_end(), Err(Error::SnapshotEnd { .. })));
        assert!(
            order(lock, 1, lock - 1).check_end().is_ok(),
            "a database that ends with the lock page"
        );
        assert!(order(lock + 1, 1, lock + 1).check_end().is_ok());
    }

    #[test]
    fn increments_only_ascend() {
        let at = order(100, 2, 50);
        assert!(at.check(page(99)).is_ok());
        assert!(at.check_end().is_ok());
        assert!(matches!(at.check(page(50)), Err(Error::PageOrder { .. })));
        assert!(matches!(
            at.check(page(101)),
            Err(Error::PageBeyondCommit { .. })
        ));
        assert!(matches!(
            order(0, 2, 0).check(page(1)),
            Err(Error::PageBeyondCommit { .. })
        ));
        assert!(order(u32::MAX, 2, u32::MAX).check(page(u32::MAX)).is_err());
        assert!(order(u32::MAX, 1, u32::MAX).check(page(u32::MAX)).is_err());
    }
}
