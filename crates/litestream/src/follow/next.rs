//! Which files come next.

use litestream_replica::{FileInfo, Level, SharedReplica, chain};
use ltx::Txid;

use super::error::FollowError;

/// Listings tried before a gap in them is believed: files move from level to level while we list.
const LISTINGS_MAX: usize = 3;

/// What a look at the replica gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing new.
    Nothing,
    /// These, in this order. There may be more behind them.
    Files(Vec<FileInfo>),
    /// There is more, but nothing leads on to it.
    Gap(Txid),
}

/// The files that lead on from `after`: from level 0 if it has them, else whatever bridges the gap, a snapshot last. If level 0
/// has nothing new that is all that is asked, unless `thorough`.
pub(super) async fn next(
    replica: &SharedReplica,
    after: Txid,
    thorough: bool,
) -> Result<Next, FollowError> {
    let mut tries = 1;
    loop {
        match look(replica, after, thorough).await? {
            Next::Gap(_) if tries < LISTINGS_MAX => tries += 1,
            next => return Ok(next),
        }
    }
}

async fn look(replica: &SharedReplica, after: Txid, thorough: bool) -> Result<Next, FollowError> {
    let mut files = beyond(replica, Level::L0, after).await?;
    if files.is_empty() && !thorough {
        return Ok(Next::Nothing);
    }
    let bridges = Level::all().filter(|l| *l != Level::L0 && *l != Level::SNAPSHOT);
    let stages: [Vec<Level>; 3] = [Vec::new(), bridges.collect(), vec![Level::SNAPSHOT]];
    for levels in stages {
        for level in levels {
            files.extend(beyond(replica, level, after).await?);
        }
        let plan = chain::plan::continuation(&files, after);
        if !plan.is_empty() {
            return Ok(Next::Files(plan));
        }
    }
    Ok(files
        .iter()
        .map(|f| f.name.min)
        .min()
        .map_or(Next::Nothing, Next::Gap))
}

/// The newest snapshot that reaches further than `after`.
pub(super) async fn snapshot(
    replica: &SharedReplica,
    after: Txid,
) -> Result<Option<FileInfo>, FollowError> {
    let files = beyond(replica, Level::SNAPSHOT, after).await?;
    let whole = files.into_iter().filter(|f| f.name.min.get() == 1);
    Ok(whole.max_by_key(|f| f.name.max))
}

/// The highest TXID that any file reaches.
pub(super) async fn newest(replica: &SharedReplica) -> Result<Txid, FollowError> {
    let levels: Vec<Level> = Level::all().collect();
    let files = chain::listing::list_all(replica, &levels, false).await?;
    Ok(files.iter().map(|f| f.name.max).max().unwrap_or_default())
}

async fn beyond(
    replica: &SharedReplica,
    level: Level,
    after: Txid,
) -> Result<Vec<FileInfo>, FollowError> {
    let mut files = replica.list(level, Some(after.next()), false).await?;
    files.retain(|f| f.name.max > after);
    Ok(files)
}
