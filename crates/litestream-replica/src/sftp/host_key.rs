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
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G2sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn judge(host: &str, pinned: Option<&str>, known: &str) -> Judge {
        let address = Address::parse(host).unwrap();
        Judge {
            keys: HostKeys::new(address, pinned).unwrap(),
            entries: entries_of(known, Path::new("/known")),
        }
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let judge = judge("h", Some(&format!("{ONE} a comment")), &format!("h {TWO}"));
        assert!(judge.check(&key(ONE)).is_ok());
        let error = judge.check(&key(TWO)).unwrap_err();
        assert!(!error.is_retryable() && error.to_string().contains("is not the one given"));
        let bad = HostKeys::new(Address::parse("h").unwrap(), Some("ssh-ed25519 x"));
        let error = bad.err().unwrap().to_string();
        assert!(error.starts_with("cannot parse sftp host key: "), "{error}");
    }

    #[test]
    fn a_known_host_must_show_a_known_key() {
        for (host, line, known) in [
            ("h", "h", true),
            ("h", "H", true),
            ("h", "other,h,1.2.3.4", true),
            ("h.example.com", "*.example.com", true),
            ("h.example.com", "h.*", true),
            ("h.example.com", "?.example.com", true),
            ("h.example.com", "*.example.com,!h.example.com", false),
            ("h.example.com", "*.example.org", false),
            ("h:2222", "[h]:2222", true),
            ("[::1]:2222", "[::1]:2222", true),
            ("::1", "::1", true),
            ("h", "[h]:2222", false),
            ("pijul.org", "#pijul.org", false),
            (
                "example.com",
                "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=",
                true,
            ),
            (
                "example.org",
                "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=",
                false,
            ),
            ("h", "|1|x|y", false),
        ] {
            let judge = judge(host, None, &format!("\n# x\n{line} {ONE} comment\n"));
            assert!(judge.check(&key(ONE)).is_ok(), "{host} {line}");
            let other = judge.check(&key(TWO)).map_err(|e| e.to_string());
            if known {
                assert!(
                    other.unwrap_err().contains("/known, line 3"),
                    "{host} {line}"
                );
            } else {
                // The first key was taken on trust.
                assert!(
                    other.unwrap_err().contains("has changed from"),
                    "{host} {line}"
                );
            }
        }
    }

    #[test]
    fn a_key_that_can_not_be_read_is_known_and_another_one() {
        for line in [
            "h ssh-ed25519 AAAAbroken",
            "h ssh-ed25519",
            "h ssh-new AAAA",
            "h",
        ] {
            let error = judge("h", None, line).check(&key(ONE)).unwrap_err();
            assert!(error.to_string().contains("/known, line 1"), "{error}");
            let both = judge("h", None, &format!("{line}\nh {ONE}"));
            assert!(both.check(&key(ONE)).is_ok(), "{line}");
        }
    }

    #[test]
    fn known_hosts_that_can_not_be_read_are_no_reason_to_believe_anybody() {
        let disk = crate::env::real::env().disk;
        let folder = tempfile::tempdir().unwrap();
        let judge_by = |pinned, file: PathBuf| {
            let keys = HostKeys::new(Address::parse("h").unwrap(), pinned).unwrap();
            keys.judge_by(&*disk, vec![file]).map(drop)
        };
        assert!(judge_by(None, folder.path().join("missing")).is_ok());
        // A folder can't be read as a file.
        let error = judge_by(None, folder.path().to_owned()).unwrap_err();
        assert!(
            !error.is_retryable() && error.to_string().contains("host-key"),
            "{error}"
        );
        assert!(judge_by(Some(ONE), folder.path().to_owned()).is_ok());
    }

    #[test]
    fn another_port_is_another_server_but_the_name_vouches() {
        let known = format!("h {ONE}");
        assert!(judge("h:2222", None, &known).check(&key(ONE)).is_ok());
        assert!(judge("h:2222", None, &known).check(&key(TWO)).is_ok());
        assert!(judge("h:22", None, &known).check(&key(TWO)).is_err());
    }

    #[test]
    fn revoked_keys_and_authorities() {
        let known = format!("@revoked * {ONE}\n@cert-authority * {TWO}\n");
        let judge = judge("h", None, &known);
        let error = judge.check(&key(ONE)).unwrap_err().to_string();
        assert!(error.contains("revoked by /known, line 1"), "{error}");
        assert!(judge.check(&key(TWO)).is_ok());
    }

    #[test]
    fn the_kind_of_key_that_is_known_is_asked_for_first() {
        let default = russh::Preferred::DEFAULT.key;
        let order = |judge: &Judge| judge.preferred(&default);
        let known = judge("h", None, &format!("h {ECDSA}\nh {ECDSA}"));
        assert_eq!(order(&known)[0], key(ECDSA).algorithm());
        assert_eq!(order(&known).len(), default.len());
        assert_eq!(order(&judge("h", None, "")), default.to_vec());
        assert_eq!(
            order(&judge("h", Some(ECDSA), ""))[0],
            key(ECDSA).algorithm()
        );
    }
}
