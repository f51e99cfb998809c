//! Variables in the text of a configuration, before it is read as YAML.
//!
//! `$NAME`, `${NAME}` and all oddities are as in Go's `os.Expand`, which Litestream uses, but for one: `${$}` is a dollar. It
//! is the one form that no configuration that works with Litestream can hold, since it names a variable that can't be set
//! there; `$$`, which others use as an escape, may stand in a file where its vanishing does no harm, and keeps its meaning.
//! Promise: what comes out of a variable is never expanded again.

use super::findings::At;

/// A text after expansion.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// What is to be read.
    pub text: String,
    /// What is likely not meant: where, and what it is.
    pub doubts: Vec<(At, String)>,
}

/// Replaces variables. `variable` gives the value of one that is set.
pub fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Expanded {
    let mut out = Expanded::default();
    let mut rest = text;
    let mut place = Place::default();
    while let Some(at) = rest.find('$') {
        let (before, dollar) = rest.split_at(at);
        place.advance(before);
        out.text.push_str(before);
        let (form, length) = form(&dollar[1..]);
        let (consumed, after) = dollar.split_at(1 + length);
        let mut doubt = |text: String| {
            if !place.comment {
                out.doubts.push((place.at, text));
            }
        };
        match form {
            Form::Dollar => out.text.push('$'),
            Form::Variable(name) => match variable(name) {
                Some(value) => out.text.push_str(&value),
                None => doubt(unset(name, consumed, before)),
            },
            Form::Nothing => doubt(format!(
                "{consumed} vanishes, as in Litestream; write ${{$}} for a dollar, or give -no-expand-env"
            )),
        }
        place.advance(consumed);
        rest = after;
    }
    out.text.push_str(rest);
    out
}

/// What to say of a variable that is not set. What may be a part of a password is not shown.
fn unset(name: &str, consumed: &str, before: &str) -> String {
    let letter = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let braced = consumed.starts_with("${");
    let delimited = before.ends_with(|c: char| c.is_whitespace() || "\"':/=[{,@".contains(c));
    if name.bytes().all(letter) && (braced || before.is_empty() || delimited) {
        return format!("environment variable {name} is not set, so {consumed} is empty");
    }
    if let Some((plain, _)) = name
        .split_once(":-")
        .filter(|(plain, _)| plain.bytes().all(letter))
    {
        return format!("there are no defaults for variables: ${{{plain}:-…}} is empty");
    }
    if braced && !name.bytes().all(|b| letter(b) || b.is_ascii_lowercase()) {
        return "what stands between this ${ and the next } is not the name of a variable that is set, so all of it is empty".to_owned();
    }
    "the variable that this dollar begins is not set, so it is empty; write ${$} for a dollar"
        .to_owned()
}

enum Form<'a> {
    Variable(&'a str),
    Dollar,
    Nothing,
}

/// What follows a dollar, and how many bytes of it belong to it.
fn form(rest: &str) -> (Form<'_>, usize) {
    if let Some(inner) = rest.strip_prefix('{') {
        return match inner.find('}') {
            None => (Form::Nothing, 1),
            Some(0) => (Form::Nothing, 2),
            Some(1) if inner.starts_with('$') => (Form::Dollar, 3),
            Some(end) => (Form::Variable(&inner[..end]), end + 2),
        };
    }
    match rest.bytes().next() {
        Some(b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9') => (Form::Nothing, 1),
        Some(b) if b == b'_' || b.is_ascii_alphabetic() => {
            let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            (Form::Variable(&rest[..end]), end)
        }
        _ => (Form::Dollar, 0),
    }
}

/// Where one is in the text, and whether that is a comment. Quotes count within their line only; it is for warnings.
struct Place {
    at: At,
    comment: bool,
    quote: Option<char>,
    blank: bool,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            at: At { line: 1, column: 1 },
            comment: false,
            quote: None,
            blank: true,
        }
    }
}

impl Place {
    fn advance(&mut self, text: &str) {
        for c in text.chars() {
            if c == '\n' {
                let line = self.at.line + 1;
                *self = Place::default();
                self.at.line = line;
                continue;
            }
            match (c, self.quote) {
                ('"' | '\'', None) => self.quote = Some(c),
                (c, Some(quote)) if c == quote => self.quote = None,
                ('#', None) if self.blank => self.comment = true,
                _ => {}
            }
            self.blank = c.is_whitespace();
            self.at.column += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (String, Vec<(usize, usize)>) {
        let variable = |name: &str| match name {
            "A" => Some("$B".to_owned()),
            "B1" => Some("b".to_owned()),
            _ => None,
        };
        let out = expand(text, &variable);
        let doubts = out.doubts.iter().map(|(at, _)| (at.line, at.column));
        (out.text, doubts.collect())
    }

    #[test]
    fn as_go_does() {
        for (text, expanded, doubts) in [
            ("x", "x", 0),
            ("$A $B1x ${B1}x", "$B  bx", 1),
            ("${A:-b}", "", 1),
            ("$$X", "X", 1),
            ("$1$*", "", 2),
            ("${}x", "x", 1),
            ("a${b", "ab", 1),
            ("$", "$", 0),
            ("$ $. $é", "$ $. $é", 0),
            ("${$}A ${$}{A}", "$A ${A}", 0),
            ("${x\ny}", "", 1),
        ] {
            let (out, found) = run(text);
            assert_eq!((out.as_str(), found.len()), (expanded, doubts), "{text}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for (text, shown) in [
            (
                "a: $SECRET",
                "environment variable SECRET is not set, so $SECRET is empty",
            ),
            (
                "a: x${SECRET}",
                "environment variable SECRET is not set, so ${SECRET} is empty",
            ),
            (
                "a: ${SECRET:-x}",
                "there are no defaults for variables: ${SECRET:-…} is empty",
            ),
            (
                "a: pa$SECRET",
                "the variable that this dollar begins is not set",
            ),
            (
                "a: '$secret'",
                "the variable that this dollar begins is not set",
            ),
            (
                "a: ${sec\nret}",
                "what stands between this ${ and the next }",
            ),
        ] {
            let doubts = expand(text, &|_| None).doubts;
            assert!(doubts[0].1.starts_with(shown), "{doubts:?}");
            assert!(!doubts[0].1.contains("sec"));
        }
    }

    #[test]
    fn doubts_have_places_and_comments_have_none() {
        let (_, doubts) = run("a: $X # $Y\n#$Y\nb: \"é # $Z\"\nc: x#$W");
        assert_eq!(doubts, [(1, 4), (3, 9), (4, 6)]);
    }
}
