//! A list of rows that grows at its end.
//!
//! Invariant: row `i` is in page `i / rows a page`, never across two.

use std::marker::PhantomData;

use super::Row;
use super::pages::{PageId, Pages, WORDS};

/// The list.
#[derive(Debug)]
pub struct Column<R> {
    pages: Pages,
    ids: Vec<PageId>,
    len: u64,
    row: PhantomData<R>,
}

impl<R: Row> Column<R> {
    /// An empty list.
    pub fn new(pages: &Pages) -> Column<R> {
        Column { pages: pages.clone(), ids: Vec::new(), len: 0, row: PhantomData }
    }

    /// How many rows.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Row `i`, which exists.
    pub fn get(&self, i: u64) -> R {
        let (page, at) = self.place(i);
        self.pages.read(page, |all| {
            let mut words = R::Words::default();
            words.as_mut().copy_from_slice(&all[at..at + width::<R>()]);
            R::from_words(words)
        })
    }

    /// Replaces row `i`, which exists.
    pub fn set(&mut self, i: u64, row: R) {
        let (page, at) = self.place(i);
        self.pages.write(page, |all| all[at..at + width::<R>()].copy_from_slice(row.to_words().as_ref()));
    }

    /// Adds a row; its number.
    pub fn push(&mut self, row: R) -> u64 {
        if self.len.is_multiple_of(rows::<R>()) {
            self.ids.push(self.pages.add());
        }
        self.len += 1;
        self.set(self.len - 1, row);
        self.len - 1
    }

    /// The last row.
    pub fn last(&self) -> Option<R> {
        self.len.checked_sub(1).map(|i| self.get(i))
    }

    /// How many rows come before the first one of which `before` does not hold.
    pub fn partition_point(&self, before: impl Fn(R) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.get(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn place(&self, i: u64) -> (PageId, usize) {
        assert!(i < self.len, "row {i} of {}", self.len);
        let (page, row) = (i / rows::<R>(), i % rows::<R>());
        (self.ids[page as usize], row as usize * width::<R>())
    }
}

impl<R> Drop for Column<R> {
    fn drop(&mut self) {
        self.ids.iter().for_each(|page| self.pages.give_back(*page));
    }
}

fn width<R: Row>() -> usize {
    std::mem::size_of::<R::Words>() / 8
}

fn rows<R: Row>() -> u64 {
    (WORDS / width::<R>()) as u64
}
