//! As whom to come: Google's own chain of credentials, one for all replicas of the process.
//!
//! Promise: what went wrong once is asked for anew the next time, so that a corrected file or right takes effect without a restart.

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};

use crate::env::Env;
use crate::net::chain;
use crate::{Error, ErrorKind, Result};

const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
const HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a key file, log in by \"gcloud auth application-default login\", or give this \
                    machine a service account";

/// Those in use, and the runtime that renews their tokens.
static SHARED: Mutex<Option<(Id, Credentials)>> = Mutex::new(None);

/// How requests are allowed.
#[derive(Debug)]
pub(super) enum Login {
    /// Nobody asks.
    None,
    /// Google's chain.
    Default,
    /// These.
    #[cfg(test)]
    Given(Credentials),
}

impl Login {
    /// Headers that allow a request.
    pub(super) async fn headers(
        &self,
        op: &'static str,
        subject: &str,
        bucket: &str,
        env: &Env,
    ) -> Result<HeaderMap> {
        let credentials = match self {
            Login::None => return Ok(HeaderMap::new()),
            Login::Default => shared(env).await.map_err(|text| {
                let text = format!("failed to create GCS client (bucket: {bucket}): {text}");
                Error::new(ErrorKind::Forbidden, op, subject, text).with_hint(HINT)
            })?,
            #[cfg(test)]
            Login::Given(credentials) => credentials.clone(),
        };
        match credentials.headers(Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => {
                forget();
                Err(failed(op, subject, &error))
            }
        }
    }
}

/// The next request builds them anew.
pub(super) fn forget() {
    *SHARED.lock() = None;
}

async fn shared(env: &Env) -> std::result::Result<Credentials, String> {
    let runtime = Handle::current().id();
    if let Some((id, credentials)) = &*SHARED.lock()
        && *id == runtime
    {
        return Ok(credentials.clone());
    }
    // Reads files.
    let handle = Handle::current();
    let built = env.spawn.offloaded(move || {
        let _in_runtime = handle.enter();
        // Whoever came first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Builder::default().with_scopes([SCOPE]).build()
    });
    let built = built.await.map_err(|e| e.to_string())?;
    let credentials = built.map_err(|e| chain(&e))?;
    *SHARED.lock() = Some((runtime, credentials.clone()));
    Ok(credentials)
}

fn failed(op: &'static str, subject: &str, error: &CredentialsError) -> Error {
    let text = format!("credentials: {}", chain(error));
    if error.is_transient() {
        return Error::new(ErrorKind::Unreachable, op, subject, text).with_hint(HINT);
    }
    Error::new(ErrorKind::Forbidden, op, subject, text).with_hint(HINT)
}
