//! `cargo xtask bugs`: does the simulator still find the bugs that are planted for it?
//!
//! Owns `target/bugs`: `tree` (a copy of the sources, into which one patch at a time is put), `target` (its build, kept, so that
//! only what a patch touches is built again) and `sim` (the program without patches). Promise: outside of it nothing is changed but
//! `sim/bugs/README.md` with `--write` and `sim/corpus` with `--plans`; each bug counts as found only by a seed that is good without it.

mod hunt;
mod table;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use crate::run::{command, output, root};
use hunt::Found;
use tree::Tree;

const HELP: &str = "cargo xtask bugs [NAME…] [options]

  NAME…        bugs whose file name begins so; all of them if none is given
  --random N   only so many of them, drawn by the seed from those that were found within a minute
  --seed S     the first seed of the episodes (default 1, with --random the time)
  --minutes M  how long each is looked for (default 10)
  --write      notes the result in sim/bugs/README.md
  --plans      puts what was found into sim/corpus, made smaller
";

/// Where the patches lie.
const PATCHES: &str = "sim/bugs";

/// A bug that took longer may not be found in time by other seeds.
const QUICK_SECONDS: f64 = 60.0;

/// What is asked for.
#[derive(Default)]
struct Options {
    names: Vec<String>,
    random: Option<usize>,
    seed: Option<u64>,
    minutes: Option<u64>,
    write: bool,
    plans: bool,
}

/// How it went with one bug.
pub(crate) struct Row {
    name: String,
    what: String,
    result: Result<Found, String>,
}

/// Plants the bugs one after the other; an error if one of them is not found.
pub fn run(args: &[&str]) -> Result<()> {
    let options = parse(args)?;
    let seed = match (options.seed, options.random) {
        (Some(seed), _) => seed,
        (None, None) => 1,
        (None, Some(_)) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let patches = choose(&options, seed)?;
    println!("{} planted bugs, from seed {seed} on", patches.len());
    if options.random.is_some() {
        let names: Vec<String> = patches.iter().map(|patch| stem(patch)).collect();
        println!("drawn: {} (again by --seed {seed})", names.join(" "));
    }
    let commit = output(command("git rev-parse --short HEAD").current_dir(root()))?;
    let tree = Tree::prepare()?;
    println!(
        "the program without them is built: {}",
        tree.plain.display()
    );
    let mut rows = Vec::new();
    for patch in patches {
        let row = one(&tree, &patch, seed, &options)?;
        println!("{}", table::line(&row));
        if options.write {
            table::write(&root().join(PATCHES), &row, commit.trim())?;
        }
        rows.push(row);
    }
    let lost: Vec<&str> = rows
        .iter()
        .filter(|r| r.result.is_err())
        .map(|r| r.name.as_str())
        .collect();
    if lost.is_empty() {
        println!("all {} were found", rows.len());
        return Ok(());
    }
    bail!("not found: {}", lost.join(", "))
}

fn parse(args: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        let mut number = || -> Result<u64> {
            let value = args
                .next()
                .with_context(|| format!("{arg} needs a number"))?;
            value.parse().with_context(|| format!("{arg} {value}"))
        };
        match arg {
            "--random" => options.random = Some(number()? as usize),
            "--seed" => options.seed = Some(number()?),
            "--minutes" => options.minutes = Some(number()?),
            "--write" => options.write = true,
            "--plans" => options.plans = true,
            _ if arg.starts_with('-') => bail!("unknown option {arg}\n\n{HELP}"),
            _ => options.names.push(arg.to_owned()),
        }
    }
    Ok(options)
}

/// The patches that are meant.
fn choose(options: &Options, seed: u64) -> Result<Vec<PathBuf>> {
    let mut patches = Vec::new();
    for entry in std::fs::read_dir(root().join(PATCHES))? {
        let path = entry?.path();
        let wanted = |stem: &str| {
            options.names.is_empty() || options.names.iter().any(|n| stem.starts_with(n.as_str()))
        };
        if path.extension().is_some_and(|e| e == "patch") && wanted(&stem(&path)) {
            patches.push(path);
        }
    }
    patches.sort();
    if options.random.is_some() {
        let quick = table::found_within(&root().join(PATCHES), QUICK_SECONDS)?;
        patches.retain(|patch| quick.contains(&stem(patch)));
    }
    if patches.is_empty() {
        bail!("no such patch in {PATCHES}");
    }
    let mut state = seed;
    while options.random.is_some_and(|n| patches.len() > n.max(1)) {
        // Any generator will do that gives the same for the same seed.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        patches.remove((state >> 33) as usize % patches.len());
    }
    Ok(patches)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Plants one bug, looks for it, and takes it out again.
fn one(tree: &Tree, patch: &Path, seed: u64, options: &Options) -> Result<Row> {
    let name = stem(patch);
    let text = std::fs::read_to_string(patch)?;
    let what: Vec<&str> = text
        .lines()
        .map_while(|l| l.strip_prefix('#'))
        .map(str::trim)
        .collect();
    let row = |result| Row {
        name: name.clone(),
        what: what.join(" "),
        result,
    };
    if let Err(error) = tree.apply(patch, false) {
        return Ok(row(Err(format!(
            "the patch does not apply any more: {error:#}"
        ))));
    }
    let built = tree.build();
    let result = match &built {
        Ok(program) => hunt::hunt(program, &tree.plain, seed, options.minutes.unwrap_or(10)),
        Err(error) => Err(format!("it does not compile: {error:#}")),
    };
    if let (Ok(program), Ok(found), true) = (&built, &result, options.plans)
        && let Some(seed) = found.seed
    {
        let to = root().join("sim/corpus").join(format!("{name}.plan"));
        hunt::keep_plan(program, &tree.plain, seed, &what, &to)?;
    }
    tree.apply(patch, true)
        .context("cannot take the patch out again")?;
    Ok(row(result))
}
