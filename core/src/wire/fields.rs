//! The custom header of a frame: a flat map from field name to text.
//!
//! Invariant: one buffer holds all names and values; a reader borrows from it, so that reading a header costs two
//! allocations however many fields it has.

use std::fmt::{self, Display, Write as _};

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

/// Position of one field in the text: where its name begins, where its value begins, where it ends.
type Span = [u32; 3];

/// The fields of a header, in wire order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
    spans: SmallVec<[Span; 12]>,
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
        Fields { text: String::with_capacity(text), spans: SmallVec::new() }
    }
    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
    /// Adds a field behind the others.
    pub fn push(&mut self, name: &str, value: impl Display) {
        let begin = self.mark();
        self.text.push_str(name);
        let middle = self.mark();
        write!(self.text, "{value}").expect("writing to a string cannot fail");
        self.spans.push([begin, middle, self.mark()]);
    }
    /// Adds a field whose value is text already (no formatting).
    pub fn push_str(&mut self, name: &str, value: &str) {
        let begin = self.mark();
        self.text.push_str(name);
        let middle = self.mark();
        self.text.push_str(value);
        self.spans.push([begin, middle, self.mark()]);
    }
    /// Adds a field if there is a value.
    pub fn push_some(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.push(name, value);
        }
    }
    /// The fields in wire order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans.iter().map(|&span| self.at(span))
    }
    /// The value of a field; the last one when it is there twice, as a Java map keeps it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.spans.iter().rev().map(|&span| self.at(span)).find(|(n, _)| *n == name).map(|(_, value)| value)
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

    fn mark(&self) -> u32 {
        u32::try_from(self.text.len()).expect("a header is smaller than a frame")
    }
    fn at(&self, [begin, middle, end]: Span) -> (&str, &str) {
        (&self.text[begin as usize..middle as usize], &self.text[middle as usize..end as usize])
    }
}

/// Parses a number and says which field was wrong.
pub fn parse_number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, FieldError> {
    value.parse().map_err(|_| FieldError::Invalid {
        name,
        expected: "a number",
        value: value.chars().take(64).collect(),
    })
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}
