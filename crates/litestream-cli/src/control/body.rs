//! Requests: the JSON objects that clients send, read as Go reads them.
//!
//! Promise: no bytes lead to anything but fields of the right types or a text that says what is wrong.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The fields of a request, in their order. Names are matched without regard to case, the last one counts, and `null` says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Reads the first JSON value; what follows it is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Fields, String> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Fields>();
        match values.next() {
            Some(fields) => fields.map_err(|e| e.to_string()),
            None => Err("EOF".to_owned()),
        }
    }

    /// A text; empty if absent.
    pub fn text(&self, name: &str) -> Result<String, String> {
        let text = self.last(name, "a string", |value| value.as_str().map(str::to_owned))?;
        Ok(text.unwrap_or_default())
    }

    /// A truth; `false` if absent.
    pub fn truth(&self, name: &str) -> Result<bool, String> {
        Ok(self
            .last(name, "true or false", Value::as_bool)?
            .unwrap_or(false))
    }

    /// A whole number; zero if absent.
    pub fn number(&self, name: &str) -> Result<i64, String> {
        Ok(self
            .last(name, "a whole number", Value::as_i64)?
            .unwrap_or(0))
    }

    fn last<T>(
        &self,
        name: &str,
        kind: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let mut last = None;
        let named = self
            .0
            .iter()
            .filter(|(n, value)| n.eq_ignore_ascii_case(name) && !value.is_null());
        for (_, value) in named {
            let value = read(value).ok_or_else(|| format!("field \"{name}\" must be {kind}"))?;
            last = Some(value);
        }
        Ok(last)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_unit<E>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(body: &str) -> Result<String, String> {
        Fields::parse(body.as_bytes())?.text("path")
    }

    #[test]
    fn bodies_are_read_as_litestream_reads_them() {
        for (body, found) in [
            (r#"{"path":"a"}"#, "a"),
            (r#"{"PATH":"a","more":[{}]}"#, "a"),
            (r#"{"path":"a","Path":"b"}"#, "b"),
            (r#"{"path":"a","path":null}"#, "a"),
            (r#"{"path":"a"}garbage"#, "a"),
            (r#" {"path":"a"} {"path":"b"}"#, "a"),
            (r#"{"path":null}"#, ""),
            ("null", ""),
            ("{}", ""),
        ] {
            assert_eq!(path(body).as_deref(), Ok(found), "{body}");
        }
        for body in [
            "",
            " ",
            "x",
            "[]",
            "\"x\"",
            "1",
            "true",
            "{",
            r#"{"path":1}"#,
            r#"{"path":1,"path":"a"}"#,
            "{\"path\":\"\x01\"}",
        ] {
            assert!(path(body).is_err(), "{body}");
        }
        assert_eq!(path("").unwrap_err(), "EOF");
        assert_eq!(
            path(r#"{"path":[]}"#).unwrap_err(),
            "field \"path\" must be a string"
        );
    }

    #[test]
    fn numbers_and_truths() {
        let fields = |body: &str| Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(fields(r#"{"timeout":-5}"#).number("timeout"), Ok(-5));
        assert_eq!(fields("{}").number("timeout"), Ok(0));
        for body in ["1.5", "1e2", "\"1\"", "9223372036854775808", "true"] {
            let fields = fields(&format!("{{\"timeout\":{body}}}"));
            assert!(fields.number("timeout").is_err(), "{body}");
            assert_eq!(fields.truth("timeout").is_ok(), body == "true");
        }
    }
}
