//! The table of commands and flags of `litestream-test`.

use crate::args::table::{flag, with_default};
use crate::args::{Command, Flag, Kind};

const DB: Flag = flag("db", Kind::Text, "PATH", "The database.");

/// Commands in the order of help.
pub const COMMANDS: &[Command] = &[POPULATE, LOAD, SHRINK, VALIDATE, VERSION];

const POPULATE: Command = Command {
    name: "populate",
    summary: "build a database of a given size",
    intro: "The populate command makes a database of a given size. An existing one is deleted.",
    usage: &["populate -db PATH [arguments]"],
    flags: &[
        DB,
        with_default(
            "100MB",
            flag(
                "target-size",
                Kind::Text,
                "SIZE",
                "Size to reach, such as 50MB or 1.5GB.",
            ),
        ),
        with_default(
            "1024",
            flag(
                "row-size",
                Kind::Int,
                "BYTES",
                "Bytes of random data per row.",
            ),
        ),
        with_default(
            "1000",
            flag("batch-size", Kind::Int, "ROWS", "Rows per transaction."),
        ),
        with_default(
            "1",
            flag("table-count", Kind::Int, "NUM", "Tables to make."),
        ),
        with_default(
            "0.2",
            flag(
                "index-ratio",
                Kind::Float,
                "RATIO",
                "Probability of each index (0 to 1).",
            ),
        ),
        with_default(
            "4096",
            flag(
                "page-size",
                Kind::Int,
                "BYTES",
                "Page size of the database.",
            ),
        ),
    ],
    outro: "",
};

const LOAD: Command = Command {
    name: "load",
    summary: "steady reads and writes",
    intro: "The load command writes to a database and reads from it until the duration is over or a signal comes.",
    usage: &["load -db PATH [arguments]"],
    flags: &[
        DB,
        with_default(
            "100",
            flag(
                "write-rate",
                Kind::Int,
                "NUM",
                "Operations per second, over all workers.",
            ),
        ),
        with_default(
            "1m",
            flag("duration", Kind::Duration, "DURATION", "How long."),
        ),
        with_default(
            "constant",
            flag(
                "pattern",
                Kind::Text,
                "PATTERN",
                "One of: constant, burst, random, wave.",
            ),
        ),
        with_default(
            "1024",
            flag(
                "payload-size",
                Kind::Int,
                "BYTES",
                "Bytes of random data per row.",
            ),
        ),
        with_default(
            "0.2",
            flag(
                "read-ratio",
                Kind::Float,
                "RATIO",
                "Share of operations that read (0 to 1).",
            ),
        ),
        with_default(
            "1",
            flag(
                "workers",
                Kind::Int,
                "NUM",
                "Connections that work side by side.",
            ),
        ),
    ],
    outro: "",
};

const SHRINK: Command = Command {
    name: "shrink",
    summary: "delete rows",
    intro: "The shrink command deletes rows at random from all tables but load_test.",
    usage: &["shrink -db PATH [arguments]"],
    flags: &[
        DB,
        with_default(
            "50",
            flag(
                "delete-percentage",
                Kind::Float,
                "PERCENT",
                "Share of rows to delete (0 to 100).",
            ),
        ),
        flag("vacuum", Kind::Bool, "", "Run VACUUM afterwards."),
        flag(
            "checkpoint",
            Kind::Bool,
            "",
            "Run a checkpoint afterwards, before VACUUM.",
        ),
        with_default(
            "PASSIVE",
            flag(
                "checkpoint-mode",
                Kind::Text,
                "MODE",
                "One of: PASSIVE, FULL, RESTART, TRUNCATE.",
            ),
        ),
    ],
    outro: "",
};

const VALIDATE: Command = Command {
    name: "validate",
    summary: "restore and compare",
    intro: "The validate command restores a database and compares it with its source, which nobody may write to
meanwhile. It runs the litestream beside itself, else the one in PATH.",
    usage: &["validate -source-db PATH -replica-url URL [arguments]"],
    flags: &[
        flag("source-db", Kind::Text, "PATH", "The database that was replicated."),
        flag("replica-url", Kind::Text, "URL", "Where it was replicated to."),
        flag("config", Kind::Text, "PATH", "Configuration file for litestream restore, instead of a URL."),
        flag(
            "restored-db",
            Kind::Text,
            "PATH",
            "Where to restore to; deleted first. Defaults to the source with .restored behind it.",
        ),
        with_default(
            "quick",
            flag(
                "check-type",
                Kind::Text,
                "TYPE",
                "One of: quick (PRAGMA quick_check), integrity (PRAGMA integrity_check),
checksum (both files are the same, byte for byte), compare (schema and all
rows are the same), full (all of these).",
            ),
        ),
        flag("ltx-continuity", Kind::Bool, "", "Check that the files of the replica have no gap."),
    ],
    outro: "",
};

const VERSION: Command = Command {
    name: "version",
    summary: "prints the version",
    intro: "Prints the version.",
    usage: &["version"],
    flags: &[],
    outro: "",
};
