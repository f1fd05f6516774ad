//! Which changes: what `cargo mutants --list` offers, and a choice among them by seed.
//!
//! Invariant: a longer draw begins with the shorter one of the same seed, and what is added to the code moves no other's place.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// The command that installs what lists the changes.
pub const INSTALL: &str = "cargo install cargo-mutants --locked";

/// Where the logic is that a campaign should know: the roles and the store. What is on the wire is pinned by golden bytes.
pub const LOGIC: [&str; 6] = ["broker", "store", "consumer", "producer", "client", "namesrv"];

/// The disk of the store's unit tests, which the simulator does not use.
const TEST_DISK: &str = "core/src/store/memdisk.rs";

/// What cargo-mutants writes beside each change.
const REMARK: &str = " /* ~ changed by cargo-mutants ~ */";

/// One change of one place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mutant {
    /// Its name in every output: `core/src/broker/hold.rs:57:9: replace == with != in Hold::take`.
    pub name: String,
    /// The file, from the root of the repository.
    pub file: String,
    /// The function around it.
    pub function: Option<Function>,
    /// What is replaced.
    pub genre: Genre,
    /// Where it is.
    pub span: Span,
    /// What comes there instead.
    pub replacement: String,
    /// The change, as a unified diff of that file.
    pub diff: String,
}

/// What a change replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// The body of a function, by a value.
    FnValue,
    /// An operator with two sides.
    BinaryOperator,
    /// An operator before its operand, by nothing.
    UnaryOperator,
    /// An arm of a `match` that has a wildcard too, by nothing.
    MatchArm,
    /// The condition of an arm.
    MatchArmGuard,
    /// A field of a struct that has a rest, by nothing.
    StructField,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// Its first character.
    pub start: Place,
    /// The one behind its last.
    pub end: Place,
}

/// A character of a file; line and column count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// The function that a change is in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Function {
    /// With the type that it belongs to, or the trait: `<impl Display for QueueId>::fmt`.
    pub function_name: String,
}

impl Mutant {
    /// Whether it is logic of the roles or of the store: not the text that a type shows to people, and not what only observes.
    pub fn is_logic(&self) -> bool {
        let apart = ["<impl Display for ", "<impl fmt::Display for ", "<impl Debug for ", "<impl fmt::Debug for "];
        let function = self.function.as_ref().map_or("", |function| &function.function_name);
        let observes = function.ends_with("invariants") || apart.iter().any(|sign| function.contains(sign));
        let inside = |folder: &str| self.file.starts_with(&format!("core/src/{folder}/"));
        LOGIC.iter().any(|folder| inside(folder)) && !observes && self.file != TEST_DISK
    }

    /// The changed lines of the diff, without what is around them; long ones in part.
    pub fn change(&self) -> Vec<String> {
        const LINES: usize = 8;
        let changed = |line: &&str| {
            (line.starts_with('-') && !line.starts_with("--- ")) || (line.starts_with('+') && !line.starts_with("+++ "))
        };
        let lines = self.diff.lines().filter(changed).map(|line| line.replace(REMARK, ""));
        let mut lines: Vec<String> = lines.collect();
        if lines.len() > LINES {
            // The beginning of what goes, and the end: what comes instead.
            lines.splice(LINES / 2..lines.len() - LINES / 2, [" …".to_owned()]);
        }
        lines
    }

    /// Its place in the draw of a seed; less comes first. The line is no part of it.
    fn rank(&self, seed: u64) -> [u8; 32] {
        let what = self.name.splitn(4, ':').last().unwrap_or_default();
        let text = format!("{seed} {} {what} {}", self.file, self.change().join("\n"));
        *blake3::hash(text.as_bytes()).as_bytes()
    }
}

/// Asks cargo-mutants for every change of the core.
pub fn list(repository: &Path) -> Result<Vec<Mutant>, String> {
    let words = ["mutants", "--list", "--json", "--diff", "--package", "seedmq-core", "--colors", "never"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let out = Command::new(cargo).args(words).current_dir(repository).output();
    let out = out.map_err(|error| format!("cargo could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("no such command") {
        return Err(format!("cargo-mutants lists the changes, and is not installed; install it with\n  {INSTALL}"));
    }
    if !out.status.success() {
        return Err(format!("cargo mutants --list failed:\n{}", said.trim_end()));
    }
    parse(&String::from_utf8_lossy(&out.stdout))
}

/// Reads what `cargo mutants --list --json --diff` printed.
pub fn parse(json: &str) -> Result<Vec<Mutant>, String> {
    serde_json::from_str(json).map_err(|error| {
        format!("the list of cargo-mutants is not understood ({error}); versions from 25 on are, `{INSTALL}` gets one")
    })
}

/// Which of the changes are asked for.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The seed of the draw.
    pub seed: u64,
    /// How many.
    pub count: usize,
    /// Only files whose path contains this, the wire included.
    pub file: Option<String>,
    /// Only those whose name contains this, all of them.
    pub only: Option<String>,
}

/// Draws. An error says what was looked for in vain.
pub fn draw(all: Vec<Mutant>, choice: &Choice) -> Result<Vec<Mutant>, String> {
    let offered = all.len();
    let wanted = |mutant: &Mutant| match (&choice.only, &choice.file) {
        (Some(only), _) => mutant.name.contains(only),
        (None, Some(file)) => mutant.file.contains(file),
        (None, None) => mutant.is_logic(),
    };
    let mut drawn: Vec<Mutant> = all.into_iter().filter(wanted).collect();
    if drawn.is_empty() {
        let of = choice.only.as_ref().or(choice.file.as_ref()).map_or("the core's logic", |text| text);
        return Err(format!("none of the {offered} changes that cargo-mutants offers is one of {of:?}"));
    }
    if choice.only.is_none() {
        drawn.sort_by_cached_key(|mutant| mutant.rank(choice.seed));
        drawn.truncate(choice.count);
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(file: &str, line: u32, function: &str) -> Mutant {
        let name = format!("{file}:{line}:9: replace == with != in {function}");
        let diff = format!(
            "--- {file}\n+++ {name}\n@@ -1,2 +1,2 @@\n fn {function}()\n-    a == b\n+    a != /* ~ changed by cargo-mutants ~ */ b\n"
        );
        let listed = serde_json::json!([{
            "name": name, "file": file, "diff": diff, "package": "seedmq-core", "genre": "BinaryOperator", "replacement": "!=",
            "function": {"function_name": function, "return_type": "-> bool", "span": null},
            "span": {"start": {"line": line, "column": 9}, "end": {"line": line, "column": 11}},
        }]);
        parse(&listed.to_string()).expect("it is as cargo-mutants writes it").remove(0)
    }

    fn some() -> Vec<Mutant> {
        (1..40).map(|line| mutant("core/src/broker/hold.rs", line, &format!("f{line}"))).collect()
    }

    fn names(drawn: &[Mutant]) -> Vec<&str> {
        drawn.iter().map(|mutant| mutant.name.as_str()).collect()
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        let of = |seed, count| draw(some(), &Choice { seed, count, ..Choice::default() }).unwrap();
        let (short, long) = (of(1, 5), of(1, 20));
        assert_eq!(names(&short), names(&long)[..5]);
        assert_eq!((short.len(), long.len(), of(1, 100).len()), (5, 20, 39));
        assert_ne!(names(&of(2, 20)), names(&long));
    }

    #[test]
    fn lines_above_do_not_change_the_draw() {
        let mut moved = some();
        for (line, mutant) in (1_001..).zip(&mut moved) {
            *mutant = self::mutant(&mutant.file, line, &format!("f{}", line - 1_000));
        }
        let choice = Choice { seed: 7, count: 6, ..Choice::default() };
        let functions = |drawn: Vec<Mutant>| drawn.into_iter().map(|mutant| mutant.function).collect::<Vec<_>>();
        assert_eq!(functions(draw(some(), &choice).unwrap()), functions(draw(moved, &choice).unwrap()));
    }

    #[test]
    fn only_logic_is_drawn_unless_a_file_is_named() {
        let all = || {
            vec![
                mutant("core/src/wire/codec.rs", 3, "decode"),
                mutant("core/src/store/log.rs", 4, "<impl Display for Log>::fmt"),
                mutant("core/src/store/log.rs", 5, "<impl fmt::Debug for Log>::fmt"),
                mutant("core/src/store/memdisk.rs", 5, "MemDisk::write"),
                mutant("core/src/store/log.rs", 8, "Log::invariants"),
                mutant("core/src/namesrv/routes.rs", 6, "Routes::expire"),
            ]
        };
        let of = |choice: Choice| draw(all(), &Choice { count: 9, ..choice });
        assert_eq!(of(Choice::default()).unwrap().len(), 1);
        assert_eq!(of(Choice { file: Some("wire/".into()), ..Choice::default() }).unwrap().len(), 1);
        assert_eq!(of(Choice { only: Some("log.rs:5".into()), ..Choice::default() }).unwrap().len(), 1);
        let nothing = of(Choice { only: Some("no such place".into()), ..Choice::default() }).unwrap_err();
        assert_eq!(nothing, "none of the 6 changes that cargo-mutants offers is one of \"no such place\"");
    }

    #[test]
    fn a_list_that_is_not_understood_says_so() {
        assert!(parse("[]").is_ok_and(|list| list.is_empty()));
        assert!(parse("[{\"name\": 1}]").unwrap_err().contains("is not understood"));
    }

    #[test]
    fn a_change_is_told_without_its_surroundings() {
        assert_eq!(mutant("core/src/store/log.rs", 1, "f").change(), ["-    a == b", "+    a != b"]);
        let long = (0..20).map(|n| format!("-{n}\n")).collect::<String>();
        let body = Mutant { diff: format!("--- a\n+++ b\n@@ -1,20 +1,1 @@\n{long}+()\n"), ..mutant("a", 1, "f") };
        assert_eq!(body.change(), ["-0", "-1", "-2", "-3", " …", "-17", "-18", "-19", "+()"]);
    }
}
