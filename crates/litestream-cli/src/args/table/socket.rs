//! The commands that talk to a running daemon.

use super::{JSON, flag, with_default};
use crate::args::{Command, Flag, Kind};
use crate::control::DEFAULT_SOCKET;

const SOCKET: Flag = with_default(
    DEFAULT_SOCKET,
    flag("socket", Kind::Text, "PATH", "Path to the control socket."),
);

const CONFIG: Flag = flag(
    "config",
    Kind::Text,
    "PATH",
    "Configuration file that says where the socket is.
Without it and -socket, the one that other commands would read.",
);

const FORCE: Flag = flag(
    "force",
    Kind::Bool,
    "",
    "Do it even if not everything could be uploaded. What is missing
stays in the local files. Without it the database goes on being
replicated then.",
);

const fn timeout(default: &'static str) -> Flag {
    let help = "Maximum time to wait in seconds.";
    with_default(default, flag("timeout", Kind::Int, "SECONDS", help))
}

pub(super) const INFO: Command = Command {
    name: "info",
    summary: "show daemon information",
    intro: "The info command shows information about a running daemon.",
    usage: &["info [arguments]"],
    flags: &[JSON, SOCKET, CONFIG, timeout("10")],
    outro: "",
};

pub(super) const LIST: Command = Command {
    name: "list",
    summary: "list databases managed by a running daemon",
    intro: "The list command lists all databases of a running daemon. With -json it also says
what is wrong with them and how far their replicas are behind.",
    usage: &["list [arguments]"],
    flags: &[JSON, SOCKET, CONFIG, timeout("10")],
    outro: "",
};

pub(super) const REGISTER: Command = Command {
    name: "register",
    summary: "register a database with a running daemon",
    intro: "The register command has a running daemon replicate another database, until it is
unregistered or the daemon ends.",
    usage: &["register [arguments] -replica REPLICA_URL DB_PATH"],
    flags: &[
        flag(
            "replica",
            Kind::Text,
            "URL",
            "Replica URL, such as file:///backup/path. Required.",
        ),
        timeout("30"),
        SOCKET,
        CONFIG,
        JSON,
    ],
    outro: "Examples:

\t$ litestream register -replica file:///backup/app /path/to/db",
};

pub(super) const RELOAD: Command = Command {
    name: "reload",
    summary: "have a running daemon read its configuration again",
    intro: "The reload command has a running daemon read its configuration again, and shows
what has changed. Databases that did not change are not disturbed.",
    usage: &["reload [arguments]"],
    flags: &[timeout("30"), SOCKET, CONFIG, JSON],
    outro: "",
};

pub(super) const START: Command = Command {
    name: "start",
    summary: "start replication for a database",
    intro: "The start command has a running daemon resume the replication of a database.",
    usage: &["start [arguments] DB_PATH"],
    flags: &[timeout("30"), SOCKET, CONFIG, JSON],
    outro: "",
};

pub(super) const STOP: Command = Command {
    name: "stop",
    summary: "stop replication for a database",
    intro: "The stop command has a running daemon pause the replication of a database, after a
final sync.",
    usage: &["stop [arguments] DB_PATH"],
    flags: &[timeout("30"), FORCE, SOCKET, CONFIG, JSON],
    outro: "",
};

pub(super) const SYNC: Command = Command {
    name: "sync",
    summary: "force an immediate sync for a database",
    intro: "The sync command has a running daemon capture what was committed by now.",
    usage: &["sync [arguments] DB_PATH"],
    flags: &[
        flag(
            "wait",
            Kind::Bool,
            "",
            "Wait until it is in the replica, too.",
        ),
        timeout("30"),
        SOCKET,
        CONFIG,
        JSON,
    ],
    outro: "Examples:

\t# Before a deployment: everything committed is in the replica, or this fails.
\t$ litestream sync -wait -timeout 120 /path/to/db",
};

pub(super) const UNREGISTER: Command = Command {
    name: "unregister",
    summary: "unregister a database from a running daemon",
    intro: "The unregister command has a running daemon give up a database, after a final sync.",
    usage: &["unregister [arguments] DB_PATH"],
    flags: &[
        timeout("30"),
        FORCE,
        SOCKET,
        CONFIG,
        flag(
            "dry-run",
            Kind::Bool,
            "",
            "Show what would be asked for, and ask nobody.",
        ),
        JSON,
    ],
    outro: "",
};
