//! JSON in fastjson's dialect, for bodies: a serde deserializer and serializer.
//!
//! Reading is as forgiving as fastjson2 2.0.59 is with typed targets: numbers as text and the reverse, `null` for anything,
//! fractions cut off, one object where a list is due, unknown names skipped. Writing is what Java writes: nulls left out,
//! numeric map keys bare, object keys as objects. Invariant: reading any bytes gives a value or an error in time and memory
//! proportional to the input.

mod lex;
mod read;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};

pub use lex::{DEPTH_MAX, Lexer};
pub use read::{Reader, compact};

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As fastjson does by default: numeric map keys are bare (`{0:"x"}`), which is not JSON.
    #[default]
    Fastjson,
    /// Every key that is not an object is quoted.
    Standard,
}

/// Text that does not read, or a value that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Something else was expected at this byte.
    #[error("expected {expected} at byte {offset}")]
    At {
        /// Where.
        offset: usize,
        /// What.
        expected: &'static str,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Nested too deeply.
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    /// The value does not fit its type.
    #[error("{0}")]
    Value(String),
}

/// Reads a value. An empty text reads as `null`, as it does in Java.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(text).map_err(|_| JsonError::Utf8)?;
    let mut reader = Reader::new(if text.trim_ascii().is_empty() { "null" } else { text });
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Writes a value.
pub fn to_vec<T: Serialize + ?Sized>(value: &T, style: Style) -> Vec<u8> {
    to_string(value, style).into_bytes()
}

/// Writes a value.
pub fn to_string<T: Serialize + ?Sized>(value: &T, style: Style) -> String {
    let mut out = String::with_capacity(128);
    value.serialize(write::Writer::new(&mut out, style)).expect("bodies hold nothing that JSON has no form for");
    out
}

/// For `#[serde(deserialize_with)]` on an enum: a name that is not known reads as absent, as fastjson has it.
pub fn lenient<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    Ok(Option::deserialize(from).unwrap_or(None))
}

/// Whether a text stands in quotes as it is, without escapes.
pub fn is_plain(text: &str) -> bool {
    scan::to_escape(text.as_bytes()).is_none()
}

/// Appends a quoted string with fastjson's escapes.
pub fn quote_into(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = scan::to_escape(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        escape_into(rest.as_bytes()[at], out);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

fn escape_into(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => '"',
        b'\\' => '\\',
        8 => 'b',
        9 => 't',
        10 => 'n',
        12 => 'f',
        13 => 'r',
        _ => {
            out.push_str("\\u00");
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
            return;
        }
    };
    out.push('\\');
    out.push(short);
}
