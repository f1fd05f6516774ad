//! Configuration as RocketMQ users write it: `broker.conf`, `namesrv.conf`, the address of the name servers.
//!
//! Invariant: nothing in a file is passed over silently: an entry is taken, refused with its line and what was expected, or
//! warned about with its line.

pub mod broker;
mod http;
pub mod name_servers;
pub mod namesrv;
pub mod properties;

use std::path::Path;

pub use http::{AddressServer, follow};

use properties::Property;

/// A file that cannot be used. The text names the file, the line and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What a reader says to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It means something and was taken.
    Taken,
    /// Nobody knows it.
    Unknown,
    /// The value is wrong: what was expected.
    Wrong(String),
}

/// Reads a properties file and gives each entry to `take`, in order. Returns warnings.
pub fn read_properties(path: &Path, mut take: impl FnMut(&Property) -> Verdict) -> Result<Vec<String>, ConfigError> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| ConfigError(format!("{name}: cannot be read: {error}")))?;
    let entries =
        properties::parse(&properties::text_of(&bytes)).map_err(|error| ConfigError(format!("{name}: {error}")))?;
    let mut warnings = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let Property { line, key, .. } = entry;
        if entries[at + 1..].iter().any(|later| later.key == *key) {
            warnings.push(format!("{name}:{line}: {key} is set again below; the last one counts"));
        }
        match take(entry) {
            Verdict::Taken => {}
            Verdict::Unknown => warnings.push(format!("{name}:{line}: unknown property {key}, ignored")),
            Verdict::Wrong(why) => return Err(ConfigError(format!("{name}:{line}: {why}"))),
        }
    }
    Ok(warnings)
}

/// A value read into `into`, or what was expected.
pub fn set<T: std::str::FromStr>(into: &mut T, entry: &Property, expected: &str) -> Verdict {
    match entry.value.trim().parse() {
        Ok(value) => {
            *into = value;
            Verdict::Taken
        }
        Err(_) => Verdict::Wrong(format!("{}={}: expected {expected}", entry.key, entry.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (u16, Result<Vec<String>, String>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.conf");
        std::fs::write(&path, text).expect("it is written");
        let mut port = 0;
        let result = read_properties(&path, |entry| match &*entry.key {
            "port" => set(&mut port, entry, "a port from 0 to 65535"),
            _ => Verdict::Unknown,
        });
        let strip = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
        (port, result.map(|all| all.into_iter().map(strip).collect()).map_err(|error| strip(error.to_string())))
    }

    #[test]
    fn unknown_and_repeated_keys_are_warned_about_with_their_lines() {
        let (port, result) = read("# mine\nport=1\n\nprot=3\nport = 2 \n");
        assert_eq!(port, 2);
        let expected =
            ["x.conf:2: port is set again below; the last one counts", "x.conf:4: unknown property prot, ignored"];
        assert_eq!(result.expect("it is usable"), expected);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_what_was_expected() {
        let (_, result) = read("\nport=seventy\n");
        assert_eq!(result.expect_err("seventy"), "x.conf:2: port=seventy: expected a port from 0 to 65535");
        let (_, result) = read("port=\\u00zz");
        assert_eq!(result.expect_err("broken"), "x.conf: line 1: expected four hexadecimal digits after \\u");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_properties(Path::new("/nowhere/broker.conf"), |_| Verdict::Taken).expect_err("nothing there");
        assert!(error.to_string().starts_with("/nowhere/broker.conf: cannot be read: "), "{error}");
    }
}
