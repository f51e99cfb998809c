//! As whom to come: the keys of the settings, those of the environment, or what Alibaba's own tools would find.

use reqsign_aliyun_oss::{
    AssumeRoleCredentialProvider, AssumeRoleWithOidcCredentialProvider,
    ConfigFileCredentialProvider, Credential, CredentialsFileCredentialProvider,
    CredentialsUriCredentialProvider, EcsRamRoleCredentialProvider, EnvCredentialProvider,
    OssProfileCredentialProvider, StaticCredentialProvider,
};
use reqsign_core::{Context, ProvideCredential};

use crate::settings::AccessKey;
use crate::signing::Chain;

/// Without credentials.
const NONE: &str = "access key id or access key secret is empty: set \"access-key-id\" and \"secret-access-key\", or OSS_ACCESS_KEY_ID and \
                    OSS_ACCESS_KEY_SECRET";

/// What gives credentials. The environment of Litestream comes before that of Alibaba's tools.
pub(super) fn provider(given: Option<&AccessKey>) -> Chain<Credential> {
    let chain = Chain::new(NONE);
    if let Some(AccessKey { id, secret }) = given {
        let keys = StaticCredentialProvider::new(id.expose(), secret.expose());
        return chain.or("settings", keys);
    }
    chain
        .or("OSS_ACCESS_KEY_ID", Environment)
        .or("role", AssumeRoleCredentialProvider::new())
        .or("environment", EnvCredentialProvider::new())
        .or("role by OIDC", AssumeRoleWithOidcCredentialProvider::new())
        .or("credentials URI", CredentialsUriCredentialProvider::new())
        .or(
            "machine's role",
            MachineRole(EcsRamRoleCredentialProvider::new()),
        )
        .or("profile of ossutil", OssProfileCredentialProvider::new())
        .or("credentials file", CredentialsFileCredentialProvider::new())
        .or(
            "configuration of the CLI",
            ConfigFileCredentialProvider::new(),
        )
}

/// `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET`, and `OSS_SESSION_TOKEN` where there is one.
#[derive(Debug)]
struct Environment;

impl ProvideCredential for Environment {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        let variable = |name| context.env_var(name).filter(|value| !value.is_empty());
        let keys = variable("OSS_ACCESS_KEY_ID").zip(variable("OSS_ACCESS_KEY_SECRET"));
        Ok(keys.map(|(id, secret)| Credential {
            access_key_id: id,
            access_key_secret: secret,
            security_token: variable("OSS_SESSION_TOKEN"),
            expires_in: None,
        }))
    }
}

/// The role of the machine, if `ALIBABA_CLOUD_ECS_METADATA` names it: elsewhere than in Alibaba's cloud nobody answers there.
#[derive(Debug)]
struct MachineRole(EcsRamRoleCredentialProvider);

impl ProvideCredential for MachineRole {
    type Credential = Credential;

    async fn provide_credential(
        &self,
        context: &Context,
    ) -> reqsign_core::Result<Option<Credential>> {
        match context.env_var("ALIBABA_CLOUD_ECS_METADATA") {
            Some(role) if !role.is_empty() => self.0.provide_credential(context).await,
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqsign_core::StaticEnv;

    use super::*;
    use crate::settings::Secret;

    async fn found(
        given: Option<&AccessKey>,
        variables: &[(&str, &str)],
    ) -> reqsign_core::Result<Option<Credential>> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let context = Context::new().with_env(StaticEnv {
            home_dir: None,
            envs: variables.iter().map(own).collect(),
        });
        provider(given).provide_credential(&context).await
    }

    #[tokio::test]
    async fn settings_beat_the_environment_and_ours_beats_alibabas() {
        let ours = [
            ("OSS_ACCESS_KEY_ID", "oss"),
            ("OSS_ACCESS_KEY_SECRET", "s"),
            ("OSS_SESSION_TOKEN", "t"),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "alibaba"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
        ];
        let given = AccessKey {
            id: Secret::new("given"),
            secret: Secret::new("s"),
        };
        let credential = found(Some(&given), &ours).await.unwrap().unwrap();
        assert_eq!(
            (credential.access_key_id.as_str(), credential.security_token),
            ("given", None)
        );
        let credential = found(None, &ours).await.unwrap().unwrap();
        assert_eq!(credential.access_key_id, "oss");
        assert_eq!(credential.security_token.as_deref(), Some("t"));
        let credential = found(None, &ours[3..]).await.unwrap().unwrap();
        assert_eq!(credential.access_key_id, "alibaba");
        let error = found(None, &[]).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("access key id or access key secret is empty")
        );
    }
}
