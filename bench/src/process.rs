//! Child processes and what they cost. Owns every process it starts: none survives its [`Running`], and every wait
//! is bounded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use wait4::Wait4 as _;

/// Between looks at memory and descriptors.
const SAMPLE: Duration = Duration::from_millis(10);
/// A program that was asked to stop gets this long, then it is killed.
const STOP_MAX: Duration = Duration::from_mins(1);

/// What a process cost from start to end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// Peak resident memory, MiB.
    pub rss_mib: f64,
    /// Most descriptors seen open at once.
    pub descriptors: f64,
}

#[derive(Clone, Copy, Default)]
struct Peaks {
    rss_kib: u64,
    descriptors: usize,
}

/// A process that runs; killed when dropped.
pub struct Running {
    child: Child,
    started: Instant,
    done: Arc<AtomicBool>,
    sampler: Option<JoinHandle<Peaks>>,
    log: PathBuf,
}

impl Running {
    /// Starts it, its output appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Running> {
        let out = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{}", command.get_program().display()))?;
        let done = Arc::new(AtomicBool::new(false));
        let (flag, pid) = (Arc::clone(&done), child.id());
        let sampler = std::thread::spawn(move || sample(pid, &flag));
        Ok(Running {
            child,
            started,
            done,
            sampler: Some(sampler),
            log: log.to_owned(),
        })
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Seconds of processor time so far, in steps of 10 ms.
    pub fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the program's name and may hold anything but ends with the last parenthesis.
        let (_, fields) = text.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<u64>().ok();
        let sum = ticks(11).zip(ticks(12)).context("/proc/PID/stat")?;
        Ok((sum.0 + sum.1) as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Bytes that it caused to be written to storage so far.
    pub fn written(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("write_bytes: "));
        Ok(line.context("/proc/PID/io")?.trim().parse()?)
    }

    /// Memory in use, MiB.
    pub fn rss_mib(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .context("VmRSS")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kib / 1024.0)
    }

    /// How often its threads were put on a processor so far.
    pub fn context_switches(&self) -> Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end just now.
            let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            let counts = status.lines().filter(|l| l.contains("ctxt_switches"));
            let numbers = counts.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
            sum += numbers.sum::<u64>();
        }
        Ok(sum)
    }

    /// Fails if it has ended by itself.
    pub fn check_alive(&self) -> Result<()> {
        if self.has_ended()? {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(3).collect();
            bail!("the program ended unasked: {}", tail.join(" | "));
        }
        Ok(())
    }

    /// Waits for its end; after `limit` it is killed and that is an error.
    pub fn wait(mut self, limit: Duration) -> Result<(Option<i32>, Usage)> {
        while !self.has_ended()? {
            if self.started.elapsed() > limit {
                self.child.kill()?;
                self.child.wait()?;
                bail!("did not end within {limit:?}");
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        self.reap()
    }

    /// Asks it to stop (SIGTERM), waits.
    pub fn stop(mut self) -> Result<Usage> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while !self.has_ended()? {
            if asked.elapsed() > STOP_MAX {
                self.child.kill()?;
                self.child.wait()?;
                bail!("did not stop within {STOP_MAX:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.reap()?.1)
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(mut self) -> Result<Usage> {
        self.child.kill()?;
        Ok(self.reap()?.1)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid()?, signal)?;
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id() as i32).context("no process")
    }

    /// Looks without reaping, so that the usage is still there afterwards.
    fn has_ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(rustix::process::waitid(WaitId::Pid(self.pid()?), options)?.is_some())
    }

    fn reap(&mut self) -> Result<(Option<i32>, Usage)> {
        let wall = self.started.elapsed().as_secs_f64();
        let result = self.child.wait4()?;
        let peaks = self.end_sampler();
        let usage = Usage {
            wall,
            cpu: (result.rusage.utime + result.rusage.stime).as_secs_f64(),
            // Not ru_maxrss: that starts with the memory of the process that called fork.
            rss_mib: peaks.rss_kib as f64 / 1024.0,
            descriptors: peaks.descriptors as f64,
        };
        Ok((result.status.code(), usage))
    }

    fn end_sampler(&mut self) -> Peaks {
        self.done.store(true, Ordering::Relaxed);
        self.sampler
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.sampler.is_some() {
            // Fails only if it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.end_sampler();
        }
    }
}

fn sample(pid: u32, done: &AtomicBool) -> Peaks {
    let mut peaks = Peaks::default();
    while !done.load(Ordering::Relaxed) {
        if let Some(rss) = peak_rss_kib(pid) {
            peaks.rss_kib = peaks.rss_kib.max(rss);
        }
        if let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) {
            peaks.descriptors = peaks.descriptors.max(entries.count());
        }
        std::thread::sleep(SAMPLE);
    }
    peaks
}

fn peak_rss_kib(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
