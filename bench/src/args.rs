//! The command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::program::{Program, Who};

/// What was asked for.
#[derive(Debug)]
pub struct Args {
    scenario: String,
    /// How often everything is repeated, if given.
    rounds: Option<usize>,
    /// Megabytes, if given; what of depends on the scenario.
    size_mb: Option<u64>,
    /// Minutes of `idle`, if given.
    minutes: Option<f64>,
    /// Page sizes of `critical` and `large`.
    pub page_sizes: Vec<u32>,
    /// The programs to measure, in order.
    pub programs: Vec<Program>,
    /// Folder for databases and replicas.
    pub dir: PathBuf,
    /// JSON lines instead of tables.
    pub json: bool,
    /// `large` measures only ours unless told otherwise.
    pub all_programs: bool,
    /// A part of the scenario, by name.
    part: Option<String>,
}

/// The help text.
pub fn help(scenarios: &[&str]) -> String {
    format!(
        "litestream-bench <{}|all> [flags]

  --rounds N        repetitions (each scenario has its own default)
  --size MB         size of the database or of the work, smaller for a try
  --minutes M       idle, many: how long to look (default 5, 1); replicas: how long one is away (1)
  --page-sizes A,B  critical, large: only these page sizes
  --part NAME       only this part of a scenario: restore (snapshot, many), first-copy (mixed, random),
                    ingest (blobs, transaction, rows), writers (paced, full), large (sizes, backlog, transaction),
                    gap (rows, pages, vacuum), many (idle-1000, idle-500, busy), storage (far, requests, large, large-KIND)
  --ours PATH       program to measure (default target/fast/litestream)
  --theirs PATH     program beside it (default $LITESTREAM_ORACLE, else target/oracle/bin/litestream)
  --only WHO        ours or theirs
  --both            large: theirs, too (takes long)
  --dir DIR         folder for databases and replicas (default target/bench)
  --json            one JSON line per scenario instead of a table
",
        scenarios.join("|")
    )
}

impl Args {
    /// None if help was asked for.
    pub fn parse(
        mut words: impl Iterator<Item = String>,
        scenarios: &[&str],
    ) -> Result<Option<Args>> {
        let mut args = Args {
            scenario: String::new(),
            rounds: None,
            size_mb: None,
            minutes: None,
            page_sizes: vec![512, 1024, 2048, 4096, 8192, 16384, 32768, 65536],
            programs: Vec::new(),
            dir: PathBuf::from("target/bench"),
            json: false,
            all_programs: false,
            part: None,
        };
        let mut ours = PathBuf::from("target/fast/litestream");
        let mut theirs = std::env::var_os("LITESTREAM_ORACLE").map_or_else(
            || PathBuf::from("target/oracle/bin/litestream"),
            PathBuf::from,
        );
        let mut only = None;
        while let Some(word) = words.next() {
            let flag = word.as_str();
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{flag} needs a value"))
            };
            match flag {
                "-h" | "--help" | "help" => return Ok(None),
                "--rounds" => args.rounds = Some(number(flag, &value()?)?),
                "--size" => args.size_mb = Some(number(flag, &value()?)?),
                "--minutes" => args.minutes = Some(number(flag, &value()?)?),
                "--page-sizes" => {
                    args.page_sizes = value()?
                        .split(',')
                        .map(|v| number(flag, v))
                        .collect::<Result<_>>()?;
                }
                "--part" => args.part = Some(value()?),
                "--ours" => ours = value()?.into(),
                "--theirs" => theirs = value()?.into(),
                "--only" => only = Some(value()?),
                "--both" => args.all_programs = true,
                "--dir" => args.dir = value()?.into(),
                "--json" => args.json = true,
                _ if args.scenario.is_empty() && (flag == "all" || scenarios.contains(&flag)) => {
                    args.scenario = word;
                }
                _ => bail!("unknown argument: {word}\n\n{}", help(scenarios)),
            }
        }
        if args.scenario.is_empty() {
            return Ok(None);
        }
        for (who, path) in [(Who::Ours, ours), (Who::Theirs, theirs)] {
            if only.as_deref().is_none_or(|name| name == who.name()) {
                args.programs.push(find(who, &path)?);
            }
        }
        std::fs::create_dir_all(&args.dir)?;
        args.dir = args.dir.canonicalize()?;
        Ok(Some(args))
    }

    /// Whether to run this scenario.
    pub fn wants(&self, scenario: &str) -> bool {
        self.scenario == "all" || self.scenario == scenario
    }

    /// Whether to run this part of a scenario.
    pub fn wants_part(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|wanted| wanted == part)
    }

    /// Repetitions.
    pub fn rounds(&self, default: usize) -> usize {
        self.rounds.unwrap_or(default).max(1)
    }

    /// Size in megabytes.
    pub fn size_mb(&self, default: u64) -> u64 {
        self.size_mb.unwrap_or(default).max(1)
    }

    /// Minutes to look.
    pub fn minutes(&self, default: f64) -> f64 {
        self.minutes.unwrap_or(default).max(0.05)
    }
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T> {
    match text.parse() {
        Ok(value) => Ok(value),
        Err(_) => bail!("{flag}: {text} is not a number"),
    }
}

fn find(who: Who, path: &Path) -> Result<Program> {
    let path = path.canonicalize().with_context(|| match who {
        Who::Theirs => format!(
            "{}: give the original program with --theirs or LITESTREAM_ORACLE, or leave it out with --only ours",
            path.display()
        ),
        _ => format!(
            "{}: build it with cargo build --profile fast -p litestream-cli, or give it with --ours",
            path.display()
        ),
    })?;
    Ok(Program { who, path })
}
