//! Where a replica lies and how it is reached: typed settings of all eight kinds of storage.
//!
//! One reader for all: a URL, a configuration file, a command line and the control socket all give [`Keys`], and
//! [`Storage::read`] makes settings of them. Promise: what Litestream 0.5.17 reads from a configuration file or a replica
//! URL names the same place here; secrets are in no message and no debug output.

mod abs;
mod access;
mod endpoint;
mod file;
mod gs;
mod keys;
mod nats;
mod oss;
mod s3;
mod secret;
mod sftp;
mod url;
mod webdav;

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Weak};

pub use abs::Abs;
#[cfg(feature = "http")]
pub(crate) use access::LEASE_TIME_MAX;
pub use access::{Access, Trust};
pub use endpoint::assumed_http;
pub use file::File;
pub use gs::Gs;
pub use keys::{Key, Keys, TABLE, Value, ValueKind, lookup};
pub use nats::{Login, Nats};
pub use oss::Oss;
pub use s3::{Encryption, S3};
pub use secret::{REDACTED, Secret};
pub use sftp::Sftp;
pub use url::shown as shown_url;
pub use webdav::Webdav;

use parking_lot::Mutex;

use self::url::Url;
use crate::env::Env;
use crate::file::FileReplica;
use crate::limits::{Limits, Rates};
use crate::retry::{Patience, Retrying};
use crate::{Error, Result, SharedReplica};

/// An access key of S3 or OSS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its name.
    pub id: Secret,
    /// What signs.
    pub secret: Secret,
}

impl AccessKey {
    /// Both parts or nothing: then the provider's own chain of credentials is asked.
    fn read(keys: &Keys) -> Option<AccessKey> {
        Some(AccessKey {
            id: keys.secret("access-key-id")?,
            secret: keys.secret("secret-access-key")?,
        })
    }

    fn write(access_key: Option<&AccessKey>, keys: &mut Keys) {
        keys.set_secret("access-key-id", access_key.map(|k| &k.id));
        keys.set_secret("secret-access-key", access_key.map(|k| &k.secret));
    }
}

/// The storage that a replica lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A local folder.
    File(File),
    /// Amazon S3, or what speaks its protocol.
    S3(S3),
    /// Google Cloud Storage.
    Gs(Gs),
    /// Azure Blob Storage.
    Abs(Abs),
    /// A server with SSH.
    Sftp(Sftp),
    /// A WebDAV server.
    Webdav(Webdav),
    /// An object store of NATS JetStream.
    Nats(Nats),
    /// Alibaba Cloud Object Storage.
    Oss(Oss),
}

/// What the backends read: what the replica says, the same with the defaults, and its URL.
struct Source<'a> {
    own: &'a Keys,
    all: &'a Keys,
    url: Option<&'a Url>,
}

impl Source<'_> {
    /// A URL says where the replica is; nothing else of the replica's own may.
    fn refuse_beside_url(&self, kind: &str, names: &[&str]) -> Result<()> {
        match names
            .iter()
            .find(|name| self.url.is_some() && self.own.is_given(name))
        {
            Some(name) => Err(Error::invalid(format_args!(
                "cannot specify url & {name} for {kind} replica"
            ))),
            None => Ok(()),
        }
    }

    /// The bucket that the URL names, else the one that the keys name.
    fn bucket(&self, kind: &str, in_url: Option<&str>) -> Result<String> {
        let bucket = match self.url {
            Some(_) => in_url.filter(|name| !name.is_empty()).map(str::to_owned),
            None => self.all.text("bucket"),
        };
        bucket.ok_or_else(|| Error::invalid(format_args!("bucket required for {kind} replica")))
    }

    /// The prefix of keys: of the URL's path cleaned, of the key `path` verbatim.
    fn prefix(&self) -> String {
        match self.url {
            Some(url) => url.key(),
            None => self.own.text("path").unwrap_or_default(),
        }
    }
}

impl Storage {
    /// What a replica URL names.
    pub fn from_url(url: &str) -> Result<Storage> {
        if crate::url::has_no_scheme(url) {
            return Err(scheme_required(url));
        }
        Storage::read(&Keys::url(url), &Keys::new())
    }

    /// Reads what a replica says of itself, and the defaults for what it does not say.
    pub fn read(own: &Keys, defaults: &Keys) -> Result<Storage> {
        if let Some(path) = own.text("path").filter(|path| crate::url::is_url(path)) {
            return Err(Error::invalid(format_args!(
                "replica path cannot be a url, please use the 'url' field instead: {}",
                shown_url(&path)
            )));
        }
        let all = own.over(defaults);
        let given = own.text("url");
        let kind = kind(own)?;
        if kind == "file" {
            return File::read(own, given.as_deref()).map(Storage::File);
        }
        let url = match given.as_deref() {
            Some(text) if s3::is_arn(text) => Some(s3::arn_url(text)?),
            Some(text) => Some(Url::parse(text)?),
            None => None,
        };
        let source = Source {
            own,
            all: &all,
            url: url.as_ref(),
        };
        Ok(match kind.as_str() {
            "s3" => Storage::S3(S3::read(&source)?),
            "gs" => Storage::Gs(Gs::read(&source)?),
            "abs" => Storage::Abs(Abs::read(&source)?),
            "sftp" => Storage::Sftp(Sftp::read(&source)?),
            "webdav" => Storage::Webdav(Webdav::read(&source)?),
            "nats" => Storage::Nats(Nats::read(&source)?),
            "oss" => Storage::Oss(Oss::read(&source)?),
            other => {
                return Err(Error::invalid(format_args!(
                    "unknown replica type in config: {other:?}"
                )));
            }
        })
    }

    /// The type as a configuration file names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Storage::File(_) => "file",
            Storage::S3(_) => "s3",
            Storage::Gs(_) => "gs",
            Storage::Abs(_) => "abs",
            Storage::Sftp(_) => "sftp",
            Storage::Webdav(_) => "webdav",
            Storage::Nats(_) => "nats",
            Storage::Oss(_) => "oss",
        }
    }

    /// Where it is, for people; no secrets.
    pub fn location(&self) -> String {
        match self {
            Storage::File(file) => file.path.display().to_string(),
            Storage::S3(s3) => format!("s3://{}/{}", s3.bucket, s3.prefix),
            Storage::Gs(gs) => format!("gs://{}/{}", gs.bucket, gs.prefix),
            Storage::Abs(abs) => abs.location(),
            Storage::Sftp(sftp) => sftp.location(),
            Storage::Webdav(webdav) => webdav.location(),
            Storage::Nats(nats) => nats.location(),
            Storage::Oss(oss) => format!("oss://{}/{}", oss.bucket, oss.prefix),
        }
    }

    /// What is equal for settings of the same place, and for no others.
    pub fn identity(&self) -> String {
        match self {
            Storage::File(file) => format!("file {}", file.path.display()),
            Storage::S3(s3) => format!("s3 {:?}", s3.place()),
            Storage::Gs(gs) => format!("gs {gs:?}"),
            Storage::Abs(abs) => format!("abs {:?}", abs.place()),
            Storage::Sftp(sftp) => format!("sftp {:?}", sftp.place()),
            Storage::Webdav(webdav) => format!("webdav {:?}", webdav.place()),
            Storage::Nats(nats) => format!("nats {:?}", nats.place()),
            Storage::Oss(oss) => format!("oss {:?}", oss.place()),
        }
    }

    /// Whether both are one place, so that two databases would overwrite each other there.
    pub fn same_place(&self, other: &Storage) -> bool {
        self.identity() == other.identity()
    }

    /// The place for a database with the relative path `rel` below a folder whose replica this is.
    pub fn below(&self, rel: &str) -> Storage {
        let mut storage = self.clone();
        let path = match &mut storage {
            Storage::File(file) => {
                file.go_below(rel);
                return storage;
            }
            Storage::S3(s3) => &mut s3.prefix,
            Storage::Gs(gs) => &mut gs.prefix,
            Storage::Abs(abs) => &mut abs.prefix,
            Storage::Sftp(sftp) => &mut sftp.path,
            Storage::Webdav(webdav) => &mut webdav.path,
            Storage::Nats(nats) => &mut nats.path,
            Storage::Oss(oss) => &mut oss.prefix,
        };
        *path = if path.is_empty() {
            crate::url::clean_path(rel)
        } else {
            crate::url::clean_path(&format!("{path}/{rel}"))
        };
        storage
    }

    /// What can be said without contacting the storage, but is only found when a replica is opened.
    pub fn check(&self) -> Result<()> {
        match self {
            Storage::S3(s3) => s3.check(),
            Storage::Abs(abs) => abs.check(),
            _ => Ok(()),
        }
    }

    /// The keys that give these settings again.
    pub fn keys(&self) -> Keys {
        let mut keys = match self {
            Storage::File(file) => file.keys(),
            Storage::S3(s3) => s3.keys(),
            Storage::Gs(gs) => gs.keys(),
            Storage::Abs(abs) => abs.keys(),
            Storage::Sftp(sftp) => sftp.keys(),
            Storage::Webdav(webdav) => webdav.keys(),
            Storage::Nats(nats) => nats.keys(),
            Storage::Oss(oss) => oss.keys(),
        };
        keys.set_text("type", self.kind());
        keys
    }
}

/// The type that the keys name: the URL's scheme, else `type`, else `file`.
pub fn kind(own: &Keys) -> Result<String> {
    let Some(url) = own.text("url") else {
        let kind = own.text("type").unwrap_or_else(|| "file".to_owned());
        return if KINDS.contains(&kind.as_str()) {
            Ok(kind)
        } else {
            Err(Error::invalid(format_args!(
                "unknown replica type in config: {kind:?}"
            )))
        };
    };
    if crate::url::has_no_scheme(&url) {
        return Err(match own.text("type").as_deref() {
            Some("nats") => {
                Error::invalid(format_args!("invalid NATS URL: {}", scheme_required(&url)))
            }
            _ => scheme_required(&url),
        });
    }
    let scheme = url
        .split("://")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match scheme.as_str() {
        "webdavs" => Ok("webdav".to_owned()),
        scheme if KINDS.contains(&scheme) => Ok(scheme.to_owned()),
        scheme => Err(Error::invalid(format_args!(
            "unknown replica type in config: {scheme:?}"
        ))),
    }
}

/// The types of storage.
pub const KINDS: [&str; 8] = ["file", "s3", "gs", "abs", "sftp", "nats", "webdav", "oss"];

fn scheme_required(url: &str) -> Error {
    Error::invalid(format_args!(
        "replica url scheme required: {}",
        shown_url(url)
    ))
}

/// Query parameters of a URL that mean nothing.
pub fn unknown_parameters(url: &str) -> Vec<String> {
    let Ok(parsed) = Url::parse(url) else {
        return Vec::new();
    };
    let known = |name: &str| {
        parsed.scheme == "s3" && s3::PARAMETERS.iter().any(|names| names.contains(&name))
    };
    parsed
        .query
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !known(name))
        .collect()
}

/// How a replica is to be opened.
pub struct Opening<'a> {
    /// The outside world.
    pub env: &'a Env,
    /// The database whose mode and owner files of a local replica get.
    pub like: Option<&'a Path>,
    /// How the storage is used, beside what is its own.
    pub access: Access,
    /// What all replicas of the process share.
    pub shared: Arc<Shared>,
    /// How long requests are tried again before their errors are passed on.
    pub patience: Patience,
}

impl<'a> Opening<'a> {
    /// For a command that somebody waits for, without limits.
    pub fn command(env: &'a Env) -> Opening<'a> {
        Opening {
            env,
            like: None,
            access: Access::default(),
            shared: Shared::new(Rates::default(), env),
            patience: Patience::COMMAND,
        }
    }
}

/// What all replicas of a process share: connections, what is known of credentials, and the limits above all.
pub struct Shared {
    #[allow(dead_code, reason = "only remote storage has limits")]
    limits: Arc<Limits>,
    /// Each with what it was made from. What nobody uses any more is made anew.
    made: Mutex<Vec<(Thing, Weak<dyn Any + Send + Sync>)>>,
}

type Thing = Box<dyn Any + Send + Sync>;

impl Shared {
    /// Nothing yet, and these limits above those of each replica.
    pub fn new(rates: Rates, env: &Env) -> Arc<Shared> {
        Arc::new(Shared {
            limits: Limits::new(rates, Arc::clone(&env.clock), None),
            made: Mutex::default(),
        })
    }

    /// `make` may not ask for anything shared. What was made from that before, or `make`s it: a thousand replicas in one bucket have one client.
    pub(crate) fn get<K, T>(&self, from: K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>>
    where
        K: PartialEq + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        let mut made = self.made.lock();
        made.retain(|(_, any)| any.strong_count() > 0);
        let same = made
            .iter()
            .filter(|(thing, _)| thing.downcast_ref::<K>() == Some(&from));
        let there = same.filter_map(|(_, any)| any.upgrade()?.downcast::<T>().ok());
        if let Some(there) = { there }.next() {
            return Ok(there);
        }
        let new = Arc::new(make()?);
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(&new) as _;
        made.push((Box::new(from), Arc::downgrade(&any)));
        Ok(new)
    }
}

impl Opening<'_> {
    /// The limits of this replica, with those above it.
    #[allow(dead_code, reason = "only remote storage has limits")]
    pub(crate) fn limits(&self) -> Arc<Limits> {
        if self.access.rates == Rates::default() {
            return Arc::clone(&self.shared.limits);
        }
        let clock = Arc::clone(&self.env.clock);
        let above = Arc::clone(&self.shared.limits);
        Limits::new(self.access.rates, clock, Some(above))
    }

    /// `share`s what is made from that, unless the replica has limits of its own: those are in its client.
    #[allow(dead_code, reason = "not all storage shares")]
    pub(crate) fn shared<K, T>(&self, from: K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>>
    where
        K: PartialEq + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        if self.access.rates == Rates::default() {
            self.shared.get(from, make)
        } else {
            make().map(Arc::new)
        }
    }

    /// A client for HTTP that trusts whom the replica trusts. Those with equal trust share their connections.
    #[cfg(feature = "http")]
    pub(crate) fn http(&self, trust: &Trust) -> Result<crate::net::Client> {
        let make = || {
            crate::net::Client::new(crate::net::Options {
                trust: trust.clone(),
                ..crate::net::Options::new(self.env, &self.shared.limits)
            })
        };
        let client = self.shared.get(trust.clone(), make)?;
        Ok(client.with_limits(self.limits()))
    }
}

/// Opens a replica; contacts nothing.
pub fn open(storage: &Storage, opening: &Opening<'_>) -> Result<SharedReplica> {
    storage.check()?;
    if let Storage::File(file) = storage {
        let like = opening.like.map(Path::to_path_buf);
        let replica = FileReplica::new(file.path.clone(), opening.env.clone(), like);
        return lease(Arc::new(replica), opening);
    }
    let replica = open_remote(storage, opening)?;
    let clock = Arc::clone(&opening.env.clock);
    let replica: SharedReplica = Arc::new(Retrying::new(replica, clock, opening.patience));
    lease(replica, opening)
}

/// A writer that is to hold the lease gets it when it begins.
fn lease(replica: SharedReplica, opening: &Opening<'_>) -> Result<SharedReplica> {
    match opening.access.lease {
        None => Ok(replica),
        #[cfg(feature = "http")]
        Some(ttl) => Ok(Arc::new(crate::lease::Leased::new(
            replica,
            crate::lease::owner(),
            ttl,
            opening.env,
        )?)),
        #[cfg(not(feature = "http"))]
        Some(_) => Err(Error::invalid("leases are not part of this build")),
    }
}

/// What is reached over a network, each request sent once.
fn open_remote(storage: &Storage, opening: &Opening<'_>) -> Result<SharedReplica> {
    let _ = opening;
    match storage {
        #[cfg(feature = "sftp")]
        Storage::Sftp(sftp) => Ok(Arc::new(crate::sftp::SftpReplica::new(sftp, opening)?)),
        #[cfg(feature = "webdav")]
        Storage::Webdav(webdav) => Ok(Arc::new(crate::webdav::WebdavReplica::new(
            webdav, opening,
        )?)),
        #[cfg(feature = "nats")]
        Storage::Nats(nats) => Ok(Arc::new(crate::nats::NatsReplica::new(nats, opening)?)),
        #[cfg(feature = "s3")]
        Storage::S3(s3) => Ok(Arc::new(crate::s3::S3Replica::new(s3, opening)?)),
        #[cfg(feature = "abs")]
        Storage::Abs(abs) => Ok(Arc::new(crate::abs::AbsReplica::new(abs, opening)?)),
        #[cfg(feature = "gs")]
        Storage::Gs(gs) => Ok(Arc::new(crate::gs::GsReplica::new(gs, opening)?)),
        #[cfg(feature = "oss")]
        Storage::Oss(oss) => Ok(Arc::new(crate::oss::OssReplica::new(oss, opening)?)),
        #[allow(unreachable_patterns, reason = "where everything is built in")]
        other => Err(Error::invalid(format_args!(
            "replica type \"{}\" is not part of this build",
            other.kind()
        ))),
    }
}

#[cfg(test)]
mod tests;
