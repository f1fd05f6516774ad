//! Room for a long read. A recovery reads mebibytes with a few pages in them; the zeros around the pages are kept for the next read.
//!
//! Invariant: behind what was put there the room is zero, so that only what was put there has to be made zero again.

use std::cell::Cell;

use bytes::Bytes;

thread_local! {
    /// The longest room that nobody uses.
    static FREE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See the module.
pub(super) struct Slate {
    room: Vec<u8>,
    len: usize,
    /// Behind the last byte that was put there.
    used: usize,
}

impl Slate {
    /// So many zeros.
    pub fn blank(len: usize) -> Slate {
        let room = FREE.take();
        Slate { room: if room.len() < len { vec![0; len] } else { room }, len, used: 0 }
    }
    pub fn put(&mut self, at: usize, part: &[u8]) {
        let end = at + part.len();
        self.room[at..end].copy_from_slice(part);
        self.used = self.used.max(end);
    }
}

impl AsRef<[u8]> for Slate {
    fn as_ref(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl From<Slate> for Bytes {
    fn from(slate: Slate) -> Bytes {
        Bytes::from_owner(slate)
    }
}

impl Drop for Slate {
    fn drop(&mut self) {
        let mut room = std::mem::take(&mut self.room);
        room[..self.used].fill(0);
        // A thread that ends has no use for it.
        let _ = FREE.try_with(|free| {
            let other = free.take();
            free.set(if other.len() > room.len() { other } else { room });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_read_sees_nothing_of_the_one_before() {
        let read = |len: usize, parts: &[(usize, &[u8])]| {
            let mut slate = Slate::blank(len);
            parts.iter().for_each(|(at, part)| slate.put(*at, part));
            Bytes::from(slate)
        };
        let first = read(8, &[(5, b"ab"), (1, b"c")]);
        let beside = read(4, &[(0, b"d")]);
        assert_eq!((&first[..], &beside[..]), (&b"\0c\0\0\0ab\0"[..], &b"d\0\0\0"[..]));
        let slice = first.slice(5..7);
        drop(first);
        assert_eq!(read(8, &[])[..], [0; 8], "the room is taken only once nobody reads it");
        assert_eq!(&slice[..], b"ab");
        drop((slice, beside));
        assert_eq!(read(8, &[])[..], [0; 8]);
        assert_eq!(read(9, &[(8, b"e")])[..], *b"\0\0\0\0\0\0\0\0e");
        assert_eq!(read(3, &[])[..], [0; 3]);
    }
}
