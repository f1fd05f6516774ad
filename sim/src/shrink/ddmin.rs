//! Delta debugging: from a list that fails to a smaller one that still fails.
//!
//! Invariant: what is left fails, and (unless the judge gave up) is 1-minimal: without any one of its elements it does not.

/// Decides about candidates. `first(n, candidate)` says which of the candidates `0..n` still fails: the first one in this
/// order, whatever else it looked at meanwhile; none also when it has given up.
pub trait Judge<C> {
    /// A stretch of work begins with this one, which fails.
    fn begins(&mut self, _now: &C) {}
    /// See the trait.
    fn first(&mut self, n: usize, candidate: &(dyn Fn(usize) -> C + Sync)) -> Option<usize>;
}

/// Takes away what can be taken away: first everything, then large pieces, then smaller ones, at last single elements until
/// a whole round over them took nothing. `items` holds the smallest list so far at any time; `taken` hears of each step.
pub fn minimise<T, C>(
    items: &mut Vec<T>,
    judge: &mut dyn Judge<C>,
    build: impl Fn(&[T]) -> C + Sync,
    mut taken: impl FnMut(&[T]),
) where
    T: Clone + Sync,
{
    if items.is_empty() {
        return;
    }
    if judge.first(1, &|_| build(&[])).is_some() {
        items.clear();
        return taken(items);
    }
    let mut size = items.len().div_ceil(2);
    loop {
        let before = items.len();
        sweep(items, size, judge, &build, &mut taken);
        if items.is_empty() || (size == 1 && items.len() == before) {
            return;
        }
        size = size.min(items.len()).div_ceil(2);
    }
}

/// Goes over the list once and takes away pieces of this size.
fn sweep<T, C>(
    items: &mut Vec<T>,
    size: usize,
    judge: &mut dyn Judge<C>,
    build: &(impl Fn(&[T]) -> C + Sync),
    taken: &mut impl FnMut(&[T]),
) where
    T: Clone + Sync,
{
    let mut at = 0;
    while at < items.len() {
        let pieces = (items.len() - at).div_ceil(size);
        let candidate = |n: usize| build(&without(items, at + n * size, size));
        let Some(n) = judge.first(pieces, &candidate) else { return };
        // What came before could not be taken away, so it is not tried again in this round.
        at += n * size;
        *items = without(items, at, size);
        taken(items);
    }
}

fn without<T: Clone>(items: &[T], at: usize, size: usize) -> Vec<T> {
    let end = (at + size).min(items.len());
    [&items[..at], &items[end..]].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A judge that knows the truth, and counts.
    struct Fake<F> {
        fails: F,
        asked: usize,
        patience: usize,
    }

    impl<F: Fn(&[u32]) -> bool> Judge<Vec<u32>> for Fake<F> {
        fn first(&mut self, n: usize, candidate: &(dyn Fn(usize) -> Vec<u32> + Sync)) -> Option<usize> {
            (0..n).find(|n| {
                self.asked += 1;
                self.asked <= self.patience && (self.fails)(&candidate(*n))
            })
        }
    }

    fn minimal(of: u32, fails: impl Fn(&[u32]) -> bool, patience: usize) -> (Vec<u32>, usize) {
        let mut items: Vec<u32> = (0..of).collect();
        let mut judge = Fake { fails, asked: 0, patience };
        let mut last = items.clone();
        minimise(&mut items, &mut judge, <[u32]>::to_vec, |now| {
            assert!(now.len() < last.len(), "each step is smaller");
            last = now.to_vec();
        });
        assert_eq!(items, last);
        (items, judge.asked)
    }

    proptest! {
        #[test]
        fn what_is_needed_is_all_that_is_left(of in 1..300u32, needed in prop::collection::btree_set(0..300u32, 0..6)) {
            let needed: BTreeSet<u32> = needed.into_iter().filter(|n| *n < of).collect();
            let fails = |items: &[u32]| needed.iter().all(|n| items.contains(n));
            let (left, asked) = minimal(of, fails, usize::MAX);
            prop_assert_eq!(left, needed.iter().copied().collect::<Vec<_>>());
            prop_assert!(asked <= 40 + 40 * (needed.len() + 1), "{} questions for {} of {}", asked, needed.len(), of);
        }

        /// Whether a list fails depends on all of it in no sensible way, as it may where actions disturb each other.
        #[test]
        fn the_result_is_one_minimal_whatever_fails(of in 1..60u32, salt: u64) {
            let whole = of as usize;
            let fails = |items: &[u32]| {
                let sum = items.iter().fold(salt, |sum, n| (sum ^ u64::from(*n + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
                items.len() == whole || (sum >> 40).is_multiple_of(3)
            };
            let (left, _) = minimal(of, fails, usize::MAX);
            prop_assert!(fails(&left));
            for at in 0..left.len() {
                prop_assert!(!fails(&without(&left, at, 1)), "{:?} without number {}", left, at);
            }
        }

        #[test]
        fn a_judge_that_gives_up_leaves_what_still_fails(of in 2..200u32, needed in 0..200u32, patience in 0..40usize) {
            let needed = needed % of;
            let (left, _) = minimal(of, |items| items.contains(&needed), patience);
            prop_assert!(left.contains(&needed));
        }
    }

    #[test]
    fn nothing_needed_leaves_nothing_after_one_question() {
        assert_eq!(minimal(500, |_| true, usize::MAX), (vec![], 1));
    }
}
