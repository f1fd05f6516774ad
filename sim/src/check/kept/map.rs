//! A table of rows by key: linear hashing, a page a bucket.
//!
//! Invariant: a key is in the chain of pages of its bucket, once; buckets are split one at a time, before they are fuller than three
//! quarters on average, and long before that while they are few. The hash has a seed of its own, so that no history can be made to fill one bucket.

use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;

use super::Row;
use super::pages::{PageId, Pages, WORDS};

/// So many buckets hold a few rows each, so that a short history is found fast.
const FEW: usize = Pages::A_MIB;
/// Rows of each of them.
const SPARSE: u64 = 12;

/// What rows are found by.
pub type Key = (u64, u64);

/// The table.
#[derive(Debug)]
pub struct Map<R> {
    pages: Pages,
    buckets: Vec<PageId>,
    len: u64,
    near: u32,
    seed: u64,
    row: PhantomData<R>,
}

/// Word 0 of a page: how many rows are in it, and the next page of the bucket, counted from 1.
fn head(words: &[u64; WORDS]) -> (usize, Option<PageId>) {
    let (next, count) = super::unpair(words[0]);
    (count as usize, next.checked_sub(1))
}

impl<R: Row> Map<R> {
    /// An empty table. Keys whose second words differ in their last `near` bits only share a bucket: what is asked for together.
    pub fn new(pages: &Pages, near: u32) -> Map<R> {
        let seed = RandomState::new().hash_one(near);
        Map { pages: pages.clone(), buckets: vec![pages.add()], len: 0, near, seed, row: PhantomData }
    }

    /// The row of a key.
    pub fn get(&self, key: Key) -> Option<R> {
        let (page, slot) = self.find(key)?;
        Some(self.pages.read(page, |words| row_at(words, slot)))
    }

    /// Sets the row of a key; the one that was there.
    pub fn insert(&mut self, key: Key, row: R) -> Option<R> {
        if let Some((page, slot)) = self.find(key) {
            return Some(self.pages.write(page, |words| {
                let old = row_at(words, slot);
                words[at::<R>(slot) + 2..at::<R>(slot + 1)].copy_from_slice(row.to_words().as_ref());
                old
            }));
        }
        let most = if self.buckets.len() < FEW { SPARSE } else { rows::<R>() as u64 * 3 / 4 };
        if self.len + 1 > self.buckets.len() as u64 * most {
            self.split();
        }
        self.len += 1;
        self.put(key, row.to_words().as_ref());
        None
    }

    /// Takes the row of a key away.
    pub fn remove(&mut self, key: Key) -> Option<R> {
        let (page, slot) = self.find(key)?;
        self.len -= 1;
        Some(self.pages.write(page, |words| {
            let (row, last) = (row_at(words, slot), head(words).0 - 1);
            words.copy_within(at::<R>(last)..at::<R>(last + 1), at::<R>(slot));
            words[0] -= 1;
            row
        }))
    }

    /// Page and place in the page of a key.
    fn find(&self, key: Key) -> Option<(PageId, usize)> {
        let mut page = Some(self.buckets[self.bucket(key)]);
        while let Some(here) = page {
            let found = self.pages.read(here, |words| {
                let (count, next) = head(words);
                let rows = words[1..].chunks_exact(width::<R>()).take(count);
                rows.enumerate().find(|(_, row)| (row[0], row[1]) == key).map(|(slot, _)| slot).ok_or(next)
            });
            match found {
                Ok(slot) => return Some((here, slot)),
                Err(next) => page = next,
            }
        }
        None
    }

    fn bucket(&self, key: Key) -> usize {
        let mixed = (key.0 ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (key.1 >> self.near);
        let wide = u128::from(mixed ^ self.seed.rotate_left(32)) * 0xD6E8_FEB8_6659_FD93;
        let hash = ((wide >> 64) as u64 ^ wide as u64) as usize;
        let top = self.buckets.len().next_power_of_two();
        let at = hash & (top - 1);
        if at < self.buckets.len() { at } else { hash & (top / 2 - 1) }
    }

    /// Puts an entry into the first page of its bucket that has room.
    fn put(&self, key: Key, row: &[u64]) {
        let mut page = self.buckets[self.bucket(key)];
        loop {
            let next = self.pages.write(page, |words| {
                let (count, next) = head(words);
                if count < rows::<R>() {
                    let entry = &mut words[at::<R>(count)..at::<R>(count + 1)];
                    (entry[0], entry[1]) = key;
                    entry[2..].copy_from_slice(row);
                    words[0] += 1;
                    return None;
                }
                Some(next)
            });
            page = match next {
                None => return,
                Some(Some(next)) => next,
                Some(None) => {
                    let more = self.pages.add();
                    self.pages.write(page, |words| words[0] |= super::pair(more + 1, 0));
                    more
                }
            };
        }
    }

    /// One bucket more: it takes over half of another one.
    fn split(&mut self) {
        self.buckets.push(self.pages.add());
        let last = self.buckets.len() - 1;
        let first = self.buckets[last - self.buckets.len().next_power_of_two() / 2];
        let (mut entries, mut page) = (Vec::new(), Some(first));
        while let Some(here) = page {
            page = self.pages.write(here, |words| {
                let (count, next) = head(words);
                entries.extend_from_slice(&words[1..at::<R>(count)]);
                words[0] = 0;
                next
            });
            if here != first {
                self.pages.give_back(here);
            }
        }
        for entry in entries.chunks_exact(width::<R>()) {
            self.put((entry[0], entry[1]), &entry[2..]);
        }
    }
}

/// Words of an entry: its key, and its row.
fn width<R: Row>() -> usize {
    2 + std::mem::size_of::<R::Words>() / 8
}

fn rows<R: Row>() -> usize {
    (WORDS - 1) / width::<R>()
}

/// Where an entry begins.
fn at<R: Row>(slot: usize) -> usize {
    1 + slot * width::<R>()
}

fn row_at<R: Row>(words: &[u64; WORDS], slot: usize) -> R {
    let mut row = R::Words::default();
    row.as_mut().copy_from_slice(&words[at::<R>(slot) + 2..at::<R>(slot + 1)]);
    R::from_words(row)
}
