//! One running server program. It never outlives the test: killed when dropped, and, should the test itself be killed,
//! by a watcher that sees the test's end of a pipe close.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A server that takes longer to answer is broken.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a server that starts.
const PAUSE: Duration = Duration::from_millis(40);
/// So much of the log is shown when a server fails.
const TAIL: usize = 3000;

/// Replaces itself by the server; beside it runs a watcher, in the same process group, that waits for the end of its
/// input. Then it ends the server, removes the data and ends the group. `$1` is the data's folder.
const KEEPER: &str = r#"
dir=$1; shift
exec 3<&0 </dev/null
{ trap '' HUP; cat <&3 >/dev/null; kill -s KILL $$; rm -rf -- "$dir"; kill -s KILL -- -$$; } >/dev/null 2>&1 &
exec "$@" 3<&-
"#;

/// A program to start, and how to see that it answers.
pub(crate) struct Program {
    /// Its short name, also of its log.
    pub(crate) name: &'static str,
    /// The program and its arguments.
    pub(crate) args: Vec<OsString>,
    /// Added to its environment.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Where it listens.
    pub(crate) port: u16,
    /// Whether it answers a real request.
    pub(crate) probe: fn(u16) -> Result<()>,
}

/// It, running.
pub(crate) struct Process {
    child: Child,
    /// Held open: its end tells the watcher that the test is gone.
    _watched: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts it in a folder and waits until it answers.
    pub(crate) fn start(program: &Program, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{}.log", program.name));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", KEEPER, "keeper"])
            .arg(dir)
            .args(&program.args)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(proxy);
        }
        command.envs(program.env.iter().map(|(key, value)| (key, value)));
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {:?}", program.args))?;
        let mut process = Process {
            _watched: child.stdin.take(),
            child,
            log,
        };
        process.wait_until_it_answers(program)?;
        Ok(process)
    }

    fn wait_until_it_answers(&mut self, program: &Program) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}\n{}", program.name, self.tail());
            }
            let Err(refused) = (program.probe)(program.port) else {
                return Ok(());
            };
            if start.elapsed() > PATIENCE {
                bail!(
                    "{} does not answer on port {}: {refused:#}\n{}",
                    program.name,
                    program.port,
                    self.tail()
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it printed last.
    fn tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(TAIL);
        let from = (from..=log.len()).find(|at| log.is_char_boundary(*at));
        log[from.unwrap_or(log.len())..].to_owned()
    }

    /// Ends it and everything that it started, at once and without a farewell.
    pub(crate) fn kill(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            // Its number may belong to another process by now; what is left of its group ends with the watcher.
            return;
        }
        let leader = self.child.id();
        let mut targets = vec![format!("-{leader}")];
        // Sessions of sshd leave the group; a crash of the machine would end them too.
        targets.extend(descendants(leader).iter().map(u32::to_string));
        let _ = Command::new("/bin/sh")
            .args(["-c", r#"kill -s KILL -- "$@""#, "kill"])
            .args(&targets)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // In case there was no shell to do it: the wait must end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// All children of a process and theirs, as far as the system tells.
fn descendants(of: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "pid (name) state parent …", where the name may hold anything.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}
