//! Java properties files (`java.util.Properties.load`), with the line of every entry.
//!
//! Invariant: what Java reads from a file is what is read here, in the same order; nothing is skipped silently.

use std::iter::Peekable;
use std::str::Chars;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// Key, unescaped.
    pub key: String,
    /// Value, unescaped.
    pub value: String,
}

/// A `\u` escape without four hexadecimal digits: the only thing that Java refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected four hexadecimal digits after \\u")]
pub struct BrokenEscape {
    /// Line on which the entry begins, from 1.
    pub line: usize,
}

/// The entries of a file in order; a later one of the same key is meant to win.
pub fn parse(text: &str) -> Result<Vec<Property>, BrokenEscape> {
    logical_lines(text)
        .map(|(line, text)| entry(&text).ok_or(BrokenEscape { line }).map(|(key, value)| Property { line, key, value }))
        .collect()
}

/// The text of a file with these entries changed: in the place of the first one of a key, or else at the end. Later ones of the
/// key go; comments and everything else stay.
pub fn change(text: &str, changes: &[(String, String)]) -> Result<String, BrokenEscape> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_owned())).collect();
    let entries = parse(&text)?;
    for (key, value) in changes {
        let new = format!("{}={}", escape(key, true), escape(value, false));
        let mut new = Some(new);
        for Property { line, .. } in entries.iter().filter(|entry| entry.key == *key) {
            let mut at = line - 1;
            while lines.get(at).and_then(Option::as_ref).is_some_and(|line| continues(line)) {
                lines[at] = None;
                at += 1;
            }
            if at < lines.len() {
                lines[at] = None;
            }
            lines[line - 1] = new.take();
        }
        lines.extend(new.map(Some));
    }
    Ok(lines.into_iter().flatten().map(|line| line + "\n").collect())
}

/// What [`parse`] reads as this text; blanks in front of a value are escaped, those of a key anywhere.
fn escape(text: &str, is_key: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            ' ' if is_key || at == 0 => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if is_key => out.extend(['\\', c]),
            plain => out.push(plain),
        }
    }
    out
}

/// The text of a file: UTF-8, or Latin-1 as Java takes it.
pub fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

/// Lines without blanks in front, comments and empty ones left out, continued ones put together.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let natural: Vec<String> = text.split('\n').map(|line| line.trim_start_matches(BLANK).to_owned()).collect();
    let mut lines = natural.into_iter().zip(1..);
    std::iter::from_fn(move || {
        let (mut whole, number) = lines.find(|(line, _)| !line.is_empty() && !line.starts_with(['#', '!']))?;
        while continues(&whole) {
            whole.pop();
            let Some((next, _)) = lines.next() else { break };
            whole.push_str(&next);
        }
        Some((number, whole))
    })
}

/// An odd number of backslashes at the end.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn entry(line: &str) -> Option<(String, String)> {
    let mut chars = line.chars().peekable();
    let key = unescape(&mut chars, |c| BLANK.contains(&c) || c == '=' || c == ':')?;
    skip_blanks(&mut chars);
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        skip_blanks(&mut chars);
    }
    Some((key, unescape(&mut chars, |_| false)?))
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| BLANK.contains(c)).is_some() {}
}

/// Up to a character that ends it and stands without a backslash; that one is left. `None` for a broken `\u`.
fn unescape(chars: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> Option<String> {
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = chars.next_if(|c| !ends(*c)) {
        let c = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    units.push(hex4(chars)?);
                    continue;
                }
                Some(other) => other,
                None => continue,
            },
            plain => plain,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

fn hex4(chars: &mut Peekable<Chars<'_>>) -> Option<u16> {
    (0..4).try_fold(0, |value, _| Some(value << 4 | u16::try_from(chars.next()?.to_digit(16)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let found = parse(text).expect("it parses");
        let found: Vec<_> = found.iter().map(|p| (p.line, &*p.key, &*p.value)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn separators_and_blanks_are_javas() {
        check(
            "a=1\nb:2\nc 3\n d\t=\t4 \n\ne",
            &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4 "), (6, "e", "")],
        );
        check("a==1\nb= =2\n=3\n", &[(1, "a", "=1"), (2, "b", "=2"), (3, "", "3")]);
        check(
            "namesrvAddr = 10.0.0.1:9876;10.0.0.2:9876\r\nx=1\ry=2",
            &[(1, "namesrvAddr", "10.0.0.1:9876;10.0.0.2:9876"), (2, "x", "1"), (3, "y", "2")],
        );
    }

    #[test]
    fn comments_only_begin_lines() {
        check("# a=1\n  ! b=2\nc=3 # no comment\n#\\\nd=4", &[(3, "c", "3 # no comment"), (5, "d", "4")]);
    }

    #[test]
    fn lines_are_continued_by_an_odd_number_of_backslashes() {
        check("a=1,\\\n   2,\\\n\t3\nb=x\\\\\nc=4", &[(1, "a", "1,2,3"), (4, "b", "x\\"), (5, "c", "4")]);
        check("a=1\\", &[(1, "a", "1")]);
        check("a=1\\\n# kept\nb=2", &[(1, "a", "1# kept"), (3, "b", "2")]);
    }

    #[test]
    fn escapes_are_resolved() {
        check(r"path=C:\\store\tx\q", &[(1, "path", "C:\\store\txq")]);
        check(r"a\=b\:c\ d=e", &[(1, "a=b:c d", "e")]);
        check(r"name=\u4f60\uD83D\uDE00", &[(1, "name", "你😀")]);
        assert_eq!(parse("a=1\nb=\\u12g4"), Err(BrokenEscape { line: 2 }));
    }

    #[track_caller]
    fn check_change(text: &str, changes: &[(&str, &str)], expected: &str) {
        let changes: Vec<_> = changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let changed = change(text, &changes).expect("it reads");
        assert_eq!(changed, expected, "{text:?} {changes:?}");
        let entries = parse(&changed).expect("it still reads");
        for (key, value) in &changes {
            let found: Vec<_> = entries.iter().filter(|entry| entry.key == *key).map(|entry| &entry.value).collect();
            assert_eq!(found, [value], "{key} in {changed:?}");
        }
    }

    #[test]
    fn entries_are_changed_in_their_place() {
        check_change("# mine\na=1\n\nb = 2", &[("a", "3")], "# mine\na=3\n\nb = 2\n");
        check_change("a=1\r\n# kept\r\na=2\r\n", &[("a", "3")], "a=3\n# kept\n");
        check_change("a=1,\\\n  2,\\\n  3\nb=1\n", &[("a", "4"), ("c", "5")], "a=4\nb=1\nc=5\n");
        check_change("a=1\\", &[("a", "2")], "a=2\n");
        check_change("", &[("path", "C:\\store"), ("x", " y")], "path=C:\\\\store\nx=\\ y\n");
        check_change("b=1", &[("#a b", "\t1\n2")], "b=1\n\\#a\\ b=\\t1\\n2\n");
        assert_eq!(change("a=\\u12g4", &[]), Err(BrokenEscape { line: 1 }));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        assert_eq!(text_of(b"a=\xe9"), "a=é");
        assert_eq!(text_of("a=é".as_bytes()), "a=é");
    }
}
