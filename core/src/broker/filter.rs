//! Which messages of a queue a subscription wants, as far as the broker can tell from the tag hash in the queue.
//!
//! Invariant: a message that the subscription names is never filtered out here; a collision of hashes may let another one
//! through, which the client drops.

use crate::message::properties::tag_hash;

/// What a subscription wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagFilter {
    /// Everything.
    All,
    /// Messages whose tag hash is one of these.
    Hashes(Vec<i32>),
}

/// Why a subscription cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The text names no tag → SUBSCRIPTION_PARSE_FAILED.
    Parse,
    /// SQL92, which this broker does not evaluate → SYSTEM_ERROR, as a Java broker with `enablePropertyFilter=false`.
    Sql,
}

impl TagFilter {
    /// From the expression of a subscription (Java `FilterAPI.build`).
    pub fn parse(kind: Option<&str>, expression: Option<&str>) -> Result<TagFilter, FilterError> {
        match kind {
            None | Some("" | "TAG") => {}
            Some("SQL92") => return Err(FilterError::Sql),
            Some(_) => return Err(FilterError::Parse),
        }
        let text = match expression {
            None | Some("" | "*") => return Ok(TagFilter::All),
            Some(text) => text,
        };
        // Java's split drops empty parts at the end, so that a text of separators only has no part at all.
        if text.split("||").all(str::is_empty) {
            return Err(FilterError::Parse);
        }
        let tags = text.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        Ok(TagFilter::Hashes(tags.map(tag_hash).collect()))
    }
    /// The hashes to keep, for [`crate::store::Get::tags`].
    pub fn hashes(&self) -> Option<&[i32]> {
        match self {
            TagFilter::All => None,
            TagFilter::Hashes(_) if crate::planted!("tags-ignored") => None,
            TagFilter::Hashes(hashes) => Some(hashes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let hashes = |tags: &[&str]| Ok(TagFilter::Hashes(tags.iter().map(|tag| tag_hash(tag)).collect()));
        for (kind, text, want) in [
            (None, None, Ok(TagFilter::All)),
            (Some("TAG"), Some("*"), Ok(TagFilter::All)),
            (Some("TAG"), Some(""), Ok(TagFilter::All)),
            (Some("TAG"), Some("A || B"), hashes(&["A", "B"])),
            (Some("TAG"), Some("A||"), hashes(&["A"])),
            (Some("TAG"), Some(" "), hashes(&[])),
            (Some("TAG"), Some("||"), Err(FilterError::Parse)),
            (Some("SQL92"), Some("a = 1"), Err(FilterError::Sql)),
            (Some("FOO"), Some("x"), Err(FilterError::Parse)),
        ] {
            assert_eq!(TagFilter::parse(kind, text), want, "{kind:?} {text:?}");
        }
        assert_eq!(TagFilter::All.hashes(), None);
    }
}
