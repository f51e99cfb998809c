//! Which keys a server may show: a pinned one, else those in the files of known hosts, else any, with a warning.
//!
//! Promise: a key that differs from what is known of the host is never accepted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use sha1::Sha1;

use super::address::Address;
use super::login::read_text;
use crate::env::Disk;
use crate::{Error, ErrorKind, Result};

/// What is believed of one host, as long as the replica lives.
#[derive(Clone)]
pub(super) struct HostKeys {
    address: Address,
    pinned: Option<PublicKey>,
    /// Taken on trust by an earlier connection.
    seen: Arc<Mutex<Option<PublicKey>>>,
}

impl HostKeys {
    /// `pinned` is in the format of `authorized_keys`.
    pub(super) fn new(address: Address, pinned: Option<&str>) -> Result<HostKeys> {
        let parse = |text: &str| {
            PublicKey::from_openssh(text.trim()).map_err(|e| {
                Error::invalid(format_args!("cannot parse sftp host key: {e}"))
                    .with_hint("\"host-key\" has the form: ssh-ed25519 AAAA…")
            })
        };
        Ok(HostKeys {
            address,
            pinned: pinned.map(parse).transpose()?,
            seen: Arc::default(),
        })
    }

    /// Reads the files of known hosts, if no key is pinned: blocking.
    pub(super) fn judge(&self, disk: &dyn Disk) -> Result<Judge> {
        self.judge_by(disk, files())
    }

    fn judge_by(&self, disk: &dyn Disk, files: Vec<PathBuf>) -> Result<Judge> {
        let mut entries = Vec::new();
        let files = files.into_iter().filter(|_| self.pinned.is_none());
        for file in files {
            match read_text(disk, &file) {
                Ok(text) => entries.extend(entries_of(&text, &file)),
                // Only a file that is not there says nothing.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    let text = format!("cannot read the known hosts in {}: {e}", file.display());
                    let subject = self.address.to_string();
                    return Err(Error::new(ErrorKind::Invalid, "connect", subject, text)
                        .with_hint("make it readable, or name the server's key by \"host-key\""));
                }
            }
        }
        Ok(Judge {
            keys: self.clone(),
            entries,
        })
    }
}

/// `~/.ssh/known_hosts` and the one for all users.
fn files() -> Vec<PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
    let system = PathBuf::from("/etc/ssh/ssh_known_hosts");
    home.into_iter().chain([system]).collect()
}

/// A line of a file of known hosts.
struct Entry {
    hosts: String,
    /// `None` if it can't be read: then it is a key, but not the one that is shown.
    key: Option<PublicKey>,
    revoked: bool,
    file: PathBuf,
    line: usize,
}

fn entries_of(text: &str, file: &Path) -> Vec<Entry> {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, line)| entry(line.trim(), file, at + 1))
        .collect()
}

/// `None` for comments and certificate authorities.
fn entry(text: &str, file: &Path, line: usize) -> Option<Entry> {
    let mut fields = text.split_ascii_whitespace().peekable();
    let marker = fields.next_if(|field| field.starts_with('@'));
    if text.starts_with('#') || !matches!(marker, None | Some("@revoked")) {
        return None;
    }
    let hosts = fields.next()?.to_owned();
    let mut field = || fields.next().unwrap_or_default();
    let key = format!("{} {}", field(), field());
    Some(Entry {
        hosts,
        key: PublicKey::from_openssh(&key).ok(),
        revoked: marker.is_some(),
        file: file.to_owned(),
        line,
    })
}

/// Whether a list of patterns, or a hashed name, means this host.
fn means(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return is_hash_of(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches(not, name) => return false,
            Some(_) => {}
            None => found |= matches(pattern, name),
        }
    }
    found
}

/// `salt|hash`, both in base64.
fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(mac.chain_update(name).verify_slice(&hash).is_ok())
}

/// `*` is any text, `?` any letter.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last `*` does not fit.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == b'?' || letter.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, at)) => {
                    retry = Some((star, at + 1));
                    (p, n) = (star + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// What is known, when a connection is made.
pub(super) struct Judge {
    keys: HostKeys,
    entries: Vec<Entry>,
}

impl Judge {
    /// The order in which kinds of keys are asked for: those first that are known, so that a server with several shows that one.
    pub(super) fn preferred(&self, default: &[Algorithm]) -> Vec<Algorithm> {
        let seen = self.keys.seen.lock().clone();
        let pinned = self.keys.pinned.iter().chain(&seen);
        let known: Vec<Algorithm> = pinned
            .chain(self.known().filter_map(|entry| entry.key.as_ref()))
            .map(PublicKey::algorithm)
            .collect();
        let is_known = |kind: &Algorithm| known.iter().any(|k| same_kind(k, kind));
        let (mut first, rest): (Vec<_>, Vec<_>) =
            default.iter().cloned().partition(|kind| is_known(kind));
        first.extend(rest);
        first
    }

    /// Entries for this host: with its port, else, for another port than 22, those of the name alone.
    fn known(&self) -> impl Iterator<Item = &Entry> {
        let names = self.keys.address.known_as();
        let of = |name: &str| {
            let fits = |entry: &&Entry| !entry.revoked && means(&entry.hosts, name);
            self.entries.iter().filter(fits).collect::<Vec<_>>()
        };
        let exact = of(&names[0]);
        let entries = if exact.is_empty() {
            of(&names[1])
        } else {
            exact
        };
        entries.into_iter()
    }

    /// Whether to go on with a server that has proved to have this key.
    pub(super) fn check(&self, key: &PublicKey) -> Result<()> {
        let address = &self.keys.address;
        let same = |other: &PublicKey| other.key_data() == key.key_data();
        if let Some(pinned) = &self.keys.pinned {
            if same(pinned) {
                return Ok(());
            }
            let text = format!("the server's key {} is not the one given", finger(key));
            return Err(self.refused(&text).with_hint(format!(
                "\"host-key\" names {}: either it is wrong, or somebody stands between",
                finger(pinned)
            )));
        }
        let names_it = |entry: &Entry| entry.key.as_ref().is_some_and(same);
        let mut revoked = self.entries.iter().filter(|entry| entry.revoked);
        if let Some(entry) = revoked.find(|entry| names_it(entry)) {
            let text = format!("the server's key is revoked by {}", place(entry));
            return Err(self.refused(&text));
        }
        let known: Vec<&Entry> = self.known().collect();
        if known.iter().any(|entry| names_it(entry)) {
            return Ok(());
        }
        // A name without its port vouches for a key, but another server may well listen at another port.
        let exact = &address.known_as()[0];
        if let Some(entry) = known.iter().find(|entry| means(&entry.hosts, exact)) {
            let text = format!("the server's key has changed: it is {} now", finger(key));
            return Err(self.refused(&text).with_hint(format!(
                "another one is in {}: make sure that the server was given a new key and that nobody stands between, then correct \
                 that line",
                place(entry)
            )));
        }
        let mut seen = self.keys.seen.lock();
        match &*seen {
            Some(before) if same(before) => Ok(()),
            Some(before) => {
                let text = format!(
                    "the server's key has changed from {} to {}",
                    finger(before),
                    finger(key)
                );
                Err(self.refused(&text).with_hint(
                    "make sure that the server was given a new key and that nobody stands between, then restart, or name the key by \
                     \"host-key\"",
                ))
            }
            None => {
                let line = key.to_openssh().unwrap_or_default();
                let mut words = line.splitn(3, ' ');
                let line = format!(
                    "{} {}",
                    words.next().unwrap_or_default(),
                    words.next().unwrap_or_default()
                );
                tracing::warn!(
                    host = %address,
                    host_key = line.trim_end(),
                    "sftp host key not verified: whoever answers there is believed; pin the key by \"host-key\""
                );
                *seen = Some(key.clone());
                Ok(())
            }
        }
    }

    fn refused(&self, text: &str) -> Error {
        let subject = self.keys.address.to_string();
        Error::new(ErrorKind::Invalid, "connect", subject, text)
    }
}

/// One RSA key signs in several ways.
fn same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    a == b || matches!((a, b), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

fn finger(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn place(entry: &Entry) -> String {
    format!("{}, line {}", entry.file.display(), entry.line)
}

#[cfg(test)]
mod tests;
