//! The head of the broker's own snapshot: of which run of the machine it is, and up to where it calls the log durable.
//!
//! Invariant: a snapshot whose checksum does not hold says nothing.
//!
//! ```text
//! magic 4 | crc 4 | length 8 | kind 4 | number 8 | boot 4 + text | log begin 8 | through 8 | durable 8 | …
//! ```

use super::reader::Files;

/// Boot and durable position of the snapshot of a store.
pub fn snapshot(store: &impl Files) -> Option<(String, u64)> {
    let bytes = store.content("seedmq.snapshot")?;
    let long = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let len = usize::try_from(long(8)?).ok()?;
    let is_sound = bytes.get(..4)? == b"SMQ1" && crc32fast::hash(bytes.get(8..len)?) == word(4)?;
    let boot_len = usize::try_from(word(28)?).ok().filter(|_| is_sound)?;
    let boot = String::from_utf8(bytes.get(32..32 + boot_len)?.to_vec()).ok()?;
    Some((boot, long(32 + boot_len + 16)?))
}
