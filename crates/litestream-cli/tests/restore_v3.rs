//! Backups of Litestream 0.3 through the real program, beside Litestream 0.5.17 and the golden files of 0.3.13.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;
mod oracle;
#[path = "../../litestream/tests/v3_support/mod.rs"]
mod v3_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::Place;
use oracle::{assert_same, restore};
use v3_support::{Made, Source, write};

const OURS: &str = env!("CARGO_BIN_EXE_litestream");

fn url(root: &Path) -> String {
    format!("file://{}", root.display())
}

#[test]
fn r11_litestream_0_5_17_restores_the_same_from_the_same_folder() {
    let (theirs, dir) = (oracle::program(), tempfile::tempdir().unwrap());
    for (seed, page_size) in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
        .into_iter()
        .enumerate()
    {
        let mut source = Source::new(100 + seed as u64, page_size);
        let mut objects = source.generation(9, 3, 6, seed % 2 == 0);
        objects.append(&mut source.generation(4, 2, 4, false));
        // All of it, and a part that ends with a commit in the middle.
        let commits: Vec<usize> = (0..objects.len()).filter(|i| objects[*i].commits).collect();
        for end in [objects.len(), commits[commits.len() / 2] + 1] {
            let root = dir.path().join(format!("{page_size}-{end}"));
            write(&root, &objects[..end]);
            for program in [Path::new(OURS), &theirs] {
                let what = format!("{page_size}, {end} objects, {}", program.display());
                let image = restore(program, &url(&root), dir.path());
                assert_same(&what, &objects[end - 1].image, &image);
            }
        }
    }
}

/// The golden backup, laid out with the times that it had.
fn golden(version: &str, root: &Path) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/v3")
        .join(version);
    for line in fs::read_to_string(folder.join("times.txt"))
        .unwrap()
        .lines()
    {
        let (ms, path) = line.split_once(' ').unwrap();
        let to = root.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder.join("backup").join(path), &to).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.parse().unwrap());
        let file = fs::File::options().write(true).open(&to).unwrap();
        file.set_modified(time).unwrap();
    }
    fs::read(folder.join("restored.db")).unwrap()
}

#[test]
fn r11_golden_files_of_0_3_13() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("backup");
    let expected = golden("0.3.13", &root);
    for program in [Path::new(OURS), &oracle::program()] {
        let image = restore(program, &url(&root), dir.path());
        assert_same(&program.display().to_string(), &expected, &image);
    }
}

fn backed_up(place: &Place) -> Vec<Made> {
    let objects = Source::new(1, 4096).generation(9, 2, 3, false);
    write(&place.path("backup"), &objects);
    objects
}

#[test]
fn restore_says_what_it_does() {
    let place = Place::new();
    let (objects, url) = (backed_up(&place), place.url());
    // The first object is of 22:13:21, each next one a second younger.
    let time = format!("2023-11-14T22:13:{}Z", 20 + objects.len());
    let plan = place.run(&["restore", "-dry-run", "-o", "out.db", &url]);
    assert_eq!(plan.code, 0, "{plan:?}");
    let head = format!(
        "Restore plan:\n  source: {url}\n  target: out.db\n  replica: file\n  format: Litestream 0.3\n  generation: 0000000000000009\n  state from: {time}\n\nFiles to fetch:\nfile "
    );
    assert!(plan.stdout.starts_with(&head), "{}", plan.stdout);
    let files: Vec<&str> = plan
        .stdout
        .lines()
        .skip(10)
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(
        files,
        objects.iter().map(|o| o.path.as_str()).collect::<Vec<_>>()
    );
    let plan = place
        .run(&["restore", "-dry-run", "-json", "-o", "out.db", &url])
        .stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(
        (&plan["format"], &plan["max_txid"], &plan["time"]),
        (&"0.3".into(), &"".into(), &time.as_str().into())
    );
    assert_eq!(plan["files"][0]["name"], objects[0].path);
    assert_eq!(plan["files"].as_array().unwrap().len(), objects.len());
    assert_eq!(place.names(), ["backup"]);

    let args = ["-json", "-progress", "json", "-integrity-check", "full"];
    let done = place.run(&[&["restore", "-o", "out.db"], &args[..], &[&url]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let document: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&document["txid"], &document["replica"], &document["time"]),
        (&"".into(), &"file".into(), &time.as_str().into())
    );
    let planned = done.stderr.lines().find(|l| l.contains("\"planned\""));
    let planned: serde_json::Value = serde_json::from_str(planned.unwrap()).unwrap();
    assert_eq!(
        (&planned["txid"], &planned["time"]),
        (&"".into(), &time.as_str().into())
    );
    for text in [
        "\"planned\"",
        "\"checking\"",
        "\"done\"",
        "Litestream 0.3",
        "check passed",
    ] {
        assert!(done.stderr.contains(text), "{text}: {}", done.stderr);
    }
    assert_eq!(
        fs::read(place.path("out.db")).unwrap(),
        objects.last().unwrap().image
    );
    let again = place.run(&["restore", "-o", "out.db", &url]);
    assert!(
        again.stderr.contains("already exists and is not empty"),
        "{again:?}"
    );
    assert_eq!(place.names(), ["backup", "out.db"]);
}

/// As with the original, but for the words.
#[test]
fn follow_mode_takes_none_and_says_so() {
    let place = Place::new();
    backed_up(&place);
    let url = place.url();
    let done = place.run(&["restore", "-f", "-o", "out.db", &url]);
    let text = "Error: no matching backup files available to follow: there is only a backup of Litestream 0.3; restore it without -f\n";
    assert_eq!((done.code, done.stderr.as_str()), (1, text));
    let args = ["restore", "-f", "-if-replica-exists", "-o", "out.db"];
    let done = place.run(&[&args[..], &[&url]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr.contains("no matching backups found"),
        "{done:?}"
    );
    assert_eq!(place.names(), ["backup"]);
}

#[test]
fn points_in_time_and_their_absence() {
    let place = Place::new();
    let (objects, url) = (backed_up(&place), place.url());
    // The first object is of 22:13:21, each next one a second younger.
    for number in [1, 2, objects.len() - 1] {
        let time = format!("2023-11-14T22:13:{:02}Z", 21 + number);
        let done = place.run(&[
            "restore",
            "-force",
            "-o",
            "out.db",
            "-timestamp",
            &time,
            &url,
        ]);
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(
            fs::read(place.path("out.db")).unwrap(),
            objects[number].image,
            "{time}"
        );
        let log = done
            .stderr
            .lines()
            .find(|l| l.contains("restored the last state before"))
            .unwrap();
        assert!(
            log.contains("time=2023-11-14T22:13:") && !log.contains("txid"),
            "{log}"
        );
    }
    let early = [
        "restore",
        "-o",
        "x",
        "-timestamp",
        "2023-11-14T22:13:21Z",
        &url,
    ];
    let done = place.run(&early);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (1, "Error: timestamp does not exist\n")
    );
    let done = place.run(&["restore", "-o", "x", "-txid", "0000000000000001", &url]);
    assert!(
        done.stderr.contains("no matching backup files available"),
        "{done:?}"
    );
}

#[test]
fn r14_a_damaged_backup_is_no_reason_to_start_empty() {
    let place = Place::new();
    let (objects, url) = (backed_up(&place), place.url());
    fs::remove_file(place.path("backup").join(&objects[1].path)).unwrap();
    for args in [
        &["restore", "-o", "x", "-if-replica-exists"][..],
        &["restore", "-o", "x"],
    ] {
        let done = place.run(&[args, &[&url]].concat());
        assert_eq!(done.code, 1);
        assert!(
            done.stderr
                .contains(&format!("{} is missing", objects[1].path)),
            "{done:?}"
        );
        assert!(
            done.stderr.contains("-timestamp 2023-11-14T22:13:21.001Z"),
            "{done:?}"
        );
    }
    let args = ["replicate", "-once", "-restore-if-db-not-exists", "x", &url];
    let done = place.run(&args);
    assert!(done.code != 0 && !place.path("x").exists(), "{done:?}");
    fs::remove_file(place.path("backup").join(&objects[0].path)).unwrap();
    let done = place.run(&["restore", "-o", "x", "-if-replica-exists", &url]);
    assert!(
        done.code == 1 && done.stderr.contains("no generation has a snapshot"),
        "{done:?}"
    );
}

/// The way of an upgrade: 0.3 wrote until a moment, LTX files follow in the same folder.
#[test]
fn an_upgrade_in_place() {
    let place = Place::new();
    let (objects, url) = (backed_up(&place), place.url());
    let args = [
        "replicate",
        "-once",
        "-restore-if-db-not-exists",
        "app.db",
        &url,
    ];
    let done = place.run(&args);
    assert_eq!(done.code, 0, "{done:?}");
    let upgraded = fs::read(place.path("app.db")).unwrap();
    assert_eq!(upgraded.len(), objects.last().unwrap().image.len());
    let conn = rusqlite::Connection::open(place.path("app.db")).unwrap();
    conn.execute_batch("CREATE TABLE since(x)").unwrap();
    assert_eq!(place.run(&["replicate", "-once", "app.db", &url]).code, 0);
    for program in [PathBuf::from(OURS), oracle::program()] {
        let image = restore(&program, &url, &place.path(""));
        assert_same(
            &program.display().to_string(),
            &oracle::image(&place.path("app.db")),
            &image,
        );
    }
    let then = [
        "restore",
        "-o",
        "then.db",
        "-timestamp",
        "2024-01-01T00:00:00Z",
        &url,
    ];
    assert_eq!(place.run(&then).code, 0);
    assert_eq!(
        fs::read(place.path("then.db")).unwrap(),
        objects.last().unwrap().image
    );
    // Somebody goes back to 0.3: its newer backup counts again.
    let last = place.path("backup").join(&objects.last().unwrap().path);
    let file = fs::File::options().write(true).open(last).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_mins(1))
        .unwrap();
    for program in [PathBuf::from(OURS), oracle::program()] {
        let image = restore(&program, &url, &place.path(""));
        assert_same(
            &program.display().to_string(),
            &objects.last().unwrap().image,
            &image,
        );
    }
}
