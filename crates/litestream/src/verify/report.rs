//! What a verification found.

use std::time::Duration;

use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level};
use ltx::{Checksum, FileName, Txid};

/// A state that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its TXID.
    pub txid: Txid,
    /// When it was made, as far as known.
    pub time: UnixMillis,
}

/// States that can be restored, or can't any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The oldest.
    pub first: Point,
    /// The newest.
    pub last: Point,
    /// How many there are.
    pub points: usize,
}

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file's content is not what was written.
    Damaged,
    /// A file is listed but can't be read.
    Unreadable,
    /// A file does not fit to the others: it comes from another history, or says what is not so.
    Chain,
    /// Files are missing between others.
    Hole,
    /// No file holds the whole database.
    NoBase,
    /// The replica does not reach as far as it should.
    WentBack,
    /// Files of one level hold the same TXIDs. Harmless.
    Overlap,
    /// The live database at the same TXID is another.
    Differs,
}

impl Kind {
    /// One word, as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Damaged => "damaged",
            Kind::Unreadable => "unreadable",
            Kind::Chain => "chain",
            Kind::Hole => "hole",
            Kind::NoBase => "no-base",
            Kind::WentBack => "went-back",
            Kind::Overlap => "overlap",
            Kind::Differs => "differs",
        }
    }

    /// Whether something is lost or wrong.
    pub const fn is_damage(self) -> bool {
        !matches!(self, Kind::Overlap)
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of what kind.
    pub kind: Kind,
    /// Where.
    pub level: Option<Level>,
    /// The file at fault, or the one after a hole.
    pub file: Option<FileName>,
    /// What is wrong.
    pub what: String,
    /// States that can't be restored because of it; `None` if none is known.
    pub lost: Option<Range>,
    /// What would mend it.
    pub mend: String,
}

impl Finding {
    pub(super) fn new(kind: Kind, file: Option<&FileInfo>, what: impl Into<String>) -> Finding {
        Finding {
            kind,
            level: file.map(|f| f.level),
            file: file.map(|f| f.name),
            what: what.into(),
            lost: None,
            mend: String::new(),
        }
    }

    pub(super) fn is_of(&self, file: &FileInfo) -> bool {
        self.level == Some(file.level) && self.file == Some(file.name)
    }
}

/// How the live database compares with the state that was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It was not compared.
    Unknown,
    /// It is the same, page for page.
    Same,
    /// It is at another TXID.
    At(Txid),
    /// It was changed since, and nothing says what TXID that is.
    Changed,
    /// It is at the same TXID, and another.
    Differs,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The replica.
    pub location: String,
    /// Files listed.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files of which all bytes were read and their checksums found right or wrong.
    pub files_read: usize,
    /// Bytes read.
    pub bytes_read: u64,
    /// Files that were proved before and are unchanged, and so were not read.
    pub files_remembered: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// What can be restored, oldest first; more than one range if something between is lost.
    pub restorable: Vec<Range>,
    /// The newest state that can be restored.
    pub newest: Option<Point>,
    /// The newest state that was proved: all its pages were read, and, if files say so, the checksum of the database is right.
    pub proved: Option<Point>,
    /// That state's checksum is confirmed by the files, not only those of the files themselves.
    pub chained: bool,
    /// Checksum of the database in that state.
    pub checksum: Option<Checksum>,
    /// How the live database compares with that state.
    pub live: Live,
    /// How many states were proved page by page in this run.
    pub states_proved: usize,
    /// The database has more pages than are proved state by state.
    pub too_large: bool,
    /// What was found, most grave first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is lost or wrong.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|f| f.kind.is_damage())
    }
}
