//! How a typed header reads and writes its fields.
//!
//! Invariant: a header declared with `headers!` is read in one pass over the fields, and what it writes it reads back.

use super::fields::invalid;
use super::{FieldError, Fields};

/// One field of a typed header.
pub trait Field: Sized {
    /// From the text on the wire.
    fn parse(name: &'static str, text: &str) -> Result<Self, FieldError>;
    /// When it is not there.
    fn absent(name: &'static str) -> Result<Self, FieldError> {
        Err(FieldError::Missing(name))
    }
    /// Adds it to the fields.
    fn put(&self, name: &'static str, fields: &mut Fields);
}

impl Field for String {
    fn parse(_: &'static str, text: &str) -> Result<Self, FieldError> {
        Ok(text.to_owned())
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.push_str(name, self);
    }
}

/// `Boolean.parseBoolean`: anything but `true` is false, and so is an absent flag.
impl Field for bool {
    fn parse(_: &'static str, text: &str) -> Result<Self, FieldError> {
        Ok(text.eq_ignore_ascii_case("true"))
    }
    fn absent(_: &'static str) -> Result<Self, FieldError> {
        Ok(false)
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.push_str(name, if *self { "true" } else { "false" });
    }
}

fn number<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, FieldError> {
    text.parse().map_err(|_| invalid(name, "a number", text))
}

impl Field for i32 {
    fn parse(name: &'static str, text: &str) -> Result<Self, FieldError> {
        number(name, text)
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.push_int(name, *self);
    }
}

impl Field for i64 {
    fn parse(name: &'static str, text: &str) -> Result<Self, FieldError> {
        number(name, text)
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        fields.push_int(name, *self);
    }
}

/// An optional field that does not parse counts as absent, as in Java's reflective reader.
impl<T: Field> Field for Option<T> {
    fn parse(name: &'static str, text: &str) -> Result<Self, FieldError> {
        Ok(T::parse(name, text).ok())
    }
    fn absent(_: &'static str) -> Result<Self, FieldError> {
        Ok(None)
    }
    fn put(&self, name: &'static str, fields: &mut Fields) {
        if let Some(value) = self {
            value.put(name, fields);
        }
    }
}

/// Declares headers: `name on the wire => field: type`. A `String` or a number must be there; an `Option` or a flag need not.
macro_rules! headers {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$field_doc:meta])* $wire:literal => $field:ident: $type:ty, )* }
    )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_doc])* #[doc = concat!("`", $wire, "`.")] pub $field: $type, )* }

        impl $crate::wire::Header for $name {
            fn read(fields: &$crate::wire::Fields) -> Result<Self, $crate::wire::FieldError> {
                use $crate::wire::header::Field;
                $( let mut $field: Option<&str> = None; )*
                for (name, value) in fields.iter() {
                    match name {
                        $( $wire => $field = Some(value), )*
                        _ => {}
                    }
                }
                Ok($name { $(
                    $field: match $field {
                        Some(text) => <$type as Field>::parse($wire, text)?,
                        None => <$type as Field>::absent($wire)?,
                    },
                )* })
            }
            fn write(&self, fields: &mut $crate::wire::Fields) {
                use $crate::wire::header::Field;
                $( Field::put(&self.$field, $wire, fields); )*
            }
        }

        #[cfg(test)]
        impl $crate::wire::random::Random for $name {
            fn random(rng: &mut $crate::node::Rng) -> Self {
                $name { $( $field: $crate::wire::random::Random::random(rng), )* }
            }
        }

        #[cfg(test)]
        impl $crate::wire::random::AnyHeader for $name {
            const NAMES: &'static [&'static str] = &[$( $wire, )*];
        }
    )*

        #[cfg(test)]
        #[test]
        fn headers_survive_the_wire() {
            $( $crate::wire::random::check_header::<$name>(); )*
        }
    };
}

/// Declares an enum of Java: written by name; read by name or ordinal.
macro_rules! java_enum {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $text:literal, )* } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[$variant_doc])* #[doc = concat!("`", $text, "`.")] #[serde(rename = $text)] $variant, )* }

        impl $name {
            /// The name in Java.
            pub fn name(self) -> &'static str {
                match self { $( $name::$variant => $text, )* }
            }
            /// The value of a name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $( $text => Some($name::$variant), )* _ => None }
            }
        }
    )* };
}

pub(super) use {headers, java_enum};
