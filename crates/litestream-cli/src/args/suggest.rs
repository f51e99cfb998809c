//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of `known` if it is at most a third of its letters away.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (distance(word, k), k))
        .filter(|&(d, k)| d * 3 <= k.len().max(word.len()))
        .min_by_key(|&(d, _)| d)
        .map(|(_, k)| k)
}

/// Letters to insert, remove, replace or swap with the next to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["json", "level", "force-snapshot"];
        let find = |word| closest(word, known.iter().copied());
        assert_eq!(find("jsno"), Some("json"));
        assert_eq!(find("force-snapshots"), Some("force-snapshot"));
        assert_eq!(find("force_snapshot"), Some("force-snapshot"));
        assert_eq!(find("leve"), Some("level"));
        assert_eq!(find("x"), None);
        assert_eq!(find("zzzz"), None);
    }
}
