//! A part of a machine that is gone through for contradictions only after it may have changed.
//!
//! Invariant: whoever can change the part goes through [`Checked::deref_mut`], which has it checked again, or promises with
//! [`Checked::counters`] to change nothing that a check looks at.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// See the module.
#[derive(Debug)]
pub struct Checked<T> {
    part: T,
    touched: Cell<bool>,
}

impl<T> Checked<T> {
    /// A part that was never checked.
    pub fn new(part: T) -> Checked<T> {
        Checked { part, touched: Cell::new(true) }
    }
    /// Has `check` go through the part if it may have changed since the last time.
    pub fn check(&self, check: impl FnOnce(&T)) {
        if self.touched.replace(false) {
            check(&self.part);
        }
    }
    /// For changes that no check looks at.
    pub fn counters(&mut self) -> &mut T {
        &mut self.part
    }
}

impl<T> Deref for Checked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.part
    }
}

impl<T> DerefMut for Checked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.touched.set(true);
        &mut self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_changed_is_checked() {
        let mut part = Checked::new(vec![1]);
        let looked = Cell::new(0);
        let look = |part: &Checked<Vec<i32>>| {
            part.check(|part| looked.set(looked.get() + part.len()));
            looked.replace(0)
        };
        assert_eq!(look(&part), 1, "it is new");
        assert_eq!(look(&part), 0);
        assert_eq!(part.first(), Some(&1));
        assert_eq!(look(&part), 0, "it was only read");
        part.push(2);
        assert_eq!(look(&part), 2);
        part.counters()[0] += 1;
        assert_eq!(look(&part), 0, "whoever did this promised");
        part[0] = 7;
        assert_eq!((look(&part), &part[..]), (2, &[7, 2][..]));
    }
}
