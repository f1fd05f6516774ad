//! One file: sparse pages, a length, and which syncs are under way.
//!
//! Invariant: a sync makes durable what was written when it was *asked for*, not what was there when it completed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::page::{PAGE, Page, SECTOR, Survival};
use super::slate::Slate;
use crate::world::Dice;

/// What was never written; a recovery reads as much of it at a time.
static BLANK: [u8; 1 << 20] = [0; 1 << 20];

/// Reads from this length on are mostly zeros.
const LONG: usize = 64 << 10;

/// Pages that become cold or hot together.
const CHUNK_PAGES: u64 = 16;

fn pages_of(at: u64, len: u64) -> std::ops::Range<u64> {
    at / PAGE as u64..(at + len).div_ceil(PAGE as u64)
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub len: u64,
    durable_len: u64,
    pages: BTreeMap<u64, Page>,
    /// Pages from the beginning for which there is room in any case.
    reserved: u64,
    /// Pages that the next sync covers.
    dirty: BTreeSet<u64>,
    /// Lengths that pending syncs will make durable.
    pending: BTreeMap<u64, u64>,
    /// The newest sync that is complete.
    synced: u64,
    /// Chunks that are not in memory.
    cold: BTreeSet<u64>,
    /// Sectors that cannot be read until they are written.
    bad: BTreeSet<u64>,
    pub modified_ms: u64,
}

impl File {
    /// A new sparse file; its length is metadata that is not durable yet.
    pub fn sparse(len: u64, now_ms: u64) -> File {
        File { len, modified_ms: now_ms, ..File::default() }
    }
    /// The same, with room for all of it.
    pub fn allocated(len: u64, now_ms: u64) -> File {
        File { reserved: len.div_ceil(PAGE as u64), ..File::sparse(len, now_ms) }
    }
    /// Pages that it takes of the device.
    pub fn pages(&self) -> u64 {
        self.reserved + self.pages.range(self.reserved..).count() as u64
    }
    /// Pages that a write would add.
    pub fn pages_missing(&self, at: u64, len: usize) -> u64 {
        let range = pages_of(at, len as u64);
        let range = range.start.max(self.reserved)..range.end.max(self.reserved);
        (range.end - range.start) - self.pages.range(range).count() as u64
    }
    /// Writes; grows the file when needed.
    pub fn write(&mut self, at: u64, bytes: &[u8], now_ms: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let position = at + done as u64;
            let (number, offset) = (position / PAGE as u64, (position % PAGE as u64) as usize);
            let part = (PAGE - offset).min(bytes.len() - done);
            self.touch(number).now[offset..offset + part].copy_from_slice(&bytes[done..done + part]);
            self.cold.remove(&(number / CHUNK_PAGES));
            done += part;
        }
        if !self.bad.is_empty() {
            let written = at / SECTOR as u64..(at + bytes.len() as u64).div_ceil(SECTOR as u64);
            self.bad.retain(|sector| !written.contains(sector));
        }
        self.len = self.len.max(at + bytes.len() as u64);
        self.modified_ms = now_ms;
    }
    fn touch(&mut self, number: u64) -> &mut Page {
        self.dirty.insert(number);
        let fresh = !self.pages.contains_key(&number);
        let page = self.pages.entry(number).or_insert_with(Page::fresh);
        page.touch(fresh);
        page
    }
    fn chunks_of(at: u64, len: u64) -> std::ops::Range<u64> {
        let pages = pages_of(at, len);
        pages.start / CHUNK_PAGES..pages.end.div_ceil(CHUNK_PAGES)
    }
    /// Whether any byte of the range is cold.
    pub fn is_cold(&self, at: u64, len: usize) -> bool {
        let len = (len as u64).min(self.len.saturating_sub(at));
        !self.cold.is_empty() && len > 0 && self.cold.range(Self::chunks_of(at, len)).next().is_some()
    }
    /// Reads a range into memory.
    pub fn warm(&mut self, at: u64, len: usize) {
        Self::chunks_of(at, len as u64).for_each(|number| {
            self.cold.remove(&number);
        });
    }
    /// The page cache forgets chunks, as drawn.
    pub fn chill(&mut self, ppm: u32, dice: &mut Dice) {
        let chunks: BTreeSet<u64> = self.pages.keys().map(|number| number / CHUNK_PAGES).collect();
        self.cold = chunks.into_iter().filter(|_| dice.chance(ppm)).collect();
    }
    /// The page cache gives up chunks, as drawn; what is not on the disk yet stays.
    pub fn evict(&mut self, ppm: u32, dice: &mut Dice) {
        let chunks: BTreeSet<u64> = self.pages.keys().map(|number| number / CHUNK_PAGES).collect();
        for chunk in chunks.into_iter().filter(|_| dice.chance(ppm)) {
            self.evict_chunk(chunk);
        }
    }
    fn evict_chunk(&mut self, chunk: u64) {
        let mut pages = self.pages.range(chunk * CHUNK_PAGES..(chunk + 1) * CHUNK_PAGES);
        if pages.all(|(_, page)| !page.is_dirty()) {
            self.cold.insert(chunk);
        }
    }
    /// Whether these bytes are in pages that are on the disk as they are in memory.
    pub fn is_clean(&self, at: u64, len: u64) -> bool {
        pages_of(at, len).all(|number| self.pages.get(&number).is_some_and(|page| !page.is_dirty()))
    }
    /// Whether nobody has written the page of a byte of the file, or it is on the disk as it is in memory.
    pub fn may_be_hit(&self, at: u64) -> bool {
        at < self.len && self.pages.get(&(at / PAGE as u64)).is_none_or(|page| !page.is_dirty())
    }
    /// Begins of the pages that are on the disk as they are in memory.
    pub fn clean_pages(&self) -> Vec<u64> {
        let clean = self.pages.iter().filter(|(_, page)| !page.is_dirty());
        clean.map(|(number, _)| number * PAGE as u64).filter(|at| *at < self.len).collect()
    }
    /// A sector of a clean page goes bad.
    pub fn go_bad(&mut self, at: u64) {
        self.bad.insert(at / SECTOR as u64);
        self.evict_chunk(at / PAGE as u64 / CHUNK_PAGES);
    }
    /// Every sector can be read again.
    pub fn cure(&mut self) {
        self.bad.clear();
    }
    /// The first byte of the range that cannot be read.
    pub fn bad_at(&self, at: u64, len: usize) -> Option<u64> {
        let end = (at + len as u64).div_ceil(SECTOR as u64);
        self.bad.range(at / SECTOR as u64..end).next().map(|sector| sector * SECTOR as u64)
    }
    /// A bit of a clean page flips on the disk, and memory gives the page up.
    pub fn flip(&mut self, at: u64, bit: u8) {
        let page = self.pages.get_mut(&(at / PAGE as u64)).expect("only a page that is there rots");
        assert!(!page.is_dirty(), "only what is on the disk rots");
        page.now[(at % PAGE as u64) as usize] ^= 1 << bit;
        self.evict_chunk(at / PAGE as u64 / CHUNK_PAGES);
    }
    /// Begins of the sectors of clean pages in which the last write of the page changed something.
    pub fn rewritten(&self) -> Vec<u64> {
        let clean = self.pages.iter().filter(|(_, page)| !page.is_dirty());
        let sectors = clean.flat_map(|(number, page)| {
            let changed = (0..PAGE).step_by(SECTOR).filter(|at| {
                let (now, before) = page.sector(*at);
                before.map_or_else(|| now.iter().any(|byte| *byte != 0), |before| now != before)
            });
            changed.map(move |at| number * PAGE as u64 + at as u64)
        });
        sectors.filter(|at| *at < self.len).collect()
    }
    /// What the sector at a byte holds, and what the platter held there before it was last written. The page must be there.
    pub fn sector(&self, at: u64) -> ([u8; SECTOR], [u8; SECTOR]) {
        let page = self.pages.get(&(at / PAGE as u64)).expect("only a page that is there was written");
        let (now, before) = page.sector((at % PAGE as u64) as usize);
        let whole = |bytes: &[u8]| bytes.try_into().expect("a sector has its length");
        (whole(now), before.map_or([0; SECTOR], whole))
    }
    /// The platter holds something else in a sector, and memory gives the page up. What lies behind the end of the file is not the file's.
    pub fn put_sector(&mut self, at: u64, bytes: &[u8; SECTOR]) {
        assert!(at < self.len && at.is_multiple_of(SECTOR as u64), "a sector of the file");
        let page = self.pages.entry(at / PAGE as u64).or_insert_with(Page::fresh);
        assert!(!page.is_dirty(), "only what is on the disk is hit");
        let len = (SECTOR as u64).min(self.len - at) as usize;
        let from = (at % PAGE as u64) as usize;
        page.now[from..from + len].copy_from_slice(&bytes[..len]);
        self.evict_chunk(at / PAGE as u64 / CHUNK_PAGES);
    }
    /// Bytes from `at`, fewer when the file ends first.
    pub fn read(&self, at: u64, len: usize) -> Bytes {
        let end = (at + len as u64).min(self.len);
        if at >= end {
            return Bytes::new();
        }
        self.assemble(at, (end - at) as usize, |page| Some(&page.now))
    }
    /// The content up to its last page; behind it are zeros.
    pub fn written(&self) -> Bytes {
        self.read(0, self.end_of_pages() as usize)
    }
    /// The durable content, as a power cut that loses everything else would leave it, up to the last page.
    pub fn durable(&self) -> Bytes {
        self.assemble(0, self.durable_len.min(self.end_of_pages()) as usize, Page::durable)
    }
    /// Its length then.
    pub fn durable_len(&self) -> u64 {
        self.durable_len
    }
    fn end_of_pages(&self) -> u64 {
        self.pages.last_key_value().map_or(0, |(number, _)| (number + 1) * PAGE as u64)
    }
    /// See [`super::Image::fingerprint`].
    pub fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.len.to_le_bytes());
        for (number, page) in self.pages.iter().filter(|(_, page)| page.now[..] != [0; PAGE]) {
            hasher.update(&number.to_le_bytes());
            hasher.update(&page.now[..]);
        }
        hasher.finalize()
    }
    fn assemble<'a>(&'a self, at: u64, len: usize, content: impl Fn(&'a Page) -> Option<&'a [u8; PAGE]>) -> Bytes {
        let end = at + len as u64;
        let mut pages = self.pages.range(pages_of(at, len as u64)).peekable();
        if len <= BLANK.len() && pages.peek().is_none() {
            return Bytes::from_static(&BLANK[..len]);
        }
        let parts = pages.filter_map(|(number, page)| {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(at), (start + PAGE as u64).min(end));
            Some(((from - at) as usize, &content(page)?[(from - start) as usize..(to - start) as usize]))
        });
        if len >= LONG {
            let mut slate = Slate::blank(len);
            parts.for_each(|(at, part)| slate.put(at, part));
            return slate.into();
        }
        let mut bytes = BytesMut::with_capacity(len);
        for (at, part) in parts {
            bytes.resize(at, 0);
            bytes.extend_from_slice(part);
        }
        bytes.resize(len, 0);
        bytes.freeze()
    }
    /// Shortens the file. What was cut off may come back after a power cut, until a sync.
    pub fn truncate(&mut self, len: u64, now_ms: u64) {
        if len >= self.len {
            return;
        }
        let numbers: Vec<u64> = self.pages.range(len / PAGE as u64..).map(|(number, _)| *number).collect();
        for number in numbers {
            let keep = len.saturating_sub(number * PAGE as u64).min(PAGE as u64) as usize;
            self.touch(number).now[keep..].fill(0);
        }
        self.len = len;
        self.reserved = self.reserved.min(len.div_ceil(PAGE as u64));
        self.modified_ms = now_ms;
    }
    /// A sync is asked for.
    pub fn sync_asked(&mut self, sync: u64) {
        for number in &self.dirty {
            self.pages.get_mut(number).expect("a dirty page is there").freeze(sync);
        }
        self.pending.insert(sync, self.len);
    }
    /// It is complete.
    pub fn sync_done(&mut self, sync: u64) {
        let pages = &mut self.pages;
        self.dirty.retain(|number| !pages.get_mut(number).expect("a dirty page is there").synced(sync));
        let len = self.pending.remove(&sync).expect("a sync was asked for before it is done");
        if sync > self.synced {
            (self.synced, self.durable_len) = (sync, len);
        }
    }
    /// It failed: the pages count as clean from now on, the platter does not hold them.
    pub fn sync_failed(&mut self, sync: u64) {
        let pages = &self.pages;
        self.dirty.retain(|number| !pages[number].covered_by(sync));
        self.pending.remove(&sync);
    }
    /// The power is cut; `in_order`, nothing survives that was not synced. How many sectors lost content.
    pub fn cut(&mut self, in_order: bool, dice: &mut Dice) -> u64 {
        let survival = match dice.below(10) {
            _ if in_order => Survival::Nothing,
            0..=2 => Survival::Nothing,
            3 => Survival::Everything,
            4..=5 => Survival::Pages,
            _ => Survival::Sectors,
        };
        let lost = self.pages.values_mut().filter(|page| page.is_dirty()).map(|page| page.cut(survival, dice)).sum();
        let resized = survival == Survival::Everything || (survival != Survival::Nothing && dice.chance(500_000));
        if !resized {
            self.len = self.durable_len;
        }
        self.trim();
        self.durable_len = self.len;
        self.dirty.clear();
        self.pending.clear();
        lost
    }
    /// Nothing lies behind the end.
    fn trim(&mut self) {
        let end = self.len.div_ceil(PAGE as u64);
        self.pages.retain(|number, _| *number < end);
        if let Some(page) = self.pages.get_mut(&(self.len / PAGE as u64)) {
            page.now[(self.len % PAGE as u64) as usize..].fill(0);
        }
    }
}
