//! How bodies enter a canonical record: as length and checksum, so that the hash of a run does not cost more than the run.

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::node::DiskError;

#[derive(Serialize)]
struct Digest {
    len: u64,
    crc: u32,
}

impl Digest {
    fn of(bytes: &[u8]) -> Digest {
        Digest { len: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

/// For `#[serde(serialize_with)]` on a body.
pub fn body<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    Digest::of(bytes).serialize(to)
}

/// For `#[serde(serialize_with)]` on the slices of a body.
pub fn bodies<S: Serializer>(slices: &[Bytes], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(slices.iter().map(|bytes| Digest::of(bytes)))
}

/// For `#[serde(serialize_with)]` on the result of a cold read.
pub fn serialize<S: Serializer>(result: &Result<Bytes, DiskError>, to: S) -> Result<S::Ok, S::Error> {
    result.as_ref().map(|bytes| Digest::of(bytes)).serialize(to)
}
