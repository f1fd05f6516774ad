//! Configuration as RocketMQ users write it: `broker.conf`, `namesrv.conf`, the address of the name servers.
//!
//! Invariant: nothing in a file is passed over silently: an entry is taken, refused with its line, what was expected and what
//! to do, or, when it is a setting of the Java servers that means nothing here, warned about with its line.

pub mod broker;
mod http;
mod java;
pub mod name_servers;
pub mod namesrv;
pub mod properties;

use std::io::Write as _;
use std::path::{Path, PathBuf};

pub use http::{AddressServer, REFRESH, SUBGROUP, follow};

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
    /// A setting of the Java servers that means nothing here.
    Foreign,
    /// Nobody knows it; the name that may have been meant.
    Unknown(Option<&'static str>),
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
            Verdict::Foreign => warnings.push(format!("{name}:{line}: {key} has no meaning here, ignored")),
            Verdict::Unknown(meant) => return Err(ConfigError(format!("{name}:{line}: {}", no_such(entry, meant)))),
            Verdict::Wrong(why) => {
                return Err(ConfigError(format!(
                    "{name}:{line}: {why}. Correct the line, or remove it for the default"
                )));
            }
        }
    }
    Ok(warnings)
}

/// Writes changed settings into the file that they came from. The file is replaced as a whole and durably, or stays as it is.
pub fn write_properties(path: &Path, changes: &[(String, String)]) -> std::io::Result<()> {
    // A link is followed: what it points to is replaced.
    let path = std::fs::canonicalize(path)?;
    let text = properties::text_of(&std::fs::read(&path)?);
    let text = properties::change(&text, changes).map_err(std::io::Error::other)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    std::fs::File::open(dir)?.sync_all()
}

fn no_such(entry: &Property, meant: Option<&str>) -> String {
    let Property { key, value, .. } = entry;
    match meant {
        Some(meant) => {
            format!("{key}={value}: there is no setting {key}. Did you mean {meant}? Correct the line, or remove it")
        }
        None => format!("{key}={value}: there is no setting {key}, here or in RocketMQ. Remove the line"),
    }
}

/// A path read into `into`.
pub fn set_path(into: &mut PathBuf, entry: &Property) -> Verdict {
    let path = entry.value.trim();
    if path.is_empty() || path.contains(',') {
        return Verdict::Wrong(format!("{}={}: expected one directory", entry.key, entry.value));
    }
    *into = path.into();
    Verdict::Taken
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
            "haListenPort" => Verdict::Foreign,
            _ => Verdict::Unknown(Some("port")),
        });
        let strip = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
        (port, result.map(|all| all.into_iter().map(strip).collect()).map_err(|error| strip(error.to_string())))
    }

    #[test]
    fn foreign_and_repeated_keys_are_warned_about_with_their_lines() {
        let (port, result) = read("# mine\nport=1\n\nhaListenPort=3\nport = 2 \n");
        assert_eq!(port, 2);
        let expected = [
            "x.conf:2: port is set again below; the last one counts",
            "x.conf:4: haListenPort has no meaning here, ignored",
        ];
        assert_eq!(result.expect("it is usable"), expected);
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line_and_what_was_expected() {
        let (_, result) = read("\nport=seventy\n");
        let cure = "Correct the line, or remove it for the default";
        let expected = format!("x.conf:2: port=seventy: expected a port from 0 to 65535. {cure}");
        assert_eq!(result.expect_err("seventy"), expected);
        let (_, result) = read("port=\\u00zz");
        assert_eq!(result.expect_err("broken"), "x.conf: line 1: expected four hexadecimal digits after \\u");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_likely_name() {
        let (_, result) = read("prot=3\n");
        let expected = "x.conf:1: prot=3: there is no setting prot. Did you mean port? Correct the line, or remove it";
        assert_eq!(result.expect_err("prot"), expected);
    }

    #[test]
    fn a_directory_is_one_directory() {
        let entry = |value: &str| Property { line: 1, key: "dir".into(), value: value.into() };
        let mut path = PathBuf::new();
        assert_eq!((set_path(&mut path, &entry(" /data ")), &*path), (Verdict::Taken, Path::new("/data")));
        for wrong in ["", " ", "/a,/b"] {
            assert!(matches!(set_path(&mut path, &entry(wrong)), Verdict::Wrong(_)), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_properties(Path::new("/nowhere/broker.conf"), |_| Verdict::Taken).expect_err("nothing there");
        assert!(error.to_string().starts_with("/nowhere/broker.conf: cannot be read: "), "{error}");
    }
}
