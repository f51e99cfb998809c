//! Who comes: password, then key; the agent if neither is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};

use super::connect::{Gate, failed};
use crate::env::{Disk, Env};
use crate::settings::Sftp;
use crate::{Error, ErrorKind, Result};

/// Questions that a server may ask one after the other.
const ROUNDS_MAX: usize = 8;
/// Keys of an agent that are offered: servers end the connection after a few refusals.
const AGENT_KEYS_MAX: usize = 5;
/// No key or list of hosts is larger.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Logs in by the first way that the server accepts.
pub(super) async fn log_in(handle: &mut Handle<Gate>, settings: &Sftp, env: &Env) -> Result<()> {
    let mut login = Login {
        handle,
        settings,
        tried: Vec::new(),
    };
    let key = match &settings.key_path {
        // Read first: a key that can't be read is said so, whatever the password does.
        Some(path) => Some(load_key(path, env).await?),
        None => None,
    };
    if let Some(password) = &settings.password
        && login.password(password.expose()).await?
    {
        return Ok(());
    }
    if let Some(key) = &key
        && login.key(key).await?
    {
        return Ok(());
    }
    if settings.password.is_none() && key.is_none() && login.agent().await? {
        return Ok(());
    }
    Err(login.refused())
}

struct Login<'a> {
    handle: &'a mut Handle<Gate>,
    settings: &'a Sftp,
    tried: Vec<&'static str>,
}

impl Login<'_> {
    fn user(&self) -> String {
        self.settings.user.clone()
    }

    /// What an answer means; a connection that ended meanwhile is no refusal.
    fn accepted(&self, result: std::result::Result<AuthResult, russh::Error>) -> Result<bool> {
        match result.map_err(|e| failed("log in", &self.settings.host, &e))? {
            AuthResult::Success => Ok(true),
            AuthResult::Failure {
                remaining_methods, ..
            } => {
                if remaining_methods.is_empty() && self.handle.is_closed() {
                    let text = "the server ended the connection";
                    let host = self.settings.host.as_str();
                    return Err(Error::new(ErrorKind::Unreachable, "log in", host, text));
                }
                Ok(false)
            }
        }
    }

    async fn password(&mut self, password: &str) -> Result<bool> {
        self.tried.push("password");
        let answer = self
            .handle
            .authenticate_password(self.user(), password)
            .await;
        let asks = match &answer {
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) => remaining_methods.contains(&MethodKind::KeyboardInteractive),
            _ => false,
        };
        if self.accepted(answer)? {
            return Ok(true);
        }
        if asks {
            self.questions(password).await
        } else {
            Ok(false)
        }
    }

    /// Servers that ask for the password instead of taking it.
    async fn questions(&mut self, password: &str) -> Result<bool> {
        self.tried.push("keyboard-interactive");
        let broken = |e: russh::Error| failed("log in", &self.settings.host, &e);
        let user = self.user();
        let mut answer = self
            .handle
            .authenticate_keyboard_interactive_start(user, None)
            .await
            .map_err(broken)?;
        for _ in 0..ROUNDS_MAX {
            let prompts = match answer {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            let responses = vec![password.to_owned(); prompts.len()];
            answer = self
                .handle
                .authenticate_keyboard_interactive_respond(responses)
                .await
                .map_err(broken)?;
        }
        Ok(false)
    }

    async fn key(&mut self, key: &Arc<PrivateKey>) -> Result<bool> {
        self.tried.push("publickey");
        for hash in self.hashes(key.algorithm().is_rsa()).await? {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            let answer = self.handle.authenticate_publickey(self.user(), key).await;
            if self.accepted(answer)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How an RSA key may sign: as the server says, else the present way and the old one.
    async fn hashes(&self, is_rsa: bool) -> Result<Vec<Option<HashAlg>>> {
        if !is_rsa {
            return Ok(vec![None]);
        }
        let said = self.handle.best_supported_rsa_hash().await;
        let said = said.map_err(|e| failed("log in", &self.settings.host, &e))?;
        Ok(said.map_or_else(|| vec![Some(HashAlg::Sha256), None], |hash| vec![hash]))
    }

    async fn agent(&mut self) -> Result<bool> {
        let Some(socket) = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) else {
            return Ok(false);
        };
        self.tried.push("agent");
        let agent = async {
            let mut agent = AgentClient::connect_uds(socket).await?;
            let identities = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, identities))
        };
        let (mut agent, identities) = match agent.await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the ssh agent can't be asked");
                return Ok(false);
            }
        };
        for identity in identities.iter().take(AGENT_KEYS_MAX) {
            let key = identity.public_key().into_owned();
            for hash in self.hashes(key.algorithm().is_rsa()).await? {
                let user = self.user();
                let answer = self
                    .handle
                    .authenticate_publickey_with(user, key.clone(), hash, &mut agent)
                    .await;
                match answer {
                    Ok(answer) if self.accepted(Ok(answer.clone()))? => return Ok(true),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(?error, "the ssh agent did not sign"),
                }
            }
        }
        Ok(false)
    }

    fn refused(&self) -> Error {
        let (user, host) = (&self.settings.user, &self.settings.host);
        let error = |text: String| Error::new(ErrorKind::Forbidden, "log in", host.as_str(), text);
        if self.tried.is_empty() {
            return error(format!("ssh: nothing to log in with as {user}"))
                .with_hint("give \"password\" or \"key-path\", or start an ssh agent");
        }
        let tried = self.tried.join(", ");
        error(format!("ssh: the server does not let {user} in (tried: {tried})")).with_hint(
            "check \"user\", \"password\" and \"key-path\", and that the key is in the server's authorized_keys",
        )
    }
}

async fn load_key(path: &str, env: &Env) -> Result<Arc<PrivateKey>> {
    let file = at_home(path);
    let disk = Arc::clone(&env.disk);
    let read = env.spawn.offloaded(move || read_text(&*disk, &file)).await;
    let text = read.and_then(|text| text).map_err(|e| {
        Error::invalid(format_args!("sftp: cannot read sftp key path: {path}: {e}"))
    })?;
    let key = decode_secret_key(&text, None).map(Arc::new);
    key.map_err(|e| {
        let error = Error::invalid(format_args!("sftp: cannot parse sftp key path: {path}: {e}"));
        if matches!(e, russh::keys::Error::KeyIsEncrypted) || text.contains("ENCRYPTED") {
            error.with_hint(
                "keys with a passphrase can't be used here: take the passphrase off with ssh-keygen -p, or load the key into an ssh \
                 agent and leave \"key-path\" out",
            )
        } else {
            error.with_hint("it must be a private key as ssh-keygen makes it: ed25519, ecdsa or rsa")
        }
    })
}

/// A path below `~/`.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// A small text file.
pub(super) fn read_text(disk: &dyn Disk, path: &Path) -> std::io::Result<String> {
    let file = disk.open(path)?;
    let len = file.metadata()?.len;
    if len > TEXT_BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
