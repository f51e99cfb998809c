//! What a storage can do, found out by trying: for `litestream doctor`.
//!
//! Promise: everything is tried below a folder of its own, which is cleared away; what lies in the replica is only listed.

use std::time::Duration;

use bytes::Bytes;
use ltx::{FileName, Header, PageSize, Txid};

use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::env::{Env, UnixMillis};
use crate::{Error, Level, Replica, Result, Source};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, but somebody should know.
    Warning,
    /// A replica there would not work, or not be safe.
    Bad,
    /// Not found out, because something before it failed.
    Skipped,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A few words.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen, or what to do.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// Wall clocks further apart than this confuse retention and restores by time.
const SKEW_MAX_MS: i64 = 60_000;
/// Large enough to be uploaded in parts.
const LARGE: usize = 6 << 20;
const SMALL: usize = 3_000;
const TIME: UnixMillis = UnixMillis(1_700_000_000_123);

/// Tries out `scratch`, a place of its own in the same storage as `replica`.
pub async fn run(
    replica: &dyn Replica,
    scratch: &dyn Replica,
    env: &Env,
    tell: &(dyn Fn(&Finding) + Sync),
) -> Vec<Finding> {
    let mut report = Report {
        env,
        tell,
        findings: Vec::new(),
        failed: false,
    };
    report.check("reach it", list(replica)).await;
    if !report.failed {
        clear(scratch).await;
    }
    report.check("write a file", write(scratch, 1, SMALL)).await;
    report
        .check("read it back", read_back(scratch, 1, SMALL))
        .await;
    report.check("read parts of it", ranges(scratch)).await;
    report.check("list it at once", listed(scratch, env)).await;
    report.check("times of files", times(scratch)).await;
    report.check("clocks", clocks(scratch, env)).await;
    report.check("write over a file", replace(scratch)).await;
    report.check("write a large file", large(scratch)).await;
    report.check("delete files", delete(scratch)).await;
    report
        .check("write on a condition", conditions(scratch))
        .await;
    report.findings
}

/// What a check that did not fail has to say.
type Seen = Result<(Verdict, String)>;

struct Report<'a> {
    env: &'a Env,
    tell: &'a (dyn Fn(&Finding) + Sync),
    findings: Vec<Finding>,
    failed: bool,
}

impl Report<'_> {
    /// Notes how it went. Once writing has failed, what builds on it is not tried.
    async fn check(&mut self, check: &'static str, work: impl Future<Output = Seen>) {
        let finding = if self.failed {
            Finding {
                check,
                verdict: Verdict::Skipped,
                detail: String::new(),
                took: Duration::ZERO,
            }
        } else {
            let begin = self.env.clock.monotonic();
            let (verdict, detail) = match work.await {
                Ok(seen) => seen,
                Err(error) => {
                    self.failed = true;
                    (Verdict::Bad, error.to_string())
                }
            };
            Finding {
                check,
                verdict,
                detail,
                took: self.env.clock.monotonic().since(begin),
            }
        };
        (self.tell)(&finding);
        self.findings.push(finding);
    }
}

impl Verdict {
    fn because(self, detail: impl Into<String>) -> (Verdict, String) {
        (self, detail.into())
    }
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

/// Begins with a valid header: backends may look there.
fn content(txid: u64, len: usize, salt: u8) -> Result<Bytes> {
    let page_size = PageSize::new(4096).ok_or_else(|| Error::invalid("4096 is a page size"))?;
    let txid = Txid::new(txid);
    let header = Header {
        flags: 0,
        page_size,
        commit: 1,
        min_txid: txid,
        max_txid: txid,
        timestamp_ms: TIME.0,
        pre_apply_checksum: 0,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: [0; 20],
    };
    let mut bytes = header.encode().to_vec();
    let mut state = txid.get() ^ u64::from(salt) << 40 | 1;
    bytes.resize_with(len, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    Ok(bytes.into())
}

/// What this run, or one that was killed, left behind. What can't be removed is found by the next run.
async fn clear(scratch: &dyn Replica) {
    let all: Vec<(Level, FileName)> = (1..9).map(|txid| (Level::L0, name(txid))).collect();
    let _ = scratch.delete(&all).await;
    if let Some(store) = scratch.conditional()
        && let Ok(Some((_, tag))) = store.get(OBJECT).await
    {
        let _ = store.delete(OBJECT, &tag).await;
    }
}

async fn list(replica: &dyn Replica) -> Seen {
    let mut files = 0;
    for level in Level::all() {
        files += replica.list(level, None, false).await?.len();
    }
    Ok(Verdict::Good.because(format!("{files} LTX files there")))
}

async fn put(scratch: &dyn Replica, txid: u64, len: usize, salt: u8, at: UnixMillis) -> Result<()> {
    let source = Source::Bytes(content(txid, len, salt)?);
    scratch.write(Level::L0, name(txid), source, at).await?;
    Ok(())
}

async fn write(scratch: &dyn Replica, txid: u64, len: usize) -> Seen {
    put(scratch, txid, len, 0, TIME).await?;
    Ok(Verdict::Good.because(""))
}

async fn read_back(scratch: &dyn Replica, txid: u64, len: usize) -> Seen {
    let read = scratch.read(Level::L0, name(txid), 0, None).await?;
    if read == content(txid, len, 0)? {
        Ok(Verdict::Good.because(""))
    } else {
        Ok(Verdict::Bad.because(format!(
            "{} bytes that are not what was written",
            read.len()
        )))
    }
}

async fn ranges(scratch: &dyn Replica) -> Seen {
    let whole = content(1, SMALL, 0)?;
    for (from, len) in [
        (0, 100),
        (1000, 500),
        (SMALL - 1, 1),
        (SMALL - 10, 50),
        (SMALL, 10),
    ] {
        let read = scratch
            .read(Level::L0, name(1), from as u64, Some(len as u64))
            .await?;
        if read != whole.slice(from..(from + len).min(SMALL)) {
            return Ok(Verdict::Bad.because(format!(
                "{len} bytes from {from} on are not what was written there"
            )));
        }
    }
    Ok(Verdict::Good.because(""))
}

async fn listed(scratch: &dyn Replica, env: &Env) -> Seen {
    let begin = env.clock.monotonic();
    let mut txid = 2;
    while txid < 6 {
        put(scratch, txid, SMALL, 0, TIME).await?;
        let files = scratch.list(Level::L0, None, false).await?;
        let Some(file) = files.iter().find(|file| file.name == name(txid)) else {
            return Ok(Verdict::Warning.because(
                "what was just written is not listed yet: after the loss of local state the newest files could be overlooked",
            ));
        };
        if file.size != SMALL as u64 {
            return Ok(Verdict::Bad.because(format!(
                "a file of {SMALL} bytes is listed with {}",
                file.size
            )));
        }
        txid += 1;
    }
    let each = env.clock.monotonic().since(begin) / 4;
    Ok(Verdict::Good.because(format!(
        "{} ms to write and list a small file",
        each.as_millis()
    )))
}

async fn times(scratch: &dyn Replica) -> Seen {
    let files = scratch.list(Level::L0, None, true).await?;
    match files.iter().find(|file| file.created != TIME) {
        None => Ok(Verdict::Good.because("kept to the millisecond")),
        Some(file) => Ok(Verdict::Bad.because(format!(
            "a file of {} ms is listed with {} ms: restores by time would be wrong",
            TIME.0, file.created.0
        ))),
    }
}

async fn clocks(scratch: &dyn Replica, env: &Env) -> Seen {
    let now = env.clock.now();
    put(scratch, 6, SMALL, 0, now).await?;
    let files = scratch.list(Level::L0, Some(Txid::new(6)), false).await?;
    let Some(file) = files.iter().find(|file| file.name == name(6)) else {
        return Ok(Verdict::Good.because(""));
    };
    let ahead = file.created.0.saturating_sub(now.0);
    if ahead.abs() > SKEW_MAX_MS {
        return Ok(Verdict::Warning.because(format!(
            "the storage's clock is {} s {} this machine's: set them by NTP, since retention and restores by time compare them",
            ahead.abs() / 1000,
            if ahead > 0 { "ahead of" } else { "behind" }
        )));
    }
    Ok(Verdict::Good.because(""))
}

async fn replace(scratch: &dyn Replica) -> Seen {
    put(scratch, 1, SMALL / 2, 1, TIME).await?;
    let read = scratch.read(Level::L0, name(1), 0, None).await?;
    if read == content(1, SMALL / 2, 1)? {
        Ok(Verdict::Good.because(""))
    } else {
        Ok(Verdict::Bad.because("what was there before is still read"))
    }
}

async fn large(scratch: &dyn Replica) -> Seen {
    put(scratch, 7, LARGE, 0, TIME).await?;
    read_back(scratch, 7, LARGE).await
}

async fn delete(scratch: &dyn Replica) -> Seen {
    let all: Vec<(Level, FileName)> = (1..9).map(|txid| (Level::L0, name(txid))).collect();
    // One of them never existed, which is no error.
    scratch.delete(&all).await?;
    let left = scratch.list(Level::L0, None, false).await?;
    if !left.is_empty() {
        return Ok(Verdict::Bad.because(format!(
            "{} files are still listed, although the storage says that they are deleted: old files would cost money for ever",
            left.len()
        )));
    }
    match scratch.read(Level::L0, name(2), 0, None).await {
        Err(error) if error.is_not_found() => Ok(Verdict::Good.because("")),
        Err(error) => Err(error),
        Ok(_) => Ok(Verdict::Bad.because("a deleted file is still read")),
    }
}

/// Named like nothing else.
const OBJECT: &str = "doctor.json";

async fn conditions(scratch: &dyn Replica) -> Seen {
    let Some(store) = scratch.conditional() else {
        return Ok(Verdict::Warning.because(
            "this kind of storage can't: nothing stops two processes that write to one replica, so make sure of it yourself",
        ));
    };
    let kept = keeps_conditions(store).await;
    if let Ok(Some((_, tag))) = store.get(OBJECT).await {
        let _ = store.delete(OBJECT, &tag).await;
    }
    match kept {
        Ok(None) => Ok(Verdict::Good.because("\"lease: true\" makes sure that one process writes at a time")),
        Ok(Some(what)) => Ok(Verdict::Warning.because(format!(
            "{what}: a lease would protect nothing here, so make sure yourself that only one process writes to a replica"
        ))),
        Err(error) => Ok(Verdict::Warning.because(format!("not found out: {error}"))),
    }
}

/// `None`: yes; else what it does instead.
async fn keeps_conditions(store: &dyn Conditional) -> Result<Option<&'static str>> {
    let body = || Bytes::from_static(b"{}");
    let other = || Tag("\"0123456789abcdef0123456789abcdef\"".to_owned());
    let Outcome::Done(tag) = store.put(OBJECT, body(), When::Absent).await? else {
        return Ok(Some("it takes what is absent for something that is there"));
    };
    if store.put(OBJECT, body(), When::Absent).await? != Outcome::Refused {
        return Ok(Some("it overwrites what must be absent"));
    }
    if store.put(OBJECT, body(), When::Same(other())).await? != Outcome::Refused {
        return Ok(Some("it overwrites another version than the one named"));
    }
    let Outcome::Done(tag) = store
        .put(OBJECT, Bytes::from_static(b"{ }"), When::Same(tag))
        .await?
    else {
        return Ok(Some("it refuses the version that is there"));
    };
    if store.delete(OBJECT, &other()).await? != Outcome::Refused {
        return Ok(Some("it deletes another version than the one named"));
    }
    match store.delete(OBJECT, &tag).await? {
        Outcome::Done(_) => Ok(None),
        Outcome::Refused => Ok(Some("it does not delete the version that is there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::real;
    use crate::memory::Memory;

    fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
        findings.iter().map(|finding| finding.verdict).collect()
    }

    #[tokio::test]
    async fn what_works_is_good_and_leaves_nothing_behind() {
        let env = real::env();
        let (replica, scratch) = (Memory::new(env.disk.clone()), Memory::new(env.disk.clone()));
        let findings = run(&replica, &scratch, &env, &|_| {}).await;
        assert_eq!(verdicts(&findings), [Verdict::Good; 11], "{findings:?}");
        assert!(scratch.files().is_empty() && replica.files().is_empty());
        assert_eq!(Conditional::get(&scratch, OBJECT).await.unwrap(), None);
    }

    #[tokio::test]
    async fn conditions_that_are_ignored_are_a_warning() {
        let env = real::env();
        let memory = Memory::new(env.disk.clone()).ignoring_conditions();
        let findings = run(&memory, &memory, &env, &|_| {}).await;
        let last = findings.last().unwrap();
        assert_eq!(last.verdict, Verdict::Warning);
        assert!(
            last.detail.contains("overwrites what must be absent"),
            "{last:?}"
        );
    }

    #[tokio::test]
    async fn what_builds_on_a_failure_is_not_tried() {
        use crate::ErrorKind;
        use crate::faulty::{Faulty, Op, When as At};
        let env = real::env();
        let memory = Memory::new(env.disk.clone());
        let faulty = Faulty::new(std::sync::Arc::new(memory));
        faulty.fail_always(Op::Write, ErrorKind::Forbidden, At::Before);
        let findings = run(&faulty, &faulty, &env, &|_| {}).await;
        assert_eq!(findings[0].verdict, Verdict::Good);
        assert_eq!(findings[1].verdict, Verdict::Bad);
        assert!(findings[2..].iter().all(|f| f.verdict == Verdict::Skipped));
    }
}
