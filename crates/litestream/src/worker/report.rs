//! What the worker tells of what it does: sizes, operations, failures.

use super::Worker;
use crate::capture::FullReason;
use crate::database::Database;
use crate::error::Error;
use crate::shared::Operation;
use crate::wal::frame_offset;
use litestream_replica::env::Monotonic;

impl Worker {
    /// An operation begins.
    pub(super) fn begins(&self, name: &'static str, phase: &'static str) {
        let now = self.env.clock.now();
        let database = self.state.database.as_ref();
        let txid = database.and_then(Database::position).map(|p| p.txid);
        let reason = self.state.full.as_ref().map(FullReason::to_string);
        self.shared.see(|seen, _| {
            seen.operation = Operation {
                name,
                is_active: true,
                phase,
                started_at: now,
                updated_at: now,
                txid,
                is_full: reason.is_some(),
                reason,
                error: None,
            };
        });
    }

    /// It has ended.
    pub(super) fn ends(&self, error: Option<&Error>) {
        let now = self.env.clock.now();
        let database = self.state.database.as_ref();
        let txid = database.and_then(Database::position).map(|p| p.txid);
        self.shared.see(|seen, _| {
            let operation = &mut seen.operation;
            operation.is_active = false;
            operation.updated_at = now;
            operation.txid = txid.or(operation.txid);
            match error {
                Some(error) => operation.error = Some(error.to_string()),
                None => operation.phase = "update_metrics",
            }
        });
    }

    /// An attempt at anything has failed, as all have since then.
    pub(super) fn failed(&self, error: &Error, since: Monotonic) {
        let is_missing = matches!(error, Error::NoDatabase(_));
        let is_open = self.state.database.is_some();
        self.shared.see(|seen, counters| {
            seen.was_looked_at = true;
            seen.is_missing = is_missing;
            seen.is_open = is_open;
            seen.disk_full = error.is_disk_full();
            if !is_missing && !matches!(error, Error::Closed) {
                counters.sync_errors += 1;
            }
        });
        self.shared.worker_error(Some((error.to_string(), since)));
        self.ends(Some(error));
    }

    /// Everything is staged.
    pub(super) fn report_sizes(&mut self) {
        let Some(database) = &mut self.state.database else {
            return;
        };
        let Ok(state) = database.state() else {
            return;
        };
        let page_size = state.page_size;
        let captured = database.position().map(|p| p.cursor.frames);
        let wal = self.env.disk.metadata(&self.settings.wal_path());
        self.shared.see(|seen, _| {
            seen.was_looked_at = true;
            seen.is_open = true;
            seen.is_missing = false;
            seen.disk_full = false;
            seen.database_bytes = u64::from(state.pages) * u64::from(page_size.get());
            seen.wal_end = captured.map_or(0, |frames| frame_offset(frames, page_size));
            seen.wal_file_bytes = wal.map_or(0, |m| m.len);
        });
    }
}
