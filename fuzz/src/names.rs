//! Any text as a name, a URL, a path: what is accepted means one thing, and leads nowhere else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use litestream_cli::fuzzing;
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::url::{clean_path, is_url};
use litestream_replica::{Level, key};
use ltx::{FileName, Txid};

/// Names that parse are displayed the same, and their keys stay below the root.
pub fn file_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().chain([&*text]) {
        if let Ok(txid) = line.parse::<Txid>() {
            assert!(txid.to_string().eq_ignore_ascii_case(line));
        }
        let Some(name) = FileName::parse(line) else {
            continue;
        };
        assert!(name.to_string() == line, "{line} is displayed as {name}");
        assert!(name.min.get() > 0 && name.min <= name.max);
        for level in Level::all() {
            let path = key::file_path(Path::new("/root"), level, name);
            let expected = format!("/root/ltx/{level}/{line}");
            assert!(path.as_os_str() == expected.as_str(), "{}", path.display());
        }
    }
}

/// URLs that parse name a place: a file's is an absolute path without `..`, and all others can be written as keys that name
/// it again; paths are cleaned once and for all.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for text in [
        &*text,
        &format!("file://{text}"),
        &format!("FILE:///{text}"),
        &format!("s3://{text}"),
    ] {
        match Storage::from_url(text) {
            Ok(Storage::File(file)) => {
                let path = file.path;
                is_clean(&path, text);
                let shown = path.display().to_string();
                assert!(clean_path(&shown) == shown);
                let plain = shown.bytes().all(|b| b.is_ascii_graphic());
                assert!(plain, "{text:?} gives {shown:?}");
                if !shown.contains(['#', '?']) && shown != "/" {
                    let again = Storage::from_url(&format!("file://{shown}")).unwrap();
                    assert!(again.location() == shown, "{shown} names another place");
                }
            }
            Ok(storage) => {
                let written = text.split_once("://").unwrap().0.to_ascii_lowercase();
                assert!(written.trim_end_matches('s') == storage.kind().trim_end_matches('s'));
                assert!(is_url(text));
                written_as_keys(&storage, text);
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
        let clean = clean_path(text);
        assert!(clean_path(&clean) == clean && !clean.is_empty());
        assert!(clean.starts_with('/') == text.starts_with('/'));
        assert!(
            clean == by_components(text),
            "{text:?} is cleaned to {clean:?}"
        );
    }
    let arg = OsStr::from_bytes(data);
    if let Some(path) = fuzzing::database_path(arg) {
        is_clean(&path, "a database");
    }
}

/// An ARN can't be told from a bucket's name by its key, and a path that looks like a URL is refused there.
fn written_as_keys(storage: &Storage, text: &str) {
    let keys = storage.keys();
    if keys.text("path").is_none_or(|path| !is_url(&path)) {
        let again = Storage::read(&keys, &Keys::new()).unwrap();
        assert!(again == *storage, "{text:?} as {keys:?}");
    }
    assert!(storage.same_place(storage) && !storage.location().is_empty());
    assert!(storage.below("a").kind() == storage.kind());
}

/// The same by the standard library's idea of a path.
fn by_components(path: &str) -> String {
    let mut out = PathBuf::new();
    for component in Path::new(path).components() {
        match (component, out.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(out.pop()),
            (component, _) => out.push(component),
        }
    }
    if out.as_os_str().is_empty() {
        out.push(".");
    }
    out.display().to_string()
}

fn is_clean(path: &Path, from: &str) {
    assert!(path.is_absolute(), "{from:?} gives {}", path.display());
    let mut components = path.components();
    assert!(components.next() == Some(Component::RootDir));
    assert!(
        components.all(|c| matches!(c, Component::Normal(_))),
        "{from:?} gives {}",
        path.display()
    );
}

/// A noted cursor that is read is written in one way, which means the same. The first line is the TXID asked for.
pub fn cursor(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((txid, line)) = text.split_once('\n') else {
        return;
    };
    let Ok(txid) = txid.parse::<Txid>() else {
        return;
    };
    let read = litestream::fuzzing::cursor(line, txid);
    let Some(again) = &read else { return };
    assert!(litestream::fuzzing::cursor(again, txid) == read);
    assert!(again.ends_with('\n') && again.split(' ').count() == 14);
    assert!(litestream::fuzzing::cursor(line, txid.next()).is_none() || txid == txid.next());
}
