//! A request before it has a body.

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request};

use super::uri;
use crate::{Error, Result};

/// Method, URL and headers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    method: Method,
    url: String,
    headers: HeaderMap,
}

impl Head {
    pub(crate) fn new(method: Method, url: impl Into<String>) -> Head {
        Head {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Head {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Adds a header; a text that can't be one is an error.
    pub(crate) fn text(self, name: &'static str, value: &str) -> Result<Head> {
        let value = HeaderValue::from_str(value)
            .map_err(|e| Error::invalid(format_args!("header {name}: {e}")))?;
        Ok(self.header(name, value))
    }

    /// All of it, to be signed, for a body of `len` bytes.
    pub(crate) fn parts(self, len: u64) -> Result<Parts> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = uri(&self.url)?;
        parts.headers = self.headers;
        if len > 0 || self.method == Method::PUT || self.method == Method::POST {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        parts.method = self.method;
        Ok(parts)
    }
}
