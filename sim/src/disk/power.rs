//! Power cuts: what of the unsynced changes reached the disk.
//!
//! Promise: what was synced survives. Of the rest any subset may, each file and each name on its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::Content;
use super::file::{Change, Inode, State, Unsynced};
use super::tree::{Entry, ROOT};
use super::{SimDisk, Tree};
use crate::sched;

/// How much of the unsynced changes a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutImage {
    /// Only what was synced.
    NothingUnsynced,
    /// Everything but the very last change of the disk.
    AllButLast,
    /// All names, and of the files only what was synced.
    OnlyNames,
    /// Nothing, a prefix, any subset or everything, drawn for each file; the last write kept is torn at 512 bytes.
    Random,
}

/// Size of the piece that a disk writes whole.
const SECTOR: u64 = 512;

/// Which of `count` changes to keep, drawn.
fn draw(count: usize) -> Vec<bool> {
    let kept = match sched::below(4) {
        0 => 0,
        1 => count,
        2 => sched::below(count as u64 + 1) as usize,
        _ => return (0..count).map(|_| sched::below(2) == 0).collect(),
    };
    (0..count).map(|index| index < kept).collect()
}

/// The first sectors of a write, at least none and at most all.
fn torn(change: &Change) -> Change {
    let Change::Write { offset, data } = change else {
        return Change::SetLen(match change {
            Change::SetLen(len) => *len,
            Change::Write { .. } => 0,
        });
    };
    let end = offset + data.len() as u64;
    let sectors = end.div_ceil(SECTOR) - offset / SECTOR;
    let cut = (offset / SECTOR + sched::below(sectors + 1)) * SECTOR;
    let keep = cut.clamp(*offset, end) - offset;
    Change::Write {
        offset: *offset,
        data: data[..keep as usize].into(),
    }
}

fn crash_image(state: &State, image: CutImage, last: Option<u64>) -> Content {
    let mut content = state.durable.clone();
    let all = &state.unsynced;
    let keep = match image {
        CutImage::NothingUnsynced | CutImage::OnlyNames => vec![false; all.len()],
        CutImage::AllButLast => all.iter().map(|u| Some(u.order) != last).collect(),
        CutImage::Random => draw(all.len()),
    };
    let kept: Vec<&Unsynced> = all
        .iter()
        .zip(keep)
        .filter_map(|(unsynced, keep)| keep.then_some(unsynced))
        .collect();
    for (index, unsynced) in kept.iter().enumerate() {
        if image == CutImage::Random && index + 1 == kept.len() {
            torn(&unsynced.change).apply(&mut content);
        } else {
            unsynced.change.apply(&mut content);
        }
    }
    content
}

fn files(tree: &Tree) -> BTreeMap<u64, Arc<Inode>> {
    let mut files = BTreeMap::new();
    for dir in tree.dirs.values() {
        for entry in dir.live.values().chain(dir.durable.values()) {
            if let Entry::File(inode) = entry {
                files.insert(inode.id, inode.clone());
            }
        }
    }
    for unsynced in &tree.unsynced {
        use super::tree::NameChange::{Add, Remove, Rename};
        match &unsynced.change {
            Add(_, Entry::File(inode)) => drop(files.insert(inode.id, inode.clone())),
            Rename { entry, .. } => {
                if let Entry::File(inode) = entry {
                    files.insert(inode.id, inode.clone());
                }
            }
            Add(..) | Remove(_) => {}
        }
    }
    files
}

impl SimDisk {
    /// Cuts the power: what is there now becomes a crash image. All processes that use the disk must be dead.
    pub fn power_cut(&self, image: CutImage) {
        let mut tree = self.0.tree.lock();
        let files = files(&tree);
        let last_in_files = files
            .values()
            .filter_map(|inode| inode.state.lock().unsynced.last().map(|u| u.order))
            .max();
        let last = last_in_files.max(tree.unsynced.last().map(|u| u.order));
        for inode in files.values() {
            let mut state = inode.state.lock();
            let content = crash_image(&state, image, last);
            state.settle(content);
        }
        cut_names(&mut tree, image, last);
        let used = recount(&mut tree, &files);
        self.0.shared.used.store(used, Ordering::Relaxed);
    }
}

fn cut_names(tree: &mut Tree, image: CutImage, last: Option<u64>) {
    let unsynced = std::mem::take(&mut tree.unsynced);
    let keep = match image {
        CutImage::NothingUnsynced => vec![false; unsynced.len()],
        CutImage::OnlyNames => vec![true; unsynced.len()],
        CutImage::AllButLast => unsynced.iter().map(|u| Some(u.order) != last).collect(),
        CutImage::Random => draw(unsynced.len()),
    };
    for (name, keep) in unsynced.iter().zip(keep) {
        if keep {
            tree.apply(&name.change);
        }
    }
    for dir in tree.dirs.values_mut() {
        dir.live = dir.durable.clone();
    }
}

/// Drops the directories without a name, counts the names of each file anew, and returns the space in use.
fn recount(tree: &mut Tree, files: &BTreeMap<u64, Arc<Inode>>) -> u64 {
    let mut links: BTreeMap<u64, u32> = BTreeMap::new();
    let mut reached = vec![ROOT];
    tree.walk(ROOT, "/".as_ref(), &mut |_, entry| match entry {
        Entry::File(inode) => *links.entry(inode.id).or_default() += 1,
        Entry::Dir(id) => reached.push(*id),
    });
    tree.dirs.retain(|id, _| reached.contains(id));
    let mut used = 0;
    for (id, inode) in files {
        let mut state = inode.state.lock();
        state.links = links.get(id).copied().unwrap_or(0);
        if state.links > 0 || state.in_use() {
            used += state.live.len();
        }
    }
    used
}
