//! What a configuration says, with all defaults and everything inherited in place.

use std::path::PathBuf;
use std::time::Duration;

use litestream_replica::chain::retain::KeepRules;
use litestream_replica::limits::Rates;
use litestream_replica::settings::{Access, Keys, Secret, Storage};

use super::values::{self, positive};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub path: Option<PathBuf>,
    /// Where metrics are served; empty: nowhere.
    pub addr: String,
    /// Where MCP is served; empty: nowhere.
    pub mcp_addr: String,
    /// The command to run; empty: none.
    pub exec: String,
    /// The control socket.
    pub socket: Socket,
    /// Log lines.
    pub logging: Logging,
    /// How often a snapshot is taken.
    pub snapshot_interval: Duration,
    /// How far back every state can be restored.
    pub snapshot_retention: Duration,
    /// Intervals of the compacted levels, from level 1 up.
    pub levels: Vec<Duration>,
    /// How long files of level 0 are kept once they are compacted; zero: for ever.
    pub l0_retention: Duration,
    /// How often that is looked at.
    pub l0_retention_check_interval: Duration,
    /// Whether anything is deleted in replicas.
    pub retention_enabled: bool,
    /// Snapshots kept longer: `retention.keep`.
    pub keep: KeepRules,
    /// Compacted levels are checked for gaps.
    pub verify_compaction: bool,
    /// How often the names in a replica are checked for gaps; `None`: never.
    pub validation_interval: Option<Duration>,
    /// Verification in the background.
    pub verify: Verify,
    /// A URL that is asked for while all is well.
    pub heartbeat: Heartbeat,
    /// Who is told when it is not.
    pub hooks: Hooks,
    /// Limit for the last sync of a database.
    pub shutdown_sync_timeout: Duration,
    /// Pause between attempts at it.
    pub shutdown_sync_interval: Duration,
    /// How fast and how often all replicas together may be used.
    pub limits: Rates,
    /// What is replicated, in the order of the file.
    pub databases: Vec<Entry>,
    /// What replicas inherit; also those that are registered later.
    pub defaults: ReplicaDefaults,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Whether there is one.
    pub enabled: bool,
    /// Where; not expanded.
    pub path: PathBuf,
    /// Permission bits.
    pub permissions: u32,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// As written; empty means INFO.
    pub level: String,
    /// Their form.
    pub kind: LogKind,
    /// To standard error instead of standard output.
    pub stderr: bool,
    /// With the place in the program.
    pub source: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    /// `key=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Verification in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// How often; `None`: never.
    pub interval: Option<Duration>,
    /// What was verified longer ago is read again.
    pub max_age: Duration,
    /// At most so many bytes are read in a second.
    pub bandwidth: u64,
}

/// A URL that is asked for while all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Empty: none.
    pub url: String,
    /// Shortest time between two requests.
    pub interval: Duration,
}

/// Who is told when something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// In the order of the file.
    pub alerts: Vec<Alert>,
}

/// One that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Of what; not empty.
    pub on: Vec<AlertOn>,
    /// A replica is behind if it lacks what is older than this.
    pub max_lag: Duration,
    /// How.
    pub action: AlertAction,
}

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertOn {
    /// A replica is behind.
    Lag,
    /// Verification found damage.
    Verification,
    /// Replication fails.
    Error,
    /// What was told of is over.
    Recovered,
}

/// How one is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertAction {
    /// By a request to this URL, which often holds a token.
    Url(Secret),
    /// By this command.
    Command(String),
}

/// A database, or a folder of databases, and its replicas.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is replicated.
    pub source: Source,
    /// Where local state lies.
    pub meta: Meta,
    /// How often the WAL is looked at; zero: only when asked.
    pub monitor_interval: Duration,
    /// A checkpoint at least this often; zero: not by time.
    pub checkpoint_interval: Duration,
    /// A checkpoint when the WAL has this many pages.
    pub min_checkpoint_page_count: u32,
    /// Pages at which Litestream truncates the WAL; zero or less: not. This engine never needs to.
    pub truncate_page_n: i64,
    /// Bytes of WAL that are made one file at most when catching up; zero or less: no limit.
    pub max_sync_wal_bytes: i64,
    /// How long connections wait for locks.
    pub busy_timeout: Duration,
    /// A database that is missing is restored at the start.
    pub restore_if_db_not_exists: bool,
    /// Where to; at least one, in distinct places.
    pub replicas: Vec<ReplicaEntry>,
}

/// What is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One database.
    Path(PathBuf),
    /// All databases of a folder.
    Dir {
        /// The folder.
        dir: PathBuf,
        /// The same as in the file.
        as_written: String,
        /// Which names.
        pattern: String,
        /// Also in folders below.
        recursive: bool,
        /// Also those that come later.
        watch: bool,
    },
}

/// Where local state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meta {
    /// In `.NAME-litestream` beside the database.
    Beside,
    /// In this folder; with `dir`, in folders below it named as they are beside databases.
    Path(PathBuf),
    /// With `dir`: in folders below this one, each named after its database.
    Dir(PathBuf),
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Where it lies.
    pub storage: Storage,
    /// How it is used.
    pub access: Access,
    /// Distance between uploads.
    pub sync_interval: Duration,
    /// Files of level 0 in one upload; zero or less: no limit.
    pub max_sync_ltx_files: i64,
    /// Damaged local files are replaced by a new start.
    pub auto_recover: bool,
}

/// What replicas inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaDefaults {
    /// Keys of the storage.
    pub keys: Keys,
    /// Distance between uploads.
    pub sync_interval: Option<Duration>,
    /// Files of level 0 in one upload.
    pub max_sync_ltx_files: Option<i64>,
    /// Damaged local files are replaced by a new start.
    pub auto_recover: Option<bool>,
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What it says that means nothing, or may not mean what it seems to.
    pub warnings: Vec<Warning>,
}

/// Something in a configuration that means nothing, or may not mean what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// As in `dbs[0].replica.path`; empty for the text itself.
    pub key: String,
    /// What is wrong, what is in force, and what to do.
    pub text: String,
    /// A mistake, which `-strict` refuses; else a hint.
    pub mistake: bool,
}

impl Entry {
    /// A database with defaults for everything.
    pub fn new(path: PathBuf, replicas: Vec<ReplicaEntry>) -> Entry {
        Entry {
            source: Source::Path(path),
            meta: Meta::Beside,
            monitor_interval: positive(values::MONITOR_INTERVAL),
            checkpoint_interval: positive(values::CHECKPOINT_INTERVAL),
            min_checkpoint_page_count: values::MIN_CHECKPOINT_PAGE_COUNT,
            truncate_page_n: values::TRUNCATE_PAGE_N,
            max_sync_wal_bytes: values::MAX_SYNC_WAL_BYTES,
            busy_timeout: positive(values::BUSY_TIMEOUT),
            restore_if_db_not_exists: false,
            replicas,
        }
    }
}

impl ReplicaEntry {
    /// A replica with defaults for what its storage does not say.
    pub fn new(storage: Storage) -> ReplicaEntry {
        ReplicaEntry::inheriting(storage, Access::default(), &ReplicaDefaults::default())
    }

    /// The same with the defaults of a configuration.
    pub fn inheriting(
        storage: Storage,
        access: Access,
        defaults: &ReplicaDefaults,
    ) -> ReplicaEntry {
        let standard = positive(values::SYNC_INTERVAL);
        ReplicaEntry {
            storage,
            access,
            sync_interval: defaults.sync_interval.unwrap_or(standard),
            max_sync_ltx_files: defaults.max_sync_ltx_files.unwrap_or(values::FILES_MAX),
            auto_recover: defaults.auto_recover.unwrap_or(false),
        }
    }
}

impl Default for Socket {
    fn default() -> Socket {
        Socket {
            enabled: false,
            path: "/var/run/litestream.sock".into(),
            permissions: 0o600,
        }
    }
}

impl Default for Logging {
    fn default() -> Logging {
        Logging {
            level: String::new(),
            kind: LogKind::Text,
            stderr: false,
            source: false,
        }
    }
}

impl AlertOn {
    const ALL: [(&'static str, AlertOn); 4] = [
        ("lag", AlertOn::Lag),
        ("verification", AlertOn::Verification),
        ("error", AlertOn::Error),
        ("recovered", AlertOn::Recovered),
    ];

    /// What a word in a configuration means.
    pub fn parse(word: &str) -> Option<AlertOn> {
        AlertOn::ALL
            .iter()
            .find(|(w, _)| *w == word)
            .map(|(_, event)| *event)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        AlertOn::ALL
            .iter()
            .find(|(_, event)| *event == self)
            .map_or("", |(word, _)| word)
    }
}
