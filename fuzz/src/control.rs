//! Any bytes as a request to the control socket.

use litestream_cli::fuzzing;
use serde_json::json;

/// A body is refused with a text, or means the same when it is written in another way, whatever follows it. A redirect leads to an
/// address of the same host that is not redirected again.
pub fn control_request(data: &[u8]) {
    match fuzzing::control_request(data) {
        Err(text) => assert!(!text.is_empty()),
        Ok((path, wait, timeout)) => {
            let again = json!({ "PATH": path, "Wait": wait, "timeOut": timeout, "more": [null] });
            for rest in ["", " {", "x\0"] {
                let read = fuzzing::control_request(format!("{again}{rest}").as_bytes());
                assert!(
                    read == Ok((path.clone(), wait, timeout)),
                    "{again} is {read:?}"
                );
            }
        }
    }
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let split = |address: &str| -> (String, Option<String>) {
            match address.split_once('?') {
                Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
                None => (address.to_owned(), None),
            }
        };
        let (path, query) = split(line);
        let Some(location) = fuzzing::control_redirect(&path, query.as_deref()) else {
            continue;
        };
        assert!(
            location.starts_with('/') && !location.starts_with("//"),
            "{location}"
        );
        let (path, query) = split(&location);
        let again = fuzzing::control_redirect(&path, query.as_deref());
        assert!(again.is_none(), "{location} leads on to {again:?}");
    }
}
