//! The world that the signers of Azure and Alibaba Cloud see: small files, the environment, commands, and requests for credentials.
//!
//! Promise: why there are no credentials is told as it was found, and what prevented them for a while is an error that may pass.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use reqsign_core::{
    CommandExecute, CommandOutput, Context, FileRead, HttpSend, OsEnv, ProvideCredential,
    ProvideCredentialDyn,
};

use crate::net::{Client, Payload, chain, read_small};
use crate::{Error, ErrorKind};

/// What a provider of credentials may answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a command may take.
const COMMAND_MAX: Duration = Duration::from_secs(15);

/// All of it, by way of a client.
pub(crate) fn context(client: &Client) -> Context {
    let world = World(client.clone());
    Context::new()
        .with_file_read(world.clone())
        .with_http_send(world.clone())
        .with_command_execute(world)
        .with_env(OsEnv)
}

/// Why a request could not be signed.
pub(crate) fn failed(op: &'static str, subject: &str, error: &reqsign_core::Error) -> Error {
    use reqsign_core::ErrorKind as Kind;
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(own) = inner.downcast_ref::<Error>() {
            return own.no_credentials(op, subject);
        }
        cause = inner.source();
    }
    let kind = match error.kind() {
        Kind::CredentialInvalid | Kind::PermissionDenied => ErrorKind::Forbidden,
        Kind::ConfigInvalid | Kind::RequestInvalid => ErrorKind::Invalid,
        Kind::RateLimited => ErrorKind::Throttled,
        Kind::Unexpected => ErrorKind::Other,
    };
    let mut text = chain(error);
    for more in error.context() {
        text = format!("{text}; {more}");
    }
    Error::new(kind, op, subject, format_args!("no credentials: {text}"))
}

#[derive(Clone)]
struct World(Client);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl FileRead for World {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let (env, path) = (self.0.env(), path.to_owned());
        let disk = Arc::clone(&env.disk);
        let read = move || read_small(&*disk, Path::new(&path));
        let read = env.spawn.offloaded(read).await;
        read.map_err(|e| passed_on(Error::io("read", Path::new(""), &e)))?
            .map_err(passed_on)
    }
}

impl HttpSend for World {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = self
            .0
            .send("ask for credentials", &host, request.map(Payload::Bytes));
        let answer = answer.await.map_err(passed_on)?;
        if matches!(answer.status().as_u16(), 408 | 429 | 500..) {
            return Err(passed_on(answer.refusal().await.error()));
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes(ANSWER_BYTES_MAX).await.map_err(passed_on)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl CommandExecute for World {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let mut command = tokio::process::Command::new(program);
        command.args(args).kill_on_drop(true);
        command.stdin(std::process::Stdio::null());
        let output = tokio::select! {
            output = command.output() => output.map_err(|e| passed_on(Error::io("run", Path::new(program), &e)))?,
            () = self.0.env().clock.sleep_async(COMMAND_MAX) => {
                let text = format!("did not end within {} s", COMMAND_MAX.as_secs());
                return Err(passed_on(Error::new(ErrorKind::Unreachable, "run", program, text)));
            }
        };
        Ok(CommandOutput {
            status: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}

/// Sources of credentials, asked one after the other. Who has what he needs and fails ends it: as somebody else nobody wants to come by
/// accident.
pub(crate) struct Chain<C: Send + Sync + Unpin + 'static> {
    all: Vec<(&'static str, Box<dyn ProvideCredentialDyn<Credential = C>>)>,
    /// What is said if none has any.
    none: &'static str,
}

impl<C: Send + Sync + Unpin + 'static> Chain<C> {
    pub(crate) fn new(none: &'static str) -> Chain<C> {
        Chain {
            all: Vec::new(),
            none,
        }
    }

    /// Asks this one last.
    pub(crate) fn or(
        mut self,
        name: &'static str,
        provider: impl ProvideCredential<Credential = C>,
    ) -> Chain<C> {
        self.all.push((name, Box::new(provider)));
        self
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl<C: Send + Sync + Unpin + 'static> fmt::Debug for Chain<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.all.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl<C: Send + Sync + Unpin + 'static> ProvideCredential for Chain<C> {
    type Credential = C;

    async fn provide_credential(&self, context: &Context) -> reqsign_core::Result<Option<C>> {
        for (name, provider) in &self.all {
            match provider.provide_credential_dyn(context).await {
                Ok(Some(credential)) => {
                    tracing::debug!(source = name, "credentials found");
                    return Ok(Some(credential));
                }
                Ok(None) => {}
                Err(error) => return Err(error.with_context(format!("from {name}"))),
            }
        }
        Err(reqsign_core::Error::credential_invalid(self.none))
    }
}

/// An error of ours on its way through a signer.
pub(crate) fn passed_on(error: Error) -> reqsign_core::Error {
    reqsign_core::Error::unexpected(error.to_string()).with_source(error)
}
