//! What is shown of a restore under way.

use indicatif::ProgressBar;
use litestream::restore::Event;
use serde_json::{Value, json};

use crate::{progress, time};

impl progress::Event for Event {
    fn is_frequent(&self) -> bool {
        matches!(self, Event::Progress { .. })
    }

    fn draw(&self, bar: &ProgressBar) {
        match *self {
            Event::Planned { bytes, .. } => {
                bar.set_length(bytes);
                bar.set_position(0);
                bar.set_message("restoring");
            }
            Event::Progress { bytes_read, .. } => bar.set_position(bytes_read),
            Event::Checking => bar.set_message("checking"),
            Event::Done { .. } => {}
        }
    }

    fn object(&self) -> Value {
        match *self {
            Event::Planned {
                files,
                bytes,
                pages,
                txid,
                time,
            } => {
                json!({"event": "planned", "files": files, "bytes": bytes, "pages": pages,
                    "txid": super::txid_text(txid), "time": time::utc_exact(time)})
            }
            Event::Progress {
                bytes_read,
                bytes_written,
            } => {
                json!({"event": "progress", "bytes_read": bytes_read, "bytes_written": bytes_written})
            }
            Event::Checking => json!({"event": "checking"}),
            Event::Done { proved } => json!({"event": "done", "proved": proved}),
        }
    }
}
