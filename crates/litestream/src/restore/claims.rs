//! Which file supplies each page: the newest that holds it.
//!
//! Files are asked newest first, and the first to ask for a page gets it. One bit per page is all the state. Files
//! are read by several threads at once, but [`Turns`] lets them ask only in the order in which they were given out.
//!
//! Promise: whatever the timing of the threads, each page goes to the same file, and to only one.

use ltx::{PageNo, PageSize};
use parking_lot::{Condvar, Mutex};

/// The pages of a database, each claimed or not.
#[derive(Debug)]
pub(crate) struct Claims {
    words: Vec<u64>,
    pages: u32,
}

impl Claims {
    /// Nothing is claimed but the lock page, which no file holds.
    pub(crate) fn new(pages: u32, size: PageSize) -> Claims {
        let mut claims = Claims {
            words: vec![0; pages.div_ceil(64) as usize],
            pages,
        };
        claims.claim(size.lock_page());
        claims
    }

    /// `true` for the first who asks; `false` also for pages beyond the end of the database.
    pub(crate) fn claim(&mut self, page: PageNo) -> bool {
        if page.get() > self.pages {
            return false;
        }
        let bit = page.get() - 1;
        let word = &mut self.words[(bit / 64) as usize];
        let mask = 1 << (bit % 64);
        let free = *word & mask == 0;
        *word |= mask;
        free
    }

    /// The first page that nobody claimed.
    pub(crate) fn first_free(&self) -> Option<PageNo> {
        let at = self.words.iter().position(|w| *w != u64::MAX)?;
        let page = PageNo::new(at as u32 * 64 + self.words[at].trailing_ones() + 1)?;
        (page.get() <= self.pages).then_some(page)
    }
}

/// Lets holders of numbered tickets use the claims one after the other.
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    next: u64,
    stopped: bool,
    claims: Claims,
}

impl Turns {
    pub(crate) fn new(claims: Claims) -> Turns {
        Turns {
            state: Mutex::new(State {
                next: 0,
                stopped: false,
                claims,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits until all tickets below `ticket` were used, then uses it. `None` if it was stopped.
    pub(crate) fn take<T>(&self, ticket: u64, work: impl FnOnce(&mut Claims) -> T) -> Option<T> {
        let mut state = self.state.lock();
        while state.next != ticket && !state.stopped {
            self.changed.wait(&mut state);
        }
        if state.stopped {
            return None;
        }
        let result = work(&mut state.claims);
        state.next += 1;
        self.changed.notify_all();
        Some(result)
    }

    /// Turns everybody away from now on.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether [`Turns::stop`] was called.
    pub(crate) fn stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// See [`Claims::first_free`].
    pub(crate) fn first_free(&self) -> Option<PageNo> {
        self.state.lock().claims.first_free()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: u32) -> PageNo {
        PageNo::new(n).unwrap()
    }

    #[test]
    fn first_come_first_served() {
        let mut claims = Claims::new(65, PageSize::new(4096).unwrap());
        assert_eq!(claims.first_free(), Some(page(1)));
        assert!(claims.claim(page(1)));
        assert!(!claims.claim(page(1)));
        for n in 2..=64 {
            assert!(claims.claim(page(n)));
        }
        assert_eq!(claims.first_free(), Some(page(65)));
        assert!(!claims.claim(page(66)), "beyond the end");
        assert!(claims.claim(page(65)));
        assert_eq!(claims.first_free(), None);
    }

    #[test]
    fn w36_lock_page_is_nobodys() {
        let size = PageSize::new(65536).unwrap();
        let lock = size.lock_page();
        let mut claims = Claims::new(lock.get(), size);
        assert!(!claims.claim(lock));
        for n in 1..lock.get() {
            assert!(claims.claim(page(n)));
        }
        assert_eq!(claims.first_free(), None);
    }

    #[test]
    fn an_empty_database_misses_nothing() {
        assert_eq!(
            Claims::new(0, PageSize::new(512).unwrap()).first_free(),
            None
        );
    }

    #[test]
    fn stopping_ends_the_wait() {
        let turns = Turns::new(Claims::new(1, PageSize::new(512).unwrap()));
        assert_eq!(turns.take(0, |_| 7), Some(7));
        turns.stop();
        assert_eq!(turns.take(5, |_| 7), None);
    }
}
