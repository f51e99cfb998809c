//! What was found, in words.

use litestream_replica::FileInfo;
use ltx::Txid;

use super::replay::{Break, Difference};
use super::report::{Finding, Kind};
use crate::restore::RestoreError;

/// `level 1 0000000000000001-0000000000000005.ltx`.
pub(super) fn name(file: &FileInfo) -> String {
    format!("level {} {}", file.level, file.name)
}

/// What is wrong with a file that can't be read or is not what was written.
pub(super) fn damage(file: &FileInfo, error: &RestoreError) -> Finding {
    let kind = match error {
        RestoreError::Gone(_) | RestoreError::Read { .. } | RestoreError::Fetch { .. } => {
            Kind::Unreadable
        }
        RestoreError::BrokenChain { .. } | RestoreError::DatabaseChecksum { .. } => Kind::Chain,
        _ => Kind::Damaged,
    };
    let text = error.to_string();
    let prefix = format!("decode database: {}: ", name(file));
    let text = text.strip_prefix(&prefix).unwrap_or(&text);
    Finding::new(kind, Some(file), text)
}

/// How a file does not fit.
pub(crate) fn broken(wrong: &Break) -> String {
    match wrong {
        Break::Before { says, is, proved } => {
            let doubt = if *proved {
                ""
            } else {
                "; it, or the file before it, belongs to another history"
            };
            format!(
                "it was made for a database with checksum {says:016x}, but the files before it give one with {is:016x}{doubt}"
            )
        }
        Break::After { says, is, proved } => {
            let since = since(*proved);
            format!(
                "it says that it leaves a database with checksum {says:016x}, but what comes of it has {is:016x}{since}"
            )
        }
        Break::Missing { page, count } => {
            format!("after it {count} pages, page {page} first, are in no file")
        }
        Break::Contradicts { how, other, proved } => {
            let what = match how {
                Difference::Size => "the size of the database".to_owned(),
                Difference::Page(page) => format!("page {page}"),
            };
            let who = if *proved {
                ", whose checksum is confirmed"
            } else {
                "; one of the two is wrong"
            };
            format!(
                "{what} differs from what {} gives at the same TXID{who}",
                name(other)
            )
        }
        Break::Incomplete { count, other } => format!(
            "it lacks {count} pages that changed in its range, as {} shows",
            name(other)
        ),
    }
}

/// How old the last state is of which a file confirmed the checksum.
fn since(proved: Option<Txid>) -> String {
    match proved {
        Some(txid) => format!(" (the last state that a file confirms is that of TXID {txid})"),
        None => " (no state before it is confirmed by a file)".to_owned(),
    }
}

/// What would mend it.
pub(super) fn mend(kind: Kind, loses: bool) -> &'static str {
    match (kind, loses) {
        (Kind::Overlap, _) => "nothing needs to be done",
        (Kind::WentBack, _) => {
            "check that nothing else deletes files there and that replication runs; litestream verify -repair DB URL uploads what is missing"
        }
        (Kind::Differs, _) => {
            "another database was replicated to this place, or the live one was replaced: check which it is; litestream verify -repair DB URL writes a snapshot of the live one"
        }
        (_, false) => {
            "other files restore the same states; litestream verify -repair DB URL uploads it again if a local copy is left"
        }
        (Kind::NoBase | Kind::Hole | Kind::Damaged | Kind::Unreadable | Kind::Chain, true) => {
            "a copy of the file from another replica or version of the object; else litestream verify -repair DB URL makes the newest state restorable again, and the lost ones stay lost"
        }
    }
}
