//! Pages of small files, kept until the large file that surrounds them is written.
//!
//! Thousands of small files supply single pages all over the database. Written at once they would cost one call each, and
//! another for every hole that they leave in the large file's pages. Kept here they fill these holes on the way.
//!
//! Promise: a bounded number of bytes; a page that was put in comes out once.

use std::collections::BTreeMap;

use ltx::PageNo;
use parking_lot::Mutex;

/// Bytes of pages kept, over all threads.
const BYTES_MAX: usize = 24 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Held {
    pages: Mutex<BTreeMap<PageNo, Box<[u8]>>>,
}

impl Held {
    /// Keeps a page; `false` if there is no room.
    pub(super) fn put(&self, page: PageNo, content: &[u8]) -> bool {
        let mut pages = self.pages.lock();
        if (pages.len() + 1) * content.len() > BYTES_MAX {
            return false;
        }
        pages.insert(page, content.into());
        true
    }

    /// Takes a page out, if it is here.
    pub(super) fn take(&self, page: PageNo) -> Option<Box<[u8]>> {
        self.pages.lock().remove(&page)
    }

    /// Takes out all that is here.
    pub(super) fn take_all(&self) -> BTreeMap<PageNo, Box<[u8]>> {
        std::mem::take(&mut *self.pages.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_once_and_room_is_bounded() {
        let page = |n| PageNo::new(n).unwrap();
        let held = Held::default();
        let content = vec![7; 1 << 16];
        let room = BYTES_MAX / content.len();
        for n in 1..=room as u32 {
            assert!(held.put(page(n), &content));
        }
        assert!(!held.put(page(room as u32 + 1), &content), "no room");
        assert_eq!(held.take(page(5)).as_deref(), Some(&content[..]));
        assert_eq!(held.take(page(5)), None);
        assert!(held.put(page(room as u32 + 1), &content), "room again");
        assert_eq!(held.take_all().len(), room);
        assert!(held.take_all().is_empty());
    }
}
