//! What is shown of a verification under way.

use indicatif::ProgressBar;
use litestream::verify::Event;
use serde_json::{Value, json};

use crate::progress;

impl progress::Event for Event {
    fn is_frequent(&self) -> bool {
        matches!(self, Event::Progress { .. })
    }

    fn draw(&self, bar: &ProgressBar) {
        match *self {
            Event::Listed { .. } => bar.set_message("verifying"),
            Event::Reading { bytes, .. } => bar.set_length(bytes),
            Event::Progress { bytes_read } => bar.set_position(bytes_read),
        }
    }

    fn object(&self) -> Value {
        match self {
            Event::Listed { files, bytes } => {
                json!({"event": "listed", "files": files, "bytes": bytes})
            }
            Event::Reading { files, bytes } => {
                json!({"event": "reading", "files": files, "bytes": bytes})
            }
            Event::Progress { bytes_read } => {
                json!({"event": "progress", "bytes_read": bytes_read})
            }
        }
    }
}
