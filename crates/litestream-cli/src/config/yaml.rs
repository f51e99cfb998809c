//! YAML as a tree whose every node knows its place in the text.
//!
//! Of the text one document is read. Aliases and merge keys are resolved here, within limits, so that a short text can't
//! become a large tree. A duplicated key is kept; the reader takes the last.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::findings::At;

const NODES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 64;
/// Of one map; readers look through all of them for each.
const KEYS_MAX: usize = 4096;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text; `plain` if it stands without quotes, so that it may be a number or the like.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// See above.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys, their places, and values, in the order of the text.
    Map(Vec<(String, At, Node)>),
}

impl Node {
    /// Whether nothing is given.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if is_null(text))
    }

    /// What it is, for an error.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads the first document; `None` if there is nothing in it. An error has its place.
pub fn read(text: &str) -> Result<Option<Node>, (At, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd | Event::DocumentEnd => return Ok(None),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            event => return builder.node(event, span, 0).map(Some),
        }
    }
}

struct Builder<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

type Failed = (At, String);

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Failed> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Failed> {
        let at = place(&span.start);
        self.count(1, at)?;
        if depth > DEPTH_MAX {
            return Err((at, format!("more than {DEPTH_MAX} levels of nesting")));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref()))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            _ => return Err((at, "a value is missing".to_owned())),
        };
        let node = Node { at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, at: At) -> Result<Node, Failed> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err((at, "an alias stands inside of what it names".to_owned()));
        };
        self.count(size(&node), at)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, at: At) -> Result<(), Failed> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err((at, format!("more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Value, Failed> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Failed> {
        let (mut own, mut merged) = (Vec::new(), Vec::new());
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let Value::Scalar { text, plain } = key.value else {
                return Err((key.at, "a key must be a text".to_owned()));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if text == "<<" && plain {
                merge(value, &mut merged)?;
            } else {
                own.push((text, key.at, value));
            }
            if own.len() + merged.len() > KEYS_MAX {
                return Err((key.at, format!("more than {KEYS_MAX} keys in a map")));
            }
        }
        merged.retain(|(name, _, _)| own.iter().all(|(own, _, _)| own != name));
        merged.append(&mut own);
        Ok(Value::Map(merged))
    }
}

/// Adds what `<<` names; of several maps the first that has a key gives it.
fn merge(value: Node, into: &mut Vec<(String, At, Node)>) -> Result<(), Failed> {
    match value.value {
        Value::Map(entries) => {
            for entry in entries {
                if into.iter().all(|(name, _, _)| *name != entry.0) {
                    into.push(entry);
                }
            }
            Ok(())
        }
        Value::List(maps) => maps.into_iter().try_for_each(|map| match map.value {
            Value::Map(_) => merge(map, into),
            _ => Err((
                map.at,
                "map merge requires map or sequence of maps as the value".to_owned(),
            )),
        }),
        Value::Scalar { .. } => Err((
            value.at,
            "map merge requires map or sequence of maps as the value".to_owned(),
        )),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let forced = tag.filter(|t| t.is_yaml_core_schema() || t.handle == "!!");
    let plain = match forced.map(|t| t.suffix.as_str()) {
        Some("str") => false,
        Some("int" | "float" | "bool" | "null") => true,
        _ => style == ScalarStyle::Plain,
    };
    Value::Scalar {
        text: text.to_owned(),
        plain,
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, _, node)| size(node)).sum::<usize>(),
    }
}

fn place(marker: &Marker) -> At {
    At {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

fn syntax(error: &ScanError) -> Failed {
    (place(error.marker()), error.info().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, usize, usize)> {
        match read(text).unwrap().unwrap().value {
            Value::Map(entries) => entries
                .into_iter()
                .map(|(name, at, _)| (name, at.line, at.column))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places() {
        let text = "\u{feff}a: 1\r\né: {b: 2}\r\n\"c\": 3\n---\nd: [";
        assert_eq!(
            keys(text),
            [("a".into(), 1, 1), ("é".into(), 2, 1), ("c".into(), 3, 1)]
        );
        for text in ["", "# x\n", "---\n---\na: 1"] {
            assert!(
                read(text).unwrap().is_none_or(|node| node.is_null()),
                "{text}"
            );
        }
        assert_eq!(read("a: 1\nb: [\n").unwrap_err().0.line, 3);
        assert_eq!(read("a:\n\t- b\n").unwrap_err().0.line, 2);
    }

    #[test]
    fn merges() {
        let names = |text: &str| keys(text).into_iter().map(|k| k.0).collect::<Vec<_>>();
        assert_eq!(names("<<: {a: 1, b: 2}\nb: 3"), ["a", "b"]);
        assert_eq!(
            names("x: &x {a: 1}\n<<: [*x, {a: 2, c: 3}]"),
            ["a", "c", "x"]
        );
        assert!(read("<<: 1").is_err());
    }

    #[test]
    fn small_texts_stay_small() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let names = vec![format!("*a{}", i - 1); 9].join(", ");
            text.extend([format!("a{i}: &a{i} [{names}]\n")]);
        }
        assert!(read(&text).unwrap_err().1.contains("values"));
        assert!(read(&"[".repeat(100_000)).is_err());
        let keys: Vec<String> = (0..5000).map(|i| format!("k{i}: 1\n")).collect();
        assert!(
            read(&keys.concat())
                .unwrap_err()
                .1
                .contains("keys in a map")
        );
        assert!(read("a: &x [*x]").is_err());
        assert!(read("a: *x").is_err());
    }
}
