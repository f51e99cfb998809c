//! Go's `filepath.Match`: `*`, `?`, `[a-z]`, `[^a]`, `\x`.

/// Whether a whole name matches. A pattern that is not [`is_valid`] matches nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    let tokens = parse(pattern);
    tokens.is_some_and(|tokens| run(&tokens, &name.chars().collect::<Vec<_>>()))
}

/// Whether a pattern can be read.
pub fn is_valid(pattern: &str) -> bool {
    parse(pattern).is_some()
}

enum Token {
    Any,
    One,
    Letter(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

fn parse(pattern: &str) -> Option<Vec<Token>> {
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Letter(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.peek() != Some(&']') {
                    let low = letter(&mut chars)?;
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => letter(&mut chars)?,
                        None => low,
                    };
                    ranges.push((low, high));
                }
                chars.next()?;
                Token::Class { negated, ranges }
            }
            c => Token::Letter(c),
        });
    }
    Some(tokens)
}

/// A letter inside of brackets.
fn letter(chars: &mut std::iter::Peekable<std::str::Chars>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Goes back to the last star only, so that it takes no more steps than pattern times name.
fn run(tokens: &[Token], name: &[char]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while pos < name.len() || at < tokens.len() {
        match tokens.get(at) {
            Some(Token::Any) => {
                star = Some((at, pos));
                at += 1;
                continue;
            }
            Some(token) if name.get(pos).is_some_and(|c| fits(token, *c)) => {
                (at, pos) = (at + 1, pos + 1);
                continue;
            }
            _ => {}
        }
        match star {
            // A star does not reach over a slash.
            Some((star_at, from)) if name.get(from).is_some_and(|c| *c != '/') => {
                star = Some((star_at, from + 1));
                (at, pos) = (star_at + 1, from + 1);
            }
            _ => return false,
        }
    }
    true
}

fn fits(token: &Token, c: char) -> bool {
    match token {
        Token::Any => false,
        Token::One => c != '/',
        Token::Letter(letter) => c == *letter,
        Token::Class { negated, ranges } => {
            c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
            ("*.db", ".x.db", true),
            ("*x", "xxx", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
            assert!(is_valid(pattern), "{pattern}");
        }
        for bad in [
            "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "[a-b-d]",
        ] {
            assert!(!is_valid(bad) && !matches(bad, "a"), "{bad}");
        }
    }
}
