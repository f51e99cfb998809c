//! What a verification found, as text and as JSON.

use std::fmt::Write as _;

use litestream::verify::{Finding, Live, Point, Range, Repaired, Report};
use serde::Serialize;

use crate::failure::Result;
use crate::{out, time};

#[derive(Serialize)]
struct Document<'a> {
    replica: &'a str,
    sound: bool,
    files: usize,
    bytes: u64,
    files_read: usize,
    bytes_read: u64,
    files_remembered: usize,
    duration_ms: u64,
    restorable: Vec<RangeRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<PointRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<PointRow>,
    /// The proved state's checksum is the one that a file names.
    chained: bool,
    states_proved: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'a str>,
    findings: Vec<FindingRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<RepairedRow>,
}

#[derive(Serialize)]
struct PointRow {
    txid: String,
    time: String,
}

#[derive(Serialize)]
struct RangeRow {
    first: PointRow,
    last: PointRow,
    states: usize,
}

#[derive(Serialize)]
struct FindingRow<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<RangeRow>,
    mend: &'a str,
}

#[derive(Serialize)]
struct RepairedRow {
    uploaded: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
}

impl From<Point> for PointRow {
    fn from(point: Point) -> PointRow {
        PointRow {
            txid: point.txid.to_string(),
            time: time::utc_exact(point.time),
        }
    }
}

impl From<Range> for RangeRow {
    fn from(range: Range) -> RangeRow {
        RangeRow {
            first: range.first.into(),
            last: range.last.into(),
            states: range.points,
        }
    }
}

impl<'a> From<&'a Finding> for FindingRow<'a> {
    fn from(finding: &'a Finding) -> FindingRow<'a> {
        FindingRow {
            kind: finding.kind.word(),
            level: finding.level.map(litestream_replica::Level::get),
            file: finding.file.map(|name| name.to_string()),
            what: &finding.what,
            lost: finding.lost.map(RangeRow::from),
            mend: &finding.mend,
        }
    }
}

fn live_word(live: Live) -> Option<&'static str> {
    match live {
        Live::Unknown => None,
        Live::Same => Some("same"),
        Live::At(_) | Live::Changed => Some("changed"),
        Live::Differs => Some("differs"),
    }
}

fn uploaded(repaired: &Repaired) -> Vec<String> {
    let names = repaired.uploaded.iter();
    names
        .map(|(level, name)| format!("level {level} {name}"))
        .collect()
}

/// The document for programs.
pub fn json(report: &Report, repaired: &Repaired) -> Result<String> {
    out::json(&Document {
        replica: &report.location,
        sound: report.is_sound(),
        files: report.files,
        bytes: report.bytes,
        files_read: report.files_read,
        bytes_read: report.bytes_read,
        files_remembered: report.files_remembered,
        duration_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
        restorable: report
            .restorable
            .iter()
            .copied()
            .map(RangeRow::from)
            .collect(),
        newest: report.newest.map(PointRow::from),
        proved: report.proved.map(PointRow::from),
        chained: report.chained,
        states_proved: report.states_proved,
        live: live_word(report.live),
        findings: report.findings.iter().map(FindingRow::from).collect(),
        repaired: (!repaired.is_empty()).then(|| RepairedRow {
            uploaded: uploaded(repaired),
            snapshot: repaired.snapshot.map(|name| name.to_string()),
        }),
    })
}

/// The text for people.
pub fn text(report: &Report, repaired: &Repaired) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}: {} files, {}",
        report.location,
        report.files,
        size(report.bytes)
    );
    let speed = report.bytes_read as f64 / report.elapsed.as_secs_f64().max(0.001);
    let _ = writeln!(
        out,
        "read:       {} files, {} in {:.1} s ({}/s); {} more were verified before",
        report.files_read,
        size(report.bytes_read),
        report.elapsed.as_secs_f64(),
        size(speed as u64),
        report.files_remembered
    );
    for range in &report.restorable {
        let _ = writeln!(out, "restorable: {}", range_text(range));
    }
    if report.restorable.is_empty() {
        let _ = writeln!(out, "restorable: nothing");
    }
    let _ = writeln!(out, "proved:     {}", proof(report));
    if let Some(live) = live_text(report) {
        let _ = writeln!(out, "live:       {live}");
    }
    for finding in &report.findings {
        put(&mut out, finding);
    }
    for name in uploaded(repaired) {
        let _ = writeln!(out, "\nrepaired: the local copy of {name} was uploaded");
    }
    if let Some(name) = repaired.snapshot {
        let _ = writeln!(
            out,
            "\nrepaired: a snapshot of the live database was written, {name}; what is lost above stays lost"
        );
    }
    let damage = report
        .findings
        .iter()
        .filter(|f| f.kind.is_damage())
        .count();
    let _ = match damage {
        0 => writeln!(out, "\nNo damage found."),
        1 => writeln!(out, "\n1 problem found."),
        n => writeln!(out, "\n{n} problems found."),
    };
    out
}

fn put(out: &mut String, finding: &Finding) {
    let place = match (finding.level, finding.file) {
        (Some(level), Some(name)) => format!(" level {level} {name}"),
        (Some(level), None) => format!(" level {level}"),
        _ => String::new(),
    };
    let word = finding.kind.word();
    let _ = writeln!(out, "\n{word}{place}: {}", finding.what);
    match &finding.lost {
        Some(lost) => {
            let _ = writeln!(out, "  lost: {}", range_text(lost));
        }
        None if finding.file.is_some() && finding.kind.is_damage() => {
            let _ = writeln!(out, "  lost: no state that is known");
        }
        None => {}
    }
    let _ = writeln!(out, "  mend: {}", finding.mend);
}

fn range_text(range: &Range) -> String {
    let point = |p: &Point| format!("{} ({})", p.txid, time::utc_seconds(p.time));
    if range.points == 1 {
        return format!("TXID {}, 1 state", point(&range.first));
    }
    format!(
        "TXID {} to {}, {} states",
        point(&range.first),
        point(&range.last),
        range.points
    )
}

fn proof(report: &Report) -> String {
    let Some(point) = report.proved else {
        return "nothing".to_owned();
    };
    let how = if report.chained {
        "its checksum is the one that the files name"
    } else {
        "no file names the checksum of the database, so only that of each file"
    };
    let more = if report.states_proved > 1 {
        format!("; {} states in all", report.states_proved)
    } else {
        String::new()
    };
    let large = if report.too_large {
        "; the database is too large to prove every state"
    } else {
        ""
    };
    format!("TXID {}, all pages: {how}{more}{large}", point.txid)
}

fn live_text(report: &Report) -> Option<String> {
    match report.live {
        Live::Unknown => None,
        Live::Same => Some("the database is the same, page for page".to_owned()),
        Live::At(txid) => Some(format!("the database is at TXID {txid} by now")),
        Live::Changed => {
            Some("the database was changed since, and could not be compared".to_owned())
        }
        Live::Differs => Some("the database is another".to_owned()),
    }
}

/// Bytes with a unit.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1536), "1.5 KB");
        assert_eq!(size(3 << 30), "3.0 GB");
        assert_eq!(size(u64::MAX), "16777216.0 TB");
    }
}
