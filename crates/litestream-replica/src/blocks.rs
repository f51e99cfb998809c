//! What is to be written, block by block, with memory for one block.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::{Env, File};
use crate::{Error, Result, Source};

/// A source that is read from its beginning to its end.
pub(crate) struct Blocks {
    env: Env,
    from: From,
    at: u64,
    len: u64,
}

enum From {
    Bytes(Bytes),
    File { path: String, file: Arc<dyn File> },
}

impl Blocks {
    /// Opens a source.
    pub(crate) async fn open(source: &Source, env: &Env) -> Result<Blocks> {
        let (from, len) = match source {
            Source::Bytes(bytes) => (From::Bytes(bytes.clone()), bytes.len() as u64),
            Source::File(path) => {
                let (disk, at) = (Arc::clone(&env.disk), path.clone());
                let opened = env.spawn.offloaded(move || {
                    let file = disk.open(&at)?;
                    let len = file.metadata()?.len;
                    Ok((file, len))
                });
                let (file, len) = opened
                    .await
                    .and_then(|opened| opened)
                    .map_err(|e| Error::io("read", path, &e))?;
                let path = path.display().to_string();
                let file = Arc::from(file);
                (From::File { path, file }, len)
            }
        };
        Ok(Blocks {
            env: env.clone(),
            from,
            at: 0,
            len,
        })
    }

    /// How many bytes there are in all.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The next block and where it begins: `block_bytes`, less only at the end; `None` after it.
    pub(crate) async fn next(&mut self, block_bytes: u64) -> Result<Option<(u64, Bytes)>> {
        let offset = self.at;
        let len = (self.len - offset).min(block_bytes);
        if len == 0 {
            return Ok(None);
        }
        let block = match &self.from {
            From::Bytes(bytes) => bytes.slice(offset as usize..(offset + len) as usize),
            From::File { path, file } => {
                let file = Arc::clone(file);
                let read = self.env.spawn.offloaded(move || {
                    let mut block = vec![0; len as usize];
                    file.read_exact_at(&mut block, offset)?;
                    Ok(Bytes::from(block))
                });
                read.await
                    .and_then(|block| block)
                    .map_err(|e| Error::io("read", Path::new(path), &e))?
            }
        };
        self.at += len;
        Ok(Some((offset, block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocks_are_full_but_for_the_last() {
        let env = crate::env::real::env();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = env.disk.create_new(&path, 0o600).unwrap();
        file.write_at(b"0123456789", 0).unwrap();
        for source in [
            Source::File(path),
            Source::Bytes(Bytes::from_static(b"0123456789")),
        ] {
            let mut blocks = Blocks::open(&source, &env).await.unwrap();
            assert_eq!(blocks.len(), 10);
            let mut seen = Vec::new();
            while let Some((offset, block)) = blocks.next(4).await.unwrap() {
                seen.push((offset, block));
            }
            assert_eq!(
                seen,
                [(0, "0123".into()), (4, "4567".into()), (8, "89".into())]
            );
        }
        let gone = Source::File(folder.path().join("gone"));
        assert!(
            Blocks::open(&gone, &env)
                .await
                .err()
                .unwrap()
                .is_not_found()
        );
    }
}
