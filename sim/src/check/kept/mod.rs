//! What the checkers keep of a history, however long it is: tables whose rows are in pages of a temporary file.
//!
//! Invariant: memory holds a bounded number of pages, and four to eight bytes for each page there is; nothing else of a table grows.

mod column;
mod map;
mod pages;
#[cfg(test)]
mod tests;
mod texts;

pub use column::Column;
pub use map::Map;
pub use pages::Pages;
pub use texts::Texts;

/// What a table holds, as a fixed number of words. Words that are all 0 are a row too.
pub trait Row: Copy {
    /// `[u64; N]`, at most a page.
    type Words: AsRef<[u64]> + AsMut<[u64]> + Default;
    /// The row in words.
    fn to_words(self) -> Self::Words;
    /// The words as a row.
    fn from_words(words: Self::Words) -> Self;
}

impl Row for u64 {
    type Words = [u64; 1];
    fn to_words(self) -> [u64; 1] {
        [self]
    }
    fn from_words([word]: [u64; 1]) -> u64 {
        word
    }
}

/// Two numbers in one word.
pub fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The two numbers of [`pair`].
pub fn unpair(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
