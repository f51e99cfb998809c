//! Any text as a configuration.

use litestream_cli::fuzzing;

/// What is accepted is shown as a configuration that is accepted, and shown the same; what is not accepted has a message.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match fuzzing::configuration(&text) {
        Ok(shown) => {
            let again = fuzzing::configuration(&shown);
            assert!(
                again.as_ref() == Ok(&shown),
                "{text:?} is shown as {shown}\nand that as {again:?}"
            );
        }
        Err(message) => assert!(!message.is_empty()),
    }
}
