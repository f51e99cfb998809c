//! Small objects that change only if they are what the caller last saw: for a lease, and to find out whether a storage can do that at all.
//!
//! Promise: of two callers that put the same object on the same condition at once, one is refused, where the storage keeps its word.
//! Some storages take conditions and ignore them: ask by experiment before you trust one.

use bytes::Bytes;

use crate::Result;

/// Names a version of an object; another content has another tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub String);

/// When an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Only if there is none.
    Absent,
    /// Only if it is this version.
    Same(Tag),
    /// In any case.
    Always,
}

/// What became of a conditional request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done. The tag is the new version's; of a deletion, that of what is gone.
    Done(Tag),
    /// The object is another than the condition says; nothing was changed.
    Refused,
}

/// A storage that writes and deletes on a condition. `name` is a path below the replica's root, such as `lock.json`.
///
/// A request is sent once: after an error that may pass, whether it was carried out is unknown, so that trying again blindly could refuse
/// the caller its own success. Ask by [`Conditional::get`] first.
#[async_trait::async_trait]
pub trait Conditional: Send + Sync {
    /// The object and its version; `None` if there is none.
    async fn get(&self, name: &str) -> Result<Option<(Bytes, Tag)>>;

    /// Writes it.
    async fn put(&self, name: &str, body: Bytes, when: When) -> Result<Outcome>;

    /// Deletes it if it is still that version. One that is gone already is [`Outcome::Refused`] as well.
    async fn delete(&self, name: &str, when: &Tag) -> Result<Outcome>;
}
