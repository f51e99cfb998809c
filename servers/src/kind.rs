//! The kinds of servers, and what tests must know of each before they start it.

use anyhow::{Context as _, Result};

use crate::install::Part;

/// A server with its way of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// S3: moto. Conditional requests as AWS has them; takes any credentials.
    Moto,
    /// S3: moto that checks signatures.
    MotoAuth,
    /// S3: rclone. Checks signatures, ignores conditions.
    RcloneS3,
    /// S3: s3s-fs. Checks signatures, payload hashes and Content-MD5. Built from source.
    S3sFs,
    /// S3: Garage. Checks the region, payload hashes and customer keys; ignores conditions. Built from source.
    Garage,
    /// Google Cloud Storage: gcp-storage-emulator. No authentication.
    Gcs,
    /// The same behind an adapter that answers long uploads in the form that Go's client library asks for.
    GcsForOracle,
    /// Azure Blob Storage: Azurite, with the account's key.
    Azurite,
    /// The same with a shared access signature.
    AzuriteSas,
    /// NATS JetStream, the current server.
    Nats,
    /// NATS JetStream, the oldest server that is supported (2.9).
    NatsOld,
    /// SFTP: OpenSSH with key authentication and a known host key.
    Sshd,
    /// SFTP: rclone with a password.
    RcloneSftp,
    /// WebDAV: rclone, Basic authentication.
    RcloneWebdav,
    /// WebDAV: nginx, no authentication, strict about trailing slashes.
    Nginx,
    /// WebDAV: Apache, Basic authentication.
    ApacheBasic,
    /// WebDAV: Apache, Digest authentication.
    ApacheDigest,
    /// WebDAV: WsgiDAV, no authentication.
    Wsgidav,
    /// Alibaba OSS: an adapter that checks OSS signatures, in front of moto.
    Oss,
}

/// Every kind with the name that command lines use.
const NAMES: &[(Kind, &str)] = &[
    (Kind::Moto, "moto"),
    (Kind::MotoAuth, "moto-auth"),
    (Kind::RcloneS3, "rclone-s3"),
    (Kind::S3sFs, "s3s-fs"),
    (Kind::Garage, "garage"),
    (Kind::Gcs, "gcs"),
    (Kind::GcsForOracle, "gcs-for-oracle"),
    (Kind::Azurite, "azurite"),
    (Kind::AzuriteSas, "azurite-sas"),
    (Kind::Nats, "nats"),
    (Kind::NatsOld, "nats-old"),
    (Kind::Sshd, "sshd"),
    (Kind::RcloneSftp, "rclone-sftp"),
    (Kind::RcloneWebdav, "rclone-webdav"),
    (Kind::Nginx, "nginx"),
    (Kind::ApacheBasic, "apache-basic"),
    (Kind::ApacheDigest, "apache-digest"),
    (Kind::Wsgidav, "wsgidav"),
    (Kind::Oss, "oss"),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        NAMES.iter().map(|(kind, _)| *kind)
    }

    /// The kind's name on command lines.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("unnamed", |(_, name)| name)
    }

    /// The kind with a name.
    pub fn named(name: &str) -> Result<Kind> {
        let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
        let found = NAMES.iter().find(|(_, have)| *have == name);
        let unknown = || format!("no server {name:?}; there are: {}", names.join(", "));
        Ok(found.with_context(unknown)?.0)
    }

    /// The backend that talks to it, as a configuration's `type` has it.
    pub fn backend(self) -> &'static str {
        match self {
            Kind::Moto | Kind::MotoAuth | Kind::RcloneS3 | Kind::S3sFs | Kind::Garage => "s3",
            Kind::Gcs | Kind::GcsForOracle => "gs",
            Kind::Azurite | Kind::AzuriteSas => "abs",
            Kind::Nats | Kind::NatsOld => "nats",
            Kind::Sshd | Kind::RcloneSftp => "sftp",
            Kind::RcloneWebdav
            | Kind::Nginx
            | Kind::ApacheBasic
            | Kind::ApacheDigest
            | Kind::Wsgidav => "webdav",
            Kind::Oss => "oss",
        }
    }

    /// Whether what was written is still there after a kill and a restart. Moto and the emulator of Google's storage
    /// hold everything in memory, Azurite its list of blobs for up to five seconds. rclone's S3 keeps objects but not
    /// their metadata.
    pub fn keeps_data(self) -> bool {
        !matches!(
            self,
            Kind::Moto
                | Kind::MotoAuth
                | Kind::Oss
                | Kind::Gcs
                | Kind::GcsForOracle
                | Kind::Azurite
                | Kind::AzuriteSas
        )
    }

    /// Whether it must be built from source for minutes.
    pub fn is_heavy(self) -> bool {
        matches!(self, Kind::S3sFs | Kind::Garage)
    }

    /// What must be installed for it.
    pub(crate) fn part(self) -> Part {
        match self {
            Kind::Azurite | Kind::AzuriteSas => Part::Npm,
            Kind::S3sFs => Part::S3sFs,
            Kind::Garage => Part::Garage,
            Kind::Sshd | Kind::Nginx | Kind::ApacheBasic | Kind::ApacheDigest | Kind::NatsOld => {
                Part::Debian
            }
            _ => Part::Python,
        }
    }
}
