//! How each kind of server is started, made ready and addressed.

mod abs;
mod gs;
mod nats;
mod oss;
mod s3;
mod s3_built;
mod sftp;
mod webdav;
mod webdav_apache;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::kind::Kind;
use crate::place::Place;
use crate::process::Program;

/// The bucket or container of the servers that have such a thing.
pub(crate) const BUCKET: &str = "testb";
/// Name and password of the servers that ask for them.
pub(crate) const USER: &str = "u";
/// As every secret here, one that is found in nothing else: tests look for it in all that is said.
pub(crate) const PASSWORD: &str = "zqx7f-password";

/// Where a server runs.
pub(crate) struct Site {
    /// Where the servers are installed.
    pub(crate) home: PathBuf,
    /// The folder of its data, logs and settings.
    pub(crate) dir: PathBuf,
    /// Its ports; clients use the first.
    pub(crate) ports: Vec<u16>,
}

impl Site {
    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    /// A program of Python's packages.
    pub(crate) fn python(&self, program: &str) -> OsString {
        self.home.join("venv/bin").join(program).into()
    }

    /// A path in the server's folder, as text for settings.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// A kind of server.
pub(crate) trait Recipe: Send + Sync {
    /// How many ports it needs.
    fn ports(&self) -> usize {
        1
    }

    /// Writes settings and makes folders, once.
    fn prepare(&self, _site: &Site) -> Result<()> {
        Ok(())
    }

    /// The programs, to be started one after the other.
    fn programs(&self, site: &Site) -> Vec<Program>;

    /// Makes bucket and accounts. Called after each start, whether they are there or not.
    fn ready(&mut self, _site: &Site) -> Result<()> {
        Ok(())
    }

    /// A replica named so, that is reached through a port.
    fn place(&self, site: &Site, name: &str, port: u16) -> Result<Place>;
}

pub(crate) fn recipe(kind: Kind) -> Box<dyn Recipe> {
    match kind {
        Kind::Moto => Box::new(s3::Moto),
        Kind::MotoAuth => Box::new(s3::MotoAuth::default()),
        Kind::RcloneS3 => Box::new(s3::Rclone),
        Kind::S3sFs => Box::new(s3_built::S3sFs),
        Kind::Garage => Box::new(s3_built::Garage),
        Kind::Gcs => Box::new(gs::Emulator { adapted: false }),
        Kind::GcsForOracle => Box::new(gs::Emulator { adapted: true }),
        Kind::Azurite => Box::new(abs::Azurite { sas: false }),
        Kind::AzuriteSas => Box::new(abs::Azurite { sas: true }),
        Kind::Nats => Box::new(nats::Nats { old: false }),
        Kind::NatsOld => Box::new(nats::Nats { old: true }),
        Kind::Sshd => Box::new(sftp::Sshd),
        Kind::RcloneSftp => Box::new(sftp::Rclone),
        Kind::RcloneWebdav => Box::new(webdav::Rclone),
        Kind::Nginx => Box::new(webdav::Nginx),
        Kind::ApacheBasic => Box::new(webdav_apache::Apache { digest: false }),
        Kind::ApacheDigest => Box::new(webdav_apache::Apache { digest: true }),
        Kind::Wsgidav => Box::new(webdav::Wsgidav),
        Kind::Oss => Box::new(oss::Oss),
    }
}

/// Arguments of several types in one list.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$(std::ffi::OsString::from($arg)),*] };
}
pub(crate) use args;
