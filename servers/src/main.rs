//! `cargo run -p litestream-servers -- install | run KIND`: servers to try things by hand.

#![allow(
    clippy::disallowed_methods,
    reason = "starts servers for people; nothing here is part of the product"
)]

use std::process::ExitCode;

use anyhow::{Result, bail};
use litestream_servers::{Kind, Server, Set, home, install};

const HELP: &str = "litestream-servers <command>

  install [heavy]     installs the servers; heavy: also those that are built from source, for half an hour
  run KIND [NAME...]  runs one until it is interrupted and prints how to reach a place for each name
  kinds               names what can be run
";

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["install"] => install_set(Set::Light),
        ["install", "heavy"] => install_set(Set::Heavy),
        ["run", kind] => run(Kind::named(kind)?, &["db"]),
        ["run", kind, ref names @ ..] => run(Kind::named(kind)?, names),
        ["kinds"] => {
            for kind in Kind::all() {
                println!("{} ({})", kind.name(), kind.backend());
            }
            Ok(())
        }
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown command: {}\n\n{HELP}", args.join(" ")),
    }
}

fn install_set(set: Set) -> Result<()> {
    install(set)?;
    println!("{}", home().display());
    Ok(())
}

fn run(kind: Kind, names: &[&str]) -> Result<()> {
    let server = Server::start(kind)?;
    println!("# {} on port {}", kind.name(), server.port());
    for name in names {
        let place = server.new_place(name)?;
        for (key, value) in &place.env {
            println!("export {key}={value}");
        }
        if let Some(url) = &place.url {
            println!("# url: {url}");
        }
        println!("replica:\n{}", place.indented("  "));
    }
    // Until a signal ends this process; the server's watcher then ends the server.
    loop {
        std::thread::park();
    }
}
