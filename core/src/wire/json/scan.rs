//! Looking for bytes in text, eight at a time: most strings of a header are too short for a library's search to pay.
//!
//! Invariant: the answer is that of a search byte by byte.

use wide::u8x16;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where the text of a string ends that was opened with `quote`: at the first such quote or backslash.
#[inline]
pub(super) fn end_of_run(text: &[u8], quote: u8) -> Option<usize> {
    let (quotes, slashes) = (LOW * u64::from(quote), LOW * u64::from(b'\\'));
    find(text, |word| zeros(word ^ quotes) | zeros(word ^ slashes), |byte| byte == quote || byte == b'\\')
}

/// The first byte that must be escaped in a double-quoted string.
#[inline]
pub(super) fn to_escape(text: &[u8]) -> Option<usize> {
    const QUOTES: u64 = LOW * b'"' as u64;
    const SLASHES: u64 = LOW * b'\\' as u64;
    let hits = |word: u64| below(word, 0x20) | zeros(word ^ QUOTES) | zeros(word ^ SLASHES);
    find(text, hits, |byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

/// Where double quotes and backslashes stand from a place on, in order. For texts that have many of them.
#[derive(Clone, Debug)]
pub(super) struct Quotes<'a> {
    text: &'a [u8],
    /// Where the next block begins.
    at: usize,
    /// Those of the block before it that were not handed out, by bit.
    hits: u32,
}

impl<'a> Quotes<'a> {
    /// From `at` on.
    #[inline]
    pub(super) fn new(text: &'a [u8], at: usize) -> Quotes<'a> {
        Quotes { text, at, hits: 0 }
    }

    /// Marks those of the next block; none behind the last one.
    #[inline]
    fn look(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let block = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            block
        });
        let block = u8x16::new(block);
        self.hits = (block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'))).to_bitmask();
        self.at += BLOCK;
        Some(())
    }
}

/// Bytes that are compared at once.
const BLOCK: usize = 16;

impl Iterator for Quotes<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.hits == 0 {
            self.look()?;
        }
        let found = self.at - BLOCK + self.hits.trailing_zeros() as usize;
        self.hits &= self.hits - 1;
        Some(found)
    }
}

/// `hits` marks the top bits of the bytes that are looked for. Marks above the lowest one may be wrong.
#[inline(always)]
fn find(text: &[u8], hits: impl Fn(u64) -> u64, is_hit: impl Fn(u8) -> bool) -> Option<usize> {
    // Most are found in the first word: it goes before what a loop takes to set up.
    if let Some(word) = text.first_chunk::<8>() {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return Some((hits.trailing_zeros() / 8) as usize);
        }
    }
    let (words, rest) = text.as_chunks::<8>();
    let mut at = 8;
    for word in words.iter().skip(1) {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    if hits(last(text, rest)) == 0 {
        return None;
    }
    rest.iter().position(|byte| is_hit(*byte)).map(|at| text.len() - rest.len() + at)
}

/// A word with every byte of the rest of a text, and none that is not in the text but `a`.
#[inline(always)]
fn last(text: &[u8], rest: &[u8]) -> u64 {
    if let Some(word) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    let fill = |word: u64, bytes: u32| word | (LOW * u64::from(b'a')) << (8 * bytes);
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
    } else if let (Some(first), Some(last)) = (rest.first_chunk::<2>(), rest.last_chunk::<2>()) {
        fill(u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << 16, 4)
    } else {
        fill(rest.first().map_or(u64::from(b'a'), |byte| u64::from(*byte)), 1)
    }
}

/// Marks bytes that are zero.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    below(word, 1)
}

/// Marks bytes below `bound`, which is at most 128.
#[inline(always)]
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(bound)) & !word & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_finds(text in r#"[a-z"'\\\x00-\x21\x7f-\xff]{0,40}"#, quote in prop::sample::select(vec![b'"', b'\'']), from in 0..50_usize) {
            let bytes = text.as_bytes();
            prop_assert_eq!(end_of_run(bytes, quote), bytes.iter().position(|b| *b == quote || *b == b'\\'));
            let quotes: Vec<usize> = Quotes::new(bytes, from).collect();
            let expected: Vec<usize> = (from..bytes.len()).filter(|at| matches!(bytes[*at], b'"' | b'\\')).collect();
            prop_assert_eq!(quotes, expected);
            prop_assert_eq!(to_escape(bytes), bytes.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\')));
        }
    }
}
