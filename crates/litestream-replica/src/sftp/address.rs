//! Where the server is: `host`, `host:port`, `[v6]:port`.

use std::fmt;

use crate::{Error, Result};

const PORT: u16 = 22;

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Address> {
        let bad = || {
            let text = format!("sftp: not a host with a port: {text}");
            Error::invalid(text).with_hint("\"host\" has the form: example.com:22")
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
                (host, rest.strip_prefix(':'))
            }
            // More than one colon and no brackets: an address of version 6 alone.
            None if text.matches(':').count() > 1 => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None | Some("") => PORT,
            Some(port) => port.parse().map_err(|_| bad())?,
        };
        if host.is_empty() {
            return Err(bad());
        }
        let host = host.to_owned();
        Ok(Address { host, port })
    }

    /// How files of known hosts call it: first exactly, then by its name alone.
    pub(super) fn known_as(&self) -> [String; 2] {
        let host = self.host.to_ascii_lowercase();
        let exact = match self.port {
            PORT => host.clone(),
            port => format!("[{host}]:{port}"),
        };
        [exact, host]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, shown) in [
            ("h", "h:22"),
            ("h:2222", "h:2222"),
            ("h:", "h:22"),
            ("[::1]:2222", "[::1]:2222"),
            ("[::1]", "[::1]:22"),
            ("::1", "[::1]:22"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", ":22", "h:x", "h:99999", "[::1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
