//! The signals that ask the program to end.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use rustix::process::{Pid, Signal as Raw};
use tokio::signal::unix::{self, SignalKind};

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

/// From its creation on, the signals no longer end the process by themselves.
pub struct Signals {
    streams: [(Signal, unix::Signal); 3],
}

impl Signals {
    /// Must be called inside the tokio runtime.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            streams: [
                (Signal::Hangup, unix::signal(SignalKind::hangup())?),
                (Signal::Interrupt, unix::signal(SignalKind::interrupt())?),
                (Signal::Terminate, unix::signal(SignalKind::terminate())?),
            ],
        })
    }

    /// The next one. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
