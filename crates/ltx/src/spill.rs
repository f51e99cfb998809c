//! Room outside of memory for the page index of a large file, which comes only after all pages.

use std::io::{self, Write};

use crate::Crc64;

/// Keeps bytes until a file is ended.
pub trait Spill: Send {
    /// Appends.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Gives everything that was put, in order, in pieces of any size.
    fn replay(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

/// More than this is not kept in memory: the index of some 450,000 pages.
const MEMORY_BYTES: usize = 4 << 20;

/// A page index, encoded.
#[derive(Default)]
pub(crate) struct IndexBuffer {
    /// What is not in `spill`.
    last: Vec<u8>,
    spill: Option<Box<dyn Spill>>,
    spilled: u64,
    /// Over what is in `spill`, which may come back as something else.
    sum: Crc64,
}

impl IndexBuffer {
    pub fn spill_to(&mut self, spill: Box<dyn Spill>) {
        self.spill = Some(spill);
    }

    /// Appends an entry by `put`.
    pub fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if self.last.len() >= MEMORY_BYTES
            && let Some(spill) = &mut self.spill
        {
            spill.put(&self.last)?;
            self.spilled += self.last.len() as u64;
            self.sum.update(&self.last);
            self.last.clear();
        }
        put(&mut self.last);
        Ok(())
    }

    /// Bytes put.
    pub fn len(&self) -> u64 {
        self.spilled + self.last.len() as u64
    }

    /// Gives everything to `see` and to `out`.
    pub fn finish(self, see: &mut dyn FnMut(&[u8]), out: &mut dyn Write) -> io::Result<()> {
        let mut take = |bytes: &[u8]| {
            see(bytes);
            out.write_all(bytes)
        };
        if let Some(mut spill) = self.spill
            && self.spilled > 0
        {
            let (mut len, mut sum) = (0, Crc64::new());
            spill.replay(&mut |bytes| {
                len += bytes.len() as u64;
                sum.update(bytes);
                take(bytes)
            })?;
            if (len, sum.value()) != (self.spilled, self.sum.value()) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the page index was not kept as it was written",
                ));
            }
        }
        take(&self.last)
    }
}
