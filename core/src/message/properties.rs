//! The text form of a message's properties: `name \x01 value \x02`, repeated.
//!
//! Invariant: reading keeps exactly the pairs that Java's `MessageDecoder.string2messageProperties` keeps: pairs with an
//! empty name or value are dropped, the last of two equal names counts, a missing `\x02` at the end is tolerated.

use memchr::memchr;

/// Between a name and its value.
pub const NAME_END: char = '\u{1}';
/// Behind a value.
pub const VALUE_END: char = '\u{2}';

/// Names that the machines use; Java `MessageConst`.
#[allow(missing_docs)]
pub mod names {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    pub const WAIT: &str = "WAIT";
    pub const DELAY: &str = "DELAY";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QID: &str = "REAL_QID";
    pub const TRAN_MSG: &str = "TRAN_MSG";
    pub const PGROUP: &str = "PGROUP";
    pub const MIN_OFFSET: &str = "MIN_OFFSET";
    pub const MAX_OFFSET: &str = "MAX_OFFSET";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const MSG_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
    pub const CLUSTER: &str = "CLUSTER";
    pub const SHARDINGKEY: &str = "__SHARDINGKEY";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    pub const POP_CK: &str = "POP_CK";
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub const CRC32: &str = "__CRC32#";
}

/// The pairs in text order, an overwritten one included.
pub fn iter(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    let pairs = std::iter::from_fn(move || {
        let end = memchr(VALUE_END as u8, rest.as_bytes()).unwrap_or(rest.len());
        let pair = &rest[..end];
        let is_over = rest.is_empty();
        rest = rest.get(end + 1..).unwrap_or("");
        (!is_over).then_some(pair)
    });
    pairs.filter_map(|pair| {
        let at = memchr(NAME_END as u8, pair.as_bytes()).filter(|at| *at > 0 && at + 1 < pair.len())?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

/// The value of a name.
pub fn get<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    iter(text).filter(|(known, _)| *known == name).last().map(|(_, value)| value)
}

/// Adds a pair. A text that lacks its last `\x02` gets it first. The name must not be in the text yet ([`without`] takes it
/// out), and neither part may hold `\x01` or `\x02`: there is no escape for them.
pub fn append(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(VALUE_END) {
        text.push(VALUE_END);
    }
    text.reserve(name.len() + value.len() + 2);
    text.push_str(name);
    text.push(NAME_END);
    text.push_str(value);
    text.push(VALUE_END);
}

/// The pairs of `text` but those named.
pub fn without(text: &str, names: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    for (name, value) in iter(text).filter(|(name, _)| !names.contains(name)) {
        append(&mut out, name, value);
    }
    out
}

/// Whether a text can be a name or value.
pub fn is_clean(text: &str) -> bool {
    !text.contains([NAME_END, VALUE_END])
}

/// Java `String.hashCode`, over UTF-16 units: the code of a tag in queues and subscriptions (0 for no tag).
pub fn tag_hash(tag: &str) -> i32 {
    tag.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pairs_come_back(pairs in proptest::collection::vec(("[^\\x01\\x02]{1,8}", "[^\\x01\\x02]{1,8}"), 0..6)) {
            let mut text = String::new();
            for (name, value) in &pairs {
                append(&mut text, name, value);
            }
            let back: Vec<(String, String)> = iter(&text).map(|(n, v)| (n.into(), v.into())).collect();
            prop_assert_eq!(&back, &pairs);
            for (name, _) in &pairs {
                let last = pairs.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
                prop_assert_eq!(get(&text, name), last);
                let rest = without(&text, &[name]);
                prop_assert_eq!(get(&rest, name), None);
            }
        }

        #[test]
        fn any_text_reads(text in "[ab\\x01\\x02]{0,12}") {
            for (name, value) in iter(&text) {
                let clean = !name.is_empty() && !value.is_empty() && is_clean(name);
                prop_assert!(clean);
            }
        }
    }

    #[test]
    fn a_text_without_its_last_separator_grows_well() {
        let mut text = String::from("a\u{1}b");
        append(&mut text, "c", "d");
        assert_eq!(text, "a\u{1}b\u{2}c\u{1}d\u{2}");
    }
}
