//! Texts and their numbers.
//!
//! Invariant: texts are numbered from 0 in the order in which they are first seen; two numbers never have the same text.

use std::hash::{BuildHasher, RandomState};

use super::{Column, Map, Pages};

/// The texts.
#[derive(Debug)]
pub struct Texts {
    /// Of each text its length in bytes, and then its bytes, eight to a word.
    words: Column<u64>,
    starts: Column<u64>,
    numbers: Map<u64>,
    hash: RandomState,
}

impl Texts {
    /// No texts.
    pub fn new(pages: &Pages) -> Texts {
        let (words, starts) = (Column::new(pages), Column::new(pages));
        Texts { words, starts, numbers: Map::new(pages, 0), hash: RandomState::new() }
    }

    /// The number of a text, and whether it is new.
    pub fn number(&mut self, text: &str) -> (u64, bool) {
        let key = match self.search(text) {
            Ok(number) => return (number, false),
            Err(key) => key,
        };
        let start = self.words.push(text.len() as u64);
        words(text).for_each(|word| _ = self.words.push(word));
        let number = self.starts.push(start);
        self.numbers.insert(key, number);
        (number, true)
    }

    /// The number of a text that was seen before.
    pub fn find(&self, text: &str) -> Option<u64> {
        self.search(text).ok()
    }

    /// The text of a number that was given out.
    pub fn text(&self, number: u64) -> String {
        let start = self.starts.get(number);
        let len = self.words.get(start) as usize;
        let mut bytes: Vec<u8> =
            (1..=len.div_ceil(8) as u64).flat_map(|i| self.words.get(start + i).to_le_bytes()).collect();
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The number of a text, or the key under which it may be kept: hash, and how many other texts have that hash.
    fn search(&self, text: &str) -> Result<u64, (u64, u64)> {
        let mut key = (self.hash.hash_one(text), 0);
        while let Some(number) = self.numbers.get(key) {
            if self.is(number, text) {
                return Ok(number);
            }
            key.1 += 1;
        }
        Err(key)
    }

    fn is(&self, number: u64, text: &str) -> bool {
        let start = self.starts.get(number);
        self.words.get(start) == text.len() as u64
            && words(text).zip(start + 1..).all(|(word, at)| self.words.get(at) == word)
    }
}

fn words(text: &str) -> impl Iterator<Item = u64> {
    text.as_bytes().chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}
