//! The serde side of reading.

use serde::Deserializer;
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::lex::{DEPTH_MAX, Lexer};
use super::{JsonError, Style, to_string};

impl de::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        JsonError::Value(message.to_string())
    }
}

/// Reads one value after the other from a text.
pub struct Reader<'a> {
    lex: Lexer<'a>,
    depth: u32,
}

/// A number of any written form.
enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl<'a> Reader<'a> {
    /// Begins at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Reader { lex: Lexer::new(text), depth: DEPTH_MAX }
    }

    /// Nothing may be left.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.lex.end()
    }

    fn null(&mut self) -> bool {
        self.lex.peek() == Some(b'n') && self.lex.word("null")
    }

    fn integer(&mut self) -> Result<i64, JsonError> {
        match self.numeric()? {
            Number::Signed(n) => Ok(n),
            Number::Float(n) if n.abs() < 9.3e18 => Ok(n as i64),
            _ => Err(self.lex.error("a number of 64 bits")),
        }
    }

    /// A number, a number in quotes, a truth value or null (0).
    fn numeric(&mut self) -> Result<Number, JsonError> {
        match self.lex.peek() {
            Some(b'"' | b'\'') => {
                let text = self.lex.string()?;
                if text.is_empty() || text == "null" {
                    return Ok(Number::Signed(0));
                }
                parse(&text).ok_or_else(|| self.lex.error("a number"))
            }
            Some(b'n' | b'f') if self.lex.word("null") || self.lex.word("false") => Ok(Number::Signed(0)),
            Some(b't') if self.lex.word("true") => Ok(Number::Signed(1)),
            _ => {
                let text = self.lex.number()?;
                parse(text).ok_or_else(|| self.lex.error("a number"))
            }
        }
    }

    fn truth(&mut self) -> Result<bool, JsonError> {
        match self.lex.peek() {
            Some(b'"' | b'\'') => {
                let text = self.lex.string()?;
                Ok(text.eq_ignore_ascii_case("true") || text == "1")
            }
            Some(b't') if self.lex.word("true") => Ok(true),
            Some(b'f' | b'n') if self.lex.word("false") || self.lex.word("null") => Ok(false),
            _ => Ok(!matches!(self.numeric()?, Number::Signed(0))),
        }
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth = self.depth.checked_sub(1).ok_or(JsonError::Depth)?;
        Ok(())
    }

    fn text<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        match self.lex.peek() {
            Some(b'"' | b'\'') => match self.lex.string()? {
                std::borrow::Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                std::borrow::Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b'n') if self.lex.word("null") => visitor.visit_str(""),
            // A text field takes any value, as it is written.
            _ => visitor.visit_borrowed_str(self.lex.skip(self.depth)?),
        }
    }

    fn list<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        if self.null() {
            return visitor.visit_seq(Nothing);
        }
        self.deeper()?;
        let single = self.lex.peek() == Some(b'{');
        if !single {
            self.lex.expect(b'[', "an array")?;
        }
        let open = single || !self.lex.take(b']');
        let mut elements = Elements { reader: self, open, single };
        let value = visitor.visit_seq(&mut elements)?;
        while de::SeqAccess::next_element::<de::IgnoredAny>(&mut elements)?.is_some() {}
        self.depth += 1;
        Ok(value)
    }

    fn object<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, JsonError> {
        if self.null() {
            return visitor.visit_map(Nothing);
        }
        self.deeper()?;
        self.lex.expect(b'{', "an object")?;
        let open = !self.lex.take(b'}');
        let mut members = Members { reader: self, open };
        let value = visitor.visit_map(&mut members)?;
        while de::MapAccess::next_entry::<de::IgnoredAny, de::IgnoredAny>(&mut members)?.is_some() {}
        self.depth += 1;
        Ok(value)
    }
}

fn parse(text: &str) -> Option<Number> {
    if let Ok(n) = text.parse() {
        return Some(Number::Signed(n));
    }
    if let Ok(n) = text.parse() {
        return Some(Number::Unsigned(n));
    }
    text.parse().ok().filter(|n: &f64| n.is_finite()).map(Number::Float)
}

macro_rules! integers {
    ($($method:ident $visit:ident,)*) => { $(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
            visitor.$visit(self.integer()?.try_into().map_err(|_| self.lex.error("a smaller number"))?)
        }
    )* };
}

impl<'a> Deserializer<'a> for &mut Reader<'a> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.lex.peek() {
            Some(b'"' | b'\'') => self.text(visitor),
            Some(b'{') => self.object(visitor),
            Some(b'[') => self.list(visitor),
            Some(b't') if self.lex.word("true") => visitor.visit_bool(true),
            Some(b'f') if self.lex.word("false") => visitor.visit_bool(false),
            Some(b'n') if self.lex.word("null") => visitor.visit_unit(),
            _ => match self.numeric()? {
                Number::Signed(n) => visitor.visit_i64(n),
                Number::Unsigned(n) => visitor.visit_u64(n),
                Number::Float(n) => visitor.visit_f64(n),
            },
        }
    }
    integers! {
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
    }
    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }
    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_f64(match self.numeric()? {
            Number::Signed(n) => n as f64,
            Number::Unsigned(n) => n as f64,
            Number::Float(n) => n,
        })
    }
    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_bool(self.truth()?)
    }
    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.lex.skip(self.depth)?;
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }
    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }
    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.list(visitor)
    }
    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.object(visitor)
    }
    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.object(visitor)
    }
    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.lex.peek() {
            Some(b'"' | b'\'') => {
                let name = self.lex.string()?;
                let name: StrDeserializer<'_, JsonError> = name.as_ref().into_deserializer();
                visitor.visit_enum(name)
            }
            _ => {
                let ordinal = u32::try_from(self.integer()?).map_err(|_| self.lex.error("an ordinal"))?;
                let ordinal: U32Deserializer<JsonError> = ordinal.into_deserializer();
                visitor.visit_enum(ordinal)
            }
        }
    }
    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.text(visitor)
    }
    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.lex.skip(self.depth)?;
        visitor.visit_unit()
    }
}

struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Another element follows.
    open: bool,
    /// An object stands where a list is due: it is the only element.
    single: bool,
}

impl<'a> de::SeqAccess<'a> for Elements<'_, 'a> {
    type Error = JsonError;
    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        if !self.open {
            return Ok(None);
        }
        let value = seed.deserialize(&mut *self.reader)?;
        self.open = !self.single && self.reader.lex.more(b']')?;
        Ok(Some(value))
    }
}

struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Another member follows.
    open: bool,
}

impl<'a> de::MapAccess<'a> for Members<'_, 'a> {
    type Error = JsonError;
    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        if !self.open {
            return Ok(None);
        }
        if !matches!(self.reader.lex.peek(), Some(b'"' | b'\'' | b'{' | b'-' | b'+' | b'0'..=b'9')) {
            return Err(self.reader.lex.error("a name"));
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        self.reader.lex.expect(b':', "a colon")?;
        let value = seed.deserialize(&mut *self.reader)?;
        self.open = self.reader.lex.more(b'}')?;
        Ok(value)
    }
}

/// What `null` holds where a list or an object is due.
struct Nothing;

impl<'a> de::SeqAccess<'a> for Nothing {
    type Error = JsonError;
    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, _: T) -> Result<Option<T::Value>, JsonError> {
        Ok(None)
    }
}

impl<'a> de::MapAccess<'a> for Nothing {
    type Error = JsonError;
    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, _: K) -> Result<Option<K::Value>, JsonError> {
        Ok(None)
    }
    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, _: V) -> Result<V::Value, JsonError> {
        Err(JsonError::Value("null has no members".into()))
    }
}

/// Reads any value as compact JSON text: what a text field of Java holds when the peer sent an object.
pub fn compact(text: &str) -> Result<String, JsonError> {
    let value: serde_json::Value = super::from_slice(text.as_bytes())?;
    Ok(to_string(&value, Style::Fastjson))
}
