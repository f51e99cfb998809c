//! A folder on a server with SSH.

use super::{Keys, Secret, Source, Value};
use crate::{Error, Result};

/// Settings of a replica on a server with SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sftp {
    /// `host` or `host:port`; the port is 22 otherwise.
    pub host: String,
    /// Who logs in.
    pub user: String,
    /// Offered before the key.
    pub password: Option<Secret>,
    /// A file with a private key.
    pub key_path: Option<String>,
    /// The server's public key in the format of `authorized_keys`; if `None`, any key is accepted, with a warning.
    pub host_key: Option<String>,
    /// Several writes of a file under way at once.
    pub concurrent_writes: bool,
    /// As the server sees it: absolute, or relative to the folder one comes to after login.
    pub path: String,
}

impl Sftp {
    pub(super) fn read(source: &Source) -> Result<Sftp> {
        source.refuse_beside_url("sftp", &["path", "host"])?;
        let all = source.all;
        let (in_url, host) = match source.url {
            Some(url) => (
                url.user.clone(),
                Some(url.host.clone()).filter(|h| !h.is_empty()),
            ),
            None => (None, all.text("host")),
        };
        let (url_user, url_password) = in_url.unwrap_or_default();
        let user = all
            .text("user")
            .or(Some(url_user))
            .filter(|user| !user.is_empty());
        Ok(Sftp {
            host: host.ok_or_else(|| Error::invalid("host required for sftp replica"))?,
            user: user.ok_or_else(|| Error::invalid("user required for sftp replica"))?,
            password: all.secret("password").or(url_password),
            key_path: all.text("key-path"),
            host_key: all.text("host-key"),
            concurrent_writes: all.bool("concurrent-writes").unwrap_or(true),
            path: match source.url {
                Some(url) => url.path.clone(),
                None => source.own.text("path").unwrap_or_default(),
            },
        })
    }

    /// Host, user and path: a relative path is another place for each user.
    pub(super) fn place(&self) -> (&str, &str, &str) {
        let host = self.host.strip_suffix(":22").unwrap_or(&self.host);
        let user = if self.path.starts_with('/') {
            ""
        } else {
            self.user.as_str()
        };
        (host, user, self.path.trim_end_matches('/'))
    }

    pub(super) fn location(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("sftp://{}@{}{slash}{}", self.user, self.host, self.path)
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("host", self.host.as_str());
        keys.set_text("user", self.user.as_str());
        keys.set_secret("password", self.password.as_ref());
        keys.set_some("key-path", self.key_path.as_ref());
        keys.set_some("host-key", self.host_key.as_ref());
        keys.set("concurrent-writes", Value::Bool(self.concurrent_writes));
        keys.set_text("path", self.path.as_str());
        keys
    }
}
