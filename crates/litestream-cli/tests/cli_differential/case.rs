//! Reads `cases.txt`.

const TABLE: &str = include_str!("cases.txt");

/// A line of the table.
pub struct Case {
    pub line: &'static str,
    pub env: Vec<(String, String)>,
    /// The command's name first.
    pub args: Vec<String>,
    /// Sent SIGTERM once this was printed or logged, or a file of this name is there.
    pub until: Option<String>,
    /// Why the programs differ.
    pub reason: Option<&'static str>,
}

pub fn cases() -> Vec<Case> {
    let lines = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(case).collect()
}

fn case(line: &'static str) -> Case {
    let (command, reason) = match line.split_once(" ;; ") {
        Some((command, reason)) => (command, Some(reason)),
        None => (line, None),
    };
    let mut words = words(command.trim()).into_iter().peekable();
    let mut until = None;
    if let Some(text) = words.peek().and_then(|word| word.strip_prefix("@until=")) {
        until = Some(text.to_owned());
        words.next();
    }
    let mut env = Vec::new();
    while let Some((name, value)) = words.peek().and_then(|word| variable(word)) {
        env.push((name, value));
        words.next();
    }
    assert_eq!(words.next().as_deref(), Some("litestream"), "{line}");
    Case {
        line,
        env,
        args: words.collect(),
        until,
        reason,
    }
}

fn variable(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    (is_name && !name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// Blanks separate words; single quotes keep them together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in text.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    assert!(!quoted, "{text}");
    words.extend(word);
    words
}
