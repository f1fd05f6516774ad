//! One 4 KiB page of a file: what the process sees, and what the platter holds.
//!
//! Invariant: what a completed sync covered is in `durable` (or the page is clean); everything between that and the present
//! content may or may not survive a power cut.

use crate::world::Dice;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Bytes that a disk writes at once.
pub const SECTOR: usize = 512;

type Content = Box<[u8; PAGE]>;

fn zeros() -> Content {
    Box::new([0; PAGE])
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub now: Content,
    dirty: Option<Dirty>,
    /// What the platter held before it was last written; nothing means zeros.
    before: Option<Content>,
}

#[derive(Clone, Debug)]
struct Dirty {
    /// The durable content; nothing means zeros.
    durable: Option<Content>,
    /// Contents that a sync was asked for and that were overwritten since, oldest first.
    asked: Vec<(Vec<u64>, Content)>,
    /// Syncs that were asked for while the content was as it is now.
    frozen: Vec<u64>,
}

/// What a power cut leaves of unsynced pages; drawn once per cut and file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Each page as a whole, or not.
    Pages,
    /// Each sector for itself, of any version.
    Sectors,
}

impl Page {
    /// A page that no file had before.
    pub fn fresh() -> Page {
        Page { now: zeros(), dirty: None, before: None }
    }
    /// What a sector that lies at this byte of the page holds, and what the platter held there before the page was last written.
    pub fn sector(&self, at: usize) -> (&[u8], Option<&[u8]>) {
        let range = at..at + SECTOR;
        (&self.now[range.clone()], self.before.as_ref().map(|before| &before[range]))
    }
    pub fn is_dirty(&self) -> bool {
        self.dirty.is_some()
    }
    /// Makes the content writable.
    pub fn touch(&mut self, fresh: bool) {
        match &mut self.dirty {
            None => {
                let durable = (!fresh).then(|| self.now.clone());
                self.dirty = Some(Dirty { durable, asked: Vec::new(), frozen: Vec::new() });
            }
            Some(dirty) if !dirty.frozen.is_empty() => {
                dirty.asked.push((std::mem::take(&mut dirty.frozen), self.now.clone()));
            }
            Some(_) => {}
        }
    }
    /// A sync that covers the present content is asked for.
    pub fn freeze(&mut self, sync: u64) {
        if let Some(dirty) = &mut self.dirty {
            dirty.frozen.push(sync);
        }
    }
    /// The sync is complete; true when the page is clean now.
    pub fn synced(&mut self, sync: u64) -> bool {
        let Some(dirty) = &mut self.dirty else { return true };
        if dirty.frozen.contains(&sync) {
            self.before = dirty.durable.take();
            self.dirty = None;
            return true;
        }
        if let Some(at) = dirty.asked.iter().position(|(syncs, _)| syncs.contains(&sync)) {
            let (_, content) = dirty.asked.drain(..=at).next_back().expect("the range has its end");
            dirty.durable = Some(content);
        }
        false
    }
    /// Whether a failed sync covered the present content: the kernel takes such a page for clean.
    pub fn covered_by(&self, sync: u64) -> bool {
        self.dirty.as_ref().is_some_and(|dirty| dirty.frozen.contains(&sync))
    }
    /// The durable content; nothing means zeros.
    pub fn durable(&self) -> Option<&[u8; PAGE]> {
        match &self.dirty {
            None => Some(&self.now),
            Some(dirty) => dirty.durable.as_deref(),
        }
    }
    /// The power is cut: the page becomes what survived. How many sectors of unsynced content were lost.
    pub fn cut(&mut self, survival: Survival, dice: &mut Dice) -> u64 {
        let Some(dirty) = self.dirty.take() else { return 0 };
        let durable = dirty.durable.unwrap_or_else(zeros);
        let whole = match survival {
            Survival::Nothing => Some(false),
            Survival::Everything => Some(true),
            Survival::Pages => Some(dice.chance(500_000)),
            Survival::Sectors => None,
        };
        let versions: Vec<&Content> =
            dirty.asked.iter().map(|(_, content)| content).chain([&self.now, &durable]).collect();
        let mut after = zeros();
        let mut lost = 0;
        for start in (0..PAGE).step_by(SECTOR) {
            let range = start..start + SECTOR;
            let pick = match whole {
                Some(kept) => versions.len() - if kept { 2 } else { 1 },
                None => dice.below(versions.len() as u64) as usize,
            };
            after[range.clone()].copy_from_slice(&versions[pick][range.clone()]);
            lost += u64::from(after[range.clone()] != self.now[range]);
        }
        self.now = after;
        self.before = Some(durable);
        lost
    }
}
