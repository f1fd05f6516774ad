//! A whole disk: files and the names that lead to them.
//!
//! Invariant: names become durable in the order in which they were made (a metadata journal); a power cut keeps a prefix of
//! the journal that contains everything that was synced. What a sync that lies covers is written back in order: a power cut
//! keeps the first so many of them whole, and of what came later nothing.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use super::file::File;
use super::page::{PAGE, SECTOR};
use crate::dice::Dice;
use crate::whitebox::{Content, Files};

/// A file on this disk, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(pub usize);

#[derive(Clone, Debug)]
enum NameOp {
    Create(String, Inode),
    Rename(String, String),
    Remove(String),
}

impl NameOp {
    fn concerns(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            NameOp::Create(a, _) | NameOp::Remove(a) => test(a),
            NameOp::Rename(a, b) => test(a) || test(b),
        }
    }
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            NameOp::Create(path, inode) => drop(names.insert(path.clone(), *inode)),
            NameOp::Remove(path) => drop(names.remove(path)),
            NameOp::Rename(from, to) => {
                let inode = names.remove(from).expect("a renamed file was there");
                names.insert(to.clone(), inode);
            }
        }
    }
}

/// The directory part of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A file with its fingerprint, which is forgotten whenever the file may change.
#[derive(Clone, Debug)]
struct Known {
    file: File,
    fingerprint: OnceCell<blake3::Hash>,
}

impl Known {
    fn new(file: File) -> Known {
        Known { file, fingerprint: OnceCell::new() }
    }
    fn fingerprint(&self) -> blake3::Hash {
        *self.fingerprint.get_or_init(|| self.file.fingerprint())
    }
    /// For what changes neither length nor content.
    fn but_content(&mut self) -> &mut File {
        &mut self.file
    }
}

impl Deref for Known {
    type Target = File;
    fn deref(&self) -> &File {
        &self.file
    }
}

impl DerefMut for Known {
    fn deref_mut(&mut self) -> &mut File {
        self.fingerprint.take();
        &mut self.file
    }
}

/// What a sync said to be durable and left in a cache.
#[derive(Clone, Debug)]
struct Lie {
    /// The file and the number of its sync; a directory has none.
    sync: Option<(Inode, u64)>,
    /// Changes of names that it covers, of all that there ever were.
    names: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Image {
    files: Vec<Known>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    journal: Vec<NameOp>,
    /// Changes of names that are durable.
    committed: u64,
    /// Syncs that lied, oldest first.
    lies: Vec<Lie>,
    /// Grows with every change of a name: handles look again.
    pub(super) version: u64,
    next_sync: u64,
}

impl Image {
    /// An empty disk in place of one whose names had this version.
    pub(super) fn empty_after(version: u64) -> Image {
        Image { version: version + 1, ..Image::default() }
    }
    pub(super) fn find(&self, path: &str) -> Option<Inode> {
        self.names.get(path).copied()
    }
    pub(super) fn file(&self, inode: Inode) -> &File {
        &self.files[inode.0]
    }
    pub(super) fn file_mut(&mut self, inode: Inode) -> &mut File {
        &mut self.files[inode.0]
    }
    /// Reads a range of a file into memory.
    pub(super) fn warm(&mut self, inode: Inode, at: u64, len: usize) {
        self.files[inode.0].but_content().warm(at, len);
    }
    /// Paths below a directory (`""` is the root) and their files, by path.
    pub(super) fn below(&self, dir: &str) -> impl Iterator<Item = (&str, &File)> {
        let start = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let names = self.names.range(start.clone()..).take_while(move |(path, _)| path.starts_with(&start));
        names.map(|(path, inode)| (path.as_str(), self.file(*inode)))
    }
    /// Pages in use.
    pub(super) fn pages(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode.0].pages()).sum()
    }
    fn change(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.journal.push(op);
        self.version += 1;
    }
    pub(super) fn create(&mut self, path: &str, file: File) -> Inode {
        let inode = Inode(self.files.len());
        self.files.push(Known::new(file));
        self.change(NameOp::Create(path.to_owned(), inode));
        inode
    }
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let there = self.names.contains_key(from);
        if there {
            self.change(NameOp::Rename(from.to_owned(), to.to_owned()));
        }
        there
    }
    pub(super) fn remove(&mut self, path: &str) -> bool {
        let there = self.names.contains_key(path);
        if there {
            self.change(NameOp::Remove(path.to_owned()));
        }
        there
    }
    /// A sync of a file is asked for; its number.
    pub(super) fn sync_asked(&mut self, inode: Inode) -> u64 {
        self.next_sync += 1;
        self.files[inode.0].but_content().sync_asked(self.next_sync);
        self.next_sync
    }
    /// It is complete: the content as of the ask, and the name. So is what lay in a cache.
    pub(super) fn sync_done(&mut self, inode: Inode, sync: u64) {
        self.own_up(self.lies.len());
        self.files[inode.0].but_content().sync_done(sync);
        self.commit(self.names_of(inode));
    }
    /// It only says so.
    pub(super) fn sync_lied(&mut self, inode: Inode, sync: u64) {
        self.lies.push(Lie { sync: Some((inode, sync)), names: self.committed + self.names_of(inode) as u64 });
    }
    pub(super) fn sync_failed(&mut self, inode: Inode, sync: u64) {
        self.files[inode.0].but_content().sync_failed(sync);
    }
    /// The names in a directory are durable. So is what lay in a cache.
    pub(super) fn dir_synced(&mut self, dir: &str) {
        self.own_up(self.lies.len());
        self.commit(self.names_in(dir));
    }
    /// It only says so.
    pub(super) fn dir_lied(&mut self, dir: &str) {
        self.lies.push(Lie { sync: None, names: self.committed + self.names_in(dir) as u64 });
    }
    /// Changes of names up to the last one of a file.
    fn names_of(&self, inode: Inode) -> usize {
        let last = self.journal.iter().rposition(|op| op.concerns(|path| self.names.get(path) == Some(&inode)));
        last.map_or(0, |at| at + 1)
    }
    /// The same up to the last one in a directory.
    fn names_in(&self, dir: &str) -> usize {
        let last = self.journal.iter().rposition(|op| op.concerns(|path| parent(path) == dir));
        last.map_or(0, |at| at + 1)
    }
    /// What the oldest so many syncs left in a cache is durable now.
    fn own_up(&mut self, count: usize) {
        for Lie { sync, names } in self.lies.drain(..count).collect::<Vec<_>>() {
            if let Some((inode, sync)) = sync {
                self.files[inode.0].but_content().sync_done(sync);
            }
            self.commit(names.saturating_sub(self.committed) as usize);
        }
    }
    /// The power is going: how much of what lies in a cache gets to the platter. Whether anything does not, which a sync had named durable.
    pub(super) fn write_back(&mut self, dice: &mut Dice) -> bool {
        if !self.lies.is_empty() {
            let all = self.lies.len() as u64 + 1;
            self.own_up(if dice.chance(300_000) { 0 } else { dice.below(all) as usize });
        }
        !self.lies.is_empty()
    }
    fn commit(&mut self, ops: usize) {
        self.committed += ops as u64;
        for op in self.journal.drain(..ops) {
            op.apply(&mut self.durable_names);
        }
    }
    /// The power is cut: the image becomes what survived. How many sectors of unsynced content were lost.
    pub fn cut(&mut self, dice: &mut Dice) -> u64 {
        let in_order = !std::mem::take(&mut self.lies).is_empty();
        let kept = match dice.below(4) {
            _ if in_order => 0,
            0 => 0,
            1 => self.journal.len(),
            _ => dice.below(self.journal.len() as u64 + 1) as usize,
        };
        self.commit(kept);
        self.journal.clear();
        self.names = self.durable_names.clone();
        self.version += 1;
        self.files.iter_mut().map(|file| file.cut(in_order, dice)).sum()
    }
    /// The page cache forgets chunks of all files, as drawn.
    pub fn chill(&mut self, ppm: u32, dice: &mut Dice) {
        self.files.iter_mut().for_each(|file| file.but_content().chill(ppm, dice));
    }
    /// The page cache gives up chunks of all files, as drawn.
    pub fn evict(&mut self, ppm: u32, dice: &mut Dice) {
        self.files.iter_mut().for_each(|file| file.but_content().evict(ppm, dice));
    }
    /// Some sectors of log and queues cannot be read any more.
    pub fn go_bad(&mut self, sectors: u32, dice: &mut Dice) {
        let prefixes = ["commitlog/", "consumequeue/"];
        let paths: Vec<String> =
            self.paths().filter(|path| prefixes.iter().any(|p| path.starts_with(p))).map(str::to_owned).collect();
        let places: Vec<(Inode, u64)> = paths
            .iter()
            .filter_map(|path| self.find(path))
            .flat_map(|inode| self.file(inode).clean_pages().into_iter().map(move |at| (inode, at)))
            .collect();
        for _ in 0..if places.is_empty() { 0 } else { sectors } {
            let (inode, page) = places[dice.below(places.len() as u64) as usize];
            let at = page + dice.below((PAGE / SECTOR) as u64) * SECTOR as u64;
            self.file_mut(inode).go_bad(at);
        }
    }
    /// Every sector can be read again.
    pub fn cure(&mut self) {
        self.files.iter_mut().for_each(|file| file.but_content().cure());
    }
    /// Whether these bytes of a file are on the disk as they are in memory.
    pub fn is_clean(&self, path: &str, at: u64, len: u64) -> bool {
        self.find(path).is_some_and(|inode| self.file(inode).is_clean(at, len))
    }
    /// Begins of the pages of a file that are on the disk as they are in memory.
    pub fn clean_pages(&self, path: &str) -> Vec<u64> {
        self.find(path).map_or_else(Vec::new, |inode| self.file(inode).clean_pages())
    }
    /// Begins of the sectors of a file that its last write changed, as far as they are on the disk as they are in memory.
    pub fn rewritten(&self, path: &str) -> Vec<u64> {
        self.find(path).map_or_else(Vec::new, |inode| self.file(inode).rewritten())
    }
    /// An image with these files alone.
    pub(super) fn clone_of(&self, paths: &[&str]) -> Image {
        let mut image = Image::default();
        for path in paths {
            if let (Some(inode), None) = (self.find(path), image.find(path)) {
                image.create(path, self.file(inode).clone());
            }
        }
        image
    }
    /// Whether a sector of a file lies in a page that nobody has written, or that is on the disk as it is in memory.
    pub(super) fn may_be_hit(&self, path: &str, at: u64) -> bool {
        self.find(path).is_some_and(|inode| self.file(inode).may_be_hit(at))
    }
    /// The write of one sector turns out to have reached the other: the one has what it held before, and memory gives both up.
    pub fn misdirect(&mut self, (from, from_at): (&str, u64), (to, to_at): (&str, u64)) {
        let found = |path: &str| self.find(path).expect("both sectors were found in this image");
        let (from, to) = (found(from), found(to));
        let (written, before) = self.file(from).sector(from_at);
        self.file_mut(from).put_sector(from_at, &before);
        self.file_mut(to).put_sector(to_at, &written);
    }
    /// The disk as a power cut that loses everything that it may lose would leave it.
    pub fn platter(&self) -> Platter<'_> {
        Platter(self)
    }
    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
    /// The whole content of a file as a process sees it.
    pub fn content(&self, path: &str) -> Option<bytes::Bytes> {
        let file = self.file(self.find(path)?);
        Some(file.read(0, file.len as usize))
    }
    /// A hash of length and content of a file; zeros that were written count as those that never were.
    pub fn fingerprint(&self, path: &str) -> Option<blake3::Hash> {
        Some(self.files[self.find(path)?.0].fingerprint())
    }
    /// Feeds everything that a process can see to a hash.
    pub fn digest(&self, into: &mut blake3::Hasher) {
        for (path, inode) in &self.names {
            into.update(&(path.len() as u64).to_le_bytes());
            into.update(path.as_bytes());
            let file = &self.files[inode.0];
            // Blank pages show in how full the disk is.
            into.update(&file.pages().to_le_bytes());
            into.update(file.fingerprint().as_bytes());
        }
    }
}

/// See [`Image::platter`].
#[derive(Clone, Copy, Debug)]
pub struct Platter<'a>(&'a Image);

impl Files for Platter<'_> {
    fn paths(&self) -> Vec<String> {
        self.0.durable_names.keys().cloned().collect()
    }
    fn content(&self, path: &str) -> Option<Content> {
        let file = self.0.file(*self.0.durable_names.get(path)?);
        Some(Content { len: file.durable_len(), written: file.durable() })
    }
}

impl Files for Image {
    fn paths(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }
    fn content(&self, path: &str) -> Option<Content> {
        let file = self.file(self.find(path)?);
        Some(Content { len: file.len, written: file.written() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(n: u64) -> Dice {
        Dice::new(1, n)
    }

    #[test]
    fn a_fingerprint_that_is_known_follows_every_change() {
        let mut image = Image::default();
        let inode = image.create("log", File::sparse(0, 0));
        let mut before = Vec::new();
        let mut changed = |image: &Image| {
            let now = image.fingerprint("log").unwrap();
            let is_new = !before.contains(&now);
            before.push(now);
            is_new
        };
        assert!(changed(&image));
        image.file_mut(inode).write(0, &[1; 9000], 0);
        assert!(changed(&image), "a write");
        let sync = image.sync_asked(inode);
        image.sync_done(inode, sync);
        assert!(!changed(&image), "a sync changes nothing");
        image.file_mut(inode).flip(5000, 3);
        assert!(changed(&image), "a flip");
        image.misdirect(("log", 0), ("log", 8192));
        assert!(changed(&image), "a write that went elsewhere");
        image.file_mut(inode).truncate(8500, 0);
        assert!(changed(&image), "a shorter file");
        image.file_mut(inode).write(100, &[2; 10], 0);
        assert!(changed(&image), "a write that a power cut takes");
        image.lies.push(Lie { sync: None, names: 0 });
        image.cut(&mut dice(1));
        let sync = image.sync_asked(inode);
        image.sync_done(inode, sync);
        let copy = image.clone_of(&["log"]);
        assert_eq!(image.fingerprint("log"), copy.fingerprint("log"), "a cut");
    }

    #[test]
    fn a_sync_covers_what_was_written_when_it_was_asked_for() {
        let mut mixed = 0;
        for n in 0..200 {
            let mut image = Image::default();
            let inode = image.create("log", File::sparse(0, 0));
            image.file_mut(inode).write(0, &[1; 600], 0);
            let sync = image.sync_asked(inode);
            image.file_mut(inode).write(0, &[2; 600], 0);
            image.sync_done(inode, sync);
            image.cut(&mut dice(n));
            let after = image.content("log").unwrap();
            assert_eq!(after.len(), 600, "the length was synced");
            for sector in after.chunks(512) {
                assert!(sector.iter().all(|b| *b == 1) || sector.iter().all(|b| *b == 2), "a sector is whole");
            }
            mixed += u64::from(after[0] != after[599]);
        }
        assert!(mixed > 10, "{mixed} torn");
    }

    #[test]
    fn unsynced_sectors_are_lost_kept_and_torn() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for n in 0..300 {
            let mut image = Image::default();
            let inode = image.create("log", File::sparse(8192, 0));
            image.file_mut(inode).write(0, &[1; 8192], 0);
            let sync = image.sync_asked(inode);
            image.sync_done(inode, sync);
            image.file_mut(inode).write(100, &[2; 5000], 0);
            image.cut(&mut dice(n));
            let after = image.content("log").unwrap();
            assert!(after.iter().all(|b| *b == 1 || *b == 2));
            match after.iter().filter(|b| **b == 2).count() {
                0 => lost += 1,
                5000 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 20 && kept > 10 && torn > 50, "{lost} {kept} {torn}");
    }

    #[test]
    fn names_survive_in_order_and_a_synced_file_keeps_its_name() {
        for n in 0..200 {
            let mut image = Image::default();
            image.create("a", File::sparse(0, 0));
            let b = image.create("b", File::sparse(0, 0));
            let sync = image.sync_asked(b);
            image.sync_done(b, sync);
            image.rename("b", "c");
            image.remove("a");
            image.cut(&mut dice(n));
            let names: Vec<&str> = image.paths().collect();
            assert!([&["a", "b"][..], &["a", "c"], &["c"]].contains(&&names[..]), "{names:?}");
        }
    }

    #[test]
    fn a_failed_sync_leaves_pages_that_no_later_sync_saves() {
        let mut survived = 0;
        for n in 0..200 {
            let mut image = Image::default();
            let inode = image.create("log", File::sparse(4096, 0));
            let first = image.sync_asked(inode);
            image.sync_done(inode, first);
            image.file_mut(inode).write(0, &[3; 4096], 0);
            let bad = image.sync_asked(inode);
            image.sync_failed(inode, bad);
            let good = image.sync_asked(inode);
            image.sync_done(inode, good);
            image.cut(&mut dice(n));
            survived += usize::from(image.content("log").unwrap().iter().all(|b| *b == 3));
        }
        assert!((1..100).contains(&survived), "{survived} of 200");
    }

    #[test]
    fn what_syncs_lied_about_is_lost_in_order() {
        let mut kept = [0; 4];
        for n in 0..300 {
            let mut image = Image::default();
            let inode = image.create("log", File::sparse(4 * 4096, 0));
            let first = image.sync_asked(inode);
            image.sync_done(inode, first);
            for page in 0..3 {
                image.file_mut(inode).write(page * 4096, &[9; 4096], 0);
                let sync = image.sync_asked(inode);
                image.sync_lied(inode, sync);
            }
            image.file_mut(inode).write(3 * 4096, &[9; 4096], 0);
            let lied = image.write_back(&mut dice(n));
            let claimed = image.platter().content("log").unwrap().whole();
            let pages = claimed.chunks(4096).take_while(|page| page.iter().all(|b| *b == 9)).count();
            assert_eq!(lied, pages < 3, "it lied if anything is not on the platter that a sync had named");
            assert!(claimed[pages * 4096..].iter().all(|b| *b == 0), "it was written back in order");
            image.cut(&mut dice(n));
            assert!(!lied || image.content("log").unwrap() == claimed, "nothing survives behind what is lost");
            kept[pages] += 1;
        }
        assert!(kept[..3].iter().all(|n| *n > 20), "{kept:?}");
    }

    #[test]
    fn an_honest_sync_makes_durable_what_earlier_ones_lied_about() {
        for n in 0..100 {
            let mut image = Image::default();
            let inode = image.create("log", File::sparse(4096, 0));
            image.file_mut(inode).write(0, &[5; 4096], 0);
            let sync = image.sync_asked(inode);
            image.sync_lied(inode, sync);
            image.dir_lied("");
            let other = image.create("other", File::sparse(0, 0));
            let sync = image.sync_asked(other);
            image.sync_done(other, sync);
            assert!(!image.write_back(&mut dice(n)));
            image.cut(&mut dice(n));
            assert!(image.content("log").unwrap().iter().all(|b| *b == 5));
        }
    }

    #[test]
    fn a_misdirected_sector_leaves_what_was_there_and_takes_the_place_of_another() {
        let mut image = Image::default();
        let inode = image.create("queue", File::sparse(8192 + 100, 0));
        for byte in 1..=3 {
            image.file_mut(inode).write(0, &[byte; 700], 0);
            image.file_mut(inode).write(8192, &[byte + 10; 100], 0);
            let sync = image.sync_asked(inode);
            image.sync_done(inode, sync);
        }
        assert_eq!(image.rewritten("queue"), [0, 512, 8192]);
        image.misdirect(("queue", 512), ("queue", 8192));
        let after = image.content("queue").unwrap();
        assert!(after[..512].iter().all(|b| *b == 3) && after[512..700].iter().all(|b| *b == 2), "an old content");
        assert!(after[8192..].iter().all(|b| *b == 3) && after.len() == 8292, "no more than the file has room for");
        assert!(image.file(inode).is_cold(0, 1) && image.is_clean("queue", 8192, 100));
        image.cut(&mut dice(1));
        assert_eq!(image.content("queue").unwrap(), after, "the platter holds it");
        image.misdirect(("queue", 0), ("queue", 4096));
        assert!(image.content("queue").unwrap()[4096..4608].iter().all(|b| *b == 3), "a place that was never written");
    }

    #[test]
    fn what_was_truncated_reads_as_zeros_when_the_file_grows_again() {
        let mut image = Image::default();
        let inode = image.create("log", File::sparse(0, 0));
        image.file_mut(inode).write(0, &[7; 6000], 0);
        image.file_mut(inode).truncate(5000, 0);
        image.file_mut(inode).write(5500, &[8; 10], 0);
        let after = image.content("log").unwrap();
        assert_eq!(after.len(), 5510);
        assert!(after[5000..5500].iter().all(|b| *b == 0));
        assert!(after[..5000].iter().all(|b| *b == 7));
    }
}
