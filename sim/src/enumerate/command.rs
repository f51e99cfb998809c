//! The command line of the enumeration.

#![allow(clippy::disallowed_methods, reason = "the program around the world")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::{Kind, Options, Outcome, Point, Scene, play, points, scenes};
use crate::log;

/// How to use it.
pub const HELP: &str = "\
sim --enumerate                      every call of every scene: kills, power cuts, failures
    --scenario NAME                  of one scene
    --every K [--offset O]           every K-th point, beginning with the O-th
    --page-size N, --seed S          another page size, other chances
    --jobs J                         on J processes
    --point N --kind KIND [--log]    at one point, as a failure names it
";

/// Failures shown of each scene.
const SHOWN_MAX: u64 = 10;

/// Does what the arguments after `--enumerate` say. Whether all is well.
pub fn run(arguments: &[String]) -> Result<bool> {
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.strip_prefix("--").context(HELP)?;
        let value = match name {
            "enumerate" | "log" => "",
            "scenario" | "every" | "offset" | "page-size" | "seed" | "jobs" | "job" | "point"
            | "kind" => rest
                .next()
                .with_context(|| format!("--{name} needs a value"))?,
            _ => bail!("unknown option --{name}\n{HELP}"),
        };
        given.insert(name, value);
    }
    let number = |name: &str, default: u64| -> Result<u64> {
        given.get(name).map_or(Ok(default), |value| {
            value.parse().with_context(|| format!("--{name} {value}"))
        })
    };
    let page_size = number("page-size", 0)? as u32;
    if page_size != 0 && !(page_size.is_power_of_two() && (512..=65_536).contains(&page_size)) {
        bail!("--page-size must be a power of two from 512 to 65536");
    }
    let options = Options {
        seed: number("seed", 1)?,
        page_size: (page_size != 0).then_some(page_size),
    };
    let scenes = chosen(given.get("scenario").copied())?;
    if given.contains_key("point") || given.contains_key("log") {
        return one(&scenes, &given, options);
    }
    let share = Share {
        every: number("every", 1)?.max(1),
        offset: number("offset", 0)?,
        job: number("job", 0)?,
        jobs: number("jobs", 1)?.max(1),
    };
    if given.contains_key("job") || share.jobs == 1 {
        Ok(enumerate(&scenes, share, options))
    } else {
        parallel(arguments, share.jobs)
    }
}

fn chosen(name: Option<&str>) -> Result<Vec<&'static Scene>> {
    let scenes: Vec<&Scene> = scenes::all()
        .filter(|scene| name.is_none_or(|name| scene.name == name))
        .collect();
    if scenes.is_empty() {
        let all: Vec<&str> = scenes::all().map(|scene| scene.name).collect();
        bail!("--scenario is one of {}", all.join(" "));
    }
    Ok(scenes)
}

/// One point, or none, to look at.
fn one(scenes: &[&'static Scene], given: &BTreeMap<&str, &str>, options: Options) -> Result<bool> {
    let &[scene] = scenes else {
        bail!("--point and --log need a --scenario");
    };
    let point = match (given.get("point"), given.get("kind")) {
        (Some(number), Some(kind)) => Some(Point {
            number: number.parse()?,
            kind: kind.parse::<Kind>()?,
        }),
        (None, None) => None,
        _ => bail!("--point and --kind belong together"),
    };
    if given.contains_key("log") {
        log::show_engine();
        log::set(true);
    }
    let outcome = play(scene, point, options);
    log::set(false);
    let first = outcome.calls.before + 1;
    for (number, (seen, subject)) in (first..).zip(&outcome.calls.disk) {
        println!(
            "call {number} {seen:?}{}",
            if *subject { "" } else { " (not tested)" }
        );
    }
    for (number, op) in (outcome.calls.storage_before + 1..).zip(&outcome.calls.storage) {
        println!("storage call {number} {op:?}");
    }
    for violation in &outcome.violations {
        println!("{violation}");
    }
    println!("trace {:016x}", outcome.trace_hash);
    Ok(outcome.violations.is_empty())
}

/// Which of all points.
#[derive(Clone, Copy)]
struct Share {
    every: u64,
    offset: u64,
    job: u64,
    jobs: u64,
}

impl Share {
    fn takes(self, index: u64) -> bool {
        (index + self.every - self.offset % self.every).is_multiple_of(self.every)
            && (index / self.every) % self.jobs == self.job
    }
}

/// What was found out about a scene.
#[derive(Default)]
struct Row {
    disk: u64,
    storage: u64,
    points: u64,
    failed: u64,
    millis: u64,
}

fn enumerate(scenes: &[&'static Scene], share: Share, options: Options) -> bool {
    let mut good = true;
    for &scene in scenes {
        let start = Instant::now();
        let (clean, again) = (play(scene, None, options), play(scene, None, options));
        let mut row = Row {
            disk: clean.calls.disk.len() as u64,
            storage: clean.calls.storage.len() as u64,
            ..Row::default()
        };
        if clean.trace_hash != again.trace_hash {
            failed(
                &mut row,
                scene,
                None,
                options,
                "the scene is not the same twice",
            );
        }
        report(&mut row, scene, None, options, &clean);
        let clean_is_good = row.failed == 0;
        for (index, point) in (0..).zip(points(&clean.calls)) {
            if clean_is_good && share.takes(index) {
                row.points += 1;
                let outcome = play(scene, Some(point), options);
                report(&mut row, scene, Some(point), options, &outcome);
            }
        }
        row.millis = start.elapsed().as_millis() as u64;
        good &= row.failed == 0;
        println!(
            "ROW {} {} {} {} {} {}",
            scene.name, row.disk, row.storage, row.points, row.failed, row.millis
        );
    }
    good
}

fn report(row: &mut Row, scene: &Scene, point: Option<Point>, options: Options, outcome: &Outcome) {
    if let Some(what) = outcome.violations.first() {
        failed(row, scene, point, options, what);
    }
}

fn failed(row: &mut Row, scene: &Scene, point: Option<Point>, options: Options, what: &str) {
    row.failed += 1;
    if row.failed > SHOWN_MAX {
        return;
    }
    let point = point.map(|point| format!(" --point {} --kind {}", point.number, point.kind));
    let page_size = options.page_size.map(|size| format!(" --page-size {size}"));
    let seed = (options.seed != 1).then(|| format!(" --seed {}", options.seed));
    let more: String = [point, page_size, seed].into_iter().flatten().collect();
    let replay = format!("sim --enumerate --scenario {}{more}", scene.name);
    println!(
        "FAILED {}\n       {replay} --log",
        what.lines().next().unwrap_or_default()
    );
}

fn parallel(arguments: &[String], jobs: u64) -> Result<bool> {
    let start = Instant::now();
    let program = std::env::current_exe()?;
    let spawn = |job: u64| {
        Command::new(&program)
            .args(arguments)
            .args(["--job", &job.to_string()])
            .stdout(Stdio::piped())
            .spawn()
    };
    let children: Vec<_> = (0..jobs).map(spawn).collect::<std::io::Result<_>>()?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut good = true;
    for child in children {
        let output = child.wait_with_output()?;
        good &= output.status.success();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.strip_prefix("ROW ") {
                Some(row) => add(&mut rows, row)?,
                None => println!("{line}"),
            }
        }
    }
    table(&rows, start);
    Ok(good)
}

fn add(rows: &mut BTreeMap<String, Row>, line: &str) -> Result<()> {
    let mut fields = line.split(' ');
    let row = rows
        .entry(fields.next().unwrap_or_default().to_owned())
        .or_default();
    let mut next = || -> Result<u64> { Ok(fields.next().context("a short row")?.parse()?) };
    (row.disk, row.storage) = (next()?, next()?);
    row.points += next()?;
    row.failed += next()?;
    row.millis += next()?;
    Ok(())
}

fn table(rows: &BTreeMap<String, Row>, start: Instant) {
    println!(
        "{:34} {:>10} {:>8} {:>8} {:>8} {:>9}",
        "scene", "disk calls", "storage", "points", "failures", "seconds"
    );
    let line = |name: &str, row: &Row| {
        let seconds = row.millis as f64 / 1000.0;
        println!(
            "{name:34} {:>10} {:>8} {:>8} {:>8} {seconds:>9.1}",
            row.disk, row.storage, row.points, row.failed
        );
    };
    let mut total = Row::default();
    for (name, row) in rows {
        line(name, row);
        total.disk += row.disk;
        total.storage += row.storage;
        total.points += row.points;
        total.failed += row.failed;
    }
    total.millis = start.elapsed().as_millis() as u64;
    line(&format!("{} scenes", rows.len()), &total);
}
