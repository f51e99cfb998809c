//! What becomes of the checksums of pages while a file is written of them.
//!
//! Promise: trouble with the ledger is not trouble with the file: it only ends up without the checksums.

use std::io;

use ltx::{Chain, PageNo};

use crate::ledger::{Entry, Update, Whole};

/// Pages remembered for a ledger that is being built.
const LIST_MAX: usize = 1 << 18;

/// See the module.
pub(super) enum Track<'a> {
    /// Nobody wants them.
    Nothing,
    /// They are all pages of the database.
    Whole(Whole),
    /// They change what the ledger stands for.
    Update(Update<'a>),
    /// A ledger is being built.
    List(Vec<(PageNo, Entry)>),
    /// The ledger could not be read or written.
    Failed(io::Error),
}

impl Track<'_> {
    /// Whether pages are to be summed at all.
    pub fn wants(&self) -> bool {
        !matches!(self, Track::Nothing | Track::Failed(_))
    }

    /// A page was written.
    pub fn page(&mut self, page: PageNo, entry: Entry) {
        let done = match self {
            Track::Nothing | Track::Failed(_) => Ok(()),
            Track::Whole(whole) => {
                whole.add(entry);
                Ok(())
            }
            Track::List(list) if list.len() == LIST_MAX => {
                Err(io::Error::other("too many pages at once"))
            }
            Track::List(list) => {
                list.push((page, entry));
                Ok(())
            }
            Track::Update(update) => update.push(page, entry),
        };
        if let Err(error) = done {
            *self = Track::Failed(error);
        }
    }

    /// What the file can say of the database, which it leaves this large.
    pub fn chain(&mut self, commit: u32) -> Chain {
        match self {
            Track::Nothing | Track::Failed(_) | Track::List(_) => Chain::UNKNOWN,
            Track::Whole(whole) => Chain {
                before: None,
                after: Some(whole.sum.value()),
            },
            Track::Update(update) => {
                let before = Some(update.before());
                match update.after(commit) {
                    Ok(after) => Chain {
                        before,
                        after: Some(after),
                    },
                    Err(error) => {
                        *self = Track::Failed(error);
                        Chain::UNKNOWN
                    }
                }
            }
        }
    }
}
