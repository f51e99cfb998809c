//! Page sizes and page numbers: two quantities that must not be mixed up.

use std::fmt;

/// Byte offset in the database file that SQLite uses for its locks; the page around it is never stored.
pub const LOCK_BYTE: u64 = 0x4000_0000;

/// A valid SQLite page size: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// The page size of `bytes` bytes, if SQLite has it.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 65536 {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Size in bytes.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Size in bytes, for lengths of slices.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page that contains [`LOCK_BYTE`].
    pub const fn lock_page(self) -> PageNo {
        PageNo((LOCK_BYTE / self.0 as u64) as u32 + 1)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A page's number, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(u32);

impl PageNo {
    /// The first page.
    pub const FIRST: Self = Self(1);

    /// The page with this number; there is no page zero.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The page after this one; the last possible one stays itself.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Where the page begins in the database file.
    pub const fn offset(self, page_size: PageSize) -> u64 {
        (self.0 as u64 - 1) * page_size.0 as u64
    }
}

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sqlite_page_sizes() {
        let valid: Vec<u32> = (0..=70_000)
            .filter(|&n| PageSize::new(n).is_some())
            .collect();
        assert_eq!(valid, [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]);
        assert!(PageSize::new(1 << 17).is_none());
    }

    #[test]
    fn w36_lock_page_holds_the_lock_byte_for_every_page_size() {
        for shift in 9..=16 {
            let size = PageSize::new(1 << shift).unwrap();
            assert_eq!(size.lock_page().offset(size), LOCK_BYTE);
        }
    }

    #[test]
    fn offsets_of_huge_databases_do_not_overflow() {
        let size = PageSize::new(65536).unwrap();
        let last = PageNo::new(u32::MAX).unwrap();
        assert_eq!(last.offset(size), 0xffff_fffe * 65536);
        assert_eq!(last.next(), last);
    }
}
