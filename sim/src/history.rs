//! What was really committed, seen from below: the committed image of the database after every publication.
//!
//! Owns the list of states in the order of time. A power cut or a replaced file adds states like any other, so a replica that
//! follows the source follows this list. Promise: nothing here uses the engine.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::disk::SimDisk;
use crate::sched::{self, Nanos};
use crate::vfs::{self, Image, Observer};

/// Identity of a database's whole content: every page, its number, the page size and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub u64);

/// Adds up page by page, in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSum(u64);

impl StateSum {
    /// Adds a page.
    pub fn add(&mut self, number: u32, content: &[u8]) {
        self.0 = self.0.wrapping_add(page_hash(number, content));
    }

    /// Adds what [`page_hash`] gave.
    pub fn add_hash(&mut self, hash: u64) {
        self.0 = self.0.wrapping_add(hash);
    }

    /// Takes out what [`page_hash`] gave.
    pub fn remove_hash(&mut self, hash: u64) {
        self.0 = self.0.wrapping_sub(hash);
    }

    /// The state of a database with this page size and so many pages.
    pub fn state(self, page_size: u32, pages: u32) -> StateHash {
        let shape = [page_size.to_le_bytes(), pages.to_le_bytes()].concat();
        StateHash(self.0 ^ xxh3_64_with_seed(&shape, 0x5747))
    }
}

/// Of one page.
pub fn page_hash(number: u32, content: &[u8]) -> u64 {
    xxh3_64_with_seed(content, u64::from(number))
}

/// The state of a database file.
pub fn state_of_file(bytes: &[u8]) -> StateHash {
    let page_size = match bytes.get(16..18) {
        Some([0, 1]) => 65536,
        Some(&[high, low]) => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let mut sum = StateSum::default();
    if page_size == 0 {
        return sum.state(0, 0);
    }
    let pages = bytes.chunks(page_size as usize);
    let count = pages.len() as u32;
    for (number, page) in (1..).zip(pages) {
        sum.add(number, page);
    }
    sum.state(page_size, count)
}

/// The state that an image stands for.
fn state_of_image(image: &Image) -> StateHash {
    let mut sum = StateSum::default();
    for (number, page) in (1..).zip(image.pages()) {
        sum.add(number, page);
    }
    sum.state(image.page_size as u32, image.count())
}

/// A committed state.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub state: StateHash,
    /// When it was published.
    pub at: Nanos,
    /// Pages.
    pub pages: u32,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    /// Whole files of some states, for replacing the database by an older one.
    copies: Vec<Vec<u8>>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct History {
    disk: SimDisk,
    database: PathBuf,
    inner: Rc<RefCell<Inner>>,
}

/// Files kept.
const COPIES_MAX: usize = 3;

impl History {
    /// Of the database at this path.
    pub fn new(disk: SimDisk, database: &Path) -> History {
        History {
            disk,
            database: database.to_owned(),
            inner: Rc::default(),
        }
    }

    /// How many states there were.
    pub fn len(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The states, oldest first.
    pub fn nodes(&self) -> Vec<Node> {
        self.inner.borrow().nodes.clone()
    }

    /// The newest state.
    pub fn last(&self) -> Option<StateHash> {
        self.inner.borrow().nodes.last().map(|node| node.state)
    }

    /// Database files of earlier states.
    pub fn copies(&self) -> Vec<Vec<u8>> {
        self.inner.borrow().copies.clone()
    }

    /// Looks at the database now.
    pub fn look(&self) {
        let Some(image) = vfs::committed_image(&self.disk, &self.database) else {
            return;
        };
        if image.bytes.is_empty() {
            return;
        }
        let state = state_of_image(&image);
        let mut inner = self.inner.borrow_mut();
        if inner.nodes.last().is_some_and(|node| node.state == state) {
            return;
        }
        if inner.nodes.len() % 8 == 3 {
            if inner.copies.len() == COPIES_MAX {
                inner.copies.remove(0);
            }
            inner.copies.push(image.bytes.clone());
        }
        inner.nodes.push(Node {
            state,
            at: if sched::in_world() { sched::now() } else { 0 },
            pages: image.count(),
        });
    }
}

impl Observer for History {
    fn published(&self, database: &Path) {
        if database == self.database {
            self.look();
        }
    }
}
