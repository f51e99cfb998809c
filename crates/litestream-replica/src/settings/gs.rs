//! Google Cloud Storage. Credentials come from Google's own chain alone.

use super::{Keys, Source};
use crate::Result;

/// Settings of a replica in Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gs {
    /// The bucket.
    pub bucket: String,
    /// What all names of objects begin with.
    pub prefix: String,
}

impl Gs {
    pub(super) fn read(source: &Source) -> Result<Gs> {
        source.refuse_beside_url("gs", &["path", "bucket"])?;
        Ok(Gs {
            bucket: source.bucket("gs", source.url.map(|url| url.host.as_str()))?,
            prefix: source.prefix(),
        })
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("bucket", self.bucket.as_str());
        keys.set_text("path", self.prefix.as_str());
        keys
    }
}
