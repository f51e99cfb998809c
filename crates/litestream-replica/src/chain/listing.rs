//! Listing all levels of a replica at once.

use futures_util::future::try_join_all;

use crate::{FileInfo, Level, Result, SharedReplica};

/// The files of the given levels, listed side by side; by level as given, then min TXID, then max TXID. One level
/// that can't be listed is an error for all: a part of a replica must never be taken for the whole.
pub async fn list_all(
    replica: &SharedReplica,
    levels: &[Level],
    exact_times: bool,
) -> Result<Vec<FileInfo>> {
    let lists = levels
        .iter()
        .map(|&level| replica.list(level, None, exact_times));
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// Whether there is any LTX file.
pub async fn has_any(replica: &SharedReplica) -> Result<bool> {
    let levels: Vec<Level> = Level::all().collect();
    Ok(!list_all(replica, &levels, false).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use ltx::{FileName, Txid};

    use super::*;
    use crate::env::UnixMillis;
    use crate::faulty::{Faulty, Op, When};
    use crate::memory::Memory;
    use crate::{ErrorKind, Source};

    async fn filled() -> Faulty {
        let faulty = Faulty::new(Arc::new(Memory::new(crate::env::real::env().disk)));
        for level in Level::all() {
            for txid in [3, 1, 2] {
                let name = FileName::single(Txid::new(txid));
                let source = Source::Bytes(Bytes::from_static(b"x"));
                crate::Replica::write(&faulty, level, name, source, UnixMillis(0))
                    .await
                    .unwrap();
            }
        }
        faulty
    }

    #[tokio::test]
    async fn lists_levels_in_order() {
        let replica: SharedReplica = Arc::new(filled().await);
        let levels = [Level::SNAPSHOT, Level::L0];
        let files = list_all(&replica, &levels, false).await.unwrap();
        let got: Vec<_> = files
            .iter()
            .map(|f| (f.level.get(), f.name.min.get()))
            .collect();
        assert_eq!(got, [(9, 1), (9, 2), (9, 3), (0, 1), (0, 2), (0, 3)]);
        let all: Vec<Level> = Level::all().collect();
        assert_eq!(list_all(&replica, &all, true).await.unwrap().len(), 30);
        assert!(list_all(&replica, &[], true).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn r21_one_failed_level_fails_all() {
        let faulty = filled().await;
        faulty.fail(Op::List, 7, ErrorKind::Forbidden, When::Before);
        let replica: SharedReplica = Arc::new(faulty);
        let all: Vec<Level> = Level::all().collect();
        assert!(
            list_all(&replica, &all, false)
                .await
                .unwrap_err()
                .is_forbidden()
        );
    }
}
