//! What can be said of any storage that is reached over a network: how fast, whom to trust, and whether one writer at a time is made sure of.

use std::path::PathBuf;
use std::time::Duration;

use super::{Keys, Value, kind};
use crate::limits::Rates;
use crate::{Error, Result};

/// How long a lease holds without being renewed, unless set otherwise.
const LEASE_TIME: Duration = Duration::from_secs(30);
/// Shorter ones are lost by any hiccup.
const LEASE_TIME_MIN: Duration = Duration::from_secs(3);
/// Storage that can write on a condition.
const CAN_LEASE: [&str; 3] = ["s3", "gs", "abs"];
/// Longer ones are not believed by those who wait.
pub(crate) const LEASE_TIME_MAX: Duration = Duration::from_mins(10);

/// Whose certificates are accepted, and the own one. Paths are PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Accepted beside the roots of the system.
    pub ca_files: Vec<PathBuf>,
    /// Certificate and key to show to the server.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// Every certificate is accepted.
    pub skip_verify: bool,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// How fast and how often.
    pub rates: Rates,
    /// Whom to trust.
    pub trust: Trust,
    /// Write only while holding the replica's lease, which lasts so long; `None`: without one.
    pub lease: Option<Duration>,
}

impl Access {
    /// Reads what a replica says, and the defaults for what it does not say.
    pub fn read(own: &Keys, defaults: &Keys) -> Result<Access> {
        let all = own.over(defaults);
        let kind = kind(own)?;
        // NATS reads its own certificates; and where Litestream has no such key, a default for all must not weaken anything.
        let trust = if kind == "nats" {
            Trust::default()
        } else {
            Trust {
                ca_files: all.text("ca-file").map(PathBuf::from).into_iter().collect(),
                client_cert: pair(&all)?,
                skip_verify: if kind == "s3" { &all } else { own }
                    .bool("skip-verify")
                    .unwrap_or(false),
            }
        };
        Ok(Access {
            rates: Rates::read(&all)?,
            trust,
            // A default for all is for those that can.
            lease: lease(if CAN_LEASE.contains(&kind.as_str()) {
                &all
            } else {
                own
            })?,
        })
    }

    /// The keys that give these settings again.
    pub fn write(&self, keys: &mut Keys) {
        self.rates.write(keys);
        let path = |path: &PathBuf| path.display().to_string();
        keys.set_some("ca-file", self.trust.ca_files.first().map(path).as_ref());
        if let Some((cert, key)) = &self.trust.client_cert {
            keys.set_text("client-cert", path(cert));
            keys.set_text("client-key", path(key));
        }
        if self.trust.skip_verify {
            keys.set("skip-verify", Value::Bool(true));
        }
        if let Some(time) = self.lease {
            keys.set("lease", Value::Bool(true));
            keys.set("lease-ttl", Value::Duration(time.as_nanos() as i64));
        }
    }
}

fn pair(all: &Keys) -> Result<Option<(PathBuf, PathBuf)>> {
    match (all.text("client-cert"), all.text("client-key")) {
        (Some(cert), Some(key)) => Ok(Some((cert.into(), key.into()))),
        (None, None) => Ok(None),
        _ => Err(Error::invalid(
            "client-cert and client-key must both be specified for mutual TLS authentication",
        )),
    }
}

fn lease(all: &Keys) -> Result<Option<Duration>> {
    let time = all.duration("lease-ttl").unwrap_or(LEASE_TIME);
    if !(LEASE_TIME_MIN..=LEASE_TIME_MAX).contains(&time) {
        return Err(Error::invalid(format_args!(
            "lease-ttl must be between {} s and {} min",
            LEASE_TIME_MIN.as_secs(),
            LEASE_TIME_MAX.as_secs() / 60
        )));
    }
    Ok(all.bool("lease").unwrap_or(false).then_some(time))
}

impl Rates {
    /// Reads the keys `upload-rate`, `download-rate`, `requests-per-second` and `concurrent-requests`.
    pub fn read(all: &Keys) -> Result<Rates> {
        let count = |name: &str| match all.int(name) {
            None | Some(0) => Ok(None),
            Some(n) => u32::try_from(n).map(Some).map_err(|_| {
                Error::invalid(format_args!(
                    "{name} must not be negative: {n} (0 is no limit)"
                ))
            }),
        };
        let bytes = |name: &str| all.size(name).filter(|n| *n > 0);
        Ok(Rates {
            upload_bytes: bytes("upload-rate"),
            download_bytes: bytes("download-rate"),
            requests: count("requests-per-second")?.map(u64::from),
            concurrent: count("concurrent-requests")?,
        })
    }

    /// The keys that give these rates again.
    pub fn write(&self, keys: &mut Keys) {
        for (name, bytes) in [
            ("upload-rate", self.upload_bytes),
            ("download-rate", self.download_bytes),
        ] {
            if let Some(bytes) = bytes {
                keys.set(name, Value::Size(bytes));
            }
        }
        let concurrent = self.concurrent.map(u64::from);
        for (name, count) in [
            ("requests-per-second", self.requests),
            ("concurrent-requests", concurrent),
        ] {
            if let Some(count) = count {
                keys.set(name, Value::Int(count as i64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[(&str, Value)]) -> Keys {
        let mut keys = Keys::url("webdav://h/p");
        for (name, value) in values {
            keys.set(name, value.clone());
        }
        keys
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = keys(&[
            ("upload-rate", Value::Size(5)),
            ("concurrent-requests", Value::Int(3)),
            ("ca-file", Value::Text("/ca".into())),
            ("client-cert", Value::Text("/c".into())),
            ("client-key", Value::Text("/k".into())),
            ("skip-verify", Value::Bool(true)),
        ]);
        let access = Access::read(&all, &Keys::new()).unwrap();
        assert_eq!(access.rates.upload_bytes, Some(5));
        assert!(access.trust.skip_verify && access.lease.is_none());
        let mut again = Keys::url("webdav://h/p");
        access.write(&mut again);
        assert_eq!(Access::read(&again, &Keys::new()).unwrap(), access);
    }

    #[test]
    fn a_default_for_s3_does_not_make_others_trust_everybody() {
        let mut defaults = Keys::new();
        defaults.set("skip-verify", Value::Bool(true));
        let webdav = Access::read(&Keys::url("webdav://h/p"), &defaults).unwrap();
        assert!(!webdav.trust.skip_verify);
        let s3 = Access::read(&Keys::url("s3://h/p"), &defaults).unwrap();
        assert!(s3.trust.skip_verify);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let half = keys(&[("client-cert", Value::Text("/c".into()))]);
        assert!(Access::read(&half, &Keys::new()).is_err());
        let negative = keys(&[("requests-per-second", Value::Int(-1))]);
        let error = Access::read(&negative, &Keys::new()).unwrap_err();
        assert!(error.to_string().contains("requests-per-second"), "{error}");
        let short = keys(&[("lease-ttl", Value::Duration(5))]);
        assert!(Access::read(&short, &Keys::new()).is_err());
    }
}
