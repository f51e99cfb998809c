//! Bytes as a script that makes a WAL: valid checksums where the script does not damage them, so that a fuzzer gets past
//! the first of them.

use litestream::wal::{
    ByteOrder, Cursor, FrameHeader, Salts, WAL_HEADER_SIZE, WalChecksum, WalHeader, frame_size,
};
use ltx::{PageNo, PageSize};

use crate::script::Script;
use crate::sqlite;

/// Logs stay short, as everything that is fuzzed.
const FRAMES_MAX: u32 = 24;

/// A database and a WAL beside it, as a crash may leave them.
pub(crate) struct Pair {
    pub(crate) page_size: PageSize,
    pub(crate) base: Vec<u8>,
    pub(crate) wal: Vec<u8>,
}

/// What lay in the WAL before it was restarted.
pub(crate) struct Past {
    /// Each place of the old generation where a reader may have stood, with the number of commits after it.
    pub(crate) stands: Vec<(Cursor, u32)>,
    /// The salts after the restart.
    pub(crate) now: Salts,
    /// Frames written since.
    pub(crate) overwritten: u32,
    /// The end of the file may be missing.
    pub(crate) was_cut: bool,
}

impl Pair {
    pub(crate) fn from_script(data: &[u8]) -> (Pair, Option<Past>) {
        let mut script = Script::new(data);
        let mode = script.byte();
        let page_size = script.page_size();
        let base = sqlite::base(page_size);
        if mode & 1 == 1 {
            let wal = data.get(2..).unwrap_or_default().to_vec();
            let pair = Pair {
                page_size,
                base,
                wal,
            };
            return (pair, None);
        }
        let mut writer = Writer {
            script,
            page_size,
            order: if mode & 2 == 0 {
                ByteOrder::Little
            } else {
                ByteOrder::Big
            },
            first_page: base[..page_size.bytes()].to_vec(),
            base_pages: (base.len() / page_size.bytes()) as u32,
            damaged: false,
        };
        let (wal, past) = writer.log();
        let pair = Pair {
            page_size,
            base,
            wal,
        };
        (pair, past)
    }
}

struct Writer<'a> {
    script: Script<'a>,
    page_size: PageSize,
    order: ByteOrder,
    /// Stays what it is, or SQLite has no database to open.
    first_page: Vec<u8>,
    base_pages: u32,
    damaged: bool,
}

impl Writer<'_> {
    fn log(&mut self) -> (Vec<u8>, Option<Past>) {
        let flags = self.script.byte();
        let salts = Salts(u32::from(self.script.byte()), 0x5eed);
        let mut past = None;
        let mut wal = Vec::new();
        let mut now = salts;
        if flags & 1 == 1 {
            let (old, stands) = self.generation(salts, false);
            // One restart as SQLite does it, or something else.
            now = Salts(salts.0.wrapping_add(1 + u32::from(flags >> 6)), 0xfeed);
            wal = old;
            past = Some(stands);
        }
        let (new, stands) = self.generation(now, flags & 2 == 2);
        let overwritten = stands.len() as u32;
        let kept = new.len().min(wal.len());
        wal.splice(..kept, new);
        let cut = self.script.byte();
        let was_cut = cut & 1 == 1;
        if was_cut {
            let keep = wal.len() * usize::from(cut) / 256 + usize::from(self.script.byte() % 3);
            wal.truncate(keep);
        }
        for _ in 0..self.script.byte() % 4 {
            self.scratch(&mut wal);
        }
        let past = past.filter(|_| !self.damaged).map(|stands| Past {
            stands: commits_after(stands),
            now: Salts(salts.0.wrapping_add(1), 0xfeed),
            overwritten,
            was_cut,
        });
        (wal, past)
    }

    /// Header and frames; the cursor after each frame, and whether it ends a transaction.
    fn generation(&mut self, salts: Salts, odd_header: bool) -> (Vec<u8>, Vec<(Cursor, bool)>) {
        let mut wal = WalHeader::encode(self.order, self.page_size, 7, salts).to_vec();
        if odd_header {
            self.bend_header(&mut wal);
        }
        // What a reader computes from the bytes, whether or not it would accept them.
        let sum = WalChecksum::default().update(self.order, &wal[..24]);
        let mut cursor = Cursor {
            salts,
            checksum: sum,
            order: self.order,
            page_size: self.page_size,
            frames: 0,
        };
        let mut stands = Vec::new();
        let frames = u32::from(self.script.byte()) % FRAMES_MAX;
        for index in 0..frames {
            let (frame, commit) = self.frame(&mut cursor, index);
            wal.extend_from_slice(&frame);
            stands.push((cursor, commit));
        }
        (wal, stands)
    }

    /// A header with something wrong in it, under a checksum that holds.
    fn bend_header(&mut self, wal: &mut [u8]) {
        self.damaged = true;
        let word = usize::from(self.script.byte() % 6);
        let value = match self.script.byte() {
            value @ 0..=31 => 1 << value,
            32 => 0,
            33 => 1000,
            34 => 3_007_001,
            35 => 0x377f_0680,
            value => u32::from(value),
        };
        wal[4 * word..4 * word + 4].copy_from_slice(&value.to_be_bytes());
        let sum = WalChecksum::default().update(self.order, &wal[..24]);
        wal[24..28].copy_from_slice(&sum.0.to_be_bytes());
        wal[28..32].copy_from_slice(&sum.1.to_be_bytes());
    }

    fn frame(&mut self, cursor: &mut Cursor, index: u32) -> (Vec<u8>, bool) {
        let number = u32::from(self.script.byte()) % 20 + 1;
        let commit = match self.script.byte() {
            byte if byte & 1 == 0 => 0,
            // A larger one can't be, and SQLite refuses to checkpoint it.
            byte => u32::from(byte >> 1) % (self.base_pages + index + 1) + 1,
        };
        let page = if number == 1 {
            self.first_page.clone()
        } else {
            vec![self.script.byte(); self.page_size.bytes()]
        };
        // Numbers come from a remainder plus one.
        let page_no = PageNo::new(number).unwrap_or(PageNo::FIRST);
        let (mut frame, sum) = FrameHeader::encode(
            page_no,
            commit,
            cursor.salts,
            cursor.checksum,
            self.order,
            &page,
        );
        let (mut sum, damage) = (sum, self.script.byte());
        if damage >= 0xf0 {
            self.damaged = true;
            match damage & 3 {
                // Another generation's salts, which no checksum covers.
                0 => frame[11] ^= 1,
                1 => frame[24 + usize::from(damage)] ^= 1,
                2 => frame[16..24].reverse(),
                // No page at all, under a checksum that holds.
                _ => {
                    frame[..4].fill(0);
                    sum = FrameHeader::computed_checksum(&frame, cursor.checksum, self.order);
                    frame[16..20].copy_from_slice(&sum.0.to_be_bytes());
                    frame[20..24].copy_from_slice(&sum.1.to_be_bytes());
                }
            }
        }
        cursor.frames += 1;
        cursor.checksum = sum;
        (frame, commit != 0)
    }

    /// Changes bytes as nobody would.
    fn scratch(&mut self, wal: &mut Vec<u8>) {
        self.damaged = true;
        let step = frame_size(self.page_size) as usize;
        let frames = wal.len().saturating_sub(WAL_HEADER_SIZE) / step;
        let kind = self.script.byte();
        let at = usize::from(self.script.byte()) << 8 | usize::from(self.script.byte());
        match kind % 5 {
            0 if !wal.is_empty() => {
                let at = at % wal.len();
                wal[at] ^= 1 << (kind >> 5);
            }
            1 if frames > 0 => {
                let from = WAL_HEADER_SIZE + at % frames * step;
                let copy = wal[from..from + step].to_vec();
                let to = WAL_HEADER_SIZE + (at >> 8) % frames * step;
                wal[to..to + step].copy_from_slice(&copy);
            }
            2 if frames > 0 => {
                let from = WAL_HEADER_SIZE + at % frames * step;
                drop(wal.drain(from..from + step));
            }
            3 => {
                let end = wal.len().min(at);
                wal[end / 2..end].fill(0);
            }
            _ => wal.extend(std::iter::repeat_n(kind, at % (2 * step))),
        }
    }
}

fn commits_after(stands: Vec<(Cursor, bool)>) -> Vec<(Cursor, u32)> {
    let mut after = 0;
    let mut out: Vec<(Cursor, u32)> = Vec::with_capacity(stands.len());
    for (cursor, commit) in stands.into_iter().rev() {
        // Readers stand behind commits.
        if commit {
            out.push((cursor, after));
            after += 1;
        }
    }
    out
}
