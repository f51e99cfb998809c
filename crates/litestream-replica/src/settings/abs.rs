//! Azure Blob Storage.

use super::{Keys, Secret, Source};
use crate::{Error, Result};

/// Settings of a replica in Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abs {
    /// The storage account.
    pub account_name: Option<String>,
    /// Its key; else `LITESTREAM_AZURE_ACCOUNT_KEY`, else Azure's own chain of credentials.
    pub account_key: Option<Secret>,
    /// A shared access signature, which beats the key; else `LITESTREAM_AZURE_SAS_TOKEN`. Without its leading `?`.
    pub sas_token: Option<Secret>,
    /// The container.
    pub bucket: String,
    /// What all names of blobs begin with.
    pub prefix: String,
    /// Where the service is, if not at `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
}

impl Abs {
    pub(super) fn read(source: &Source) -> Result<Abs> {
        source.refuse_beside_url("abs", &["path", "bucket"])?;
        let user = source
            .url
            .and_then(|url| url.user.as_ref())
            .map(|(name, _)| name.clone());
        let token = source.all.secret("sas-token");
        Ok(Abs {
            account_name: source.all.text("account-name").or(user),
            account_key: source.all.secret("account-key"),
            sas_token: token.map(|t| Secret::new(t.expose().trim_start_matches('?'))),
            bucket: source.bucket("abs", source.url.map(|url| url.host.as_str()))?,
            prefix: source.prefix(),
            endpoint: source.all.text("endpoint"),
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        match (&self.account_name, &self.endpoint) {
            (None, None) => Err(Error::invalid(
                "abs: account name is required when endpoint is not specified",
            )),
            (_, Some(endpoint)) if !endpoint.contains("://") => Err(Error::invalid(format_args!(
                "abs: endpoint {endpoint:?} needs a scheme: https://{endpoint}"
            ))),
            _ => Ok(()),
        }
    }

    /// Account or endpoint, container and prefix.
    pub(super) fn place(&self) -> (Option<&String>, &str, &str) {
        let service = self.endpoint.as_ref().or(self.account_name.as_ref());
        (service, &self.bucket, &self.prefix)
    }

    pub(crate) fn location(&self) -> String {
        let account = self.account_name.as_ref().map(|name| format!("{name}@"));
        format!(
            "abs://{}{}/{}",
            account.unwrap_or_default(),
            self.bucket,
            self.prefix
        )
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        keys.set_some("account-name", self.account_name.as_ref());
        keys.set_secret("account-key", self.account_key.as_ref());
        keys.set_secret("sas-token", self.sas_token.as_ref());
        keys.set_text("bucket", self.bucket.as_str());
        keys.set_text("path", self.prefix.as_str());
        keys.set_some("endpoint", self.endpoint.as_ref());
        keys
    }
}
