//! What messages of a workload look like, so that a delivery can be judged by its body alone.
//!
//! Invariant: a body names its key and is a function of key and length; any changed byte makes [`key_of`] fail.

use bytes::Bytes;

use crate::dice::{Dice, entity};

/// The shortest body of a key: its text, a separator and 8 bytes of check.
pub fn shortest(key: &str) -> usize {
    key.len() + 1 + 8
}

/// The body of the message with this key: the key, a line feed, then bytes drawn from the key. Never shorter than [`shortest`].
pub fn body(key: &str, size: usize) -> Bytes {
    let size = size.max(shortest(key));
    let mut bytes = vec![0; size];
    bytes[..key.len()].copy_from_slice(key.as_bytes());
    bytes[key.len()] = b'\n';
    Dice::new(size as u64, entity(key, &[])).fill(&mut bytes[key.len() + 1..]);
    Bytes::from(bytes)
}

/// The key that a delivered body was made for; otherwise a text that is no key of any workload, for the history to hold.
pub fn key_of(found: &[u8]) -> Result<String, String> {
    let foreign = || format!("?{}", &blake3::hash(found).to_hex()[..16]);
    let end = found.iter().position(|b| *b == b'\n').ok_or_else(foreign)?;
    let key = std::str::from_utf8(&found[..end]).map_err(|_| foreign())?;
    if found.len() >= shortest(key) && body(key, found.len()) == found { Ok(key.to_string()) } else { Err(foreign()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_its_key_and_notices_any_flip() {
        for size in [0, 12, 30, 200] {
            let bytes = body("p1-7", size);
            assert_eq!(bytes.len(), size.max(13));
            assert_eq!(key_of(&bytes), Ok("p1-7".into()));
            for at in 0..bytes.len() {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1;
                assert!(key_of(&flipped).is_err(), "byte {at} of {size}");
            }
            assert!(key_of(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
