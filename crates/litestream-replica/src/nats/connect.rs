//! A connection to NATS: who comes, whom to trust, and what the server complained of.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, jetstream,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::fail::chain;
use crate::connection::Connection;
use crate::env::{Disk, Env, Monotonic};
use crate::settings::{Login, Nats, Secret};
use crate::{Error, ErrorKind, Result};

/// How long an answer of the server may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Acknowledgements are waited for one after the other; that nothing comes at all is noticed earlier.
const ACK_MAX: Duration = Duration::from_mins(30);
/// A silent server is asked whether it lives.
const PING: Duration = Duration::from_secs(20);
/// No file with credentials is larger.
const CREDS_BYTES_MAX: u64 = 1 << 20;

/// A server, and the connection to it that all its buckets share.
pub(super) struct Server {
    settings: Nats,
    env: Env,
    connection: Connection<Session>,
}

/// An open connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) stream: jetstream::Context,
    heard: Arc<Heard>,
}

/// What the client tells beside its answers.
#[derive(Default)]
struct Heard {
    closed: AtomicBool,
    complaint: Mutex<Option<(Monotonic, String)>>,
    complained: Notify,
}

/// Settings without what a connection does not depend on: equal for replicas that can share one.
pub(super) fn key(settings: &Nats) -> Nats {
    Nats {
        bucket: String::new(),
        path: String::new(),
        ..settings.clone()
    }
}

impl Server {
    pub(super) fn new(settings: &Nats, env: &Env) -> Server {
        Server {
            settings: settings.clone(),
            env: env.clone(),
            connection: Connection::new(),
        }
    }

    /// The connection.
    pub(super) async fn session(&self) -> Result<Arc<Session>> {
        let is_usable = |session: &Session| !session.heard.closed.load(Ordering::Relaxed);
        self.connection
            .get(&*self.env.clock, is_usable, self.dial())
            .await
    }

    async fn dial(&self) -> Result<Session> {
        let host = self.settings.host.as_str();
        let heard = Arc::new(Heard::default());
        let options = self.options(&heard).await?;
        let addresses = addresses(host)?;
        // The client's own limit is for one address of one name.
        let limit = self
            .settings
            .timeout
            .saturating_mul(2)
            .saturating_add(Duration::from_secs(5));
        let connected = tokio::select! {
            connected = options.connect(addresses) => connected,
            () = self.env.clock.sleep_async(limit) => {
                let text = format!("nats: failed to connect: no answer within {} s", limit.as_secs());
                return Err(Error::new(ErrorKind::Unreachable, "connect", host, text));
            }
        };
        let client = connected.map_err(|e| refused(host, &e))?;
        let stream = jetstream::ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .ack_timeout(ACK_MAX)
            .build(client.clone());
        Ok(Session {
            client,
            stream,
            heard,
        })
    }

    async fn options(&self, heard: &Arc<Heard>) -> Result<ConnectOptions> {
        let settings = &self.settings;
        let mut options = self.login().await?;
        let wait = settings.reconnect_wait;
        // The client counts the first attempt as well.
        let attempts = settings
            .max_reconnects
            .and_then(|n| usize::try_from(n).ok()?.checked_add(1));
        let (heard, clock) = (Arc::clone(heard), Arc::clone(&self.env.clock));
        options = options
            .name("litestream")
            .connection_timeout(settings.timeout)
            .request_timeout(Some(ANSWER_MAX))
            .ping_interval(PING)
            .max_reconnects(attempts)
            .reconnect_delay_callback(
                move |attempt| {
                    if attempt <= 1 { Duration::ZERO } else { wait }
                },
            )
            .event_callback(move |event| {
                heard.note(&event, clock.monotonic());
                std::future::ready(())
            });
        let has_files = !settings.root_cas.is_empty() || settings.client_cert.is_some();
        if settings.tls || has_files {
            options = options.require_tls(true);
        }
        for path in &settings.root_cas {
            options = options.add_root_certificates(self.readable(path).await?);
        }
        if let Some((cert, key)) = &settings.client_cert {
            let (cert, key) = (self.readable(cert).await?, self.readable(key).await?);
            options = options.add_client_certificate(cert, key);
        }
        Ok(options)
    }

    async fn login(&self) -> Result<ConnectOptions> {
        let credentials = |text: &str| {
            ConnectOptions::with_credentials(text).map_err(|e| {
                Error::invalid(format_args!("nats: cannot use these credentials: {e}"))
            })
        };
        Ok(match &self.settings.login {
            Login::Jwt { jwt, seed } => credentials(&creds_text(jwt, seed))?,
            Login::Creds(path) => credentials(&self.text_of(path).await?)?,
            Login::Nkey(key) => ConnectOptions::with_nkey(self.seed(key).await?),
            Login::Password { username, password } => {
                let password = password.expose().to_owned();
                ConnectOptions::with_user_and_password(username.clone(), password)
            }
            Login::Token(token) => ConnectOptions::with_token(token.expose().to_owned()),
            Login::Anonymous => ConnectOptions::new(),
        })
    }

    /// A seed, or a file that holds one.
    async fn seed(&self, key: &Secret) -> Result<String> {
        let key = key.expose().trim();
        let is_seed = |text: &str| text.starts_with("SU") && !text.contains('/');
        if is_seed(key) {
            return Ok(key.to_owned());
        }
        if key.starts_with('U') && !key.contains('/') {
            let text = "nats: \"nkey\" is a public key, which proves nothing";
            return Err(Error::invalid(text).with_hint(
                "give the seed, which begins with SU, as \"nkey\", or as \"seed\" beside it",
            ));
        }
        let text = self.text_of(key).await?;
        let seed = text.lines().map(str::trim).find(|line| is_seed(line));
        let none =
            || Error::invalid("nats: there is no seed of a user in the file that \"nkey\" names");
        seed.map(str::to_owned).ok_or_else(none)
    }

    async fn text_of(&self, path: &str) -> Result<String> {
        let (disk, file) = (Arc::clone(&self.env.disk), at_home(path));
        let read = self
            .env
            .spawn
            .offloaded(move || read_text(&*disk, &file))
            .await;
        let failed = |e| Error::invalid(format_args!("nats: cannot read credentials {path}: {e}"));
        read.and_then(|text| text).map_err(failed)
    }

    /// Certificates are read by the client; that they can be is said better here.
    async fn readable(&self, path: &str) -> Result<PathBuf> {
        let (disk, file) = (Arc::clone(&self.env.disk), at_home(path));
        let opened = self
            .env
            .spawn
            .offloaded(move || disk.open(&file).map(|_| file));
        let failed = |e| Error::invalid(format_args!("nats: cannot read certificate {path}: {e}"));
        opened.await.and_then(|path| path).map_err(failed)
    }
}

impl Session {
    /// Ends when the server complains of what is published to a subject: what one may not ask, it leaves without an answer.
    pub(super) async fn forbidden(&self, subject: &str, since: Monotonic) -> String {
        loop {
            let complained = self.heard.complained.notified();
            if let Some((at, text)) = &*self.heard.complaint.lock()
                && *at >= since
                && text.to_ascii_lowercase().contains("permissions violation")
                && text.contains(subject)
            {
                return text.clone();
            }
            complained.await;
        }
    }
}

impl Heard {
    fn note(&self, event: &Event, now: Monotonic) {
        match event {
            Event::Closed => self.closed.store(true, Ordering::Relaxed),
            Event::ServerError(ServerError::Other(text)) => {
                tracing::debug!(text, "nats server complains");
                *self.complaint.lock() = Some((now, text.clone()));
                self.complained.notify_waiters();
            }
            other => tracing::debug!(event = %other, "nats"),
        }
    }
}

/// One or several, separated by commas.
fn addresses(hosts: &str) -> Result<Vec<ServerAddr>> {
    let parse = |host: &str| {
        let address = format!("nats://{}", host.trim()).parse();
        address
            .map_err(|e| Error::invalid(format_args!("nats: not a host with a port: {host}: {e}")))
    };
    hosts.split(',').map(parse).collect()
}

fn creds_text(jwt: &Secret, seed: &Secret) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt.expose().trim(),
        seed.expose().trim()
    )
}

fn refused(host: &str, error: &async_nats::ConnectError) -> Error {
    let text = format!("nats: failed to connect: {}", chain(error));
    let failed = |kind| Error::new(kind, "connect", host, &text);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => failed(ErrorKind::Forbidden)
            .with_hint("check username and password, token, or credentials, and that the server expects them"),
        ConnectErrorKind::ServerParse => failed(ErrorKind::Invalid),
        ConnectErrorKind::Dns => failed(ErrorKind::Unreachable)
            .with_hint("no such host name: correct it, or see whether name resolution works"),
        ConnectErrorKind::Tls => failed(ErrorKind::Unreachable)
            .with_hint("name the server's CA by \"root-cas\", and give \"client-cert\" and \"client-key\" if it wants them"),
        _ if text.contains("refused") => failed(ErrorKind::Unreachable)
            .with_hint("nothing listens there: see whether the server runs, and correct host and port"),
        _ => failed(ErrorKind::Unreachable),
    }
}

/// A path below `~/`.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn read_text(disk: &dyn Disk, path: &std::path::Path) -> std::io::Result<String> {
    let file = disk.open(path)?;
    let len = file.metadata()?.len;
    if len > CREDS_BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
