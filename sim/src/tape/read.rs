//! Reads the text of a tape.
//!
//! Invariant: whatever the bytes are, the answer is a tape that can be run or an error with line, column and what was
//! expected; reading never panics. A field that an older tape does not have takes its default; a field that nobody knows is an
//! error, because a misspelt one would otherwise change the run in silence.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{CowStrDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, EnumAccess, IgnoredAny, IntoDeserializer, MapAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Action, Header, Moment, Tape, Trigger, VERSION, What, valid};

/// Why a text is not a tape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct TapeError {
    /// Line number from 1.
    pub line: usize,
    /// Column from 1, in bytes.
    pub column: usize,
    /// What was expected there.
    pub what: String,
}

/// Reads a whole tape.
pub(super) fn tape(bytes: &[u8]) -> Result<Tape, TapeError> {
    let text = std::str::from_utf8(bytes).map_err(|e| not_text(bytes, e.valid_up_to()))?;
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let (first, line) = lines.next().ok_or_else(|| TapeError {
        line: 1,
        column: 1,
        what: "a tape header like {\"tape\":1,…} is expected, the file is empty".into(),
    })?;
    let header = header(line).map_err(|e| e.at(first, line))?;
    let mut ids = BTreeSet::new();
    let mut actions = Vec::new();
    for (number, line) in lines {
        let action = action(line).map_err(|e| e.at(number, line))?;
        valid::action(&header.config, &action).map_err(|e| Bad::from(e).at(number, line))?;
        if action.what.lasts() {
            let so_far = actions.iter().chain([&action]);
            valid::lasting(&header.config, so_far).map_err(|e| Bad::from(e).at(number, line))?;
        }
        if !ids.insert(action.id) {
            let what = format!("an action id of its own is expected, {} was already used", action.id);
            return Err(Bad { what, place: Place::Field("id") }.at(number, line));
        }
        actions.push(action);
    }
    Ok(Tape { header, actions })
}

fn not_text(bytes: &[u8], good: usize) -> TapeError {
    let before = &bytes[..good];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    TapeError { line, column, what: "text in UTF-8 is expected".into() }
}

/// Where in a line something is wrong.
enum Place {
    Column(usize),
    /// At the value of the first field of this name.
    Field(&'static str),
    /// At the first string with this text.
    Word(String),
}

struct Bad {
    what: String,
    place: Place,
}

impl From<valid::Fault> for Bad {
    fn from(fault: valid::Fault) -> Bad {
        let place = match fault.word {
            Some(word) => Place::Word(word),
            None => Place::Field(fault.field),
        };
        Bad { what: fault.what, place }
    }
}

impl Bad {
    fn at(self, line: usize, text: &str) -> TapeError {
        let found = match &self.place {
            Place::Column(column) => Some(column.saturating_sub(1)),
            Place::Field(name) => text.find(&format!("\"{name}\":")).map(|at| at + name.len() + 3),
            Place::Word(word) => text.find(&serde_json::Value::from(word.as_str()).to_string()),
        };
        TapeError { line, column: found.unwrap_or(0) + 1, what: self.what }
    }
}

/// An error of serde_json, moved from the end of what it had read to its beginning.
fn bad(text: &str, context: &str, error: &serde_json::Error) -> Bad {
    let said = error.to_string();
    let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
    let end = error.column().min(text.len());
    let token = ["invalid type", "invalid value", "unknown", "duplicate field"].iter().any(|p| what.starts_with(p));
    let column = if token { beginning(text.as_bytes(), end) + 1 } else { end.max(1) };
    Bad { what: format!("{context}: {what}"), place: Place::Column(column) }
}

/// Where the string, number or word begins that ends before `end`.
fn beginning(text: &[u8], end: usize) -> usize {
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
    let quoted = end > 1 && text[end - 1] == b'"';
    let length = match quoted {
        true => 2 + text[..end - 1].iter().rev().take_while(|b| **b != b'"').count(),
        false => text[..end].iter().rev().take_while(|b| word(b)).count(),
    };
    if length == 0 { end.saturating_sub(1) } else { end.saturating_sub(length) }
}

/// Only the version, so that a tape of another one is refused by its number and not by its fields.
#[derive(Deserialize)]
struct Version {
    tape: u64,
}

fn header(line: &str) -> Result<Header, Bad> {
    let expected = "a tape header like {\"tape\":1,\"scenario\":…,\"seed\":…,\"config\":{…}} is expected";
    let version: Version = serde_json::from_str(line).map_err(|e| bad(line, expected, &e))?;
    if version.tape != u64::from(VERSION) {
        let what = format!("tape version {VERSION} is expected, found {}", version.tape);
        return Err(Bad { what, place: Place::Field("tape") });
    }
    let header: Header = serde_json::from_str(line).map_err(|e| bad(line, "in the tape header", &e))?;
    valid::config(&header.config)?;
    Ok(header)
}

/// The part of an action that every action has.
#[derive(Deserialize)]
struct Head<'a> {
    id: u64,
    when: Trigger,
    #[serde(rename = "do", borrow)]
    name: Cow<'a, str>,
}

const HEAD: [&str; 3] = ["id", "when", "do"];

fn action(line: &str) -> Result<Action, Bad> {
    let expected = "an action like {\"id\":…,\"when\":{\"at\":…},\"do\":…} is expected";
    let head: Head<'_> = serde_json::from_str(line).map_err(|e| bad(line, expected, &e))?;
    let what = What::deserialize(Fields { line, name: &head.name }).map_err(|e| match e.column() {
        // Only the name itself is looked at without the line.
        0 => Bad { what: e.to_string(), place: Place::Field("do") },
        _ => bad(line, &format!("in \"{}\"", head.name), &e),
    })?;
    Ok(Action { id: head.id, when: head.when, what })
}

/// The text of a trigger before it is known which kind it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    at: Option<u64>,
    node: Option<String>,
    event: Option<Moment>,
    code: Option<i32>,
    n: Option<u64>,
    from: Option<u64>,
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Trigger, D::Error> {
        match Written::deserialize(from)? {
            Written { at: Some(at), node: None, event: None, code: None, n: None, from: None } => {
                Ok(Trigger::At { at })
            }
            Written { at: None, node: Some(node), event: Some(event), code, n, from } => {
                Ok(Trigger::On { node, event, code, n: n.unwrap_or(1), from: from.unwrap_or(0) })
            }
            _ => Err(serde::de::Error::custom("a trigger is expected: {\"at\":…} or {\"node\":…,\"event\":…,\"n\":…}")),
        }
    }
}

/// Lets serde read an action as an enum whose name stands in `do` and whose fields are those of the line, without copying
/// the line first: so every error has its column.
struct Fields<'a> {
    line: &'a str,
    name: &'a str,
}

impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = serde_json::Error;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Fields<'de> {
    type Error = serde_json::Error;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Self::Error> {
        let name: StrDeserializer<'_, Self::Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Fields<'de> {
    type Error = serde_json::Error;
    fn unit_variant(self) -> Result<(), Self::Error> {
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Self::Error> {
        seed.deserialize(&mut serde_json::Deserializer::from_str(self.line))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        serde_json::Deserializer::from_str(self.line).deserialize_seq(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        serde_json::Deserializer::from_str(self.line).deserialize_map(WithoutHead(visitor))
    }
}

/// The name of a field.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Hides [`HEAD`] from what reads the fields.
struct WithoutHead<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for WithoutHead<V> {
    type Value = V::Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(WithoutHead(map))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutHead<A> {
    type Error = A::Error;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(Key(key)) = self.0.next_key()? {
            if !HEAD.contains(&&*key) {
                let key: CowStrDeserializer<'_, A::Error> = key.into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}
