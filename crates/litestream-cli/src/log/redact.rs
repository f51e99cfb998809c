//! The last net under secrets: whatever reaches a log line, known secrets and passwords in URLs are not written.
//!
//! It is no excuse to log one; it is for error texts of servers and libraries that quote what they were sent.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::quote::go_quote;

/// What stands in for a secret.
const MASK: &str = "xxxxx";

/// Shorter values would be found everywhere, and are no secrets.
const LEN_MIN: usize = 4;

static SECRETS: RwLock<Secrets> = RwLock::new(Secrets(Vec::new()));

/// Variables of the environment that hold secrets of storages.
const VARIABLES: [&str; 10] = [
    "LITESTREAM_SECRET_ACCESS_KEY",
    "LITESTREAM_AZURE_ACCOUNT_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "OSS_ACCESS_KEY_SECRET",
    "NATS_PASSWORD",
];

/// Never writes the secrets that the environment holds.
pub fn redact_environment() {
    let values = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
    values.for_each(|value| redact(&value));
}

/// Never writes this value to the log from now on.
pub fn redact(secret: &str) {
    SECRETS.write().add(secret);
}

/// The line as it may be written.
pub fn cleaned(line: &str) -> Cow<'_, str> {
    match SECRETS.read().mask(line) {
        Cow::Borrowed(line) => mask_urls(line),
        Cow::Owned(line) => Cow::Owned(mask_urls(&line).into_owned()),
    }
}

/// Values, the longest first: one may be part of another.
struct Secrets(Vec<Arc<str>>);

impl Secrets {
    /// In each form in which a line may show it.
    fn add(&mut self, secret: &str) {
        if secret.len() < LEN_MIN {
            return;
        }
        let json = serde_json::Value::from(secret).to_string();
        let inside = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
        for form in [secret.to_owned(), inside(&go_quote(secret)), inside(&json)] {
            if !self.0.iter().any(|there| **there == *form) {
                self.0.push(form.into());
            }
        }
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    fn mask<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let mut line = Cow::Borrowed(line);
        for secret in &self.0 {
            if line.contains(&**secret) {
                line = Cow::Owned(line.replace(&**secret, MASK));
            }
        }
        line
    }
}

/// `scheme://user:password@host` without the password.
fn mask_urls(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(at) = line[from..].find("://") {
        let start = from + at + "://".len();
        let end = line[start..]
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>')
            })
            .map_or(line.len(), |len| start + len);
        let authority = &line[start..end];
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((name, _)) = user.split_once(':')
        {
            out.push_str(&line[done..=start + name.len()]);
            out.push_str(MASK);
            done = start + user.len();
        }
        from = end;
    }
    if done == 0 {
        return Cow::Borrowed(line);
    }
    out.push_str(&line[done..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_are_masked_in_every_form() {
        let mut secrets = Secrets(Vec::new());
        for secret in ["", "abc", "s3cr3t/+", "s3cr3t/+more", "a\"b\\c"] {
            secrets.add(secret);
        }
        let mask = |line| secrets.mask(line).into_owned();
        assert_eq!(mask("key=s3cr3t/+ abc"), "key=xxxxx abc");
        assert_eq!(mask("key=s3cr3t/+more."), "key=xxxxx.");
        assert_eq!(mask(r#"{"k":"a\"b\\c"} a"b\c"#), r#"{"k":"xxxxx"} xxxxx"#);
        assert!(matches!(secrets.mask("nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn passwords_in_urls_are_masked() {
        for (line, shown) in [
            ("sftp://me:pw@host:22/p", "sftp://me:xxxxx@host:22/p"),
            (
                "a https://u:p:q@h b ftp://x:y@z",
                "a https://u:xxxxx@h b ftp://x:xxxxx@z",
            ),
            ("\"nats://:tok@en@h\"", "\"nats://:xxxxx@h\""),
            ("sftp://me@host/a:b@c", "sftp://me@host/a:b@c"),
            ("http://h:80/x@y", "http://h:80/x@y"),
            ("://", "://"),
        ] {
            assert_eq!(mask_urls(line), shown);
        }
    }
}
