//! The JSON header of a frame, read and written by hand: it is on the path of every message.
//!
//! Invariant: what fastjson2 refuses in a header fails here (and closes the connection), what it tolerates is read as it
//! reads it; see the module `json` for the dialect.

use bytes::BytesMut;

use super::fields::int_into;
use super::json::{DEPTH_MAX, JsonError, Lexer, compact, quote_into};
use super::{FIELDS_MAX, Fields, Frame, FrameError, Language};

/// Longest object or array in place of a text: it is read as a tree, which takes many times its length.
const NESTED_MAX: usize = 16 * 1024;

impl From<JsonError> for FrameError {
    fn from(error: JsonError) -> Self {
        FrameError::Header(error.to_string())
    }
}

/// What a header says under a key.
#[derive(Clone, Copy, Debug)]
enum Key {
    Code,
    Fields,
    Flag,
    Language,
    Opaque,
    Remark,
    Version,
    /// Nothing that matters.
    Other,
}

/// The keys, each with its colon, in the order in which Java writes them.
const KEYS: [(&str, Key); 8] = [
    ("\"code\":", Key::Code),
    ("\"extFields\":", Key::Fields),
    ("\"flag\":", Key::Flag),
    ("\"language\":", Key::Language),
    ("\"opaque\":", Key::Opaque),
    ("\"remark\":", Key::Remark),
    ("\"serializeTypeCurrentRPC\":", Key::Other),
    ("\"version\":", Key::Version),
];

/// Takes a key and its colon. `usual` are the keys that have not come yet when they come in Java's order: those need not be
/// spelled out.
fn key(lex: &mut Lexer<'_>, usual: &mut std::slice::Iter<'_, (&str, Key)>) -> Result<Key, JsonError> {
    let mut ahead = usual.clone();
    if let Some((_, key)) = ahead.find(|(text, _)| lex.text(text)) {
        *usual = ahead;
        return Ok(*key);
    }
    let name = lex.string()?;
    lex.expect(b':', "a colon")?;
    let known = KEYS.iter().find(|(text, _)| text[1..text.len() - 2] == *name);
    Ok(known.map_or(Key::Other, |(_, key)| *key))
}

/// Reads a header; the frame has no body yet.
pub fn read(header: &[u8]) -> Result<Frame, FrameError> {
    let text = std::str::from_utf8(header).map_err(|_| FrameError::Header(JsonError::Utf8.to_string()))?;
    let mut lex = Lexer::new(text);
    let mut frame = Frame { version: 0, language: Language::Java, ..Frame::request(0) };
    lex.expect(b'{', "an object")?;
    let mut more = !lex.take(b'}');
    let mut usual = KEYS.iter();
    while more {
        match key(&mut lex, &mut usual)? {
            Key::Code => frame.code = number(&mut lex)?,
            Key::Fields => frame.fields = fields(&mut lex, text.len())?,
            Key::Flag => frame.flag = number(&mut lex)?,
            Key::Language => frame.language = language(&mut lex)?,
            Key::Opaque => frame.opaque = number(&mut lex)?,
            Key::Remark => frame.remark = remark(&mut lex)?,
            Key::Version => frame.version = number(&mut lex)?,
            Key::Other => drop(lex.skip(DEPTH_MAX)?),
        }
        more = lex.more(b'}')?;
    }
    lex.end()?;
    Ok(frame)
}

/// A number of 32 bits in any of the forms that fastjson takes; null and empty count as 0, fractions are cut off.
fn number(lex: &mut Lexer<'_>) -> Result<i32, FrameError> {
    if let Some(value) = lex.plain_int() {
        return Ok(value);
    }
    let (quoted, bare);
    let text: &str = match lex.peek() {
        Some(b'"' | b'\'') => {
            quoted = lex.string()?;
            &quoted
        }
        Some(b'n') if lex.word("null") => "",
        _ => {
            bare = lex.number()?;
            bare
        }
    };
    if text.is_empty() {
        return Ok(0);
    }
    let parsed = text.parse().ok().or_else(|| {
        let float: f64 = text.parse().ok().filter(|n: &f64| n.is_finite() && n.abs() < 2_147_483_648.0)?;
        Some(float as i32)
    });
    parsed.ok_or_else(|| FrameError::Header(format!("{:?} is no number of 32 bits", head(text))))
}

fn language(lex: &mut Lexer<'_>) -> Result<Language, FrameError> {
    if !matches!(lex.peek(), Some(b'"' | b'\'')) {
        let ordinal = number(lex)?;
        return Ok(u8::try_from(ordinal).map_or(Language::Other, Language::from_code));
    }
    Ok(Language::from_name(&lex.string()?))
}

fn remark(lex: &mut Lexer<'_>) -> Result<Option<String>, FrameError> {
    let mut text = String::new();
    Ok(value_into(lex, &mut text)?.then_some(text))
}

fn fields(lex: &mut Lexer<'_>, header: usize) -> Result<Fields, FrameError> {
    if lex.word("null") {
        return Ok(Fields::default());
    }
    let mut fields = Fields::with_capacity(header.min(1024));
    lex.expect(b'{', "an object")?;
    let mut more = !lex.take(b'}');
    while more {
        if plain_fields(lex, &mut fields)? {
            break;
        }
        check_room(&fields)?;
        let opened = fields.open();
        lex.string_into(fields.text_mut())?;
        let opened = fields.name_ends(opened);
        lex.expect(b':', "a colon")?;
        match value_into(lex, fields.text_mut())? {
            true => fields.close(opened, true),
            false => fields.take_back(opened),
        }
        more = lex.more(b'}')?;
    }
    Ok(fields)
}

/// Takes fields as long as they have the usual form, and copies them at once; whether the object ends with them.
fn plain_fields(lex: &mut Lexer<'_>, fields: &mut Fields) -> Result<bool, FrameError> {
    let (begin, base) = (lex.passed(), fields.text_len());
    let mut members = lex.plain_members();
    for (name, value) in members.by_ref() {
        check_room(fields)?;
        fields.point(name - begin + base, value - begin + base);
    }
    fields.append(members.since(begin));
    Ok(lex.pass(&members))
}

fn check_room(fields: &Fields) -> Result<(), FrameError> {
    if fields.len() < FIELDS_MAX {
        return Ok(());
    }
    Err(FrameError::Header(format!("more than {FIELDS_MAX} fields")))
}

/// Appends a value as text; false when it is null.
fn value_into(lex: &mut Lexer<'_>, out: &mut String) -> Result<bool, FrameError> {
    match lex.peek() {
        Some(b'"' | b'\'') => lex.string_into(out)?,
        Some(b'n') if lex.word("null") => return Ok(false),
        Some(b'{' | b'[') => {
            let nested = lex.skip(DEPTH_MAX)?;
            if nested.len() > NESTED_MAX {
                return Err(FrameError::Header(format!("a nested value of more than {NESTED_MAX} bytes")));
            }
            out.push_str(&compact(nested)?);
        }
        _ => out.push_str(lex.skip(DEPTH_MAX)?),
    }
    Ok(true)
}

fn head(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Appends the header, its keys in Java's order.
pub fn write(frame: &Frame, out: &mut BytesMut) {
    let mut text = String::with_capacity(192 + frame.fields.text_len());
    let int = |before: &str, value: i32, text: &mut String| {
        text.push_str(before);
        int_into(value, text);
    };
    int("{\"code\":", frame.code, &mut text);
    if !frame.fields.is_empty() {
        text.push_str(",\"extFields\":{");
        frame.fields.write_members(&mut text, quote_into);
        text.push('}');
    }
    int(",\"flag\":", frame.flag, &mut text);
    text.push_str(",\"language\":\"");
    text.push_str(frame.language.name());
    int("\",\"opaque\":", frame.opaque, &mut text);
    if let Some(remark) = &frame.remark {
        text.push_str(",\"remark\":");
        quote_into(remark, &mut text);
    }
    int(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":", frame.version, &mut text);
    text.push('}');
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with these fields and a blank wherever `blank` says so.
    fn header(fields: &[(String, String)], opaque: i32, mut blank: impl FnMut() -> bool) -> String {
        let mut text = String::new();
        let mut put = |token: &str| {
            text.push_str(if blank() { " " } else { "" });
            text.push_str(token);
        };
        let quoted = |plain: &str| {
            let mut out = String::new();
            quote_into(plain, &mut out);
            out
        };
        ["{", "\"code\"", ":", "310", ",", "\"extFields\"", ":", "{"].into_iter().for_each(&mut put);
        for (n, (name, value)) in fields.iter().enumerate() {
            [if n > 0 { "," } else { "" }, &quoted(name), ":", &quoted(value)].into_iter().for_each(&mut put);
        }
        ["}", ",", "\"opaque\"", ":", &opaque.to_string(), "}"].into_iter().for_each(&mut put);
        text
    }

    proptest! {
        #[test]
        fn a_header_reads_the_same_with_and_without_blanks(
            fields in proptest::collection::vec(("[a-z]{1,9}", "[a-z0-9]{0,20}|[a\\x01\"\\\\é]{0,9}"), 0..20),
            opaque: i32,
            blanks in proptest::collection::vec(any::<bool>(), 200),
        ) {
            let mut blanks = blanks.into_iter();
            let spaced = header(&fields, opaque, || blanks.next().unwrap_or(false));
            let frame = read(header(&fields, opaque, || false).as_bytes()).expect("a header");
            prop_assert_eq!(&frame, &read(spaced.as_bytes()).expect("a header"));
            prop_assert_eq!((frame.code, frame.opaque), (310, opaque));
            let read: Vec<_> = frame.fields.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, fields);
        }
    }
}
