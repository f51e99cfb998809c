//! A part of an object: which bytes to ask for, and taking those that come.

use bytes::BytesMut;
use http::{HeaderValue, StatusCode};

use super::Answer;
use crate::{Error, ErrorKind, Result};

/// Servers reckon in doubles or in signed numbers; no object is as long as this.
const POSITION_MAX: u64 = (1 << 53) - 1;

/// The value of `Range` for `len` bytes (all, if `None`) from `offset`, at least one; `None` if that is the whole object.
pub(crate) fn wanted(offset: u64, len: Option<u64>) -> Option<HeaderValue> {
    let first = offset.min(POSITION_MAX);
    let text = match len {
        None if first == 0 => return None,
        None => format!("bytes={first}-"),
        Some(len) => {
            let last = first.saturating_add(len.saturating_sub(1));
            format!("bytes={first}-{}", last.min(POSITION_MAX))
        }
    };
    HeaderValue::from_str(&text).ok()
}

/// Adds what an answer to [`wanted`] brings to `into`. A server that sends the whole object, or less than was asked for, is understood;
/// a range that begins beyond the end brings nothing, unless bytes before it are in `into` already: then the object was longer before. What
/// is no success is an error.
pub(crate) async fn take(
    mut answer: Answer,
    offset: u64,
    len: Option<u64>,
    into: &mut BytesMut,
) -> Result<()> {
    let (mut skip, total) = match answer.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let total = answer.header("content-range").and_then(total_beyond);
            if into.is_empty() || total == Some(offset) {
                return Ok(());
            }
            return Err(shrunk(&answer));
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.header("content-range").and_then(content_range);
            match range {
                Some((first, _)) if first != offset.min(POSITION_MAX) => {
                    let text = format!("byte {offset} was asked for, and byte {first} came");
                    return Err(answer.failed(ErrorKind::Corrupt, &text));
                }
                Some((_, total)) => (0, total),
                None => (0, None),
            }
        }
        status if status.is_success() => (offset, None),
        _ => return Err(answer.refusal().await.object_error()),
    };
    let is_resumed = !into.is_empty();
    let mut left = len.unwrap_or(u64::MAX);
    let mut at = offset;
    while left > 0 {
        let Some(mut data) = answer.chunk().await? else {
            break;
        };
        let skipped = skip.min(data.len() as u64);
        let _ = data.split_to(skipped as usize);
        skip -= skipped;
        data.truncate(left.min(data.len() as u64) as usize);
        into.extend_from_slice(&data);
        left -= data.len() as u64;
        at += data.len() as u64;
    }
    if skip > 0 && is_resumed {
        return Err(shrunk(&answer));
    }
    if left > 0 && total.is_some_and(|total| at < total) {
        let text = "the server sent less than was asked for";
        return Err(answer.failed(ErrorKind::Unreachable, text));
    }
    Ok(())
}

/// What was read from is not what it was.
pub(crate) fn shrunk(answer: &Answer) -> Error {
    let text = "it became shorter while it was read";
    answer.failed(ErrorKind::Unreachable, text)
}

/// The total in `bytes */TOTAL`.
pub(crate) fn total_beyond(text: &str) -> Option<u64> {
    text.trim().strip_prefix("bytes */")?.trim().parse().ok()
}

/// Where `bytes FIRST-LAST/TOTAL` begins, and the total if it is known.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, rest) = text.strip_prefix("bytes ")?.split_once('-')?;
    let (_, total) = rest.split_once('/')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_headers() {
        let text =
            |offset, len| wanted(offset, len).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text(0, None), None);
        assert_eq!(text(5, None).unwrap(), "bytes=5-");
        assert_eq!(text(0, Some(1)).unwrap(), "bytes=0-0");
        assert_eq!(text(5, Some(10)).unwrap(), "bytes=5-14");
        let all = text(u64::MAX, Some(u64::MAX)).unwrap();
        assert_eq!(all, "bytes=9007199254740991-9007199254740991");
        assert_eq!(content_range("bytes 5-14/100"), Some((5, Some(100))));
        assert_eq!(content_range("bytes 5-14/*"), Some((5, None)));
        assert_eq!(content_range("5-14/100"), None);
        assert_eq!(total_beyond("bytes */7"), Some(7));
        assert_eq!(total_beyond("bytes 5-14/7"), None);
    }
}
