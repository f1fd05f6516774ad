//! The tokens of fastjson's dialect.
//!
//! Accepted beyond standard JSON, as fastjson2 2.0.59 does: single-quoted strings, trailing commas, comments, numbers as
//! object keys. Rejected, as there: unquoted names, a byte-order mark, anything behind the value. Invariant: the lexer
//! only moves forward, so that any input of n bytes costs O(n).

use std::borrow::Cow;

use super::{JsonError, scan};

/// Objects and arrays inside one another; more is refused, so that hostile input cannot exhaust the stack.
pub const DEPTH_MAX: u32 = 64;

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// See [`Lexer::plain_members`]: where the name and the value of each end.
#[derive(Clone, Debug)]
pub struct PlainMembers<'a> {
    text: &'a str,
    /// Those that were not looked at yet.
    quotes: scan::Quotes<'a>,
    /// Behind the last one and its comma, or behind the object.
    at: usize,
    ended: bool,
}

impl<'a> PlainMembers<'a> {
    /// The members from `begin` to here, where one was handed out; in place of the end of the object there is none.
    pub fn since(&self, begin: usize) -> &'a str {
        &self.text[begin..self.at - usize::from(self.ended)]
    }
}

impl Iterator for PlainMembers<'_> {
    type Item = (usize, usize);

    #[inline]
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.ended {
            return None;
        }
        let text = self.text.as_bytes();
        self.quotes.next().filter(|begin| *begin == self.at)?;
        let name = self.quotes.next().filter(|name| text[*name..].starts_with(b"\":\""))?;
        // The quote that opens the value was seen just now.
        self.quotes.next()?;
        let value = self.quotes.next().filter(|value| text[*value] == b'"')?;
        self.ended = match text[value + 1..] {
            [b',', b'"', ..] => false,
            [b'}', ..] => true,
            _ => return None,
        };
        self.at = value + 2;
        Some((name, value))
    }
}

impl<'a> Lexer<'a> {
    /// Begins at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    /// The next byte that is neither blank nor comment; stays in front of it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if byte > b' ' && byte != b'/' => Some(byte),
            _ => self.peek_far(),
        }
    }

    /// [`Lexer::peek`] where a blank, a comment or the end is next.
    fn peek_far(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t' | 0x0c | 0x08) => self.at += 1,
                Some(b'/') if self.comment() => {}
                other => return other.copied(),
            }
        }
    }

    /// Steps over the byte that [`Lexer::peek`] showed.
    pub fn bump(&mut self) {
        self.at += 1;
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    /// Takes `byte`, which must be next.
    #[inline]
    pub fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Nothing may be left.
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error("the end")) }
    }

    /// Behind an element: takes the comma, and says whether another element follows before `close`.
    #[inline]
    pub fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        if self.take(b',') {
            return Ok(!self.take(close));
        }
        self.expect(close, "a comma or the end of the object or array")?;
        Ok(false)
    }

    /// A quoted string; borrowed unless it has escapes.
    #[inline]
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let (quote, run) = self.open_string()?;
        if self.text.as_bytes()[self.at] == quote {
            self.at += 1;
            return Ok(Cow::Borrowed(run));
        }
        let mut out = String::with_capacity(run.len() + 32);
        out.push_str(run);
        self.rest_of_string(quote, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// A quoted string, appended to `out`.
    #[inline]
    pub fn string_into(&mut self, out: &mut String) -> Result<(), JsonError> {
        let (quote, run) = self.open_string()?;
        out.push_str(run);
        if self.text.as_bytes()[self.at] == quote {
            self.at += 1;
            return Ok(());
        }
        self.rest_of_string(quote, out)
    }

    /// Members from here on, as long as they have the form in which clients write them, `"name":"value"` without blanks and
    /// escapes, and another of that form or the end of the object follows. [`Lexer::pass`] steps over them.
    #[inline]
    pub fn plain_members(&self) -> PlainMembers<'a> {
        let quotes = scan::Quotes::new(self.text.as_bytes(), self.at);
        PlainMembers { text: self.text, quotes, at: self.at, ended: false }
    }

    /// Steps over members, and over the end of the object if they reach it; whether they do.
    pub fn pass(&mut self, members: &PlainMembers<'a>) -> bool {
        self.at = members.at;
        members.ended
    }

    /// Takes `text` if it is next.
    #[inline]
    pub fn text(&mut self, text: &str) -> bool {
        let hit = self.text.as_bytes()[self.at..].starts_with(text.as_bytes());
        self.at += if hit { text.len() } else { 0 };
        hit
    }

    /// A number of at most nine digits with a comma or a brace behind it. Any other form stays in front.
    #[inline]
    pub fn plain_int(&mut self) -> Option<i32> {
        let bytes = self.text.as_bytes();
        let negative = bytes.get(self.at) == Some(&b'-');
        let begin = self.at + usize::from(negative);
        let (mut at, mut value) = (begin, 0);
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            if at - begin == 9 {
                return None;
            }
            value = value * 10 + i32::from(digit - b'0');
            at += 1;
        }
        if at == begin || !matches!(bytes.get(at), Some(b',' | b'}')) {
            return None;
        }
        self.at = at;
        Some(if negative { -value } else { value })
    }

    /// Bytes that it has passed.
    pub fn passed(&self) -> usize {
        self.at
    }

    /// A number, as it is written.
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let tail = &self.text.as_bytes()[self.at..];
        let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
        let len = tail.iter().position(|b| !is_part(b)).unwrap_or(tail.len());
        let token = &self.text[self.at..self.at + len];
        if !token.bytes().any(|b| b.is_ascii_digit()) {
            return Err(self.error("a number"));
        }
        self.at += len;
        Ok(token)
    }

    /// Takes a bare word such as `null` if it is next.
    pub fn word(&mut self, word: &str) -> bool {
        self.peek();
        let hit = self.text[self.at..].starts_with(word)
            && !self.text.as_bytes().get(self.at + word.len()).is_some_and(u8::is_ascii_alphanumeric);
        self.at += if hit { word.len() } else { 0 };
        hit
    }

    /// Steps over one value of any kind and returns how it was written.
    pub fn skip(&mut self, depth: u32) -> Result<&'a str, JsonError> {
        self.peek();
        let begin = self.at;
        match self.peek() {
            Some(b'"' | b'\'') => self.skip_string()?,
            Some(b'{') => self.skip_members(depth, b'}')?,
            Some(b'[') => self.skip_members(depth, b']')?,
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => drop(self.number()?),
            _ if self.word("null") || self.word("true") || self.word("false") => {}
            _ => return Err(self.error("a value")),
        }
        Ok(&self.text[begin..self.at])
    }

    /// An error at this place.
    #[cold]
    pub fn error(&self, expected: &'static str) -> JsonError {
        JsonError::At { offset: self.at, expected }
    }

    fn skip_string(&mut self) -> Result<(), JsonError> {
        let (quote, _) = self.open_string()?;
        loop {
            self.at += 1;
            if self.text.as_bytes()[self.at - 1] == quote {
                return Ok(());
            }
            // The character behind a backslash may be a long one.
            let escaped = self.text[self.at..].chars().next().ok_or_else(|| self.error("a closing quote"))?;
            self.at += escaped.len_utf8();
            self.run(quote)?;
        }
    }

    fn skip_members(&mut self, depth: u32, close: u8) -> Result<(), JsonError> {
        if depth == 0 {
            return Err(JsonError::Depth);
        }
        self.bump();
        if self.take(close) {
            return Ok(());
        }
        loop {
            self.skip(depth - 1)?;
            if close == b'}' {
                self.expect(b':', "a colon")?;
                self.skip(depth - 1)?;
            }
            if !self.more(close)? {
                return Ok(());
            }
        }
    }

    /// The opening quote and the text up to the first quote or escape.
    #[inline]
    fn open_string(&mut self) -> Result<(u8, &'a str), JsonError> {
        let Some(quote @ (b'"' | b'\'')) = self.peek() else { return Err(self.error("a quoted string")) };
        self.at += 1;
        Ok((quote, self.run(quote)?))
    }

    /// Text without escapes; stops in front of the quote or backslash, which is there.
    #[inline]
    fn run(&mut self, quote: u8) -> Result<&'a str, JsonError> {
        let begin = self.at;
        let Some(len) = scan::end_of_run(&self.text.as_bytes()[begin..], quote) else {
            return Err(self.error("a closing quote"));
        };
        self.at = begin + len;
        Ok(&self.text[begin..self.at])
    }

    /// Goes on at a backslash, to behind the closing quote.
    fn rest_of_string(&mut self, quote: u8, out: &mut String) -> Result<(), JsonError> {
        loop {
            self.at += 1;
            let c = self.escape()?;
            out.push(c);
            out.push_str(self.run(quote)?);
            if self.text.as_bytes()[self.at] == quote {
                self.at += 1;
                return Ok(());
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let code = *self.text.as_bytes().get(self.at).ok_or_else(|| self.error("an escape"))?;
        self.at += 1;
        Ok(match code {
            b'"' | b'\'' | b'\\' | b'/' => code as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'0'..=b'7' => (code - b'0') as char,
            b'x' => char::from(u8::try_from(self.hex(2)?).expect("two hex digits fit a byte")),
            b'u' => self.unicode()?,
            _ => return Err(self.error("a known escape")),
        })
    }

    /// Behind `\u`: one unit, or a pair of surrogates; half a pair becomes U+FFFD.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let unit = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let mut ahead = self.clone();
        ahead.at += 2;
        if self.text.as_bytes()[self.at..].starts_with(b"\\u")
            && let Ok(low @ 0xDC00..0xE000) = ahead.hex(4)
        {
            self.at = ahead.at;
            let scalar = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return Ok(char::from_u32(scalar).expect("a pair of surrogates is a character"));
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self, digits: usize) -> Result<u32, JsonError> {
        let tail = self.text.as_bytes().get(self.at..self.at + digits).ok_or_else(|| self.error("hex digits"))?;
        let mut value = 0;
        for &b in tail {
            value = value * 16 + (b as char).to_digit(16).ok_or_else(|| self.error("hex digits"))?;
        }
        self.at += digits;
        Ok(value)
    }

    /// Steps over a comment if one begins here.
    #[cold]
    fn comment(&mut self) -> bool {
        let tail = &self.text[self.at..];
        let len = if tail.starts_with("//") {
            Some(tail.find('\n').unwrap_or(tail.len()))
        } else if tail.starts_with("/*") {
            tail.find("*/").map(|i| i + 2)
        } else {
            None
        };
        self.at += len.unwrap_or(0);
        len.is_some()
    }
}
