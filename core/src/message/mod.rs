//! Messages: the record of the commit log, properties, ids, tag hash, batches, compressed bodies.
//!
//! Invariant: a record that was encoded here decodes to the same message in Java, byte for byte, and the reverse.

pub mod batch;
pub mod compress;
pub mod ids;
pub mod names;
pub mod properties;
pub mod record;

use std::net::SocketAddr;

use bytes::Bytes;

/// A message on its way into the log: what a record holds, but for what the log itself assigns (queue offset, physical
/// offset, store time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Topic, UTF-8.
    pub topic: bytes::Bytes,
    /// Queue within the topic.
    pub queue_id: i32,
    /// The user's flag, kept as is.
    pub flag: i32,
    /// `MessageSysFlag` bits; the address-family bits are set by the encoder.
    pub sys_flag: i32,
    /// When the client made it, ms since 1970.
    pub born_ms: i64,
    /// Where the client is.
    pub born_host: SocketAddr,
    /// Where this broker is reached.
    pub store_host: SocketAddr,
    /// How often it was sent back.
    pub reconsume_times: i32,
    /// Physical offset of the half message that this one commits; 0 otherwise.
    pub prepared_offset: i64,
    /// The body as sent, compressed or not.
    pub body: Bytes,
    /// `name \x01 value \x02` pairs.
    pub properties: Bytes,
}
