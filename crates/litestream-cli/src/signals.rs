//! The signals that ask the program to end.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::task::{Context, Poll};

use litestream_replica::env::Disk;
use rustix::process::{Pid, Signal as Raw};
use tokio::signal::unix::{self, SignalKind};

/// Far more than the system's description of a process has.
const STATUS_BYTES_MAX: usize = 64 << 10;

/// A request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// What the log calls it.
    pub fn name(self) -> &'static str {
        name(self.number())
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.raw().as_raw()
    }

    /// The exit code of a shell command that it ended.
    pub fn exit_code(self) -> u8 {
        128 + self.number() as u8
    }

    fn raw(self) -> Raw {
        match self {
            Signal::Hangup => Raw::HUP,
            Signal::Interrupt => Raw::INT,
            Signal::Terminate => Raw::TERM,
        }
    }

    /// Sends it to a process; one that has ended already needs none.
    pub fn send(self, pid: u32) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, self.raw());
        }
    }
}

/// How Go spells a signal in `signal: killed`.
pub fn name(number: i32) -> &'static str {
    match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => "other signal",
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To end.
    End(Signal),
    /// To read the configuration again.
    Reload,
}

/// From its creation on, the signals no longer end the process by themselves.
///
/// The first request may be any signal. After it SIGHUP says nothing new: a terminal that closes sends it twice.
pub struct Signals {
    /// Of several that wait, the first here is taken first: SIGHUP last, as it may come along with another.
    streams: Vec<(Signal, unix::Signal)>,
    /// SIGUSR1 and SIGUSR2: kept so that they do nothing.
    _ignored: [unix::Signal; 2],
    /// SIGHUP where it asks for the configuration to be read again.
    reload: Option<unix::Signal>,
    first: Option<Signal>,
}

impl Signals {
    /// With `reloads`, SIGHUP asks for the configuration to be read again if there is no terminal that could close.
    /// Must be called inside the tokio runtime.
    pub fn new(disk: &dyn Disk, reloads: bool) -> io::Result<Signals> {
        let mut streams = vec![
            (Signal::Terminate, unix::signal(SignalKind::terminate())?),
            (Signal::Interrupt, unix::signal(SignalKind::interrupt())?),
        ];
        // `nohup` asks to go on when the terminal closes.
        let mut reload = None;
        if reloads && disk.open(Path::new("/dev/tty")).is_err() {
            reload = Some(unix::signal(SignalKind::hangup())?);
        } else if !is_ignored(Signal::Hangup, &process_status(disk)) {
            streams.push((Signal::Hangup, unix::signal(SignalKind::hangup())?));
        }
        Ok(Signals {
            reload,
            streams,
            _ignored: [
                unix::signal(SignalKind::user_defined1())?,
                unix::signal(SignalKind::user_defined2())?,
            ],
            first: None,
        })
    }

    /// The first request, once [`Signals::next`] has returned it.
    pub fn first(&self) -> Option<Signal> {
        self.first
    }

    /// The next request. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Signal {
        let signal = poll_fn(|context| self.poll(context)).await;
        self.first.get_or_insert(signal);
        signal
    }

    /// The next request of any kind. Nothing is lost when the future is dropped.
    pub async fn event(&mut self) -> Event {
        poll_fn(|context| {
            if let Poll::Ready(signal) = self.poll(context) {
                self.first.get_or_insert(signal);
                return Poll::Ready(Event::End(signal));
            }
            match &mut self.reload {
                Some(hangup) => hangup.poll_recv(context).map(|_| Event::Reload),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        for (signal, stream) in &mut self.streams {
            while stream.poll_recv(context).is_ready() {
                if self.first.is_none() || *signal != Signal::Hangup {
                    return Poll::Ready(*signal);
                }
            }
        }
        Poll::Pending
    }
}

/// What Linux says about this process; empty elsewhere.
fn process_status(disk: &dyn Disk) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = disk.open(Path::new("/proc/self/status")) {
        let mut part = [0; 4096];
        while bytes.len() < STATUS_BYTES_MAX {
            match file.read_at(&mut part, bytes.len() as u64) {
                Ok(n) if n > 0 => bytes.extend_from_slice(&part[..n]),
                _ => break,
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the mask of ignored signals, a hexadecimal number with bit 0 for signal 1.
fn is_ignored(signal: Signal, process_status: &str) -> bool {
    let mask = process_status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals() {
        let ignored = |mask: &str| {
            is_ignored(
                Signal::Hangup,
                &format!("SigBlk:\t{:016x}\nSigIgn:\t{mask}\nSigCgt:\t0\n", u64::MAX),
            )
        };
        assert!(ignored("0000000000000001"));
        assert!(ignored("0000000000001001"));
        assert!(!ignored("0000000000001000"));
        assert!(!ignored("nonsense"));
        assert!(!is_ignored(Signal::Hangup, ""));
    }
}
