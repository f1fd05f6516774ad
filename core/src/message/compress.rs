//! Compressed bodies. A broker stores them as they are; clients pack and unpack.
//!
//! Invariant: unpacking never yields, nor allocates for its output, more than the caller's limit.

use std::io::{Read, Write};

use bytes::Bytes;

/// `MessageSysFlag.COMPRESSED_FLAG`: the body is compressed.
pub const FLAG_COMPRESSED: i32 = 0x1;
/// The bits that say how (`MessageSysFlag.COMPRESSION_TYPE_COMPARATOR`).
pub const FLAG_TYPE: i32 = 0x700;
/// A window that needs more memory than this (2^n bytes) is refused; levels 1 to 19 need at most 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// How a body is compressed; Java `CompressionType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// The LZ4 *frame* format.
    Lz4,
    /// Zstandard.
    Zstd,
    /// zlib. Bodies of old clients that do not say how are this.
    #[default]
    Zlib,
}

/// A body that does not unpack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// It is broken.
    #[error("the compressed body is broken: {0}")]
    Broken(String),
    /// It would be larger than allowed.
    #[error("the unpacked body is larger than {0} bytes")]
    Large(usize),
}

impl Compression {
    /// As the sys flag of a message says.
    pub fn of(sys_flag: i32) -> Compression {
        match sys_flag & FLAG_TYPE {
            0x100 => Compression::Lz4,
            0x200 => Compression::Zstd,
            _ => Compression::Zlib,
        }
    }

    /// The bits for the sys flag, [`FLAG_COMPRESSED`] included.
    pub fn flag(self) -> i32 {
        FLAG_COMPRESSED
            | match self {
                Compression::Lz4 => 0x100,
                Compression::Zstd => 0x200,
                Compression::Zlib => 0x300,
            }
    }
}

/// Packs a body; `level` as Java's clients have it, 0 to 9 (5 by default).
pub fn compress(body: &[u8], how: Compression, level: u32) -> Bytes {
    let fine = "writing to memory cannot fail";
    let out = match how {
        Compression::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(body).expect(fine);
            out.finish().expect(fine)
        }
        Compression::Zstd => zstd::bulk::compress(body, i32::try_from(level).expect("levels are small")).expect(fine),
        Compression::Zlib => {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(level.min(9)));
            out.write_all(body).expect(fine);
            out.finish().expect(fine)
        }
    };
    out.into()
}

/// Unpacks a body of at most `limit` bytes.
pub fn decompress(body: &[u8], how: Compression, limit: usize) -> Result<Bytes, CompressError> {
    match how {
        Compression::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(body), limit),
        Compression::Zlib => bounded(flate2::read::ZlibDecoder::new(body), limit),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(body).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
            bounded(decoder, limit)
        }
    }
}

/// The body of a message as its producer wrote it.
pub fn unpacked(body: &Bytes, sys_flag: i32, limit: usize) -> Result<Bytes, CompressError> {
    if sys_flag & FLAG_COMPRESSED == 0 { Ok(body.clone()) } else { decompress(body, Compression::of(sys_flag), limit) }
}

fn broken(error: std::io::Error) -> CompressError {
    CompressError::Broken(error.to_string())
}

fn bounded(from: impl Read, limit: usize) -> Result<Bytes, CompressError> {
    let mut out = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut out).map_err(broken)?;
    if out.len() > limit { Err(CompressError::Large(limit)) } else { Ok(out.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 3] = [Compression::Lz4, Compression::Zstd, Compression::Zlib];

    proptest! {
        #[test]
        fn a_body_comes_back(body in proptest::collection::vec(0..4_u8, 0..2000), level in 0..10_u32) {
            for how in ALL {
                let packed = compress(&body, how, level);
                prop_assert_eq!(decompress(&packed, how, body.len()), Ok(Bytes::from(body.clone())));
                prop_assert_eq!(Compression::of(how.flag()), how);
            }
        }

        #[test]
        fn any_bytes_unpack_or_fail(body: Vec<u8>) {
            for how in ALL {
                let _ = decompress(&body, how, 1000);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = vec![0; 10 << 20];
        for how in ALL {
            assert_eq!(decompress(&compress(&bomb, how, 5), how, 1 << 20), Err(CompressError::Large(1 << 20)));
        }
    }
}
