//! Which parts of a mapped file are in memory, asked block by block and remembered for a moment.
//!
//! Invariant: no answer is older than [`TRUST`]. One that has become wrong costs a page fault, nothing else.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Bytes that one question to the kernel is about: as many pages as it answers at once.
const BLOCK: usize = 1 << 20;
/// How long an answer counts. The kernel gives up last what was used last, and what is asked about is being read.
const TRUST: Duration = Duration::from_millis(500);

/// What is known of a mapping's blocks: when each was asked about, and whether all of it was there.
#[derive(Debug, Default)]
pub(super) struct Residency(Vec<Option<(Instant, bool)>>);

impl Residency {
    /// Whether a range of the mapping is in memory. A pull reads records one by one, many of each block.
    pub(super) fn holds(&mut self, map: &[u8], range: Range<usize>) -> bool {
        let now = Instant::now();
        let (first, last) = (range.start / BLOCK, range.end.saturating_sub(1) / BLOCK);
        (first..=last).all(|block| self.is_whole(map, block, now)) || resident(&map[range])
    }

    fn is_whole(&mut self, map: &[u8], block: usize, now: Instant) -> bool {
        if self.0.len() <= block {
            self.0.resize(block + 1, None);
        }
        match self.0[block] {
            Some((asked, whole)) if now - asked < TRUST => whole,
            _ => {
                let begin = block * BLOCK;
                let whole = resident(&map[begin..map.len().min(begin + BLOCK)]);
                self.0[block] = Some((now, whole));
                whole
            }
        }
    }
}

/// Whether all pages of a mapped slice are in memory. False when the kernel will not say.
#[allow(unsafe_code)]
fn resident(bytes: &[u8]) -> bool {
    const PAGES: usize = 256;
    let page = rustix::param::page_size();
    let mut start = bytes.as_ptr() as usize / page * page;
    let end = bytes.as_ptr() as usize + bytes.len();
    let mut state = [0u8; PAGES];
    while start < end {
        let pages = (end - start).div_ceil(page).min(PAGES);
        // SAFETY: `start` is page-aligned and the pages up to `end` belong to a live mapping; `state` holds `pages` bytes.
        // `mincore` only looks at page tables and writes to `state`.
        let answer = unsafe { libc::mincore(start as *mut libc::c_void, pages * page, state.as_mut_ptr()) };
        if answer != 0 || state[..pages].iter().any(|page| page & 1 == 0) {
            return false;
        }
        start += pages * page;
    }
    true
}
