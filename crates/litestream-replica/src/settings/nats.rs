//! An object store of NATS JetStream.

use std::time::Duration;

use super::{Keys, Secret, Source, Value};
use crate::{Error, Result};

const SERVER: &str = "127.0.0.1:4222";

/// How one logs in, in the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A signed user and the seed that proves it.
    Jwt {
        /// The signed user.
        jwt: Secret,
        /// The seed of its key.
        seed: Secret,
    },
    /// A file with both.
    Creds(String),
    /// The seed of a key, or a file that holds one.
    Nkey(Secret),
    /// Name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// Not at all.
    Anonymous,
}

/// Settings of a replica in an object store of NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    /// `host` or `host:port`.
    pub host: String,
    /// The bucket, which must exist.
    pub bucket: String,
    /// What all names of objects begin with; empty for none, as Litestream has it.
    pub path: String,
    /// How one logs in.
    pub login: Login,
    /// TLS is required.
    pub tls: bool,
    /// Files with certificates that are trusted; the system's if empty.
    pub root_cas: Vec<String>,
    /// Files with the client's certificate and its key.
    pub client_cert: Option<(String, String)>,
    /// Attempts to connect again; `None`: without end.
    pub max_reconnects: Option<u64>,
    /// Pause between them.
    pub reconnect_wait: Duration,
    /// Limit for connecting.
    pub timeout: Duration,
}

impl Nats {
    pub(super) fn read(source: &Source) -> Result<Nats> {
        let all = source.all;
        let in_url = source.url.map(|url| {
            crate::url::clean_path(&url.path)
                .trim_matches('/')
                .to_owned()
        });
        // What the replica says itself beats its URL, and the URL what it inherits.
        let bucket = source
            .own
            .text("bucket")
            .or(in_url.filter(|b| !b.is_empty() && b != "."));
        let bucket = bucket.or_else(|| all.text("bucket"));
        let client_cert = match (all.text("client-cert"), all.text("client-key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(
                    "client-cert and client-key must both be specified for mutual TLS authentication",
                ));
            }
        };
        let host = source
            .url
            .map(|url| url.host.clone())
            .filter(|host| !host.is_empty());
        Ok(Nats {
            host: host.unwrap_or_else(|| SERVER.to_owned()),
            bucket: bucket.ok_or_else(|| Error::invalid("bucket required for NATS replica"))?,
            path: source.own.text("path").unwrap_or_default(),
            login: login(source),
            tls: all.bool("tls").unwrap_or(false),
            root_cas: all.list("root-cas"),
            client_cert,
            max_reconnects: all
                .int("max-reconnects")
                .and_then(|n| u64::try_from(n).ok()),
            reconnect_wait: all
                .duration("reconnect-wait")
                .unwrap_or(Duration::from_secs(2)),
            timeout: all.duration("timeout").unwrap_or(Duration::from_secs(10)),
        })
    }

    /// Server, bucket and path.
    pub(super) fn place(&self) -> (&str, &str, &str) {
        (&self.host, &self.bucket, self.path.trim_matches('/'))
    }

    pub(super) fn location(&self) -> String {
        let (host, bucket, path) = self.place();
        let slash = if path.is_empty() { "" } else { "/" };
        format!("nats://{host}/{bucket}{slash}{path}")
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("url", format!("nats://{}/", self.host));
        keys.set_text("bucket", self.bucket.as_str());
        keys.set_text("path", self.path.as_str());
        match &self.login {
            Login::Jwt { jwt, seed } => {
                keys.set_secret("jwt", Some(jwt));
                keys.set_secret("seed", Some(seed));
            }
            Login::Creds(path) => keys.set_text("creds", path.as_str()),
            Login::Nkey(key) => keys.set_secret("nkey", Some(key)),
            Login::Password { username, password } => {
                keys.set_text("username", username.as_str());
                keys.set_secret("password", Some(password));
            }
            Login::Token(token) => keys.set_secret("token", Some(token)),
            Login::Anonymous => {}
        }
        keys.set("tls", Value::Bool(self.tls));
        if !self.root_cas.is_empty() {
            keys.set("root-cas", Value::List(self.root_cas.clone()));
        }
        keys.set_some(
            "client-cert",
            self.client_cert.as_ref().map(|(cert, _)| cert),
        );
        keys.set_some("client-key", self.client_cert.as_ref().map(|(_, key)| key));
        let attempts = self
            .max_reconnects
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or(-1);
        keys.set("max-reconnects", Value::Int(attempts));
        let nanos = |d: Duration| Value::Duration(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
        keys.set("reconnect-wait", nanos(self.reconnect_wait));
        keys.set("timeout", nanos(self.timeout));
        keys
    }
}

fn login(source: &Source) -> Login {
    let all = source.all;
    if let (Some(jwt), Some(seed)) = (all.secret("jwt"), all.secret("seed")) {
        return Login::Jwt { jwt, seed };
    }
    if let Some(path) = all.text("creds") {
        return Login::Creds(path);
    }
    if let Some(key) = all.secret("nkey") {
        // The public key alone proves nothing.
        return Login::Nkey(all.secret("seed").unwrap_or(key));
    }
    let in_url = source
        .url
        .and_then(|url| url.user.clone())
        .unwrap_or_default();
    let username = all
        .text("username")
        .or(Some(in_url.0).filter(|name| !name.is_empty()));
    if let (Some(username), Some(password)) = (username, all.secret("password").or(in_url.1)) {
        return Login::Password { username, password };
    }
    all.secret("token").map_or(Login::Anonymous, Login::Token)
}
