//! As whom to come: a shared access signature, an account key, or what the machine has, in the order in which Litestream looks.

use reqsign_azure_storage::{
    AzureCliCredentialProvider, ClientCertificateCredentialProvider,
    ClientSecretCredentialProvider, Credential, StaticCredentialProvider,
    WorkloadIdentityCredentialProvider,
};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, ProvideCredential};

use super::managed::ManagedIdentity;
use crate::net::Client;
use crate::settings::{self, Secret};
use crate::signing::Chain;

/// Without credentials.
const NONE: &str = "there are none: set \"account-key\" or \"sas-token\" (or LITESTREAM_AZURE_ACCOUNT_KEY or \
                    LITESTREAM_AZURE_SAS_TOKEN), a service principal (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET), or \
                    a managed identity";

/// What gives credentials for these settings.
pub(super) fn provider(settings: &settings::Abs, client: &Client) -> Chain<Credential> {
    let variable = |name: &str| std::env::var(name).ok();
    chosen(settings, client, variable)
}

fn chosen(
    settings: &settings::Abs,
    client: &Client,
    variable: impl Fn(&str) -> Option<String>,
) -> Chain<Credential> {
    let secret = |given: &Option<Secret>, name: &str| {
        let given = given.clone().or_else(|| variable(name).map(Secret::new));
        given.filter(|secret| !secret.is_empty())
    };
    let token = secret(&settings.sas_token, "LITESTREAM_AZURE_SAS_TOKEN");
    let key = secret(&settings.account_key, "LITESTREAM_AZURE_ACCOUNT_KEY");
    if let Some(token) = token {
        if key.is_some() {
            tracing::warn!("abs: both a SAS token and an account key are given, using the token");
        }
        let token = token.expose().trim_start_matches('?');
        return Chain::new(NONE).or("SAS token", StaticCredentialProvider::new_sas_token(token));
    }
    if let (Some(account), Some(key)) = (&settings.account_name, key) {
        let provider = StaticCredentialProvider::new_shared_key(account, key.expose());
        return Chain::new(NONE).or("account key", provider);
    }
    Chain::new(NONE)
        .or(
            "service principal with secret",
            ClientSecretCredentialProvider::new(),
        )
        .or(
            "service principal with certificate",
            ClientCertificateCredentialProvider::new(),
        )
        .or(
            "workload identity",
            WorkloadIdentityCredentialProvider::new(),
        )
        .or("managed identity", ManagedIdentity::new(client.clone()))
        .or("Azure CLI", Cli(AzureCliCredentialProvider::new()))
        .or("Azure developer CLI", DeveloperCli)
}

/// The Azure CLI; one that is not installed or not logged in is none.
#[derive(Debug)]
struct Cli(AzureCliCredentialProvider);

impl ProvideCredential for Cli {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        match self.0.provide_credential(context).await {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::debug!(%error, "abs: no credentials from the Azure CLI");
                Ok(None)
            }
        }
    }
}

/// The Azure developer CLI, likewise.
#[derive(Debug)]
struct DeveloperCli;

impl ProvideCredential for DeveloperCli {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        let scope = "https://storage.azure.com/.default";
        let args = ["auth", "token", "--scope", scope, "--output", "json"];
        let output = match context.command_execute("azd", &args).await {
            Ok(output) if output.success() => output,
            _ => return Ok(None),
        };
        Ok(developer_token(&output.stdout))
    }
}

fn developer_token(answer: &[u8]) -> Option<Credential> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let expires: Timestamp = answer.get("expiresOn")?.as_str()?.parse().ok()?;
    let token = answer.get("token")?.as_str()?;
    Some(Credential::with_bearer_token(token, Some(expires)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::real;
    use crate::limits::Limits;
    use crate::net::Options;

    fn chain(settings: &str, variables: &[(&str, &str)]) -> Chain<Credential> {
        let settings = settings::Storage::from_url(settings).unwrap();
        let settings::Storage::Abs(mut settings) = settings else {
            panic!("another storage")
        };
        if variables.iter().any(|(name, _)| *name == "key") {
            settings.account_key = Some(Secret::new("a2V5"));
        }
        let env = real::env();
        let limits = Limits::none(env.clock.clone());
        let client = Client::new(Options::new(&env, &limits)).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        chosen(&settings, &client, variable)
    }

    async fn found(chain: &Chain<Credential>) -> Credential {
        let found = chain.provide_credential(&Context::new()).await;
        found.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_token_beats_a_key_and_a_key_beats_the_machine() {
        let token = ("LITESTREAM_AZURE_SAS_TOKEN", "?sv=1&sig=x");
        let key = ("LITESTREAM_AZURE_ACCOUNT_KEY", "a2V5");
        let both = found(&chain("abs://a@c/p", &[token, key])).await;
        assert!(matches!(both, Credential::SasToken { token, .. } if token == "sv=1&sig=x"));
        for given in [key, ("key", "")] {
            let credential = found(&chain("abs://a@c/p", &[given])).await;
            assert!(
                matches!(credential, Credential::SharedKey { account_name, account_key } if account_name == "a" && account_key == "a2V5")
            );
        }
        assert_eq!(chain("abs://a@c/p", &[]).len(), 6);
    }

    #[test]
    fn the_developer_cli_is_understood() {
        let answer = br#"{"token":"t","expiresOn":"2030-01-02T03:04:05Z"}"#;
        let Some(Credential::BearerToken { token, expires_in }) = developer_token(answer) else {
            panic!("no token")
        };
        assert_eq!(token, "t");
        assert_eq!(expires_in.unwrap().as_second(), 1_893_553_445);
        assert!(developer_token(b"not logged in").is_none());
    }
}
