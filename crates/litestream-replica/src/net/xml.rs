//! Small answers in XML, as a tree.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Deeper is nothing that storage says.
const DEPTH_MAX: usize = 32;

/// An element: its name without prefix, its own text, what is inside.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Xml {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) inside: Vec<Xml>,
}

impl Xml {
    /// The root element of a document.
    pub(crate) fn parse(document: &[u8]) -> Result<Xml, String> {
        let text = std::str::from_utf8(document).map_err(|e| e.to_string())?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open = vec![Xml::default()];
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(tag) => {
                    if open.len() > DEPTH_MAX {
                        return Err("too deep".to_owned());
                    }
                    open.push(Xml::named(tag.local_name().as_ref()));
                }
                Event::Empty(tag) => push(&mut open, Xml::named(tag.local_name().as_ref())),
                Event::End(_) => {
                    let done = open.pop().unwrap_or_default();
                    if open.is_empty() {
                        return Err("an end without a beginning".to_owned());
                    }
                    push(&mut open, done);
                }
                Event::Text(text) => {
                    let text = text.xml10_content();
                    add_text(&mut open, &text);
                }
                Event::CData(text) => {
                    let text = text.xml10_content();
                    add_text(&mut open, &text);
                }
                Event::GeneralRef(reference) => add_text(&mut open, &resolve(&reference)?),
                Event::Eof => break,
                _ => {}
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut top), true) if !top.inside.is_empty() => Ok(top.inside.swap_remove(0)),
            _ => Err("not a whole document".to_owned()),
        }
    }

    fn named(name: &str) -> Xml {
        Xml {
            name: name.to_owned(),
            ..Xml::default()
        }
    }

    /// The first element of that name inside.
    pub(crate) fn child(&self, name: &str) -> Option<&Xml> {
        self.inside.iter().find(|xml| xml.name == name)
    }

    /// All elements of that name inside.
    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Xml> {
        self.inside.iter().filter(move |xml| xml.name == name)
    }

    /// The text of the first element of that name inside; empty if there is none.
    pub(crate) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |xml| xml.text.as_str())
    }
}

fn push(open: &mut [Xml], done: Xml) {
    if let Some(parent) = open.last_mut() {
        parent.inside.push(done);
    }
}

fn add_text(open: &mut [Xml], text: &str) {
    if let Some(top) = open.last_mut() {
        top.text.push_str(text);
    }
}

fn resolve(reference: &BytesRef) -> Result<String, String> {
    if let Some(char) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(char.to_string());
    }
    let name = reference.xml10_content();
    quick_xml::escape::resolve_predefined_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| format!("unknown entity &{name};"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        let document = br#"<?xml version="1.0"?>
<D:multistatus xmlns:D="DAV:"><D:response><D:href>/a&amp;b&#x20;c</D:href><D:prop/></D:response>
<D:response><D:href><![CDATA[<x>]]></D:href></D:response></D:multistatus>"#;
        let xml = Xml::parse(document).unwrap();
        assert_eq!(xml.name, "multistatus");
        let hrefs: Vec<&str> = xml
            .children("response")
            .map(|r| r.text_of("href"))
            .collect();
        assert_eq!(hrefs, ["/a&b c", "<x>"]);
        assert!(
            xml.children("response")
                .next()
                .unwrap()
                .child("prop")
                .is_some()
        );
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        let deep = "<a>".repeat(100);
        for text in ["", "<a>", "</a>", "x", "<a>&nope;</a>", deep.as_str()] {
            assert!(Xml::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Xml::parse(&[b'<', 0xff]).is_err());
    }
}
