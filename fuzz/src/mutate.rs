//! Deterministic mutations: what a fuzzer does, without one, the same on every run.

/// Makes mutants of an input.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// The same seed gives the same mutants.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    /// Xorshift: anything better would be a dependency.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number below `limit`, or zero.
    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 {
            0
        } else {
            (self.next() % limit as u64) as usize
        }
    }

    /// A copy of `data` with one to four things changed.
    pub fn mutate(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = data.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut out);
        }
        out
    }

    fn change(&mut self, out: &mut Vec<u8>) {
        const EDGES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0x10];
        let at = self.below(out.len());
        let end = (at + 1 + self.below(16)).min(out.len());
        match self.below(8) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..end)),
            2 => {
                let piece = out[at..end].to_vec();
                let to = self.below(out.len() + 1);
                out.splice(to..to, piece);
            }
            3 => out.insert(at, self.next() as u8),
            4 => out[at..end].fill(EDGES[self.below(8)]),
            5 if !out.is_empty() => out[at] ^= 1 << self.below(8),
            6 if !out.is_empty() => out[at] = EDGES[self.below(8)],
            7 if !out.is_empty() => {
                out[at] = out[at].wrapping_add(self.next() as u8 % 5).wrapping_sub(2);
            }
            _ => {}
        }
    }
}
