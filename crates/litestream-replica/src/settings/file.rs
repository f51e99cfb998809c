//! A local folder.

use std::path::PathBuf;

use super::Keys;
use crate::url::{self, clean_path};
use crate::{Error, Result};

/// Settings of a replica in a local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The folder.
    pub path: PathBuf,
    /// It came from a URL: names stay percent-encoded in it, as Litestream has them.
    pub encoded: bool,
}

impl File {
    pub(super) fn read(own: &Keys, url: Option<&str>) -> Result<File> {
        let Some(url) = url else {
            let path = own.text("path");
            let path = path.ok_or_else(|| Error::invalid("file replica path required"))?;
            return Ok(File {
                path: clean_path(&path).into(),
                encoded: false,
            });
        };
        if own.is_given("path") {
            return Err(Error::invalid("cannot specify url & path for file replica"));
        }
        Ok(File {
            path: url::file_path(url)?,
            encoded: true,
        })
    }

    pub(super) fn go_below(&mut self, rel: &str) {
        let rel = if self.encoded {
            url::encoded(rel)
        } else {
            rel.to_owned()
        };
        self.path = clean_path(&format!("{}/{rel}", self.path.display())).into();
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("path", self.path.display().to_string());
        keys
    }
}
