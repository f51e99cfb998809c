//! A folder on a WebDAV server.

use super::url::without_user;
use super::{Keys, Secret, Source, shown_url};
use crate::{Error, Result};

/// Settings of a replica on a WebDAV server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webdav {
    /// Base URL; may have a path of its own.
    pub url: String,
    /// Who logs in.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// The folder below the base URL.
    pub path: String,
}

impl Webdav {
    pub(super) fn read(source: &Source) -> Result<Webdav> {
        source.refuse_beside_url("webdav", &["path", "webdav-url"])?;
        let all = source.all;
        let base = match source.url {
            Some(url) if url.host.is_empty() => None,
            Some(url) if url.scheme == "webdavs" => Some(format!("https://{}", url.host)),
            Some(url) => Some(format!("http://{}", url.host)),
            None => all.text("webdav-url"),
        };
        let base = base.ok_or_else(|| Error::invalid("webdav-url required for webdav replica"))?;
        // A name in the base URL is one like that in the replica's.
        let (base, in_base) = without_user(&base);
        let user = source.url.and_then(|url| url.user.clone()).or(in_base);
        let (name, password) = user.unwrap_or_default();
        Ok(Webdav {
            url: base,
            username: all
                .text("webdav-username")
                .or(Some(name).filter(|n| !n.is_empty())),
            password: all.secret("webdav-password").or(password),
            path: match source.url {
                Some(url) => url.path.clone(),
                None => source.own.text("path").unwrap_or_default(),
            },
        })
    }

    /// Base URL and path.
    pub(super) fn place(&self) -> (&str, &str) {
        (self.url.trim_end_matches('/'), self.path.trim_matches('/'))
    }

    pub(super) fn location(&self) -> String {
        let (url, path) = self.place();
        format!("{}/{path}", shown_url(url))
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("webdav-url", self.url.as_str());
        keys.set_some("webdav-username", self.username.as_ref());
        keys.set_secret("webdav-password", self.password.as_ref());
        keys.set_text("path", self.path.as_str());
        keys
    }
}
