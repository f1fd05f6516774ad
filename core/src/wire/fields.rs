//! The custom header of a frame: a flat map from field name to text.
//!
//! Invariant: one buffer holds all names and values; a reader borrows from it, so that reading a header costs two
//! allocations however many fields it has. It holds them as the members of a JSON object, but without escapes:
//! `"name":"value","name":"value",`. So they mostly come from the wire, and go to it, in one piece.

use std::fmt::{self, Display, Write as _};
use std::hash::{Hash, Hasher};

use super::json::is_plain;

/// Most fields that a decoded header may have, so that its memory stays near its length. Real ones have up to 20.
pub const FIELDS_MAX: usize = 16_384;

/// What stands before the first name, in place of the end of a field before it.
const OPEN: &str = "\"";
/// What stands between name and value.
const MIDDLE: &str = "\":\"";
/// What stands behind a value; the next name follows.
const CLOSE: &str = "\",\"";

/// Where the name and the value of one field end in the text. The name begins behind the field before it, the value behind the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    name: u32,
    value: u32,
}

/// The fields of a header, in wire order.
#[derive(Clone, Default)]
pub struct Fields {
    /// Members of an object, each with a comma behind it.
    text: String,
    ends: Vec<Ends>,
    /// Which of the first 64 fields may have something that JSON escapes; those behind always may.
    odd: u64,
}

/// Two fields are equal when their names and values are.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.text == other.text
    }
}

impl Eq for Fields {}

/// A field that is being written: see [`Fields::open`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Opened {
    begin: usize,
    /// Where its name ends.
    name: usize,
}

/// A field that a header needs is missing or is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The field is absent.
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    /// The field does not parse.
    #[error("the custom field <{name}> is not {expected}: {value:?}")]
    Invalid {
        /// Its name on the wire.
        name: &'static str,
        /// What was expected, with an article.
        expected: &'static str,
        /// What was there.
        value: String,
    },
}

/// A typed custom header, one per Java `CommandCustomHeader`.
pub trait Header: Sized {
    /// Reads the header from the fields of a frame.
    fn read(fields: &Fields) -> Result<Self, FieldError>;
    /// Adds the header to the fields of a frame; absent options are not written.
    fn write(&self, fields: &mut Fields);
}

impl Fields {
    /// No fields, with room for `text` bytes.
    pub fn with_capacity(text: usize) -> Fields {
        Fields { text: String::with_capacity(text), ends: Vec::with_capacity(16), odd: 0 }
    }
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// Bytes that names and values are kept in.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
    /// Adds a field behind the others.
    pub fn push(&mut self, name: &'static str, value: impl Display) {
        debug_assert!(is_plain(name), "a name of the protocol needs no escapes");
        let opened = self.named(name);
        write!(self.text, "{value}").expect("writing to a string cannot fail");
        let is_odd = !is_plain(&self.text[opened.name + MIDDLE.len()..]);
        self.close(opened, is_odd);
    }
    /// Adds a field whose value is text already (no formatting).
    pub fn push_str(&mut self, name: &'static str, value: &str) {
        debug_assert!(is_plain(name), "a name of the protocol needs no escapes");
        let opened = self.named(name);
        self.text.push_str(value);
        self.close(opened, !is_plain(value));
    }
    /// Adds a field whose name is not of the protocol.
    pub fn push_any(&mut self, name: &str, value: &str) {
        let opened = self.named(name);
        self.text.push_str(value);
        self.close(opened, !is_plain(name) || !is_plain(value));
    }
    /// Adds a number (faster than [`Fields::push`]).
    #[inline]
    pub fn push_int(&mut self, name: &'static str, value: impl itoa::Integer) {
        debug_assert!(is_plain(name), "a name of the protocol needs no escapes");
        let opened = self.named(name);
        int_into(value, &mut self.text);
        self.close(opened, false);
    }
    /// The fields in wire order.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        (0..self.len()).map(|at| self.field(at))
    }
    /// The value of a field; the last one when it is there twice, as a Java map keeps it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
    /// The text of a field that must be there.
    pub fn text(&self, name: &'static str) -> Result<&str, FieldError> {
        self.get(name).ok_or(FieldError::Missing(name))
    }
    /// A number that must be there.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, FieldError> {
        parse_number(name, self.text(name)?)
    }
    /// A number that may be absent or empty.
    pub fn maybe_number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, FieldError> {
        self.get(name).filter(|value| !value.is_empty()).map(|value| parse_number(name, value)).transpose()
    }
    /// A flag; absent or anything but `true` (in any case) is false, as `Boolean.parseBoolean` has it.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The fields as members of a JSON object, without its braces; each member that needs it is written by `quote`.
    pub(super) fn write_members(&self, out: &mut String, quote: impl Fn(&str, &mut String)) {
        let whole = self.text.len().saturating_sub(1);
        if self.odd == 0 && self.ends.len() <= 64 {
            return out.push_str(&self.text[..whole]);
        }
        let mut written = 0;
        for (at, (name, value)) in self.iter().enumerate() {
            if at < 64 && self.odd >> at & 1 == 0 {
                continue;
            }
            let (begin, end) =
                (if at == 0 { 0 } else { self.ends[at - 1].value as usize + 2 }, self.ends[at].value as usize + 1);
            out.push_str(&self.text[written..begin]);
            quote(name, out);
            out.push(':');
            quote(value, out);
            written = end;
        }
        out.push_str(&self.text[written..whole.max(written)]);
    }

    /// Begins a field: its name is to be appended to [`Fields::text_mut`].
    pub(super) fn open(&mut self) -> Opened {
        let begin = self.text.len();
        self.text.push_str(OPEN);
        Opened { begin, name: begin }
    }
    /// Its name is there: its value is to be appended.
    pub(super) fn name_ends(&mut self, opened: Opened) -> Opened {
        let name = self.text.len();
        self.text.push_str(MIDDLE);
        Opened { name, ..opened }
    }
    /// Its value is there. It is odd when name or value may have something that JSON escapes.
    #[inline]
    pub(super) fn close(&mut self, opened: Opened, is_odd: bool) {
        self.end(opened.name, self.text.len(), is_odd);
        self.text.push_str("\",");
    }
    /// There is no such field after all.
    pub(super) fn take_back(&mut self, opened: Opened) {
        self.text.truncate(opened.begin);
    }
    /// Where a field that was begun is written to.
    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Adds a field that stands in the text that [`Fields::append`] adds next, which has it in the form of this text: where its
    /// name and its value end.
    #[inline]
    pub(super) fn point(&mut self, name: usize, value: usize) {
        self.end(name, value, true);
    }
    #[inline]
    fn end(&mut self, name: usize, value: usize, is_odd: bool) {
        let at = self.ends.len();
        if is_odd && at < 64 {
            self.odd |= 1 << at;
        }
        self.ends.push(Ends { name: mark(name), value: mark(value) });
    }
    /// Appends text with fields in it, see [`Fields::point`]; the last one may lack its comma.
    pub(super) fn append(&mut self, text: &str) {
        self.text.push_str(text);
        if text.ends_with('"') {
            self.text.push(',');
        }
    }

    #[inline]
    fn field(&self, at: usize) -> (&str, &str) {
        let begin = at.checked_sub(1).map_or(OPEN.len(), |before| self.ends[before].value as usize + CLOSE.len());
        let (name, value) = (self.ends[at].name as usize, self.ends[at].value as usize);
        (&self.text[begin..name], &self.text[name + MIDDLE.len()..value])
    }
    #[inline]
    fn named(&mut self, name: &str) -> Opened {
        let opened = self.open();
        self.text.push_str(name);
        self.name_ends(opened)
    }
}

#[inline]
fn mark(at: usize) -> u32 {
    u32::try_from(at).expect("a header is smaller than a frame")
}

/// Appends a number in decimal; the hot headers are made of these.
pub(super) fn int_into(value: impl itoa::Integer, text: &mut String) {
    text.push_str(itoa::Buffer::new().format(value));
}

/// Parses a number and says which field was wrong.
pub fn parse_number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, FieldError> {
    value.parse().map_err(|_| invalid(name, "a number", value))
}

/// The error for a value that does not parse.
#[cold]
pub(super) fn invalid(name: &'static str, expected: &'static str, value: &str) -> FieldError {
    FieldError::Invalid { name, expected, value: value.chars().take(64).collect() }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// All lengths, then all names and values in one.
impl Hash for Fields {
    fn hash<H: Hasher>(&self, into: &mut H) {
        into.write_usize(self.len());
        let mut begin = OPEN.len();
        let lengths = self.ends.iter().map(move |ends| {
            let (name, value) = (ends.name as usize, ends.value as usize);
            let lengths = [name - begin, value - name - MIDDLE.len()];
            begin = value + CLOSE.len();
            lengths
        });
        // Nearly all are short, and few: they are handed over at once.
        let mut short = [0; 64];
        let (mut all, mut long) = (0, 0);
        for (length, short) in lengths.clone().flatten().zip(&mut short) {
            *short = length as u8;
            long |= length;
            all += 1;
        }
        if long < 0x80 && all == 2 * self.len() {
            into.write(&short[..all]);
        } else {
            lengths.flatten().for_each(|length| into.write_usize(length));
        }
        into.write(self.text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_display_writes_them(value: i64) {
            let (mut fields, mut plain) = (Fields::default(), Fields::default());
            for value in [value, 0, i64::MIN, i64::MAX] {
                fields.push_int("n", value);
                plain.push("n", value);
            }
            prop_assert_eq!(fields, plain);
        }

        #[test]
        fn fields_are_the_same_wherever_they_come_from(pairs in proptest::collection::vec(("[a-c\"]{0,3}", "[a-c\"\\x00]{0,3}", 0..3), 0..4)) {
            let (mut pushed, mut pieced) = (Fields::default(), Fields::default());
            for (name, value, way) in &pairs {
                pushed.push_any(name, value);
                if *way == 0 {
                    let begin = pieced.text_len() + 1;
                    let middle = begin + name.len();
                    pieced.point(middle, middle + 3 + value.len());
                    pieced.append(&format!("\"{name}\":\"{value}\","));
                    continue;
                }
                let opened = pieced.open();
                pieced.text_mut().push_str(name);
                let opened = pieced.name_ends(opened);
                pieced.text_mut().push_str(value);
                pieced.close(opened, true);
                if *way == 2 {
                    let opened = pieced.open();
                    pieced.text_mut().push_str(name);
                    let opened = pieced.name_ends(opened);
                    pieced.take_back(opened);
                }
            }
            prop_assert_eq!(&pushed, &pieced);
            prop_assert_eq!(stream(&pushed), stream(&pieced));
            let read: Vec<_> = pieced.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let whole: Vec<_> = pairs.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
            prop_assert_eq!(read, whole);
            for (name, _, _) in &pairs {
                let last = pairs.iter().rev().find(|(other, _, _)| other == name).map(|(_, value, _)| &**value);
                prop_assert_eq!(pushed.get(name), last);
            }
            let members = |fields: &Fields| {
                let mut out = String::new();
                fields.write_members(&mut out, crate::wire::json::quote_into);
                out
            };
            prop_assert_eq!(members(&pushed), members(&pieced));
        }

        #[test]
        fn other_fields_hash_otherwise(one in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}|a{140}"), 0..3), other in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}|a{141}"), 0..40)) {
            let fields = |pairs: &[(String, String)]| {
                let mut fields = Fields::default();
                pairs.iter().for_each(|(name, value)| fields.push_any(name, value));
                fields
            };
            let (one, other) = (fields(&one), fields(&other));
            prop_assert_eq!(one == other, stream(&one) == stream(&other));
        }
    }

    /// What a hasher is given.
    fn stream(fields: &Fields) -> Vec<u8> {
        struct Bytes(Vec<u8>);
        impl Hasher for Bytes {
            fn write(&mut self, bytes: &[u8]) {
                self.0.extend_from_slice(bytes);
            }
            fn finish(&self) -> u64 {
                unreachable!("only the bytes are compared")
            }
        }
        let mut bytes = Bytes(Vec::new());
        fields.hash(&mut bytes);
        bytes.0
    }
}
