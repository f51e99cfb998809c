//! What a replica's files stand for, worked out without planning or restoring: each file applied to the one before.

use std::collections::BTreeMap;

use bytes::Bytes;
use litestream_replica::Level;
use ltx::{Checksum, DatabaseChecksum, FileName, Txid};

use crate::history::{StateHash, StateSum, page_hash};

/// The content of a replica at one moment.
pub type Stored = BTreeMap<(Level, Txid, Txid), Bytes>;

/// A database as a sum of its pages.
#[derive(Clone, Debug, Default)]
struct Model {
    pages: BTreeMap<u32, (u64, Checksum)>,
    sum: StateSum,
    checksum: DatabaseChecksum,
    page_size: u32,
    txid: Txid,
    /// In the header of the file applied last.
    time: i64,
}

impl Model {
    fn apply(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut decoder = ltx::Decoder::new(bytes).map_err(|e| e.to_string())?;
        let header = *decoder.header();
        let mut page = vec![0; header.page_size.bytes()];
        if self.page_size != header.page_size.get() {
            // Pages of another size can't stay.
            *self = Model {
                page_size: header.page_size.get(),
                ..Model::default()
            };
        }
        let chain = header.chain();
        let follows = self.txid.next() == header.min_txid;
        if follows && chain.before.is_some_and(|sum| sum != self.checksum.value()) {
            return Err("its checksum of the database before it is wrong".to_owned());
        }
        while let Some(number) = decoder.next_page(&mut page).map_err(|e| e.to_string())? {
            let hash = page_hash(number.get(), &page);
            let checksum = Checksum::page(number, &page);
            if let Some((old, sum)) = self.pages.insert(number.get(), (hash, checksum)) {
                self.sum.remove_hash(old);
                self.checksum.toggle(sum);
            }
            self.sum.add_hash(hash);
            self.checksum.toggle(checksum);
        }
        decoder.finish().map_err(|e| e.to_string())?;
        for (_, (hash, sum)) in self.pages.split_off(&(header.commit + 1)) {
            self.sum.remove_hash(hash);
            self.checksum.toggle(sum);
        }
        if chain.after.is_some_and(|sum| sum != self.checksum.value()) {
            return Err("its checksum of the database after it is wrong".to_owned());
        }
        self.txid = header.max_txid;
        self.time = header.timestamp_ms;
        if self.pages.len() != header.commit as usize {
            return Err(format!("{} pages of {}", self.pages.len(), header.commit));
        }
        Ok(())
    }

    fn state(&self) -> StateHash {
        self.sum.state(self.page_size, self.pages.len() as u32)
    }
}

/// Of a file, if its header can be read.
pub fn page_size(bytes: &[u8]) -> Option<ltx::PageSize> {
    let header = bytes.first_chunk::<{ ltx::HEADER_SIZE }>()?;
    Some(ltx::Header::decode(header).ok()?.page_size)
}

/// Whether all of a file can be read, with all checksums.
pub fn is_whole(bytes: &[u8]) -> bool {
    let read = || -> ltx::Result<()> {
        let mut decoder = ltx::Decoder::new(bytes)?;
        let mut page = vec![0; decoder.header().page_size.bytes()];
        while decoder.next_page(&mut page)?.is_some() {}
        decoder.finish().map(drop)
    };
    read().is_ok()
}

/// The states that a replica holds, by TXID; or what is wrong with it. Each file is applied to the first and to the last state that
/// it may follow, and all ways to a TXID must lead to the same state.
pub fn states(stored: &Stored) -> Result<Vec<(Txid, StateHash)>, String> {
    let mut order: Vec<(Txid, Txid, Level)> =
        stored.keys().map(|&(l, min, max)| (max, min, l)).collect();
    order.sort_by_key(|&(max, min, level)| (max, level, min));
    let mut points: BTreeMap<Txid, Model> = BTreeMap::new();
    for (max, min, level) in order {
        let wrong = |what: String| format!("file {level}/{}: {what}", FileName { min, max });
        let bytes = &stored[&(level, min, max)];
        let mut before: Vec<Txid> = Vec::new();
        if min > Txid::new(1) {
            let from = Txid::new(min.get() - 1);
            let mut range = points.range(from..max).map(|(txid, _)| *txid);
            before.extend(range.next());
            before.extend(range.next_back());
        }
        let stands_alone = before.is_empty();
        let bases = if stands_alone {
            vec![Model::default()]
        } else {
            before.iter().map(|txid| points[txid].clone()).collect()
        };
        for mut model in bases {
            match model.apply(bytes) {
                Ok(()) => {}
                // After a hole: waits for the snapshot that bridges it.
                Err(_) if stands_alone && min > Txid::new(1) => continue,
                Err(what) => return Err(wrong(what)),
            }
            match points.get(&max) {
                Some(known) if known.state() != model.state() => {
                    return Err(wrong(
                        "is not the state that other files lead to".to_owned(),
                    ));
                }
                Some(known) if known.time != model.time => {
                    return Err(wrong(
                        "bears another time than others that end there".to_owned(),
                    ));
                }
                Some(_) => {}
                None => {
                    points.insert(max, model);
                }
            }
        }
    }
    let states = points.iter().map(|(txid, model)| (*txid, model.state()));
    Ok(states.collect())
}

/// Places each state in the list of what was committed, in order. `Err` names the first that has no place.
pub fn place(states: &[(Txid, StateHash)], nodes: &[StateHash]) -> Result<Vec<usize>, String> {
    let mut at = 0;
    let mut places = Vec::with_capacity(states.len());
    for (txid, state) in states {
        if let Some(found) = nodes[at..].iter().position(|node| node == state) {
            at += found;
            places.push(at);
            continue;
        }
        let anywhere = nodes.iter().position(|node| node == state);
        return Err(match anywhere {
            Some(earlier) => format!(
                "TXID {txid} is state {earlier}, which lies before state {at} of the TXID before it"
            ),
            None => format!(
                "TXID {txid} is no state that was ever committed (the TXID before it is state {at} of {})",
                nodes.len()
            ),
        });
    }
    Ok(places)
}
