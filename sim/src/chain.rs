//! What a replica's files stand for, worked out without planning or restoring: each file applied to the one before.

use std::collections::BTreeMap;

use bytes::Bytes;
use litestream_replica::Level;
use ltx::{FileName, Txid};

use crate::history::{StateHash, StateSum, page_hash};

/// The content of a replica at one moment.
pub type Stored = BTreeMap<(Level, Txid, Txid), Bytes>;

/// A database as a sum of its pages.
#[derive(Clone, Debug, Default)]
struct Model {
    pages: BTreeMap<u32, u64>,
    sum: StateSum,
    page_size: u32,
    txid: Txid,
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
        while let Some(number) = decoder.next_page(&mut page).map_err(|e| e.to_string())? {
            let hash = page_hash(number.get(), &page);
            if let Some(old) = self.pages.insert(number.get(), hash) {
                self.sum.remove_hash(old);
            }
            self.sum.add_hash(hash);
        }
        decoder.finish().map_err(|e| e.to_string())?;
        for (_, hash) in self.pages.split_off(&(header.commit + 1)) {
            self.sum.remove_hash(hash);
        }
        self.txid = header.max_txid;
        if self.pages.len() != header.commit as usize {
            return Err(format!("{} pages of {}", self.pages.len(), header.commit));
        }
        Ok(())
    }

    fn state(&self) -> StateHash {
        self.sum.state(self.page_size, self.pages.len() as u32)
    }
}

/// The states that a replica holds, by TXID; or what is wrong with it.
pub fn states(stored: &Stored) -> Result<Vec<(Txid, StateHash)>, String> {
    let mut order: Vec<(Txid, Txid, Level)> =
        stored.keys().map(|&(l, min, max)| (max, min, l)).collect();
    // At the same end level 0 first: a snapshot must agree with it.
    order.sort_by_key(|&(max, min, level)| (max, level, min));
    let mut model = Model::default();
    let mut states: Vec<(Txid, StateHash)> = Vec::new();
    for (max, min, level) in order {
        let name = FileName { min, max };
        let wrong = |what: String| format!("file {level}/{name}: {what}");
        let bytes = &stored[&(level, min, max)];
        if level == Level::SNAPSHOT {
            let mut alone = Model::default();
            alone.apply(bytes).map_err(wrong)?;
            if model.txid == max && model.state() != alone.state() {
                return Err(wrong(
                    "is not the state that the files of level 0 lead to".to_owned(),
                ));
            }
            if model.txid < max {
                model = alone;
                states.push((max, model.state()));
            }
            continue;
        }
        if level != Level::L0 {
            return Err(wrong("unexpected level".to_owned()));
        }
        if max <= model.txid {
            continue; // bridged over by a snapshot
        }
        let mut next = model.clone();
        if min != model.txid.next() {
            // Only a file with all pages can stand after a hole.
            next = Model::default();
        }
        match next.apply(bytes) {
            Ok(()) => {
                model = next;
                states.push((max, model.state()));
            }
            // After a hole: waits for the snapshot that bridges it.
            Err(_) if min != model.txid.next() => {}
            Err(what) => return Err(wrong(what)),
        }
    }
    Ok(states)
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
