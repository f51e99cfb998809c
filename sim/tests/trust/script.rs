//! Random scripts of SQL, locks, opens and closes for a few connections, decided by a seed.

use rusqlite::OpenFlags;

const STEPS: usize = 40;
/// Connections of a script.
pub const CONNECTIONS: usize = 3;

/// Small numbers for scripts, independent of both sides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// One thing that a connection does.
#[derive(Debug)]
pub enum Step {
    Open { connection: usize, flags: OpenFlags },
    Close { connection: usize },
    Sql { connection: usize, sql: String },
}

impl Step {
    /// Whose step it is.
    pub fn connection(&self) -> usize {
        match self {
            Step::Open { connection, .. }
            | Step::Close { connection }
            | Step::Sql { connection, .. } => *connection,
        }
    }
}

fn sql(dice: &mut Dice) -> String {
    let mode = dice.pick(&[
        "WAL", "WAL", "WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF",
    ]);
    let check = dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
    let size = dice.pick(&["512", "1024", "4096", "8192", "65536"]);
    let begin = dice.pick(&["", "IMMEDIATE", "EXCLUSIVE"]);
    let rows = dice.below(40) + 1;
    let bytes = dice.below(3000);
    let at = dice.below(60);
    match dice.below(44) {
        0 => format!("PRAGMA journal_mode={mode}"),
        1 => "UPDATE t SET v = v || 'x' WHERE id % 3 = 0".to_owned(),
        2..5 => format!("PRAGMA wal_checkpoint({check})"),
        5 => format!("PRAGMA page_size={size}"),
        6 => "VACUUM".to_owned(),
        7..10 => format!("BEGIN {begin}"),
        10..13 => "COMMIT".to_owned(),
        13 => "ROLLBACK".to_owned(),
        14 => "SAVEPOINT s".to_owned(),
        15 => dice.pick(&["RELEASE s", "ROLLBACK TO s"]).to_owned(),
        16..22 => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT INTO t(v) SELECT zeroblob({bytes}) || i FROM n"
        ),
        22..25 => "INSERT INTO t(v) VALUES(randomblob(200))".to_owned(),
        25 => format!("DELETE FROM t WHERE id % 60 < {at}"),
        26 => format!("UPDATE t SET v = zeroblob({bytes}) WHERE id % 60 > {at}"),
        27..30 => "SELECT count(*), sum(length(v)), max(id) FROM t".to_owned(),
        30 => "SELECT hex(substr(v, 1, 4)) FROM t ORDER BY v LIMIT 5".to_owned(),
        31 => "CREATE TABLE IF NOT EXISTS u(a, b)".to_owned(),
        32 => "DROP TABLE IF EXISTS u".to_owned(),
        33 => "PRAGMA integrity_check".to_owned(),
        34 => dice
            .pick(&[
                "PRAGMA locking_mode=EXCLUSIVE",
                "PRAGMA locking_mode=NORMAL",
                "PRAGMA locking_mode=NORMAL",
            ])
            .to_owned(),
        35 => dice
            .pick(&[
                "PRAGMA synchronous=OFF",
                "PRAGMA synchronous=FULL",
                "PRAGMA cache_size=3",
            ])
            .to_owned(),
        36 => dice
            .pick(&[
                "PRAGMA auto_vacuum=FULL",
                "PRAGMA incremental_vacuum",
                "PRAGMA page_count",
            ])
            .to_owned(),
        37 => dice
            .pick(&[
                "PRAGMA journal_size_limit=5000",
                "PRAGMA wal_autocheckpoint=2",
                "PRAGMA wal_autocheckpoint=0",
                "PRAGMA mmap_size",
                "PRAGMA journal_mode",
            ])
            .to_owned(),
        38..42 => "BEGIN; SELECT count(*) FROM t".to_owned(),
        42 => "ATTACH 'other.db' AS o".to_owned(),
        _ => "CREATE TABLE IF NOT EXISTS o.w(a); INSERT INTO o.w VALUES(1)".to_owned(),
    }
}

/// Little else than locks: readers and writers that stand in each other's way.
fn sql_of_locks(dice: &mut Dice) -> String {
    dice.pick(&[
        "BEGIN; SELECT count(*) FROM t",
        "BEGIN; SELECT count(*) FROM t",
        "SELECT max(id) FROM t",
        "BEGIN IMMEDIATE",
        "BEGIN IMMEDIATE; INSERT INTO t(v) VALUES(zeroblob(90000))",
        "BEGIN EXCLUSIVE",
        "INSERT INTO t(v) VALUES(randomblob(200))",
        "INSERT INTO t(v) VALUES(randomblob(200))",
        "PRAGMA cache_size=3",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA journal_mode=WAL",
        "COMMIT",
        "COMMIT",
        "COMMIT",
        "COMMIT",
        "ROLLBACK",
    ])
    .to_owned()
}

/// The script of a seed.
pub fn script(seed: u64) -> Vec<Step> {
    let mut dice = Dice(seed);
    let start = [
        "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)".to_owned(),
        format!(
            "PRAGMA journal_mode={}",
            dice.pick(&["WAL", "DELETE", "WAL", "PERSIST", "TRUNCATE"])
        ),
    ];
    let mut steps: Vec<Step> = vec![Step::Open {
        connection: 0,
        flags: OpenFlags::default(),
    }];
    steps.extend(
        start
            .into_iter()
            .map(|sql| Step::Sql { connection: 0, sql }),
    );
    let of_locks = seed.is_multiple_of(3);
    if of_locks {
        let flags = OpenFlags::default();
        steps.extend((1..CONNECTIONS).map(|connection| Step::Open { connection, flags }));
    }
    for _ in 0..STEPS {
        let connection = dice.below(CONNECTIONS as u64) as usize;
        steps.push(match dice.below(if of_locks { 40 } else { 12 }) {
            0 | 1 => Step::Open {
                connection,
                flags: match dice.below(5) {
                    0 => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                    _ => OpenFlags::default(),
                },
            },
            2 => Step::Close { connection },
            _ => Step::Sql {
                connection,
                sql: if of_locks {
                    sql_of_locks(&mut dice)
                } else {
                    sql(&mut dice)
                },
            },
        });
    }
    steps.extend((0..CONNECTIONS).map(|connection| Step::Close { connection }));
    steps
}
