//! A transfer that goes on at the byte where its stream broke.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Backoff, rand};
use crate::Result;
use crate::env::Clock;

/// Streams that broke one after the other without bringing anything, before the error is passed on.
const FRUITLESS_MAX: u32 = 4;
const WAIT: Duration = Duration::from_millis(100);

/// Something that can be read from any byte on.
#[async_trait::async_trait]
pub(crate) trait Fetch: Sync {
    /// Adds what is from `offset` on to `into` as it comes, `len` bytes or all; less only at the end. What has come stays there, even
    /// if an error follows.
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()>;
}

/// Fetches `len` bytes (all, if `None`) from `offset`, less only at the end. A stream that breaks is opened again where it broke: no byte
/// is asked for twice, and every byte renews the right to try again.
pub(crate) async fn resumed(
    source: &dyn Fetch,
    offset: u64,
    len: Option<u64>,
    clock: &dyn Clock,
) -> Result<Bytes> {
    let mut all = BytesMut::new();
    let mut fruitless = 0;
    let mut backoff = Backoff::new(WAIT);
    loop {
        let before = all.len();
        let from = offset.saturating_add(before as u64);
        let left = len.map(|len| len.saturating_sub(before as u64));
        if left == Some(0) {
            return Ok(all.freeze());
        }
        let Err(error) = source.fetch(from, left, &mut all).await else {
            return Ok(all.freeze());
        };
        if all.len() > before {
            fruitless = 0;
            backoff.reset();
        } else {
            fruitless += 1;
        }
        if !error.is_retryable() || fruitless >= FRUITLESS_MAX {
            return Err(error);
        }
        tracing::debug!(%error, got = all.len(), "a transfer broke, going on where it did");
        clock.sleep_async(backoff.next(rand(clock))).await;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::env::real;
    use crate::{Error, ErrorKind};

    /// Breaks after a few bytes each time.
    struct Breaking {
        all: Bytes,
        step: usize,
        asked: Mutex<Vec<u64>>,
    }

    #[async_trait::async_trait]
    impl Fetch for Breaking {
        async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
            self.asked.lock().push(offset);
            let end = len.map_or(self.all.len(), |len| (offset + len) as usize);
            let rest = self.all.slice(offset as usize..end.min(self.all.len()));
            let now = rest.len().min(self.step);
            into.extend_from_slice(&rest[..now]);
            if now == rest.len() {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Unreachable, "get", "x", "cut"))
        }
    }

    #[tokio::test]
    async fn no_byte_is_fetched_twice() {
        let clock = real::env().clock;
        let mut source = Breaking {
            all: Bytes::from_static(b"0123456789"),
            step: 3,
            asked: Mutex::default(),
        };
        let got = resumed(&source, 1, Some(8), &*clock).await.unwrap();
        assert_eq!(got, "12345678");
        assert_eq!(*source.asked.lock(), [1, 4, 7]);
        assert_eq!(
            resumed(&source, 2, None, &*clock).await.unwrap(),
            "23456789"
        );
        source.step = 0;
        assert!(
            resumed(&source, 0, None, &*clock)
                .await
                .unwrap_err()
                .is_retryable()
        );
    }
}
