//! One consume queue: which numbers it holds, and the entries of its newest messages in memory.
//!
//! Invariant: `min ≤ end`, `written ≤ end ≤ next`; the window ends at `end` and reaches back at least to `written`, so every
//! entry is in a file or in the window.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::entry::Entry;
use crate::node::FileId;

/// A queue in memory: about 150 bytes and its window.
#[derive(Debug)]
pub struct Queue {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number within the topic.
    pub id: u32,
    /// First entry whose record is kept.
    pub min: u64,
    /// Number of the next message that is put.
    pub next: u64,
    /// End of what is dispatched and readable.
    pub end: u64,
    /// End of what is in files.
    pub written: u64,
    /// First entry of the first file; `None` while there is no file.
    pub files_from: Option<u64>,
    /// The file used last, and its first entry.
    pub file: Option<(u64, FileId)>,
    /// Whether it is on a list of queues to be written.
    pub listed: bool,
    /// In which settle, and at which place of its list, an arrival of this queue stands.
    pub arrival: (u64, usize),
    window: VecDeque<Entry>,
}

impl Queue {
    /// A queue that holds `min..end`, all of it in files.
    pub fn new(topic: Arc<str>, id: u32, range: Range<u64>, files_from: Option<u64>) -> Queue {
        assert!(range.start <= range.end, "a queue does not end before it begins");
        Queue {
            topic,
            id,
            min: range.start,
            next: range.end,
            end: range.end,
            written: range.end,
            files_from,
            file: None,
            listed: false,
            arrival: (0, 0),
            window: VecDeque::new(),
        }
    }

    /// First entry of the window.
    pub fn window_from(&self) -> u64 {
        self.end - self.window.len() as u64
    }

    /// Adds the entry with the number `end`.
    pub fn push(&mut self, entry: Entry) {
        self.window.push_back(entry);
        self.end += 1;
        self.next = self.next.max(self.end);
    }

    /// Entries of the window, by number.
    pub fn in_window(&self, range: Range<u64>) -> impl Iterator<Item = &Entry> {
        let from = self.window_from();
        assert!(from <= range.start && range.end <= self.end, "the window holds what is asked of it");
        self.window.range((range.start - from) as usize..(range.end - from) as usize)
    }

    /// Entries that are not in a file yet.
    pub fn dirty(&self) -> u64 {
        self.end - self.written
    }

    /// Shortens the window to `keep` entries, never below what is not written. Tells how many went.
    pub fn trim(&mut self, keep: usize) -> usize {
        let keep = keep.max(usize::try_from(self.dirty()).expect("a window fits into memory"));
        let excess = self.window.len().saturating_sub(keep);
        self.window.drain(..excess);
        if self.window.capacity() > 4 * keep + 16 {
            self.window.shrink_to(2 * keep);
        }
        excess
    }

    /// Makes an empty queue begin at `offset`.
    pub fn begin_at(&mut self, offset: u64) {
        assert_eq!(self.min, self.end, "only an empty queue is moved");
        assert!(self.window.is_empty(), "only an empty queue is moved");
        (self.min, self.end, self.written) = (offset, offset, offset);
        self.next = self.next.max(offset);
    }

    /// Panics when the state contradicts itself.
    pub fn invariants(&self) {
        assert!(self.min <= self.end, "{}/{}: min {} > end {}", self.topic, self.id, self.min, self.end);
        assert!(self.written <= self.end && self.end <= self.next, "{}/{}: written ≤ end ≤ next", self.topic, self.id);
        assert!(
            self.window_from() <= self.written,
            "{}/{}: an entry is in a file or in the window",
            self.topic,
            self.id
        );
        if self.dirty() > 0 {
            assert!(self.listed, "{}/{}: a queue with unwritten entries is listed", self.topic, self.id);
        }
    }
}
