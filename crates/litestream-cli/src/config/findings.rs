//! What is found while a configuration is read: errors, all of them, and warnings.

use super::types::Warning;
use crate::failure::Failure;

/// A place in the text, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<(At, String)>,
    /// In the order in which they were found.
    pub warnings: Vec<Warning>,
}

impl Findings {
    /// A value that can't be read.
    pub fn error(&mut self, at: At, key: &str, text: &str) {
        let colon = if key.is_empty() { "" } else { ": " };
        self.errors.push((at, format!("{key}{colon}{text}")));
    }

    /// Something that means nothing.
    pub fn mistake(&mut self, at: At, key: &str, text: impl Into<String>) {
        self.warn(at, key, text.into(), true);
    }

    /// Something that may not mean what it seems to.
    pub fn hint(&mut self, at: At, key: &str, text: impl Into<String>) {
        self.warn(at, key, text.into(), false);
    }

    fn warn(&mut self, at: At, key: &str, text: String, mistake: bool) {
        self.warnings.push(Warning {
            line: at.line,
            column: at.column,
            key: key.to_owned(),
            text,
            mistake,
        });
    }

    /// The failure that the errors make, if there are any. `file` is the name of the configuration.
    pub fn failure(&mut self, file: &str) -> Option<Failure> {
        self.errors.sort();
        let shown = |(at, text): &(At, String)| {
            format!(
                "line {}: {text} ({file}:{}:{})",
                at.line, at.line, at.column
            )
        };
        match self.errors.as_slice() {
            [] => None,
            [one] => Some(Failure::new(format!("yaml: {}", shown(one)))),
            all => {
                let lines: Vec<String> = all.iter().map(|e| format!("\n  {}", shown(e))).collect();
                Some(Failure::new(format!(
                    "yaml: unmarshal errors:{}",
                    lines.concat()
                )))
            }
        }
    }

    /// What `-strict` makes of the mistakes.
    pub fn strict_failure(&self, file: &str) -> Option<Failure> {
        let mistakes: Vec<String> = self
            .warnings
            .iter()
            .filter(|w| w.mistake)
            .map(|w| format!("\n  {}", w.shown(file)))
            .collect();
        (!mistakes.is_empty())
            .then(|| Failure::new(format!("refused by -strict:{}", mistakes.concat())))
    }
}

impl Warning {
    /// As a line: `FILE:LINE:COLUMN: KEY: TEXT`.
    pub fn shown(&self, file: &str) -> String {
        let colon = if self.key.is_empty() { "" } else { ": " };
        let (line, column, key, text) = (self.line, self.column, &self.key, &self.text);
        format!("{file}:{line}:{column}: {key}{colon}{text}")
    }
}
