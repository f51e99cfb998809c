//! Takes typed values out of a map, and tells in the end what nobody took.

use super::findings::{At, Findings};
use super::scalar::{self, shown};
use super::yaml::{Node, Value};
use super::{known, removed};

/// A map that is being read.
pub struct Reader<'a> {
    /// Where it begins.
    pub at: At,
    /// Its name in messages: `dbs[0].replica`; empty for the whole.
    pub key: String,
    entries: Vec<(&'a str, At, &'a Node, bool)>,
    asked: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Reads a node that must be a map. Nothing counts as an empty one.
    pub fn new(node: &'a Node, key: String, findings: &mut Findings) -> Option<Reader<'a>> {
        let mut reader = Reader {
            at: node.at,
            key,
            entries: Vec::new(),
            asked: Vec::new(),
        };
        let Value::Map(entries) = &node.value else {
            if node.is_null() {
                return Some(reader);
            }
            findings.error(
                node.at,
                &reader.key,
                &format!("a map is needed, not {}", node.kind()),
            );
            return None;
        };
        for (name, at, value) in entries {
            if let Some(earlier) = reader.entries.iter_mut().find(|(n, ..)| n == name) {
                let text = format!(
                    "the key is given twice; this one is in force, not the one of line {}",
                    earlier.1.line
                );
                findings.mistake(*at, &join(&reader.key, name), text);
                (earlier.1, earlier.2) = (*at, value);
            } else {
                reader.entries.push((name, *at, value, false));
            }
        }
        Some(reader)
    }

    /// A map with nothing in it.
    pub fn empty() -> Reader<'a> {
        Reader {
            at: At::default(),
            key: String::new(),
            entries: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// The name of one of its keys in messages.
    pub fn name(&self, key: &str) -> String {
        join(&self.key, key)
    }

    /// Where a key's value stands; the map's own place if it is not given.
    pub fn place(&self, key: &str) -> At {
        self.entries
            .iter()
            .find(|(name, ..)| *name == key)
            .map_or(self.at, |(_, at, ..)| *at)
    }

    /// The value of a key, even if it is null.
    pub fn raw(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.push(key.to_owned());
        let entry = self.entries.iter_mut().find(|(name, ..)| *name == key)?;
        entry.3 = true;
        Some(entry.2)
    }

    /// The value of a key; nothing if it is null.
    pub fn node(&mut self, key: &str) -> Option<&'a Node> {
        self.raw(key).filter(|node| !node.is_null())
    }

    /// A map below a key.
    pub fn map(&mut self, key: &str, findings: &mut Findings) -> Option<Reader<'a>> {
        let node = self.node(key)?;
        Reader::new(node, self.name(key), findings)
    }

    /// The items of a list; no items if it is null.
    pub fn list(&mut self, key: &str, findings: &mut Findings) -> Option<&'a [Node]> {
        let node = self.raw(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ if node.is_null() => Some(&[]),
            _ => {
                self.wrong(node, key, "a list", findings);
                None
            }
        }
    }

    /// Any scalar as text.
    pub fn text(&mut self, key: &str, findings: &mut Findings) -> Option<String> {
        let node = self.node(key)?;
        if let Value::Scalar { text, .. } = &node.value {
            return Some(text.clone());
        }
        self.wrong(node, key, "a text", findings);
        None
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str, findings: &mut Findings) -> Option<Vec<String>> {
        let mut out = Vec::new();
        for item in self.list(key, findings)? {
            match &item.value {
                _ if item.is_null() => out.push(String::new()),
                Value::Scalar { text, .. } => out.push(text.clone()),
                _ => self.wrong(item, key, "a list of texts", findings),
            }
        }
        Some(out)
    }

    /// A boolean.
    pub fn bool(&mut self, key: &str, findings: &mut Findings) -> Option<bool> {
        self.plain(key, "true or false", findings, scalar::boolean)
    }

    /// A whole number.
    pub fn int(&mut self, key: &str, findings: &mut Findings) -> Option<i64> {
        self.plain(key, "a whole number", findings, |text| {
            scalar::integer(text).and_then(|n| i64::try_from(n).ok())
        })
    }

    /// Nanoseconds.
    pub fn duration(&mut self, key: &str, findings: &mut Findings) -> Option<i64> {
        let node = self.node(key)?;
        let Value::Scalar { text, plain } = &node.value else {
            self.wrong(node, key, "a duration", findings);
            return None;
        };
        match scalar::nanoseconds(text, *plain) {
            Ok(nanos) => Some(nanos),
            Err(error) => {
                findings.error(node.at, &self.name(key), &error);
                None
            }
        }
    }

    fn plain<T>(
        &mut self,
        key: &str,
        what: &str,
        findings: &mut Findings,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let value = match &node.value {
            Value::Scalar { text, plain: true } => read(text),
            _ => None,
        };
        if value.is_none() {
            self.wrong(node, key, what, findings);
        }
        value
    }

    /// Reports a value of the wrong type. Only scalars that could be no secret get here with their text.
    pub fn wrong(&self, node: &Node, key: &str, what: &str, findings: &mut Findings) {
        let given = match &node.value {
            Value::Scalar { text, plain: true } => shown(text),
            Value::Scalar { text, .. } => format!("the quoted text {}", shown(text)),
            _ => node.kind().to_owned(),
        };
        findings.error(
            node.at,
            &self.name(key),
            &format!("{what} is needed, not {given}"),
        );
    }

    /// Reports what nobody asked for. `place` is the kind of map that this is.
    pub fn finish(self, place: known::Place, findings: &mut Findings) {
        for (name, at, node, _) in self.entries.iter().filter(|entry| !entry.3) {
            let key = join(&self.key, name);
            let text = match removed::reason(place, name) {
                Some(text) => text.to_owned(),
                None => known::unknown(place, name, node, &self.asked),
            };
            findings.mistake(*at, &key, text);
        }
    }
}

fn join(key: &str, name: &str) -> String {
    // What stands in a file may be anything; a message is one line.
    let name: String = name.chars().take(60).flat_map(char::escape_debug).collect();
    if key.is_empty() {
        name
    } else {
        format!("{key}.{name}")
    }
}
