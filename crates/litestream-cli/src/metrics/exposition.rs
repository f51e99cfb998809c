//! The text format of Prometheus, version 0.0.4, written straight into one string.
//!
//! Promise: a family's head comes once, before its samples, and only if it has some.

use std::fmt::{Display, Write as _};

/// How a family is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, but for restarts.
    Counter,
    /// It comes and goes.
    Gauge,
}

/// What a family is called.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The name of its series.
    pub name: &'static str,
    /// How it is to be understood.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
}

/// Takes the samples of one family.
pub struct Samples<'a> {
    out: &'a mut String,
    head: Head,
    is_begun: bool,
}

impl<'a> Samples<'a> {
    /// Of this family, at the end of `out`.
    pub fn new(out: &'a mut String, head: Head) -> Samples<'a> {
        Samples {
            out,
            head,
            is_begun: false,
        }
    }

    /// Adds one; label names are in the order of the alphabet.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let Head { name, kind, help } = self.head;
        if !self.is_begun {
            self.is_begun = true;
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(self.out, text);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_text_that_prometheus_reads() {
        let head = Head {
            name: "x_bytes",
            kind: Kind::Gauge,
            help: "Of x",
        };
        let mut out = String::new();
        let _ = Samples::new(&mut out, head);
        assert_eq!(out, "");
        let mut samples = Samples::new(&mut out, head);
        samples.add(&[("db", "/a \"b\"\\\n"), ("mode", "")], 1.5);
        samples.add(&[], 2_u64);
        assert_eq!(
            out,
            "# HELP x_bytes Of x\n# TYPE x_bytes gauge\nx_bytes{db=\"/a \\\"b\\\"\\\\\\n\",mode=\"\"} 1.5\nx_bytes 2\n"
        );
    }
}
