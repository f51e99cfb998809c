//! A connection: TCP, SSH, host key, login, the SFTP subsystem; one for all, made when it is needed.
//!
//! Promise: making one ends after [`CONNECT_MAX`]; one that broke is not used again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, client::Config};
use russh_sftp::client::RawSftpSession;
use tokio::net::TcpStream;

use super::address::Address;
use super::host_key::{HostKeys, Judge};
use super::login::log_in;
use super::session::Session;
use crate::connection::Connection;
use crate::env::Env;
use crate::settings::Sftp;
use crate::{Error, ErrorKind, Result};

/// Name, TCP, SSH and login together.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// A silent peer is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered questions before it is taken for dead.
const KEEPALIVE_MAX: usize = 3;
/// What a server may send before it must wait for us: enough for the reads under way.
const WINDOW_BYTES: u32 = 4 << 20;

/// Makes sessions and keeps the one in use.
pub(super) struct Link {
    settings: Sftp,
    address: Address,
    host_keys: HostKeys,
    env: Env,
    connection: Connection<Session>,
}

/// Settings without what a link does not depend on: equal for replicas that can share one.
pub(super) fn key(settings: &Sftp) -> Sftp {
    Sftp {
        path: String::new(),
        concurrent_writes: true,
        ..settings.clone()
    }
}

impl Link {
    pub(super) fn new(settings: &Sftp, env: &Env) -> Result<Link> {
        let address = Address::parse(&settings.host)?;
        Ok(Link {
            host_keys: HostKeys::new(address.clone(), settings.host_key.as_deref())?,
            settings: settings.clone(),
            address,
            env: env.clone(),
            connection: Connection::new(),
        })
    }

    /// The session in use, or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        let dial = async {
            tokio::select! {
                dialled = self.dial() => dialled,
                () = self.env.clock.sleep_async(CONNECT_MAX) => Err(self.too_slow()),
            }
        };
        let connection = &self.connection;
        connection
            .get(&*self.env.clock, Session::is_usable, dial)
            .await
    }

    fn too_slow(&self) -> Error {
        let text = format!("no connection within {} s", CONNECT_MAX.as_secs());
        Error::new(
            ErrorKind::Unreachable,
            "connect",
            self.address.to_string(),
            text,
        )
    }

    /// A new session.
    pub(super) async fn dial(&self) -> Result<Session> {
        let subject = self.address.to_string();
        let (keys, disk) = (self.host_keys.clone(), Arc::clone(&self.env.disk));
        let judge = self.env.spawn.offloaded(move || keys.judge(&*disk)).await;
        let judge =
            judge.map_err(|e| Error::new(ErrorKind::Other, "connect", subject.as_str(), e))??;
        let config = Arc::new(config(&judge));
        let target = (self.address.host.as_str(), self.address.port);
        let socket = TcpStream::connect(target)
            .await
            .map_err(|e| failed("connect", &subject, &russh::Error::IO(e)))?;
        // Small requests must not wait for each other; where that can't be set they do.
        let _ = socket.set_nodelay(true);
        let mut handle = client::connect_stream(config, socket, Gate { judge })
            .await
            .map_err(|halt| match halt {
                Halt::Ssh(error) => failed("connect", &subject, &error),
                Halt::Refused(error) => error,
            })?;
        log_in(&mut handle, &self.settings, &self.env).await?;
        self.begin_sftp(handle, &subject).await
    }

    async fn begin_sftp(&self, handle: Handle<Gate>, subject: &str) -> Result<Session> {
        let broken = |e: russh::Error| failed("begin sftp", subject, &e);
        let channel = handle.channel_open_session().await.map_err(broken)?;
        channel
            .request_subsystem(true, "sftp")
            .await
            .map_err(broken)?;
        let config = russh_sftp::client::Config {
            // Sessions have their own way to wait.
            request_timeout_secs: u64::from(u32::MAX),
            ..russh_sftp::client::Config::default()
        };
        let raw = RawSftpSession::new_with_config(channel.into_stream(), config);
        let version = raw.init().await.map_err(|e| {
            let text = format!("the server offers no sftp: {e}");
            Error::new(ErrorKind::Unreachable, "begin sftp", subject, text)
                .with_hint("the server must have the subsystem \"sftp\" enabled for this user")
        })?;
        Ok(Session::new(handle, raw, &version, &self.env))
    }
}

fn config(judge: &Judge) -> Config {
    let default = Preferred::DEFAULT;
    let mut kex = default.kex.to_vec();
    // Old servers have nothing better, and Litestream speaks with them.
    kex.push(russh::kex::DH_G14_SHA1);
    let mut mac = default.mac.to_vec();
    mac.push(russh::mac::HMAC_SHA1);
    Config {
        preferred: Preferred {
            key: Cow::Owned(judge.preferred(&default.key)),
            kex: Cow::Owned(kex),
            mac: Cow::Owned(mac),
            // LTX files are compressed already.
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..default
        },
        window_size: WINDOW_BYTES,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..Config::default()
    }
}

/// Lets the right server in.
pub(super) struct Gate {
    judge: Judge,
}

/// Why a connection was not made.
#[derive(Debug)]
pub(super) enum Halt {
    Ssh(russh::Error),
    Refused(Error),
}

impl From<russh::Error> for Halt {
    fn from(error: russh::Error) -> Halt {
        Halt::Ssh(error)
    }
}

impl client::Handler for Gate {
    type Error = Halt;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, Halt> {
        self.judge.check(&key.public_key()).map_err(Halt::Refused)?;
        Ok(true)
    }
}

/// A failure of the connection: it may pass, unless the two programs can't speak with each other.
pub(super) fn failed(op: &'static str, subject: &str, error: &russh::Error) -> Error {
    let kind = match error {
        russh::Error::NoCommonAlgo { .. } | russh::Error::Version => ErrorKind::Invalid,
        _ => ErrorKind::Unreachable,
    };
    let failed = Error::new(kind, op, subject, format_args!("ssh: {error}"));
    let russh::Error::IO(io) = error else {
        return failed;
    };
    let text = io.to_string();
    if io.kind() == std::io::ErrorKind::ConnectionRefused {
        failed.with_hint(
            "nothing listens there: see whether the server runs, and correct host and port",
        )
    } else if text.contains("lookup") {
        failed
            .with_hint("no such host name: correct \"host\", or see whether name resolution works")
    } else {
        failed
    }
}
