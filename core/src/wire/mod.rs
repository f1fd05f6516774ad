//! The remoting protocol: frames, header encodings, bodies, one file per request family.
//!
//! Invariant: decoding any bytes gives a value or a [`FrameError`]; it never panics and never allocates more than the
//! frame limit, but for the topics of a compressed registration ([`register::UNPACKED_MAX`]).

pub mod admin;
pub mod codec;
pub mod codes;
mod fields;
mod frame;
pub mod group;
mod header;
mod header_binary;
mod header_json;
pub mod heartbeat;
pub mod json;
pub mod kv;
pub mod lock;
pub mod offset;
pub mod pull;
pub mod query;
#[cfg(test)]
mod random;
pub mod register;
pub mod route;
pub mod send;
pub mod topic;

pub use fields::{FIELDS_MAX, FieldError, Fields, Header, parse_number};
pub use frame::{
    Encoding, FLAG_ONEWAY, FLAG_RESPONSE, Frame, FrameError, Language, MAX_FRAME, OUR_VERSION, OUR_VERSION_NAME,
};
