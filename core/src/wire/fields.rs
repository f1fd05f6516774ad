//! The custom header of a frame: a flat map from field name to text.
//!
//! Invariant: one buffer holds all names and values; a reader borrows from it, so that reading a header costs two
//! allocations however many fields it has.

use std::fmt::{self, Display, Write as _};
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Most fields that a decoded header may have, so that its memory stays near its length. Real ones have up to 20.
pub const FIELDS_MAX: usize = 16_384;

/// Where the name and the value of one field stand in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

/// The fields of a header, in wire order.
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    places: Vec<Place>,
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
        Fields { text: String::with_capacity(text), places: Vec::with_capacity(16) }
    }
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }
    /// Bytes that names and values are kept in.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
    /// Adds a field behind the others.
    pub fn push(&mut self, name: &str, value: impl Display) {
        self.push_with(name, |text| write!(text, "{value}").expect("writing to a string cannot fail"));
    }
    /// Adds a field whose value is text already (no formatting).
    pub fn push_str(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }
    /// Adds a number (faster than [`Fields::push`]).
    pub fn push_int(&mut self, name: &str, value: impl itoa::Integer) {
        self.push_with(name, |text| int_into(value, text));
    }
    /// Adds a field if there is a value.
    pub fn push_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.push(name, value);
        }
    }
    /// The fields in wire order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|place| self.show(place))
    }
    /// The value of a field; the last one when it is there twice, as a Java map keeps it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.iter().rev().map(|place| self.show(place)).find(|(n, _)| *n == name).map(|(_, value)| value)
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

    /// The text that all names and values are in, perhaps with more between them.
    pub(super) fn whole_text(&self) -> &str {
        &self.text
    }

    /// Adds a field that the caller appends to the text, and says where its name ends; `None` takes it back. After an
    /// error the fields are not to be used.
    pub(super) fn try_push<E>(
        &mut self,
        append: impl FnOnce(&mut String) -> Result<Option<usize>, E>,
    ) -> Result<(), E> {
        let begin = self.text.len();
        match append(&mut self.text)? {
            Some(middle) => self.point(begin..middle, middle..self.text.len()),
            None => self.text.truncate(begin),
        }
        Ok(())
    }

    /// Appends text that fields are in, or will be: see [`Fields::point`].
    pub(super) fn append(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a field whose name and value stand in the text, or in what [`Fields::append`] adds before the field is read.
    #[inline]
    pub(super) fn point(&mut self, name: Range<usize>, value: Range<usize>) {
        self.places
            .push(Place { name: (mark(name.start), mark(name.end)), value: (mark(value.start), mark(value.end)) });
    }

    #[inline]
    fn push_with(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        let begin = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        value(&mut self.text);
        self.point(begin..middle, middle..self.text.len());
    }
    #[inline]
    fn show(&self, place: &Place) -> (&str, &str) {
        let text = |(begin, end): (u32, u32)| &self.text[begin as usize..end as usize];
        (text(place.name), text(place.value))
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

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

/// All lengths, then all names and values in one: to a hasher that takes bytes as a stream, it does not matter how they stand in the text.
impl Hash for Fields {
    fn hash<H: Hasher>(&self, into: &mut H) {
        into.write_usize(self.len());
        for Place { name, value } in &self.places {
            into.write_u32(name.1 - name.0);
            into.write_u32(value.1 - value.0);
        }
        let text = self.text.as_bytes();
        let mut run = (0, 0);
        for Place { name, value } in &self.places {
            for (begin, end) in [*name, *value] {
                if begin != run.1 {
                    into.write(&text[run.0 as usize..run.1 as usize]);
                    run.0 = begin;
                }
                run.1 = end;
            }
        }
        into.write(&text[run.0 as usize..run.1 as usize]);
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
        fn equal_fields_hash_alike_wherever_they_stand(pairs in proptest::collection::vec(("[a-c]{0,3}", "[a-c]{0,3}", 0_usize..3), 0..4)) {
            let (mut tight, mut loose) = (Fields::default(), Fields::default());
            for (name, value, gap) in &pairs {
                tight.push_str(name, value);
                let name_at = loose.text_len() + gap;
                let value_at = name_at + name.len() + gap;
                loose.append(&format!("{}{name}{}{value}", "\"".repeat(*gap), ":".repeat(*gap)));
                loose.point(name_at..name_at + name.len(), value_at..value_at + value.len());
            }
            prop_assert_eq!(&tight, &loose);
            prop_assert_eq!(stream(&tight), stream(&loose));
        }

        #[test]
        fn other_fields_hash_otherwise(one in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..3), other in proptest::collection::vec(("[ab]{0,2}", "[ab]{0,2}"), 0..3)) {
            let fields = |pairs: &[(String, String)]| {
                let mut fields = Fields::default();
                pairs.iter().for_each(|(name, value)| fields.push_str(name, value));
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
