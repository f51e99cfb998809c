//! As whom to come: Google's own chain of credentials, one for all replicas of the process.
//!
//! Promise: what went wrong once is asked for anew the next time, so that a corrected file or right takes effect without a restart.

use std::error::Error as StdError;

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::env::Env;
use crate::net::chain;
use crate::{Error, ErrorKind, Result};

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
const HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a key file, log in by \"gcloud auth application-default login\", or give this \
                    machine a service account";

/// What the login of all replicas is made from.
#[derive(PartialEq)]
pub(super) struct Everyone;

/// How requests are allowed.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Those in use.
    credentials: Mutex<Option<Credentials>>,
}

impl Login {
    /// With these, as long as they work.
    #[cfg(test)]
    pub(super) fn given(credentials: Credentials) -> Login {
        Login {
            credentials: Mutex::new(Some(credentials)),
        }
    }

    /// Whether there are credentials that have not failed yet.
    #[cfg(test)]
    pub(super) fn is_there(&self) -> bool {
        self.credentials.lock().is_some()
    }

    /// Headers that allow a request.
    pub(super) async fn headers(
        &self,
        op: &'static str,
        subject: &str,
        bucket: &str,
        env: &Env,
    ) -> Result<HeaderMap> {
        let credentials = self.credentials(env).await.map_err(|text| {
            let text = format!("failed to create GCS client (bucket: {bucket}): {text}");
            Error::new(ErrorKind::Forbidden, op, subject, text).with_hint(HINT)
        })?;
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => {
                self.forget();
                Err(failed(op, subject, &error))
            }
        }
    }

    /// The next request looks for them anew.
    pub(super) fn forget(&self) {
        *self.credentials.lock() = None;
    }

    async fn credentials(&self, env: &Env) -> std::result::Result<Credentials, String> {
        if let Some(credentials) = &*self.credentials.lock() {
            return Ok(credentials.clone());
        }
        // Reads files, and renews tokens in the runtime that it is called in.
        let runtime = Handle::current();
        let built = env.spawn.offloaded(move || {
            let _in_runtime = runtime.enter();
            // Whoever came first has chosen the same.
            let _ = rustls::crypto::ring::default_provider().install_default();
            Builder::default().with_scopes([SCOPE]).build()
        });
        let built = built.await.map_err(|e| e.to_string())?;
        let credentials = built.map_err(|e| chain(&e))?;
        *self.credentials.lock() = Some(credentials.clone());
        Ok(credentials)
    }
}

fn failed(op: &'static str, subject: &str, error: &CredentialsError) -> Error {
    let text = format!("no credentials: {}", innermost(error));
    let kind = if error.is_transient() {
        ErrorKind::Unreachable
    } else {
        ErrorKind::Forbidden
    };
    Error::new(kind, op, subject, text).with_hint(HINT)
}

/// What really happened: around that, the chain's errors say the same in many words.
fn innermost(error: &CredentialsError) -> String {
    let mut causes = Vec::new();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    match causes.as_slice() {
        [.., outer, inner] if !outer.contains(inner.as_str()) && causes.len() > 2 => {
            format!("{outer}: {inner}")
        }
        [.., inner] => inner.clone(),
        [] => String::new(),
    }
}
