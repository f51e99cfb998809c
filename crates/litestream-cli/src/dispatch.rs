//! From the command line to a command, and from its end to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use litestream_replica::env::{Env, real};

use crate::args::{self, Command, table};
use crate::cmd;
use crate::failure::{Failure, Result};
use crate::{log, out};

/// Runs `litestream` with the arguments after its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let result = run(&args, &real::env());
    log::flush();
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    report(&failure);
    ExitCode::from(failure.code)
}

fn report(failure: &Failure) {
    if !failure.message.is_empty() {
        // Servers quote what they were sent.
        out::complain(&log::cleaned(&format!("Error: {}", failure.message)));
    }
    if let Some(attempt) = &failure.attempt {
        out::complain(&format!("Try: {attempt}"));
    }
}

fn run(args: &[OsString], env: &Env) -> Result {
    // `litestream "$COMMAND"` with nothing in it is as good as no command.
    let named = args.split_first().filter(|(name, _)| !name.is_empty());
    let Some((name, rest)) = named else {
        out::print(&cmd::help::text())?;
        return Err(Failure::silent());
    };
    let name = name.to_string_lossy();
    let is_help = |arg: &OsString| arg == "-h" || arg == "-help" || arg == "--help";
    if name == "help" || name.starts_with('-') {
        out::print(&cmd::help::text())?;
        return if name == "help" || args.iter().any(is_help) {
            Ok(())
        } else {
            Err(Failure::silent())
        };
    }
    match &*name {
        "config" => return run_config(rest, env),
        "completion" => return cmd::generate::completion(rest),
        "man" => return cmd::generate::manual(rest),
        _ => {}
    }
    if let Some(command) = table::command(&name) {
        return run_command(&name, command, rest, env);
    }
    let failure = Failure::new(format!("litestream {name}: unknown command"));
    Err(match table::suggest(&name) {
        Some(near) => Failure {
            attempt: Some(format!("litestream {near}")),
            ..failure
        },
        None => failure,
    })
}

/// The commands of two words.
fn run_config(args: &[OsString], env: &Env) -> Result {
    let word = args
        .first()
        .map(|word| word.to_string_lossy())
        .unwrap_or_default();
    let name = format!("config {word}");
    if let Some(command) = table::command(&name) {
        return run_command(&name, command, &args[1..], env);
    }
    let both = ["config check", "config show"]
        .into_iter()
        .filter_map(table::command);
    if args
        .iter()
        .any(|arg| arg == "-h" || arg == "-help" || arg == "--help")
    {
        let help: Vec<String> = both.map(|c| args::command_help("litestream", c)).collect();
        return out::print(&help.join("\n"));
    }
    Err(Failure::with_try(
        format!(
            "litestream {}: unknown command; there are config check and config show",
            name.trim_end()
        ),
        "litestream config check",
    ))
}

fn run_command(name: &str, command: &'static Command, args: &[OsString], env: &Env) -> Result {
    if name == "wal" {
        out::complain("Warning: 'wal' command is deprecated, please use 'ltx' instead");
    }
    let parsed = match args::parse(command, args) {
        Ok(parsed) => parsed,
        Err(args::Error::Help) => return out::print(&args::command_help("litestream", command)),
        Err(args::Error::Bad(text, near)) => {
            out::complain(&text);
            out::print(&args::command_help("litestream", command))?;
            report(&Failure::new(text));
            if let Some(near) = near {
                out::complain(&format!("did you mean -{near}?"));
            }
            return Err(Failure::silent());
        }
    };
    match command.name {
        "config check" => cmd::config::check(&parsed, env),
        "config show" => cmd::config::show(&parsed, env),
        "databases" => cmd::databases::run(&parsed, env),
        "doctor" => cmd::doctor::run(&parsed, env),
        "info" => cmd::info::run(&parsed, env),
        "list" => cmd::list::run(&parsed, env),
        "ltx" => cmd::ltx::run(&parsed, env),
        "register" => cmd::register::run(&parsed, env),
        "reload" => cmd::reload::run(&parsed, env),
        "replicate" => cmd::replicate::run(&parsed, env),
        "reset" => cmd::reset::run(&parsed, env),
        "restore" => cmd::restore::run(&parsed, env),
        "status" => cmd::status::run(&parsed, env),
        "start" => cmd::start::run(&parsed, env),
        "stop" => cmd::stop::run(&parsed, env),
        "sync" => cmd::sync::run(&parsed, env),
        "unregister" => cmd::unregister::run(&parsed, env),
        "verify" => cmd::verify::run(&parsed, env),
        _ => cmd::version::run(&parsed),
    }
}
