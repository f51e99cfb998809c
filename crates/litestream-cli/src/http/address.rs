//! Where the server listens: the forms of `addr`.

use crate::failure::{Failure, Result};
use crate::quote::go_quote;

/// An address that names a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Empty: all interfaces.
    host: String,
    port: u16,
}

impl Address {
    /// Reads `host:port`, `:port` or `[v6]:port`.
    pub fn parse(addr: &str) -> Result<Address> {
        let no_port = || {
            Failure::with_try(
                format!("must specify port for bind address: {}", go_quote(addr)),
                "addr: \":9090\"",
            )
        };
        let (host, port) = addr.rsplit_once(':').ok_or_else(no_port)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if port.is_empty() || (bare.is_none() && host.contains([':', '[', ']'])) {
            return Err(no_port());
        }
        let port = port.parse().map_err(|_| {
            let (addr, port) = (go_quote(addr), go_quote(port));
            Failure::new(format!(
                "bind address {addr}: port {port} is not a number from 0 to 65535"
            ))
        })?;
        let host = bare.unwrap_or(host).to_owned();
        Ok(Address { host, port })
    }

    /// Where people find the metrics, once it is listened on this port.
    pub fn url(&self, port: u16) -> String {
        let host = match self.host.as_str() {
            "" => "localhost".to_owned(),
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        format!("http://{host}:{port}/metrics")
    }

    /// What to try to bind, in this order.
    pub(super) fn candidates(&self) -> Vec<(&str, u16)> {
        match self.host.as_str() {
            // The first takes both kinds of addresses, where there are both.
            "" => vec![("::", self.port), ("0.0.0.0", self.port)],
            host => vec![(host, self.port)],
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (addr, url) in [
            (":9090", "http://localhost:9090/metrics"),
            ("127.0.0.1:9090", "http://127.0.0.1:9090/metrics"),
            ("[::1]:80", "http://[::1]:80/metrics"),
            ("a.b:0", "http://a.b:0/metrics"),
        ] {
            let address = Address::parse(addr).unwrap();
            assert_eq!(address.url(address.port), url);
            assert_eq!(address.to_string(), addr);
        }
    }

    #[test]
    fn an_address_needs_a_port() {
        for addr in [
            "9090",
            "localhost",
            "localhost:",
            "::1:9090",
            "::1",
            "[::1]",
        ] {
            let message = Address::parse(addr).unwrap_err().message;
            let expected = format!("must specify port for bind address: \"{addr}\"");
            assert_eq!(message, expected);
        }
        assert_eq!(
            Address::parse(":99999").unwrap_err().message,
            "bind address \":99999\": port \"99999\" is not a number from 0 to 65535"
        );
    }
}
