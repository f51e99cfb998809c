//! Trust in the simulator: the same scripts run on the simulated VFS and on SQLite's own in a real folder, with all
//! connections in one process and with each in a process of its own. Every return code, every row, and after each step
//! every file's length and content must agree, the WAL index included.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test; one of its two sides is the real file system"
)]

mod player;
mod script;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use litestream_sim::disk::SimDisk;
use litestream_sim::{sched, vfs};
use player::Player;
use script::{CONNECTIONS, Step, script};
use xxhash_rust::xxh3::xxh3_64;

/// Set in the processes that play the parts of others.
const CHILD: &str = "TRUST_CHILD";
/// Begins each answer of such a process; the test harness prints other things.
const ANSWER: &str = "answer ";

/// Name, length and hash of each file.
type Files = Vec<(String, u64, u64)>;
/// What came of each step, and the files after it.
type Results = Vec<(String, Files)>;

fn simulated_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.stage_dir(Path::new("/d")).unwrap();
    disk
}

fn simulated_files(disk: &SimDisk) -> Files {
    vfs::flush_shared_memory();
    let names = disk.list(Path::new("/d")).unwrap();
    let files = names.into_iter().map(|(name, _)| {
        let name = name.into_string().unwrap();
        let bytes = disk.read(&Path::new("/d").join(&name)).unwrap();
        (name, bytes.len() as u64, xxh3_64(&bytes))
    });
    files.collect()
}

thread_local! {
    /// Handles of looked-at files: closing one would lose SQLite's locks on it.
    static KEPT: RefCell<BTreeMap<u64, fs::File>> = const { RefCell::new(BTreeMap::new()) };
}

fn content_without_closing(path: &Path) -> Vec<u8> {
    let metadata = fs::metadata(path).unwrap();
    let mut bytes = vec![0; metadata.len() as usize];
    KEPT.with_borrow_mut(|kept| {
        let inode = kept.entry(metadata.ino());
        let file = inode.or_insert_with(|| fs::File::open(path).unwrap());
        file.read_exact_at(&mut bytes, 0).unwrap();
    });
    bytes
}

fn real_files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Files = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = content_without_closing(&entry.path());
            let name = entry.file_name().into_string().unwrap();
            (name, bytes.len() as u64, xxh3_64(&bytes))
        })
        .collect();
    files.sort();
    files
}

fn real_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(base).unwrap()
}

fn simulated(steps: &[Step]) -> Results {
    let disk = simulated_disk();
    vfs::install(disk.clone(), None);
    let mut player = Player::new(Path::new("/d"), true);
    let steps = steps.iter().enumerate();
    steps
        .map(|(number, step)| (player.play(number, step), simulated_files(&disk)))
        .collect()
}

fn real(steps: &[Step]) -> Results {
    let folder = real_folder();
    let mut player = Player::new(folder.path(), false);
    let played = steps.iter().enumerate();
    let results = played
        .map(|(number, step)| (player.play(number, step), real_files(folder.path())))
        .collect();
    KEPT.take();
    results
}

/// Each connection in a simulated process of its own.
fn simulated_apart(seed: u64) -> Results {
    let results = Rc::new(RefCell::new(Results::new()));
    let all = results.clone();
    let report = sched::run(sched::Config::new(seed), move || {
        let disk = simulated_disk();
        vfs::install(disk.clone(), None);
        let player = Rc::new(RefCell::new(Player::new(Path::new("/d"), true)));
        for (number, step) in script(seed).into_iter().enumerate() {
            let process = sched::Process(1 + step.connection() as u32);
            let (player, text) = (player.clone(), Rc::new(RefCell::new(String::new())));
            let into = text.clone();
            let played = sched::spawn(process, "player", move || {
                *into.borrow_mut() = player.borrow_mut().play(number, &step);
            });
            sched::join(played);
            all.borrow_mut().push((text.take(), simulated_files(&disk)));
        }
    });
    assert_eq!(report.panic, None);
    results.take()
}

/// An OS process that plays the steps of one connection.
struct Other {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Other {
    fn start() -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "plays_the_part_of_another_process",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Other {
            asks: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn play(&mut self, folder: &Path, seed: u64, number: usize) -> String {
        writeln!(self.asks, "{seed} {number} {}", folder.display()).unwrap();
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test by itself: the other side of [`Other`].
#[test]
fn plays_the_part_of_another_process() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut player = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let mut words = line.splitn(3, ' ');
        let seed: u64 = words.next().unwrap().parse().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        let folder = Path::new(words.next().unwrap());
        if player.as_ref().is_none_or(|(of, _)| *of != seed) {
            player = Some((seed, Player::new(folder, false)));
        }
        if let Some((_, player)) = &mut player {
            let text = player.play(number, &script(seed)[number]);
            println!("{ANSWER}{text:?}");
        }
    }
}

fn real_apart(seed: u64, steps: &[Step], others: &mut [Other]) -> Results {
    let folder = real_folder();
    let played = steps.iter().enumerate();
    let results = played
        .map(|(number, step)| {
            let text = others[step.connection()].play(folder.path(), seed, number);
            (text, real_files(folder.path()))
        })
        .collect();
    KEPT.take();
    results
}

fn compare(seed: u64, steps: &[Step], simulated: &Results, real: &Results) {
    assert_eq!(simulated.len(), real.len());
    for (at, (simulated, real)) in simulated.iter().zip(real).enumerate() {
        let so_far = steps[..=at].iter().map(|step| format!("{step:?}\n"));
        assert_eq!(
            simulated,
            real,
            "script {seed}, step {at} of\n{}",
            so_far.collect::<String>()
        );
    }
}

/// SQLite's generator of random numbers belongs to the whole OS process: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn connections_of_one_process() {
    let _alone = ALONE.lock();
    for seed in 0..400 {
        let steps = script(seed);
        compare(seed, &steps, &simulated(&steps), &real(&steps));
    }
}

#[test]
fn connections_of_several_processes() {
    let _alone = ALONE.lock();
    let mut others: Vec<Other> = (0..CONNECTIONS).map(|_| Other::start()).collect();
    for seed in 0..400 {
        let steps = script(seed);
        let real = real_apart(seed, &steps, &mut others);
        let mut simulated = simulated_apart(seed);
        for (text, _) in &mut simulated {
            *text = format!("{text:?}");
        }
        compare(seed, &steps, &simulated, &real);
    }
}
