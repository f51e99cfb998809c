//! Lines on their way to the output, written by a thread of its own: whoever has something to say never waits for whoever
//! reads the log.
//!
//! Promise: what waits takes no more than [`BYTES_MAX`]; what there is no room for is counted.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::Spawn;
use parking_lot::{Condvar, Mutex};

/// Some ten thousand lines.
const BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
    lost: u64,
}

impl Queue {
    /// A queue with a thread that writes. `None` if there can be no thread.
    pub fn start(spawn: &dyn Spawn, write: impl Fn(&[u8]) + Send + 'static) -> Option<Arc<Queue>> {
        let queue = Arc::new(Queue::default());
        let writing = queue.clone();
        let work = Box::new(move || writing.write_all(write));
        // The thread ends with the process.
        spawn.spawn("log", work).ok().map(|_| queue)
    }

    /// Hands a line over.
    pub fn put(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + line.len() > BYTES_MAX {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.filled.notify_one();
    }

    /// How many lines were lost, once there is room to say so; then they are forgotten.
    pub fn take_lost(&self) -> u64 {
        let mut state = self.state.lock();
        if state.waiting.len() > BYTES_MAX / 2 {
            return 0;
        }
        std::mem::take(&mut state.lost)
    }

    /// Waits until all is written, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let mut state = self.state.lock();
        let is_pending = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        self.emptied.wait_while_for(&mut state, is_pending, limit);
    }

    fn write_all(&self, write: impl Fn(&[u8])) {
        let mut state = self.state.lock();
        loop {
            self.filled.wait_while(&mut state, |s| s.waiting.is_empty());
            let lines = std::mem::take(&mut state.waiting);
            state.is_writing = true;
            parking_lot::MutexGuard::unlocked(&mut state, || write(&lines));
            state.is_writing = false;
            if state.waiting.is_empty() {
                self.emptied.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::real;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// A queue whose output is stuck as long as the returned lock is held.
    fn queue() -> (Arc<Queue>, Arc<Mutex<Vec<u8>>>) {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = out.clone();
        let write = move |lines: &[u8]| sink.lock().extend_from_slice(lines);
        let queue = Queue::start(&*real::env().spawn, write).unwrap();
        (queue, out)
    }

    #[test]
    fn lines_come_out_in_order() {
        let (queue, out) = queue();
        let lines: Vec<String> = (0..1000).map(|n| format!("{n}\n")).collect();
        for line in &lines {
            queue.put(line.as_bytes());
        }
        queue.flush(MINUTE);
        assert_eq!(*out.lock(), lines.concat().as_bytes());
        assert_eq!(queue.take_lost(), 0);
    }

    #[test]
    fn an_output_that_is_stuck_holds_up_nobody() {
        let (queue, out) = queue();
        let stuck = out.lock();
        let line = [b'x'; 1024];
        queue.put(&line);
        while !queue.state.lock().is_writing {
            std::thread::yield_now();
        }
        let places = BYTES_MAX / line.len();
        for _ in 0..places + 7 {
            queue.put(&line);
        }
        queue.flush(Duration::from_millis(10));
        assert_eq!(queue.take_lost(), 0, "there is no room to say so");
        drop(stuck);
        queue.flush(MINUTE);
        assert_eq!(queue.take_lost(), 7);
        assert_eq!(out.lock().len(), (1 + places) * line.len());
        assert_eq!(queue.take_lost(), 0);
    }
}
