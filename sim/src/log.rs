//! Whether episodes tell what happens.

use std::cell::Cell;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// From now on, on this thread.
pub fn set(on: bool) {
    ON.set(on);
}

/// Whether lines are wanted.
pub fn is_on() -> bool {
    ON.get()
}

/// Writes a line if they are wanted.
pub fn line(line: &str) {
    if is_on() {
        eprintln!("{line}");
    }
}
