//! The binary header of a frame (Java `RocketMQSerializable`).
//!
//! ```text
//! | code 2 | language 1 | version 2 | opaque 4 | flag 4 | n 4 | remark n | n 4 | fields n |
//! a field: | n 2 | name n | n 4 | value n |
//! ```
//!
//! Invariant: no length in it is trusted beyond the bytes that are there.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::{Encoding, FIELDS_MAX, Fields, Frame, FrameError, Language};

/// Reads a header; the frame has no body yet.
pub fn read(header: &[u8]) -> Result<Frame, FrameError> {
    let mut cursor = Cursor { tail: header };
    let mut frame = Frame { encoding: Encoding::RocketMq, ..Frame::request(0) };
    // Codes are read back signed.
    frame.code = i16::from_be_bytes(cursor.array()?).into();
    let [language] = cursor.array()?;
    frame.language = Language::from_code(language);
    frame.version = i16::from_be_bytes(cursor.array()?).into();
    frame.opaque = i32::from_be_bytes(cursor.array()?);
    frame.flag = i32::from_be_bytes(cursor.array()?);
    let remark = i32::from_be_bytes(cursor.array()?);
    let remark = cursor.text_of(remark, header.len())?;
    frame.remark = (!remark.is_empty()).then(|| remark.into_owned());
    let len = i32::from_be_bytes(cursor.array()?);
    if len > 0 {
        frame.fields = fields(cursor, len)?;
    }
    Ok(frame)
}

fn fields(mut cursor: Cursor<'_>, len: i32) -> Result<Fields, FrameError> {
    let limit = usize::try_from(len).expect("checked to be positive");
    let total = cursor.tail.len();
    if limit > total {
        return Err(broken("the fields are longer than the header"));
    }
    let mut fields = Fields::with_capacity(limit.min(1024));
    // What stands behind the fields is ignored, as Java does.
    while total - cursor.tail.len() < limit {
        let name = i16::from_be_bytes(cursor.array()?).into();
        let name = cursor.text_of(name, limit)?;
        let value = i32::from_be_bytes(cursor.array()?);
        let value = cursor.text_of(value, limit)?;
        if fields.len() >= FIELDS_MAX {
            return Err(broken("too many fields"));
        }
        // An empty name or value reads as null, which is the same as absent.
        if !name.is_empty() && !value.is_empty() {
            fields.push_any(&name, &value);
        }
    }
    Ok(fields)
}

fn broken(why: &str) -> FrameError {
    FrameError::Header(why.into())
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    tail: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (array, tail) = self.tail.split_first_chunk().ok_or_else(|| broken("the header ends early"))?;
        self.tail = tail;
        Ok(*array)
    }

    /// Text of a length that must not be over `limit`; bytes that are not UTF-8 become U+FFFD, as in Java.
    fn text_of(&mut self, len: i32, limit: usize) -> Result<Cow<'a, str>, FrameError> {
        let len = usize::try_from(len).map_err(|_| broken("a negative length"))?;
        if len > limit || len > self.tail.len() {
            return Err(broken("a text ends behind the header"));
        }
        let (text, tail) = self.tail.split_at(len);
        self.tail = tail;
        // Checked first: the lossy reader is slow with what is sound.
        Ok(std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed))
    }
}

/// Appends the header. Codes and versions lose what does not fit 16 bits, as in Java.
pub fn write(frame: &Frame, out: &mut BytesMut) {
    let remark = frame.remark.as_deref().unwrap_or("");
    let fields: usize = frame.fields.iter().map(|(name, value)| 6 + name.len() + value.len()).sum();
    out.reserve(21 + remark.len() + fields);
    out.put_i16(frame.code as i16);
    out.put_u8(frame.language as u8);
    out.put_i16(frame.version as i16);
    out.put_i32(frame.opaque);
    out.put_i32(frame.flag);
    out.put_u32(length(remark.len()));
    out.extend_from_slice(remark.as_bytes());
    out.put_u32(length(fields));
    for (name, value) in frame.fields.iter() {
        out.put_u16(u16::try_from(name.len()).expect("field names are short"));
        out.extend_from_slice(name.as_bytes());
        out.put_u32(length(value.len()));
        out.extend_from_slice(value.as_bytes());
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a header is smaller than a frame")
}
