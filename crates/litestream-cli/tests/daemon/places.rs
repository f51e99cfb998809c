//! Where databases of a configuration are found, and where their files go.

use std::fs;
use std::path::Path;

use crate::common::{LITESTREAM, Place};
use crate::oracle;
use crate::world::{World, is_ltx, tree};

const CONFIG: &str = "
dbs:
  - path: DIR/one.db
    replicas: [{path: DIR/first}, {url: 'file://DIR/second'}]
  - {dir: DIR/flat, pattern: '*.db', replica: {path: DIR/r-flat}}
  - {dir: DIR/deep, pattern: '*.sqlite', recursive: true, meta-path: DIR/m-path, replica: {url: 'file://DIR/r-deep'}}
  - {dir: DIR/tenants, pattern: '[a-c]?*.db', recursive: true, meta-dir: DIR/m-dir, replica: {path: DIR/r-tenants}}
";

/// Databases of that configuration, and their replicas.
const DATABASES: &[(&str, &[&str])] = &[
    ("deep/a.sqlite", &["r-deep/a.sqlite"]),
    ("deep/x/y/a.sqlite", &["r-deep/x/y/a.sqlite"]),
    ("flat/.hidden.db", &["r-flat/.hidden.db"]),
    ("flat/f.db", &["r-flat/f.db"]),
    ("one.db", &["first", "second"]),
    ("tenants/a1.db", &["r-tenants/a1.db"]),
    ("tenants/n/b+b.db", &["r-tenants/n/b+b.db"]),
];

/// Databases that it does not name.
const OTHERS: &[&str] = &[
    "deep/a.db",
    "flat/sub/f.db",
    "other.db",
    "tenants/a.db",
    "tenants/d1.db",
];

fn folders(world: &World) {
    for folder in ["flat/sub", "deep/x/y", "tenants/n"] {
        world.folder(folder);
    }
    fs::write(world.path("flat/garbage.db"), [7; 8192]).unwrap();
    fs::write(world.path("flat/empty.db"), "").unwrap();
}

#[test]
fn every_database_of_a_configuration_is_in_its_replicas() {
    let world = World::new(CONFIG);
    folders(&world);
    let names: Vec<&str> = DATABASES.iter().map(|(name, _)| *name).collect();
    let open: Vec<_> = names.iter().map(|name| world.database(name)).collect();
    for name in OTHERS {
        drop(world.database(name));
    }
    let daemon = world.start();
    assert_eq!(daemon.names(), names);
    for (name, replicas) in DATABASES {
        daemon.sync(name);
        for replica in *replicas {
            world.assert_restored(name, replica);
        }
    }
    // Each is followed, not only copied; the last commits come with the end.
    for conn in &open {
        oracle::fill(conn, 30, 900);
    }
    daemon.end_well();
    let original = oracle::program();
    for (name, replicas) in DATABASES {
        for replica in *replicas {
            world.assert_restored(name, replica);
            world.assert_restored_by(&original, name, replica);
        }
    }
    let mut replicas = Vec::new();
    for top in ["r-deep", "r-flat", "r-tenants", "first", "second"] {
        replicas.extend(roots(&world.path(top), top));
    }
    let mut expected: Vec<&str> = DATABASES
        .iter()
        .flat_map(|(_, r)| r.iter().copied())
        .collect();
    replicas.sort();
    expected.sort_unstable();
    assert_eq!(replicas, expected);
}

/// Folders that have a folder `ltx` with files.
fn roots(top: &Path, name: &str) -> Vec<String> {
    let mut found: Vec<String> = tree(top)
        .iter()
        .filter(|file| is_ltx(file))
        .map(|file| {
            let root = Path::new(name).join(file.split("ltx/").next().unwrap());
            root.to_str().unwrap().trim_end_matches('/').to_owned()
        })
        .collect();
    found.dedup();
    found
}

/// Runs a program twice over all databases, with a commit between, and gives the LTX files that there are then.
fn files_made_by(program: &str) -> Vec<String> {
    // Only one replica: the original knows no more.
    let world = World::new(&CONFIG.replace(", {url: 'file://DIR/second'}", ""));
    folders(&world);
    // Names that a URL spells otherwise. The original opens another file where a name has `%` or `?`.
    let odd = ["deep/x/a b.sqlite", "tenants/n/c c+ü.db"];
    let names = DATABASES.iter().map(|(name, _)| *name).chain(odd);
    let open: Vec<_> = names.map(|name| world.database(name)).collect();
    for name in OTHERS {
        drop(world.database(name));
    }
    for _ in 0..2 {
        for conn in &open {
            oracle::fill(conn, 5, 100);
        }
        run(&world.place, program);
    }
    let mut files = tree(&world.path(""));
    files.retain(|file| is_ltx(file));
    // What was uploaded is kept here by the original only.
    let is_state = |file: &str| file.contains("-litestream/");
    files.retain(|file| !(is_state(file) && file.contains("0000000000000001-")));
    files
}

fn run(place: &Place, program: &str) {
    let mut command = place.command(program, &["replicate", "-once", "-config", "c.yml"]);
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}: {text}");
}

#[test]
fn files_lie_where_those_of_the_original_lie() {
    let ours = files_made_by(LITESTREAM);
    let theirs = files_made_by(oracle::program().to_str().unwrap());
    assert!(theirs.len() >= 3 * DATABASES.len(), "{theirs:#?}");
    assert_eq!(ours, theirs);
}
