//! What files say of the database at the same TXID: those that end there, and those that begin after it.
//!
//! Promise: pure. Where more files agree than not, the others are named; where as many say one thing as another, all are.

use std::collections::BTreeMap;

use litestream_replica::FileInfo;
use ltx::{Checksum, Header, Txid};

use super::report::{Finding, Kind};

/// What a file says of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub info: FileInfo,
    pub header: Header,
    pub before: Option<Checksum>,
    pub after: Option<Checksum>,
}

impl Head {
    /// What the header alone says.
    pub fn new(info: FileInfo, header: Header) -> Head {
        let chain = header.chain();
        Head {
            info,
            header,
            before: Checksum::from_stored(header.pre_apply_checksum).or(chain.before),
            after: chain.after,
        }
    }
}

/// Something that a file says of the state at a TXID.
struct Claim {
    file: usize,
    value: u64,
}

/// The contradictions.
pub(super) fn contradictions(heads: &[Head]) -> Vec<Finding> {
    let mut sums: BTreeMap<Txid, Vec<Claim>> = BTreeMap::new();
    let mut sizes: BTreeMap<Txid, Vec<Claim>> = BTreeMap::new();
    for (file, head) in heads.iter().enumerate() {
        let name = head.info.name;
        let claim = |map: &mut BTreeMap<Txid, Vec<Claim>>, txid, value| {
            map.entry(txid).or_default().push(Claim { file, value });
        };
        if let Some(after) = head.after {
            claim(&mut sums, name.max, after.get());
        }
        if let Some(before) = head.before.filter(|_| !head.header.is_snapshot()) {
            claim(&mut sums, Txid::new(name.min.get() - 1), before.get());
        }
        let size = u64::from(head.header.commit) << 32 | u64::from(head.header.page_size.get());
        claim(&mut sizes, name.max, size);
    }
    let mut found = Vec::new();
    for (what, claims) in [("checksum", sums), ("size", sizes)] {
        for (txid, claims) in claims {
            let new = contradiction(what, txid, &claims, heads);
            // A file that is wrong is wrong in both.
            found.extend(
                new.into_iter()
                    .filter(|new: &Finding| {
                        let same = |f: &Finding| (f.level, f.file) == (new.level, new.file);
                        !found.iter().any(same)
                    })
                    .collect::<Vec<_>>(),
            );
        }
    }
    found
}

fn contradiction(what: &str, txid: Txid, claims: &[Claim], heads: &[Head]) -> Vec<Finding> {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for claim in claims {
        *votes.entry(claim.value).or_default() += 1;
    }
    if votes.len() < 2 {
        return Vec::new();
    }
    let most = votes.values().copied().max().unwrap_or_default();
    let mut leading = votes.iter().filter(|(_, count)| **count == most);
    let winner = leading.next().map(|(value, _)| *value);
    let winner = winner.filter(|_| leading.next().is_none());
    let wrong = claims.iter().filter(|c| Some(c.value) != winner);
    wrong
        .map(|claim| {
            let info = heads[claim.file].info;
            let other = claims.iter().find(|c| c.value != claim.value);
            let other = other.map_or(info, |c| heads[c.file].info);
            let doubt = if winner.is_none() {
                ", and one of the two is wrong"
            } else {
                ""
            };
            let text = format!(
                "of the database at TXID {txid} it says another {what} than level {} {}{doubt}",
                other.level, other.name
            );
            Finding::new(Kind::Chain, Some(&info), text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use litestream_replica::Level;
    use ltx::{Chain, FileName, PageSize};

    fn head(level: u8, min: u64, max: u64, chain: (u64, u64)) -> Head {
        let sum = |v: u64| (v != 0).then(|| Checksum::from_crc(v));
        let (min, max) = (Txid::new(min), Txid::new(max));
        let header = Header::new(PageSize::new(512).unwrap(), 1, min, max, 0);
        let info = FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(min, max),
            size: 0,
            created: litestream_replica::env::UnixMillis(0),
        };
        let chain = Chain {
            before: sum(chain.0),
            after: sum(chain.1),
        };
        Head::new(info, header.with_chain(chain))
    }

    #[test]
    fn the_odd_one_out_is_named() {
        let mut heads = vec![
            head(0, 1, 1, (0, 1)),
            head(0, 2, 2, (1, 2)),
            head(0, 3, 3, (2, 3)),
            head(1, 1, 2, (0, 2)),
        ];
        assert!(contradictions(&heads).is_empty());
        heads[1] = head(0, 2, 2, (1, 7));
        let found = contradictions(&heads);
        assert_eq!(found.len(), 1);
        assert!(found[0].is_of(&heads[1].info), "{found:?}");
        heads.pop();
        assert_eq!(contradictions(&heads).len(), 2, "one of two");
    }

    #[test]
    fn unknown_sums_contradict_nothing_but_sizes_do() {
        let mut heads = vec![head(0, 1, 2, (0, 0)), head(9, 1, 2, (0, 9))];
        assert!(contradictions(&heads).is_empty());
        heads[1].header.commit = 2;
        assert_eq!(contradictions(&heads).len(), 2);
    }
}
