//! Runs episodes, strikes every call of the enumeration's scenes, and at last plays the corpus, until something fails that is good
//! without the bug.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::run::root;

/// Programs at once.
const JOBS: u64 = 2;
/// Episodes that one of them runs.
const BLOCK: u64 = 500;
/// One of them begins with so few points of each scene…
const FEW: u64 = 60;
/// …and takes all of them if that and the episodes have found nothing for so long.
const ALL_AFTER: Duration = Duration::from_mins(1);

/// On a machine that does other things, too, the search may take so much longer.
const LOADED: u32 = 6;
/// In which the kernel counts the time of processes: a hundredth of a second.
const TICKS: f64 = 100.0;

/// How a bug showed.
pub(super) struct Found {
    /// The oracle, and all that it said.
    pub(super) by: String,
    pub(super) seconds: f64,
    /// Episodes run until then, about.
    pub(super) episodes: u64,
    /// Of the episode; `None` if the program died, or it was a scene.
    pub(super) seed: Option<u64>,
}

/// What a job has seen.
enum Event {
    /// In the episode of this seed a promise was broken.
    Failed { seed: u64, what: String },
    /// A scene or a plan of the corpus came to no good end. By these arguments it can be played again.
    Struck { replay: Vec<String>, what: String },
    /// The program died in these episodes.
    Died { from: u64, how: String },
    /// A block is done.
    Done,
}

/// See the module. `Err` says why it was not found. Time is that of the processors, as if nobody else used them.
pub(super) fn hunt(program: &Path, plain: &Path, seed: u64, minutes: u64) -> Result<Found, String> {
    let (events, seen) = mpsc::channel();
    let job = Arc::new(Job {
        next: AtomicU64::new(seed),
        over: AtomicBool::new(false),
        children: (0..JOBS).map(|_| Mutex::new(None)).collect(),
        start: Instant::now(),
        before: ticks("self", &[15, 16]),
    });
    let result = std::thread::scope(|scope| {
        for slot in 0..JOBS as usize {
            let (job, events) = (Arc::clone(&job), events.clone());
            scope.spawn(move || job.run(program, slot, &events));
        }
        drop(events);
        let result = watch(&seen, plain, (&job, Duration::from_mins(minutes)), seed);
        job.end();
        result
    });
    result.map_err(|why| {
        format!(
            "{why} ({} episodes)",
            job.next.load(Ordering::Relaxed) - seed
        )
    })
}

fn watch(
    seen: &mpsc::Receiver<Event>,
    plain: &Path,
    (job, limit): (&Job, Duration),
    first: u64,
) -> Result<Found, String> {
    let (mut known, mut done) = (0, 0);
    loop {
        if job.spent() > limit || job.start.elapsed() > limit * LOADED {
            return Err(format!(
                "not found within {} minutes, {known} failures that also happen without it",
                job.spent().as_secs() / 60
            ));
        }
        let found = |by: String, seed, run: u64| Found {
            by,
            seconds: job.spent().as_secs_f64(),
            episodes: done * BLOCK + run,
            seed,
        };
        match seen.recv_timeout(Duration::from_secs(1)) {
            Ok(Event::Failed { seed, what }) => {
                // The other programs are about as far in their blocks.
                let found = found(what, Some(seed), JOBS * ((seed - first) % BLOCK + 1));
                if is_good(plain, seed, 1) {
                    return Ok(found);
                }
                known += 1;
            }
            Ok(Event::Struck { replay, what }) => {
                let found = found(what, None, 0);
                if ends_well(Command::new(plain).args(&replay)) {
                    return Ok(found);
                }
                known += 1;
            }
            Ok(Event::Died { from, how }) if is_good(plain, from, BLOCK) => {
                return Ok(found(how, None, BLOCK));
            }
            Ok(Event::Died { .. } | Event::Done) => done += 1,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err("the simulator could not be run".to_owned());
            }
        }
    }
}

/// Whether nothing is wrong without the bug.
fn is_good(plain: &Path, from: u64, seeds: u64) -> bool {
    ends_well(&mut sim(plain, from, seeds))
}

fn ends_well(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn sim(program: &Path, from: u64, seeds: u64) -> Command {
    let mut command = Command::new(program);
    command.args([
        "--from",
        &from.to_string(),
        "--seeds",
        &seeds.to_string(),
        "--again",
        "0",
    ]);
    command
}

/// What the jobs share.
struct Job {
    next: AtomicU64,
    over: AtomicBool,
    children: Vec<Mutex<Option<Child>>>,
    start: Instant,
    /// Time that earlier children took.
    before: u64,
}

impl Job {
    /// Processor time per job.
    fn spent(&self) -> Duration {
        let ended = ticks("self", &[15, 16]).saturating_sub(self.before);
        let running = self.children.iter().filter_map(|child| {
            let id = lock(child).as_ref()?.id();
            Some(ticks(&id.to_string(), &[13, 14]))
        });
        let ticks = ended + running.sum::<u64>();
        Duration::from_secs_f64(ticks as f64 / TICKS / JOBS as f64)
    }

    /// Runs block after block.
    fn run(&self, program: &Path, slot: usize, events: &Sender<Event>) {
        let mut scenes = if slot == 0 { Scenes::Done } else { Scenes::Few };
        while !self.over.load(Ordering::Relaxed) {
            match scenes {
                Scenes::Few => {
                    self.scenes(program, slot, FEW, events);
                    scenes = Scenes::All;
                }
                Scenes::All if self.spent() > ALL_AFTER => {
                    self.scenes(program, slot, 1, events);
                    self.corpus(program, slot, events);
                    scenes = Scenes::Done;
                }
                Scenes::All | Scenes::Done => {
                    if self.block(program, slot, events).is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Every so many points of all scenes.
    fn scenes(&self, program: &Path, slot: usize, every: u64, events: &Sender<Event>) {
        let mut command = Command::new(program);
        command.args(["--enumerate", "--every", &every.to_string()]);
        let mut what = None;
        self.watch(command, slot, |line| {
            if let Some(text) = line.strip_prefix("FAILED ") {
                what = Some(text.to_owned());
            } else if let Some(replay) = line.trim_start().strip_prefix("sim --enumerate")
                && let Some(what) = what.take()
            {
                let words = replay.split_whitespace().filter(|word| *word != "--log");
                let replay = ["--enumerate"].into_iter().chain(words);
                let mut replay: Vec<String> = replay.map(str::to_owned).collect();
                let scene = replay.get(2).map_or("", String::as_str);
                let undisturbed = !replay.iter().any(|word| word == "--point");
                let kind = replay.last().filter(|_| !undisturbed);
                let kind = kind.map_or("undisturbed", String::as_str);
                let what = format!("scene {scene}, {kind}: {what}");
                if undisturbed {
                    // That is played first; no more than one point after it.
                    let one = ["--every", "1000000", "--offset", "1"];
                    replay.extend(one.map(str::to_owned));
                }
                let _ = events.send(Event::Struck { replay, what });
            }
        });
    }

    /// Every plan that found something once.
    fn corpus(&self, program: &Path, slot: usize, events: &Sender<Event>) {
        let plans = std::fs::read_dir(root().join("sim/corpus"));
        for path in plans.into_iter().flatten().flatten().map(|e| e.path()) {
            let replay = vec!["--plan".to_owned(), path.display().to_string()];
            let mut command = Command::new(program);
            command.args(&replay);
            let (mut lists, mut first) = (false, None);
            self.watch(command, slot, |line| {
                if lists && first.is_none() {
                    first = Some(line.trim().trim_matches(['"', ',']).to_owned());
                }
                lists |= line.trim() == "violations: [";
            });
            if let Some(what) = first {
                let name = path.file_stem().unwrap_or_default().display();
                let what = format!("corpus {name}: {what}");
                let _ = events.send(Event::Struck { replay, what });
            }
        }
    }

    /// Some episodes. `None` if there is nobody left to tell.
    fn block(&self, program: &Path, slot: usize, events: &Sender<Event>) -> Option<()> {
        let from = self.next.fetch_add(BLOCK, Ordering::Relaxed);
        let mut failed = false;
        let status = self.watch(sim(program, from, BLOCK), slot, |line| {
            if let Some((seed, what)) = line.strip_prefix("FAILED ").and_then(|l| l.split_once(' '))
                && let Ok(seed) = seed.parse()
            {
                failed = true;
                let what = what.to_owned();
                let _ = events.send(Event::Failed { seed, what });
            }
        });
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let event = match status? {
            status if !status.success() && !failed => Event::Died {
                from,
                how: format!("the program died: {status}"),
            },
            _ => Event::Done,
        };
        events.send(event).ok()
    }

    /// Runs a program and hands on what it says.
    fn watch(
        &self,
        mut command: Command,
        slot: usize,
        mut line: impl FnMut(&str),
    ) -> Option<ExitStatus> {
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
        let lines = child.stdout.take().map(BufReader::new);
        *lock(&self.children[slot]) = Some(child);
        let lines = lines.into_iter().flat_map(BufReader::lines);
        lines.map_while(Result::ok).for_each(|text| line(&text));
        let child = lock(&self.children[slot]).take();
        child.and_then(|mut child| child.wait().ok())
    }

    /// Ends the programs that still run.
    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        for child in &self.children {
            if let Some(child) = lock(child).as_mut() {
                let _ = child.kill(); // it may have ended by itself
            }
        }
    }
}

/// The sum of some fields of `/proc/…/stat`, counted from 0 as if the second, the name, held no space.
fn ticks(process: &str, fields: &[usize]) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let words: Vec<&str> = rest.split_whitespace().collect();
    let field = |at: &usize| words.get(at - 2)?.parse::<u64>().ok();
    fields.iter().filter_map(field).sum()
}

/// How far a job is with the scenes.
#[derive(Clone, Copy)]
enum Scenes {
    Few,
    All,
    Done,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the failing episode smaller and keeps it as a plan that must stay good.
pub(super) fn keep_plan(
    program: &Path,
    plain: &Path,
    seed: u64,
    what: &[&str],
    to: &Path,
) -> Result<()> {
    let output = Command::new(program)
        .args(["--shrink", "--seed", &seed.to_string()])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, small) = text
        .split_once("# smaller:\n")
        .context("nothing was made smaller")?;
    let is_comment = |line: &&str| line.starts_with('#');
    let mut plan: Vec<String> = what
        .iter()
        .map(|line| format!("# planted: {line}"))
        .collect();
    plan.extend(
        small
            .lines()
            .filter(is_comment)
            .map(|line| format!("# found: {}", line.trim_start_matches(['#', ' ']))),
    );
    plan.extend(
        small
            .lines()
            .filter(|l| !is_comment(l) && l.contains(" ="))
            .map(str::to_owned),
    );
    std::fs::write(to, plan.join("\n") + "\n")?;
    let good = Command::new(plain)
        .arg("--plan")
        .arg(to)
        .stdout(Stdio::null())
        .status()?
        .success();
    if !good {
        std::fs::remove_file(to)?;
        bail!("the smaller episode of seed {seed} fails without the bug, too");
    }
    Ok(())
}
