//! The table: every command of `litestream` with every flag it takes.
//!
//! Promise: nothing outside this file and its folder names a flag that is not here.

mod socket;

use super::{Command, Flag, Kind, closest};

pub(crate) const fn flag(
    name: &'static str,
    kind: Kind,
    value_name: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        default: "",
        value_name,
        help,
    }
}

pub(crate) const fn with_default(default: &'static str, flag: Flag) -> Flag {
    Flag { default, ..flag }
}

/// For the commands that read a configuration file.
const CONFIG_FILE: Flag = flag(
    "config",
    Kind::Text,
    "PATH",
    "Specifies the configuration file.
Defaults to LITESTREAM_CONFIG in the environment, then /etc/litestream.yml.",
);
const NO_EXPANSION: Flag = flag(
    "no-expand-env",
    Kind::Bool,
    "",
    "Disables environment variable expansion in the configuration file.",
);
const JSON: Flag = flag(
    "json",
    Kind::Bool,
    "",
    "Output raw JSON instead of human-readable text.",
);

/// Commands in alphabetical order.
pub const COMMANDS: &[Command] = &[
    CONFIG_CHECK,
    CONFIG_SHOW,
    DATABASES,
    DOCTOR,
    socket::INFO,
    socket::LIST,
    LTX,
    socket::REGISTER,
    socket::RELOAD,
    REPLICATE,
    RESET,
    RESTORE,
    socket::START,
    STATUS,
    socket::STOP,
    socket::SYNC,
    socket::UNREGISTER,
    VERIFY,
    VERSION,
];

/// The command called `name`, also under its old name.
pub fn command(name: &str) -> Option<&'static Command> {
    let name = if name == "wal" { "ltx" } else { name };
    COMMANDS.iter().find(|c| c.name == name)
}

/// A command that may have been meant by `name`.
pub fn suggest(name: &str) -> Option<&'static str> {
    closest(name, COMMANDS.iter().map(|c| c.name))
}

const CONFIG_CHECK: Command = Command {
    name: "config check",
    summary: "checks a configuration file",
    intro: "The config check command reads a configuration file and says what is wrong with
it, with line and column. No storage is contacted.",
    usage: &["config check [arguments]"],
    flags: &[
        CONFIG_FILE,
        NO_EXPANSION,
        flag(
            "strict",
            Kind::Bool,
            "",
            "Refuse what has no effect: unknown, misplaced and removed keys, variables
that are not set.",
        ),
        JSON,
    ],
    outro: "The exit code is 0 if the file can be used, and 1 if not.",
};

const CONFIG_SHOW: Command = Command {
    name: "config show",
    summary: "prints the configuration in force",
    intro: "The config show command prints a configuration with all defaults and everything
inherited, as a configuration file. Secrets are left out.",
    usage: &["config show [arguments]"],
    flags: &[CONFIG_FILE, NO_EXPANSION, JSON],
    outro: "",
};

const DATABASES: Command = Command {
    name: "databases",
    summary: "list databases specified in config file",
    intro: "The databases command lists all databases in the configuration file, and those in
its folders.",
    usage: &["databases [arguments]"],
    flags: &[CONFIG_FILE, NO_EXPANSION, JSON],
    outro: "",
};

const RESET: Command = Command {
    name: "reset",
    summary: "reset local state for a database",
    intro: "The reset command removes the local files of a database, for when they are damaged.
The database and its replicas are not touched. Stop litestream first.",
    usage: &["reset [arguments] DB_PATH"],
    flags: &[
        CONFIG_FILE,
        NO_EXPANSION,
        flag(
            "dry-run",
            Kind::Bool,
            "",
            "List the files that would be removed, and remove nothing.",
        ),
    ],
    outro: "The next sync compares the database with its replica and uploads what differs.",
};

const STATUS: Command = Command {
    name: "status",
    summary: "display replication status for databases",
    intro: "The status command shows the local state of all databases in the configuration
file, or of one. It needs neither a running litestream nor the network.",
    usage: &["status [arguments] [DB_PATH]"],
    flags: &[CONFIG_FILE, NO_EXPANSION, JSON],
    outro: "Status is one of: ok, not initialized (nothing was captured yet), no database, error
(the local files can't be listed).",
};

const LTX: Command = Command {
    name: "ltx",
    summary: "list available LTX files for a database",
    intro: "The ltx command lists all LTX files available for a database.",
    usage: &["ltx [arguments] DB_PATH", "ltx [arguments] REPLICA_URL"],
    flags: &[
        CONFIG_FILE,
        NO_EXPANSION,
        with_default(
            "0",
            flag(
                "level",
                Kind::Level,
                "LEVEL",
                "Compaction level to list (0-9 or \"all\"; snapshots are level 9).",
            ),
        ),
        flag(
            "json",
            Kind::Bool,
            "",
            "Output raw JSON instead of human-readable text.",
        ),
    ],
    outro: "Examples:

\t# List the files that came from the WAL.
\t$ litestream ltx file:///backup/app

\t# List LTX files across all compaction levels.
\t$ litestream ltx -level all file:///backup/app",
};

const REPLICATE: Command = Command {
    name: "replicate",
    summary: "runs a server to replicate databases",
    intro: "The replicate command starts a server to monitor & replicate databases:
those of the configuration file, or one given with its replicas.
Logs go to stdout.",
    usage: &[
        "replicate [arguments]",
        "replicate [arguments] DB_PATH REPLICA_URL",
    ],
    flags: &[
        CONFIG_FILE,
        flag(
            "exec",
            Kind::Text,
            "CMD",
            "Executes a subcommand, once everything committed before has been
replicated. Litestream will exit when the child process exits, after
a final sync, and with the child's exit code.",
        ),
        flag(
            "once",
            Kind::Bool,
            "",
            "Replicate once and exit. This performs a single sync, then exits.
Cannot be used with -exec.",
        ),
        flag(
            "force-snapshot",
            Kind::Bool,
            "",
            "Force a snapshot to be taken. Requires -once.
This is useful for creating a complete backup before maintenance
or when migrating databases between hosts.",
        ),
        flag(
            "enforce-retention",
            Kind::Bool,
            "",
            "Enforce retention of old snapshots. Requires -once.
This removes snapshots that are older than 24 hours.",
        ),
        flag(
            "log-level",
            Kind::Text,
            "LEVEL",
            "Sets the log level. Overrides LOG_LEVEL in the environment.
Valid values: trace, debug, info, warn, error",
        ),
        NO_EXPANSION,
        flag(
            "restore-if-db-not-exists",
            Kind::Bool,
            "",
            "Restores the database from the replica if it doesn't exist.
On first start with no backup, proceeds normally.",
        ),
    ],
    outro: "SIGINT and SIGTERM end litestream after a final sync; a second signal ends
it at once. SIGHUP reads the configuration file again; where there is none,
or a terminal that closes, it ends litestream as well. The exit code is 0 only if everything committed
was replicated.",
};

const RESTORE: Command = Command {
    name: "restore",
    summary: "recovers database backup from a replica",
    intro: "The restore command recovers a database from a replica.",
    usage: &[
        "restore [arguments] DB_PATH",
        "restore [arguments] -o PATH REPLICA_URL",
    ],
    flags: &[
        CONFIG_FILE,
        NO_EXPANSION,
        flag(
            "txid",
            Kind::Txid,
            "TXID",
            "Restore up to a specific hex-encoded transaction ID (inclusive).
Defaults to use the highest available transaction.",
        ),
        flag(
            "timestamp",
            Kind::Text,
            "TIMESTAMP",
            "Restore to a specific point-in-time, such as 2030-01-31T12:00:00Z.
Defaults to use the latest available backup.",
        ),
        flag(
            "o",
            Kind::Text,
            "PATH",
            "Output path of the restored database.",
        ),
        flag(
            "if-db-not-exists",
            Kind::Bool,
            "",
            "Returns exit code of 0 if the database already exists.",
        ),
        flag(
            "if-replica-exists",
            Kind::Bool,
            "",
            "Returns exit code of 0 if no backups found.",
        ),
        flag(
            "dry-run",
            Kind::Bool,
            "",
            "Print the restore plan and exit without writing a database.",
        ),
        flag(
            "force",
            Kind::Bool,
            "",
            "Replace an existing output database and its SQLite sidecar files,
once the restored one is complete.",
        ),
        flag("json", Kind::Bool, "", "Output raw JSON summary."),
        flag(
            "f",
            Kind::Bool,
            "",
            "Follow: keep the restored database up to date for readers until a
signal comes. Started again, it goes on from OUTPUT-txid.",
        ),
        with_default(
            "1s",
            flag(
                "follow-interval",
                Kind::Duration,
                "DURATION",
                "How often to look for changes with -f.",
            ),
        ),
        with_default(
            "8",
            flag(
                "parallelism",
                Kind::Int,
                "NUM",
                "Determines the number of files downloaded in parallel.",
            ),
        ),
        with_default(
            "none",
            flag(
                "integrity-check",
                Kind::Text,
                "MODE",
                "Run a post-restore integrity check on the database.
MODE is one of: none, quick, full.",
            ),
        ),
        with_default(
            "auto",
            flag(
                "progress",
                Kind::Text,
                "MODE",
                "Show progress on stderr. MODE is one of: auto (a bar if stderr is a
terminal), none, bar, json (one object per line).",
            ),
        ),
    ],
    outro: "Examples:

\t# Restore the latest state.
\t$ litestream restore -o /tmp/db file:///backup/app

\t# Restore the state before a given point in time.
\t$ litestream restore -timestamp 2030-01-01T00:00:00Z -o /tmp/db file:///backup/app

\t# Keep a copy for reading up to date.
\t$ litestream restore -f -o /tmp/replica.db file:///backup/app

\t# Preview the restore plan without writing a database.
\t$ litestream restore -dry-run -o /tmp/db file:///backup/app",
};

const DOCTOR: Command = Command {
    name: "doctor",
    summary: "finds out whether a storage does what a replica needs",
    intro: "The doctor command tries out the storage of a replica: writing, reading, listing,
times, deletion, and writing on a condition. It works in a folder of its own
(.litestream-doctor) below the replica, and leaves what is there alone.",
    usage: &[
        "doctor [arguments] DB_PATH",
        "doctor [arguments] REPLICA_URL",
    ],
    flags: &[CONFIG_FILE, NO_EXPANSION, JSON],
    outro: "The exit code is 0 if a replica can be kept there, 2 if not, and 1 if that could
not be found out.

Examples:

\t# Is this bucket good for a replica?
\t$ litestream doctor s3://bucket/path

\t# Try every replica of a database of the configuration.
\t$ litestream doctor -config litestream.yml /path/to/db",
};

const VERIFY: Command = Command {
    name: "verify",
    summary: "checks that a replica can be restored",
    intro: "The verify command reads a replica and says what can be restored from it, what is
damaged or missing, what that costs and what would mend it. Nothing is written
to the replica unless -repair is given.",
    usage: &[
        "verify [arguments] REPLICA_URL",
        "verify [arguments] DB_PATH REPLICA_URL",
    ],
    flags: &[
        CONFIG_FILE,
        NO_EXPANSION,
        flag(
            "deep",
            Kind::Bool,
            "",
            "Read every byte of every file and prove every state. Without it: the
names, sizes and headers of all files, and every byte of the newest state.",
        ),
        flag(
            "txid",
            Kind::Txid,
            "TXID",
            "Prove the state at this transaction ID instead of the newest.",
        ),
        flag(
            "timestamp",
            Kind::Text,
            "TIMESTAMP",
            "Prove the state before this time, such as 2030-01-31T12:00:00Z.",
        ),
        flag(
            "repair",
            Kind::Bool,
            "",
            "Write what the live database can supply: local copies of damaged or
missing files, else a snapshot. Needs DB_PATH.",
        ),
        flag(
            "state",
            Kind::Text,
            "PATH",
            "Remember in this file what was verified, so that it isn't read again
while it is unchanged. With DB_PATH it lies in the state folder.",
        ),
        with_default(
            "168h",
            flag(
                "max-age",
                Kind::Duration,
                "DURATION",
                "Read again what was verified longer ago than this: damage at rest
changes neither name, size nor time of a file. 0 means never.",
            ),
        ),
        flag(
            "full",
            Kind::Bool,
            "",
            "Read also what was verified before.",
        ),
        flag(
            "bandwidth",
            Kind::Text,
            "SIZE",
            "Read at most so much per second, such as 10MB.",
        ),
        flag("json", Kind::Bool, "", "Output raw JSON."),
        with_default(
            "auto",
            flag(
                "progress",
                Kind::Text,
                "MODE",
                "Show progress on stderr. MODE is one of: auto (a bar if stderr is a
terminal), none, bar, json (one object per line).",
            ),
        ),
    ],
    outro: "The exit code is 0 if nothing is lost or wrong, 2 if something is, and 1 if that
could not be found out.

Examples:

\t# Prove that the newest state can be restored.
\t$ litestream verify file:///backup/app

\t# Read everything, and compare with the live database.
\t$ litestream verify -deep /path/to/db file:///backup/app

\t# Each night at 20 MB per second, each file once a month.
\t$ litestream verify -deep -state /var/lib/app.verified -max-age 720h -bandwidth 20MB file:///backup/app",
};

const VERSION: Command = Command {
    name: "version",
    summary: "prints the binary version",
    intro: "Prints the version.",
    usage: &["version [arguments]"],
    flags: &[flag(
        "verbose",
        Kind::Bool,
        "",
        "Print detailed build metadata (SQLite, Rust, OS/arch).",
    )],
    outro: "",
};

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_defaults_are_valid() {
        assert!(COMMANDS.is_sorted_by_key(|c| c.name));
        for command in COMMANDS {
            for (i, flag) in command.flags.iter().enumerate() {
                assert!(
                    !command.flags[..i].iter().any(|f| f.name == flag.name),
                    "-{} twice",
                    flag.name
                );
                if !flag.default.is_empty() {
                    assert!(
                        Value::parse(flag.kind, flag.default.as_ref()).is_ok(),
                        "-{}",
                        flag.name
                    );
                }
            }
        }
    }

    #[test]
    fn wal_is_an_old_name_of_ltx() {
        assert_eq!(command("wal").map(|c| c.name), Some("ltx"));
        assert!(command("LTX").is_none());
        assert_eq!(suggest("restor"), Some("restore"));
    }
}
