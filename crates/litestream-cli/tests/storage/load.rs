//! An application that writes all the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::oracle::{app, fill};

/// Between two transactions.
const PAUSE: Duration = Duration::from_millis(8);

pub struct Load {
    stop: Arc<AtomicBool>,
    /// A transaction that takes several parts or pieces to upload is wanted.
    large: Arc<AtomicBool>,
    writer: JoinHandle<usize>,
}

impl Load {
    /// Writes small transactions of many sizes, until it is stopped.
    pub fn start(db: &Path) -> Load {
        let conn = app(db, 4096, "NONE");
        let (stop, large) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, wanted): (_, Arc<AtomicBool>) = (Arc::clone(&stop), Arc::clone(&large));
        let writer = spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::SeqCst) {
                fill(&conn, 1 + count % 7, 10 << (count % 11));
                if wanted.swap(false, Ordering::SeqCst) {
                    fill(&conn, 12, 1 << 20);
                }
                if count % 10 == 9 {
                    let sql =
                        "UPDATE t SET n = n + 1 WHERE id % 9 = 0; DELETE FROM t WHERE id % 17 = 0";
                    conn.execute_batch(sql).unwrap();
                }
                count += 1;
                sleep(PAUSE);
            }
            count
        });
        Load {
            stop,
            large,
            writer,
        }
    }

    /// Has 12 MiB written in one transaction and waits until they are.
    pub fn write_much(&self) {
        self.large.store(true, Ordering::SeqCst);
        while self.large.load(Ordering::SeqCst) {
            sleep(PAUSE);
        }
    }

    /// Ends it; it must have written something.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        let count = self.writer.join().unwrap();
        assert!(count > 10, "only {count} transactions");
    }
}
