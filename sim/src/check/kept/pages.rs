//! Pages of a temporary file, the most recently used of them in memory.
//!
//! Invariant: at most `most` pages are in memory, and the file is made when there are more for the first time; a page that is not in
//! memory is in the file as it was last written. After an error of the file pages may be blank, and [`Pages::sound`] says so.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Words of a page; 4 KiB.
pub const WORDS: usize = 512;
const BYTES: usize = WORDS * 8;

/// Which page: 16 TiB in all.
pub type PageId = u32;

/// A handle of one set of pages, shared by all tables of a checker.
#[derive(Clone, Debug)]
pub struct Pages(Rc<RefCell<Pool>>);

#[derive(Debug)]
struct Pool {
    most: usize,
    frames: Vec<Frame>,
    /// For each page its frame, counted from 1; 0 when it is in the file.
    frame_of: Vec<u32>,
    free: Vec<PageId>,
    hand: usize,
    file: Option<File>,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Frame {
    page: PageId,
    /// Since the hand last came by.
    used: bool,
    /// Other than in the file.
    changed: bool,
    words: Box<[u64; WORDS]>,
}

impl Pages {
    /// So many are a MiB.
    pub const A_MIB: usize = (1 << 20) / BYTES;

    /// No pages yet; at most `most` of them will be in memory.
    pub fn new(most: usize) -> Pages {
        let (frames, frame_of, free) = (Vec::new(), Vec::new(), Vec::new());
        Pages(Rc::new(RefCell::new(Pool {
            most: most.max(1),
            frames,
            frame_of,
            free,
            hand: 0,
            file: None,
            error: None,
        })))
    }

    /// A blank page.
    pub fn add(&self) -> PageId {
        let mut pool = self.0.borrow_mut();
        let page = pool.free.pop().unwrap_or_else(|| {
            pool.frame_of.push(0);
            PageId::try_from(pool.frame_of.len() - 1).expect("a history needs less than 16 TiB of pages")
        });
        let (frame, is_blank) = pool.room(page);
        let frame = &mut pool.frames[frame];
        if !is_blank {
            frame.words.fill(0);
        }
        frame.changed = true;
        page
    }

    /// The page will not be read again.
    pub fn give_back(&self, page: PageId) {
        let mut pool = self.0.borrow_mut();
        if let Some(frame) = (pool.frame_of[page as usize] as usize).checked_sub(1) {
            (pool.frames[frame].used, pool.frames[frame].changed) = (false, false);
        }
        pool.free.push(page);
    }

    /// Looks at a page.
    pub fn read<T>(&self, page: PageId, look: impl FnOnce(&[u64; WORDS]) -> T) -> T {
        let mut pool = self.0.borrow_mut();
        let frame = pool.frame(page);
        look(&pool.frames[frame].words)
    }

    /// Changes a page.
    pub fn write<T>(&self, page: PageId, change: impl FnOnce(&mut [u64; WORDS]) -> T) -> T {
        let mut pool = self.0.borrow_mut();
        let frame = pool.frame(page);
        pool.frames[frame].changed = true;
        change(&mut pool.frames[frame].words)
    }

    /// Whether every page was as it should be so far.
    pub fn sound(&self) -> io::Result<()> {
        let error = self.0.borrow_mut().error.take();
        error.map_or(Ok(()), |error| Err(io::Error::new(error.kind(), format!("the temporary file: {error}"))))
    }

    /// Pages in memory, and pages in all.
    #[cfg(test)]
    pub fn count(&self) -> (usize, usize) {
        let pool = self.0.borrow();
        (pool.frames.len(), pool.frame_of.len())
    }
}

impl Pool {
    /// The frame of a page.
    fn frame(&mut self, page: PageId) -> usize {
        if let Some(frame) = (self.frame_of[page as usize] as usize).checked_sub(1) {
            self.frames[frame].used = true;
            return frame;
        }
        let (frame, _) = self.room(page);
        if let Err(error) = self.load(page, frame) {
            self.frames[frame].words.fill(0);
            self.error.get_or_insert(error);
        }
        frame
    }

    /// A frame for a page that has none, or has it already, and whether it is blank; otherwise what is in it is anything.
    fn room(&mut self, page: PageId) -> (usize, bool) {
        let own = (self.frame_of[page as usize] as usize).checked_sub(1);
        let frame = own.or_else(|| (self.frames.len() >= self.most).then(|| self.evict()).flatten());
        let is_blank = frame.is_none();
        let frame = frame.unwrap_or_else(|| {
            self.frames.push(Frame { page, used: true, changed: false, words: Box::new([0; WORDS]) });
            self.frames.len() - 1
        });
        (self.frames[frame].page, self.frames[frame].used, self.frames[frame].changed) = (page, true, false);
        self.frame_of[page as usize] = u32::try_from(frame + 1).expect("fewer than 2^32 pages are in memory");
        (frame, is_blank)
    }

    /// Frees the frame of a page that was not used for a while; none when the file does not take it.
    fn evict(&mut self) -> Option<usize> {
        let frame = loop {
            self.hand = (self.hand + 1) % self.frames.len();
            if !std::mem::take(&mut self.frames[self.hand].used) {
                break self.hand;
            }
        };
        if let Err(error) = self.store(frame) {
            self.error.get_or_insert(error);
            return None;
        }
        self.frame_of[self.frames[frame].page as usize] = 0;
        Some(frame)
    }

    fn store(&mut self, frame: usize) -> io::Result<()> {
        if !self.frames[frame].changed {
            return Ok(());
        }
        let mut bytes = [0; BYTES];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(self.frames[frame].words.iter()) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        let file = self.file.as_ref().expect("it was just made");
        file.write_all_at(&bytes, u64::from(self.frames[frame].page) * BYTES as u64)
    }

    fn load(&mut self, page: PageId, frame: usize) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(&mut bytes, u64::from(page) * BYTES as u64)?;
        for (word, bytes) in self.frames[frame].words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        Ok(())
    }
}
