//! What commands print: text tables and JSON documents, on stdout.
//!
//! Promise: a reader that goes away early (`litestream ltx … | head`) is no error; any other failure to write is.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::failure::{Failure, Result};

/// Writes to stdout.
pub fn print(text: &str) -> Result {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr. There is nobody left to tell if that fails.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Columns padded to their widest cell plus two blanks; nothing after the last one.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let mut out = String::new();
    for row in std::iter::once(&header).chain(rows) {
        for (i, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < row.len() {
                out.extend(std::iter::repeat_n(
                    ' ',
                    widths[i] + 2 - cell.chars().count(),
                ));
            }
        }
        out.push('\n');
    }
    out
}

/// A document with two-space indentation, a final newline, and Go's escapes inside strings.
pub fn json(document: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|e| Failure::new(format!("cannot encode JSON: {e}")))?;
    Ok(escaped(&text))
}

/// The same without indentation: what the control socket answers.
pub fn json_line(document: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(document).map(|text| escaped(&text))
}

/// Go's escapes, and a final newline.
fn escaped(text: &str) -> String {
    // These letters cannot stand outside of strings in JSON.
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_padded_between_columns_only() {
        let rows = [
            vec!["0".into(), "long cell".into(), "x".into()],
            vec!["10".into(), String::new(), "yy".into()],
        ];
        assert_eq!(
            table(&["level", "b", "c"], &rows),
            "level  b          c\n0      long cell  x\n10                yy\n"
        );
        assert_eq!(table(&["a", "b"], &[]), "a  b\n");
    }

    #[test]
    fn json_is_escaped_as_go_does() {
        assert_eq!(
            json(&["<a>&\u{2028}\u{2029}é\""]).unwrap(),
            "[\n  \"\\u003ca\\u003e\\u0026\\u2028\\u2029é\\\"\"\n]\n"
        );
        assert_eq!(json(&Vec::<u8>::new()).unwrap(), "[]\n");
        assert_eq!(json_line(&["<", "b"]).unwrap(), "[\"\\u003c\",\"b\"]\n");
    }
}
