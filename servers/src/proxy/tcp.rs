//! The proxy that relays bytes: two directions, each read, held back if there is a delay, and written.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::fault::{Active, Mode};
use super::message::{piece, wait};
use super::{Shared, lock, reset};

/// Pieces on the way at most: with a long delay this, not the delay, limits the throughput to 32 MiB at a time.
const ON_THE_WAY: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// What happens to a piece.
enum Fate {
    Pass {
        delay: Duration,
        rate: Option<u64>,
    },
    /// Only the first bytes pass, then the mode strikes.
    End(usize, Mode),
}

/// Serves one connection until either side ends it or a fault does.
pub(super) fn serve(shared: &Shared, client: &TcpStream) {
    let Ok(server) = shared.connect() else {
        return reset(client);
    };
    let server = &server;
    std::thread::scope(|scope| {
        scope.spawn(|| relay(shared, client, server, Direction::Up));
        relay(shared, server, client, Direction::Down);
    });
}

/// One direction, to its end.
fn relay(shared: &Shared, from: &TcpStream, to: &TcpStream, direction: Direction) {
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    let mode = std::thread::scope(|scope| {
        // Ends when all is written that `read` has sent.
        scope.spawn(move || write(to, &receiver));
        read(shared, from, direction, sender)
    });
    match mode {
        Some(Mode::Truncate(_)) => {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }
        Some(_) => {
            reset(to);
            reset(from);
            // The other direction may wait for this side to read; it must end too.
            let _ = from.shutdown(Shutdown::Both);
        }
        None => {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}

/// Reads pieces and sends them off with the time when they are due. Returns the mode that ended it, if one did.
fn read(
    shared: &Shared,
    mut from: &TcpStream,
    direction: Direction,
    sender: SyncSender<(Instant, Vec<u8>)>,
) -> Option<Mode> {
    let mut buffer = vec![0; piece(None)];
    let mut most = buffer.len();
    loop {
        let len = match from.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => return None,
            Ok(len) => len,
        };
        let counter = match direction {
            Direction::Up => &shared.bytes_up,
            Direction::Down => &shared.bytes_down,
        };
        let send = |bytes: &[u8], delay| {
            counter.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            sender
                .send((Instant::now() + delay, bytes.to_vec()))
                .is_ok()
        };
        let fate = decide(&mut lock(&shared.faults), direction, len);
        match fate {
            Fate::Pass { delay, rate } => {
                if !send(&buffer[..len], delay) {
                    return None;
                }
                most = piece(rate);
                wait(len, rate);
            }
            Fate::End(first, mode) => {
                send(&buffer[..first], Duration::ZERO);
                if !matches!(mode, Mode::Stall(_)) {
                    return Some(mode);
                }
                shared.stall(|| true);
                if !send(&buffer[first..len], Duration::ZERO) {
                    return None;
                }
            }
        }
    }
}

/// Writes pieces when they are due.
fn write(mut to: &TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, bytes)) = receiver.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn decide(faults: &mut [Active], direction: Direction, len: usize) -> Fate {
    let (mut delay, mut rate) = (Duration::ZERO, None);
    for active in faults {
        let limit = match (active.mode(), direction) {
            (Mode::CutAfter(n) | Mode::Truncate(n) | Mode::Stall(n), Direction::Down)
            | (Mode::CutRequestAfter(n), Direction::Up) => *n,
            (Mode::Delay(time), _) => {
                let time = *time;
                if active.is_due(None) {
                    delay += time;
                }
                continue;
            }
            (Mode::Throttle(most), _) => {
                let most = *most;
                if active.is_due(None) {
                    rate = Some(most);
                }
                continue;
            }
            _ => continue,
        };
        let before = active.bytes;
        active.bytes += len as u64;
        if active.bytes <= limit || !active.is_due(None) {
            continue;
        }
        active.strike();
        let first = usize::try_from(limit.saturating_sub(before)).unwrap_or(len);
        return Fate::End(first.min(len), active.mode().clone());
    }
    Fate::Pass { delay, rate }
}
