//! The JSON header of a frame, read and written by hand: it is on the path of every message.
//!
//! Invariant: what fastjson2 refuses in a header fails here (and closes the connection), what it tolerates is read as it
//! reads it; see the module `json` for the dialect.

use bytes::BytesMut;

use super::json::{DEPTH_MAX, JsonError, Lexer, compact, quote_into};
use super::{Fields, Frame, FrameError, Language};

impl From<JsonError> for FrameError {
    fn from(error: JsonError) -> Self {
        FrameError::Header(error.to_string())
    }
}

/// Reads a header; the frame has no body yet.
pub fn read(header: &[u8]) -> Result<Frame, FrameError> {
    let text = std::str::from_utf8(header).map_err(|_| FrameError::Header(JsonError::Utf8.to_string()))?;
    let mut lex = Lexer::new(text);
    let mut frame = Frame { version: 0, language: Language::Java, ..Frame::request(0) };
    lex.expect(b'{', "an object")?;
    let mut more = !lex.take(b'}');
    while more {
        let name = lex.string()?;
        lex.expect(b':', "a colon")?;
        match &*name {
            "code" => frame.code = number(&mut lex)?,
            "extFields" => frame.fields = fields(&mut lex, text.len())?,
            "flag" => frame.flag = number(&mut lex)?,
            "language" => frame.language = language(&mut lex)?,
            "opaque" => frame.opaque = number(&mut lex)?,
            "remark" => frame.remark = remark(&mut lex)?,
            "version" => frame.version = number(&mut lex)?,
            _ => drop(lex.skip(DEPTH_MAX)?),
        }
        more = lex.more(b'}')?;
    }
    lex.end()?;
    Ok(frame)
}

/// A number of 32 bits in any of the forms that fastjson takes; null and empty count as 0, fractions are cut off.
fn number(lex: &mut Lexer<'_>) -> Result<i32, FrameError> {
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
    // Names and values are never longer than the header that holds them, escapes only shrink.
    let mut fields = Fields::with_capacity(header.min(1024));
    lex.expect(b'{', "an object")?;
    let mut more = !lex.take(b'}');
    while more {
        fields.try_push(|text| {
            lex.string_into(text)?;
            let name = text.len();
            lex.expect(b':', "a colon")?;
            Ok::<_, FrameError>(value_into(lex, text)?.then_some(name))
        })?;
        more = lex.more(b'}')?;
    }
    Ok(fields)
}

/// Appends a value as text; false when it is null.
fn value_into(lex: &mut Lexer<'_>, out: &mut String) -> Result<bool, FrameError> {
    match lex.peek() {
        Some(b'"' | b'\'') => lex.string_into(out)?,
        Some(b'n') if lex.word("null") => return Ok(false),
        Some(b'{' | b'[') => out.push_str(&compact(lex.skip(DEPTH_MAX)?)?),
        _ => out.push_str(lex.skip(DEPTH_MAX)?),
    }
    Ok(true)
}

fn head(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Appends the header, its keys in Java's order.
pub fn write(frame: &Frame, out: &mut BytesMut) {
    use std::fmt::Write as _;
    let fields: usize = frame.fields.iter().map(|(name, value)| name.len() + value.len() + 12).sum();
    let mut text = String::with_capacity(160 + fields);
    let fine = "writing to a string cannot fail";
    write!(text, "{{\"code\":{}", frame.code).expect(fine);
    if !frame.fields.is_empty() {
        text.push_str(",\"extFields\":{");
        for (index, (name, value)) in frame.fields.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            quote_into(name, &mut text);
            text.push(':');
            quote_into(value, &mut text);
        }
        text.push('}');
    }
    let language = frame.language.name();
    write!(text, ",\"flag\":{},\"language\":\"{language}\",\"opaque\":{}", frame.flag, frame.opaque).expect(fine);
    if let Some(remark) = &frame.remark {
        text.push_str(",\"remark\":");
        quote_into(remark, &mut text);
    }
    write!(text, ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{}}}", frame.version).expect(fine);
    out.extend_from_slice(text.as_bytes());
}
