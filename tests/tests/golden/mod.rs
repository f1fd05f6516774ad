//! Reads the golden files: real bytes and answers of Apache RocketMQ 5.5.0, see `tests/golden/README.md`.
//!
//! Invariant: a missing or empty golden file fails the test that needs it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

/// The text of `tests/golden/NAME.gz`.
pub fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.gz"));
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("golden files are gzipped UTF-8");
    text
}

/// The objects of a file of JSON lines.
pub fn lines(name: &str) -> Vec<Value> {
    let lines: Vec<Value> =
        text(name).lines().map(|line| serde_json::from_str(line).expect("golden files are JSON lines")).collect();
    assert!(!lines.is_empty(), "{name} holds nothing");
    lines
}

/// The lines of one `kind`.
pub fn kind(name: &str, kind: &str) -> Vec<Value> {
    let lines: Vec<Value> = lines(name).into_iter().filter(|line| line["kind"] == kind).collect();
    assert!(!lines.is_empty(), "{name} holds no {kind}");
    lines
}

/// The bytes of a field in hex.
pub fn hex(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("a text"))
}

/// Bytes from hex.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex digits come in pairs");
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The text of a field.
pub fn str<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The number of a field, written as number or text.
pub fn int(value: &Value, name: &str) -> i64 {
    let field = &value[name];
    field.as_i64().or_else(|| field.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{name} in {value}"))
}
