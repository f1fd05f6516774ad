//! The serde side of writing.

use std::fmt::{Display, Write as _};

use serde::ser::{self, Serialize};

use super::{JsonError, Style, quote_into};

impl ser::Error for JsonError {
    fn custom<T: Display>(message: T) -> Self {
        JsonError::Value(message.to_string())
    }
}

/// Writes one value behind what is there.
pub struct Writer<'o> {
    out: &'o mut String,
    style: Style,
    /// This value is the key of a map.
    key: bool,
}

impl<'o> Writer<'o> {
    pub fn new(out: &'o mut String, style: Style) -> Self {
        Writer { out, style, key: false }
    }

    /// A value that is quoted only where it is a key.
    fn bare(self, write: impl FnOnce(&mut String)) -> Result<(), JsonError> {
        let quoted = self.key && self.style == Style::Standard;
        if quoted {
            self.out.push('"');
        }
        write(self.out);
        if quoted {
            self.out.push('"');
        }
        Ok(())
    }

    fn open(self, bracket: char, close: char) -> Result<Compound<'o>, JsonError> {
        self.out.push(bracket);
        Ok(Compound { out: self.out, style: self.style, close, empty: true, member: 0 })
    }
}

/// An object or array being written.
pub struct Compound<'o> {
    out: &'o mut String,
    style: Style,
    close: char,
    empty: bool,
    /// Where the member that is being written begins, its comma included.
    member: usize,
}

impl Compound<'_> {
    fn comma(&mut self) {
        self.member = self.out.len();
        if !self.empty {
            self.out.push(',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        value.serialize(Writer::new(self.out, self.style))
    }

    /// Writes the value of a member; a member that is null is taken back.
    fn member_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.out.push(':');
        let begin = self.out.len();
        self.value(value)?;
        if &self.out[begin..] == "null" {
            self.out.truncate(self.member);
        } else {
            self.empty = false;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), JsonError> {
        self.out.push(self.close);
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident $type:ty,)*) => { $(
        fn $method(self, value: $type) -> Result<(), JsonError> {
            self.bare(|out| out.push_str(itoa::Buffer::new().format(value)))
        }
    )* };
}

impl<'o> ser::Serializer for Writer<'o> {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Compound<'o>;
    type SerializeTuple = Compound<'o>;
    type SerializeTupleStruct = Compound<'o>;
    type SerializeTupleVariant = ser::Impossible<(), JsonError>;
    type SerializeMap = Compound<'o>;
    type SerializeStruct = Compound<'o>;
    type SerializeStructVariant = ser::Impossible<(), JsonError>;

    fn serialize_bool(self, value: bool) -> Result<(), JsonError> {
        self.bare(|out| out.push_str(if value { "true" } else { "false" }))
    }
    integers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64,
    }
    fn serialize_f32(self, value: f32) -> Result<(), JsonError> {
        self.serialize_f64(f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), JsonError> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        self.bare(|out| write!(out, "{value:?}").expect("writing to a string cannot fail"))
    }
    fn serialize_char(self, value: char) -> Result<(), JsonError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), JsonError> {
        quote_into(value, self.out);
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), JsonError> {
        Err(JsonError::Value("bytes have no form of their own".into()))
    }
    fn serialize_none(self) -> Result<(), JsonError> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), JsonError> {
        self.out.push_str("null");
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), JsonError> {
        self.serialize_str(name)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), JsonError> {
        Err(JsonError::Value("an enum with data has no form in Java".into()))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'o>, JsonError> {
        self.open('[', ']')
    }
    fn serialize_tuple(self, _: usize) -> Result<Compound<'o>, JsonError> {
        self.open('[', ']')
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'o>, JsonError> {
        self.open('[', ']')
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, JsonError> {
        Err(JsonError::Value("an enum with data has no form in Java".into()))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'o>, JsonError> {
        self.open('{', '}')
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'o>, JsonError> {
        self.open('{', '}')
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, JsonError> {
        Err(JsonError::Value("an enum with data has no form in Java".into()))
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.comma();
        self.empty = false;
        self.value(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        ser::SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.comma();
        key.serialize(Writer { out: self.out, style: self.style, key: true })
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.member_value(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish()
    }
}

impl ser::SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = JsonError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), JsonError> {
        self.comma();
        quote_into(name, self.out);
        self.member_value(value)
    }
    fn end(self) -> Result<(), JsonError> {
        self.finish()
    }
}
