//! What a client accepts as the name of a topic or group, before anything is sent.
//!
//! Invariant: a name that passes here is one that a broker accepts too; the texts are those of the Java client.

use crate::message::names::{GROUP_MAX, TOPIC_MAX, is_plain, is_send_forbidden};

/// The group that every consumer has when none is set; Java refuses it.
const DEFAULT_CONSUMER: &str = "DEFAULT_CONSUMER";
const DEFAULT_PRODUCER: &str = "DEFAULT_PRODUCER";
/// A name that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character that is not white space.
    #[error("The specified topic is blank")]
    TopicBlank,
    /// Over [`TOPIC_MAX`] characters.
    #[error("The specified topic is longer than topic max length {TOPIC_MAX}.")]
    TopicLong,
    /// A character outside `%|a-zA-Z0-9_-`.
    #[error("The specified topic[{0}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    TopicCharacters(String),
    /// Only a broker writes to it.
    #[error("Sending message to topic[{0}] is forbidden.")]
    TopicForbidden(String),
    /// No character that is not white space.
    #[error("the specified group is blank")]
    GroupBlank,
    /// Over [`GROUP_MAX`] characters.
    #[error("the specified group[{0}] is longer than group max length: {GROUP_MAX}.")]
    GroupLong(String),
    /// A character outside `%|a-zA-Z0-9_-`.
    #[error("the specified group[{0}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    GroupCharacters(String),
    /// Every client that sets no group has this one.
    #[error("{role} can not equal {name}, please specify another one.")]
    GroupDefault {
        /// `consumerGroup` or `producerGroup`.
        role: &'static str,
        /// The name.
        name: &'static str,
    },
}

/// Java `Validators.checkTopic`.
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    if topic.trim().is_empty() {
        return Err(NameError::TopicBlank);
    }
    if topic.encode_utf16().count() > TOPIC_MAX {
        return Err(NameError::TopicLong);
    }
    if !is_plain(topic) {
        return Err(NameError::TopicCharacters(topic.to_owned()));
    }
    Ok(())
}

/// Java `Validators.checkTopic` and `isNotAllowedSendTopic`.
pub fn check_topic_for_sending(topic: &str) -> Result<(), NameError> {
    check_topic(topic)?;
    if is_send_forbidden(topic) {
        return Err(NameError::TopicForbidden(topic.to_owned()));
    }
    Ok(())
}

/// Java `Validators.checkGroup`.
pub fn check_group(group: &str) -> Result<(), NameError> {
    if group.trim().is_empty() {
        return Err(NameError::GroupBlank);
    }
    if group.encode_utf16().count() > GROUP_MAX {
        return Err(NameError::GroupLong(group.to_owned()));
    }
    if !is_plain(group) {
        return Err(NameError::GroupCharacters(group.to_owned()));
    }
    Ok(())
}

/// [`check_group`], and not the name of who sets none.
pub fn check_consumer_group(group: &str) -> Result<(), NameError> {
    check_group(group)?;
    refuse_default(group, "consumerGroup", DEFAULT_CONSUMER)
}

/// [`check_group`], and not the name of who sets none.
pub fn check_producer_group(group: &str) -> Result<(), NameError> {
    check_group(group)?;
    refuse_default(group, "producerGroup", DEFAULT_PRODUCER)
}

fn refuse_default(group: &str, role: &'static str, name: &'static str) -> Result<(), NameError> {
    if group == name { Err(NameError::GroupDefault { role, name }) } else { Ok(()) }
}
