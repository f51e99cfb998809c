//! Any text as what a user types: durations, times, sizes, commands.

use std::time::Duration;

use litestream_cli::args::duration;
use litestream_cli::fuzzing;
use litestream_replica::env::UnixMillis;

/// Durations: what is printed is read back; sizes: never out of bounds.
pub fn duration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().chain([&*text]) {
        if let Some(nanos) = duration::parse(line) {
            assert!(line == line.trim() && line.bytes().any(|b| b.is_ascii_digit()));
            if let Ok(nanos) = u64::try_from(nanos) {
                let printed = duration::format(Duration::from_nanos(nanos));
                assert!(
                    duration::parse(&printed) == Some(nanos as i64),
                    "{line} as {printed}"
                );
                if !line.starts_with('-') {
                    let negative = duration::parse(&format!("-{}", line.trim_start_matches('+')));
                    assert!(negative == Some(-(nanos as i64)), "-{line} is {negative:?}");
                }
            }
        }
        if let Some(bytes) = fuzzing::size(line) {
            assert!(
                bytes == 0 || line.bytes().any(|b| b.is_ascii_digit()),
                "{line} is {bytes} bytes"
            );
        }
        let [quoted, logged] = fuzzing::quoted(line);
        assert!(quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"'));
        assert!(!quoted.contains('\n') && !logged.contains('\n') && !logged.is_empty());
        assert!(logged == line || logged == quoted);
    }
    if let Some(bytes) = data.first_chunk() {
        let nanos = u64::from_le_bytes(*bytes) >> 1;
        let printed = duration::format(Duration::from_nanos(nanos));
        assert!(
            duration::parse(&printed) == Some(nanos as i64),
            "{nanos} as {printed}"
        );
    }
}

/// Times: exactly those of RFC 3339 that name a moment are read, as another reader reads them.
pub fn timestamp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().chain([&*text]) {
        let read = fuzzing::timestamp(line);
        assert!(
            read == rfc3339(line),
            "{line:?} is {read:?}, not {:?}",
            rfc3339(line)
        );
        // The years 1 to 9999, but for the last day, which can't be shown in every time zone.
        let shown = read.filter(|t| (-62_135_596_800_000..253_402_207_200_000).contains(&t.0));
        if let Some(time) = shown {
            let [whole, exact] = fuzzing::shown_times(time);
            assert!(
                fuzzing::timestamp(&exact) == Some(time),
                "{line} as {exact}"
            );
            let seconds = UnixMillis(time.0.div_euclid(1000) * 1000);
            assert!(
                fuzzing::timestamp(&whole) == Some(seconds),
                "{line} as {whole}"
            );
        }
    }
    if let Some(bytes) = data.first_chunk() {
        let _ = fuzzing::shown_times(UnixMillis(i64::from_le_bytes(*bytes)));
    }
}

/// The grammar of RFC 3339 read by hand; a part of a millisecond counts as a whole one.
fn rfc3339(text: &str) -> Option<UnixMillis> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        let all = digits.bytes().all(|b| b.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten()
    };
    let at = |i: usize| text.as_bytes().get(i).copied();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let date_mark = matches!(at(10), Some(b'T' | b't'));
    if marks.iter().any(|(i, mark)| at(*i) != Some(*mark)) || !date_mark {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (1..=9).contains(&digits).then(|| rest.split_at(digits))?
        }
        None => ("", rest),
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let digit = |b: u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
            let (h, m) = (
                digit(*h1)? * 10 + digit(*h2)?,
                digit(*m1)? * 10 + digit(*m2)?,
            );
            let seconds = (h < 24 && m < 60).then_some(h * 3600 + m * 60)?;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days since 1970 by counting: no formula to get wrong.
    let is_leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let years: i64 = if year >= 1970 {
        (1970..year).map(|y| 365 + i64::from(is_leap(y))).sum()
    } else {
        -(year..1970)
            .map(|y| 365 + i64::from(is_leap(y)))
            .sum::<i64>()
    };
    let lengths = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let months: i64 = lengths[..month as usize - 1].iter().sum();
    let seconds = (years + months + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(UnixMillis(
        seconds * 1000 + nanos.div_euclid(1_000_000) + i64::from(nanos % 1_000_000 != 0),
    ))
}

/// Words that were split are, each in quotes, split into the same words again; nothing is lost without a message.
pub fn exec_words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match fuzzing::exec_words(&text) {
        Err(message) => assert!(message.starts_with("cannot parse exec command: ")),
        Ok(words) => {
            assert!(!words.is_empty());
            let letters: usize = words.iter().map(String::len).sum();
            assert!(letters <= text.len());
            let quoted: Vec<String> = words
                .iter()
                .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
                .collect();
            assert!(fuzzing::exec_words(&quoted.join(" ")) == Ok(words.clone()));
            // Letters and digits mean themselves, so all of them are still there, in their order.
            let plain = |text: &str| {
                text.chars()
                    .filter(|c| c.is_alphanumeric())
                    .collect::<String>()
            };
            assert!(
                plain(&text) == plain(&words.concat()),
                "{text:?} as {words:?}"
            );
        }
    }
}
