//! Zeros: what a file holds where nothing was written. Recovery looks at mebibytes of them.
//!
//! Invariant: bytes are looked at a word at a time, and as if one by one.

const WORD: usize = size_of::<u128>();

fn is_zero_word(word: &[u8; WORD]) -> bool {
    u128::from_ne_bytes(*word) == 0
}

/// Whether nothing was written here.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<WORD>();
    words.iter().all(is_zero_word) && rest.iter().all(|byte| *byte == 0)
}

/// The length without the zeros at the end.
pub(super) fn written_len(bytes: &[u8]) -> usize {
    let (_, words) = bytes.as_rchunks::<WORD>();
    let blank = words.iter().rev().take_while(|word| is_zero_word(word)).count() * WORD;
    let head = &bytes[..bytes.len() - blank];
    head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_if_one_by_one(len in 0_usize..200, set in proptest::collection::vec(0_usize..200, 0..3)) {
            let mut bytes = vec![0_u8; len];
            set.iter().filter(|at| **at < len).for_each(|at| bytes[*at] = 1);
            prop_assert_eq!(is_blank(&bytes), bytes.iter().all(|byte| *byte == 0));
            prop_assert_eq!(written_len(&bytes), bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        }
    }
}
