//! A reader with one buffer: hands out slices of what comes next, so that pages are inflated straight from it.

use std::io::{ErrorKind, Read};

use crate::{Error, Result};

/// Smallest buffer; enough to make each read worth its call.
const BUFFER_MIN: usize = 64 * 1024;

/// The bytes of a file in order.
pub(crate) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Unconsumed bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Offset in the file of `buffer[start]`.
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER_MIN],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// Makes room for requests of up to `len` bytes.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
    }

    /// How many bytes were consumed.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `len` bytes, not yet consumed. `len` must have been reserved.
    pub(crate) fn need(&mut self, len: usize) -> Result<&[u8]> {
        debug_assert!(len <= self.buffer.len());
        if self.start + len > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < len {
            if self.fill()? == 0 {
                return Err(Error::Truncated {
                    offset: self.offset + (self.end - self.start) as u64,
                });
            }
        }
        Ok(&self.buffer[self.start..self.start + len])
    }

    /// At least one and at most `limit` bytes, not yet consumed.
    pub(crate) fn some(&mut self, limit: u64) -> Result<&[u8]> {
        self.need(1)?;
        let len = ((self.end - self.start) as u64).min(limit) as usize;
        Ok(&self.buffer[self.start..self.start + len])
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> Result<bool> {
        match self.need(1) {
            Ok(_) => Ok(false),
            Err(Error::Truncated { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Moves past `len` bytes that were handed out.
    pub(crate) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start);
        self.start += len;
        self.offset += len as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn fill(&mut self) -> Result<usize> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time and is interrupted before each.
    struct Drip<'a>(&'a [u8], bool);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let len = self.0.len().min(out.len()).min(777);
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    #[test]
    fn hands_out_every_byte_once_in_order() {
        let data: Vec<u8> = (0..300_000u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let mut source = Source::new(Drip(&data, false));
        source.reserve(70_000);
        let mut seen = Vec::new();
        for len in [1, 65_536, 6, 70_000, 3].iter().cycle() {
            if data.len() - seen.len() < *len {
                break;
            }
            assert_eq!(source.offset(), seen.len() as u64);
            seen.extend_from_slice(source.need(*len).unwrap());
            source.consume(*len);
        }
        while !source.at_end().unwrap() {
            let part = source.some(10).unwrap().to_vec();
            assert!((1..=10).contains(&part.len()));
            source.consume(part.len());
            seen.extend(part);
        }
        assert_eq!(seen, data);
        assert!(matches!(
            source.need(5),
            Err(Error::Truncated { offset: 300_000 })
        ));
    }
}
