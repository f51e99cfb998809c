//! `litestream version`.

use crate::args::Parsed;
use crate::failure::Result;
use crate::out;

/// What scripts compare: one bare line.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version, with `-verbose` also what it was built from.
pub fn run(parsed: &Parsed) -> Result {
    if !parsed.bool("verbose") {
        return out::print(&format!("{VERSION}\n"));
    }
    let lines = [
        ("Version:", VERSION.to_owned()),
        ("SQLite:", litestream::sqlite_version().to_owned()),
        ("Rust:", env!("LITESTREAM_RUSTC").to_owned()),
        ("OS/Arch:", format!("{}/{}", os(), arch())),
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|(key, value)| format!("{key:<13}{value}\n"))
        .collect();
    out::print(&lines.concat())
}

/// The names that Litestream's packages use.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        arch => arch,
    }
}
