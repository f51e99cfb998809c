//! How far a replica reaches.

use ltx::Txid;

use super::plan::reach;
use crate::FileInfo;

/// How far a replica reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The end of what can be restored without a gap; zero if nothing can. Uploads go on after it.
    pub contiguous: Txid,
    /// The highest TXID in any file; above [`Position::contiguous`] if something is missing in between.
    pub highest: Txid,
}

impl Position {
    /// Whether files lie beyond a gap.
    pub fn has_gap(self) -> bool {
        self.highest > self.contiguous
    }
}

/// The position of a replica, given all files of all levels in any order.
pub fn position(files: &[FileInfo]) -> Position {
    Position {
        contiguous: reach(files, |_| true)
            .last()
            .map_or(Txid::ZERO, |f| f.name.max),
        highest: files.iter().map(|f| f.name.max).max().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::plan::tests::file;

    #[test]
    fn empty() {
        assert_eq!(position(&[]), Position::default());
    }

    #[test]
    fn k01_stops_at_a_hole() {
        let files = [file(0, 1, 1), file(0, 2, 2), file(0, 4, 4), file(0, 5, 5)];
        let position = position(&files);
        assert_eq!(
            (position.contiguous, position.highest),
            (Txid::new(2), Txid::new(5))
        );
        assert!(position.has_gap());
    }

    #[test]
    fn other_levels_bridge_a_hole() {
        let files = [file(9, 1, 10), file(1, 9, 20), file(0, 21, 21)];
        assert_eq!(
            position(&files),
            Position {
                contiguous: Txid::new(21),
                highest: Txid::new(21)
            }
        );
        let files = [file(0, 5, 5)];
        assert_eq!(
            position(&files),
            Position {
                contiguous: Txid::ZERO,
                highest: Txid::new(5)
            }
        );
    }
}
