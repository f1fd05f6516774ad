//! Many changes in one program: each behind a switch, so that one build serves them all.
//!
//! Invariant: with no switch on, the program computes what it computed before; a change that cannot be written so is handed back.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::draw::{Genre, Mutant, Place};

/// The variable that switches one change on, by its number.
pub const VARIABLE: &str = "SEEDMQ_MUTANT";
/// The root of the core, where the switch is.
const ROOT: &str = "core/src/lib.rs";
/// What is added there.
const SWITCH: &str = r#"
/// Whether this change is on.
#[doc(hidden)]
pub fn mutant(number: u32) -> bool {
    static ON: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    *ON.get_or_init(|| std::env::var("SEEDMQ_MUTANT").ok()?.parse().ok()) == Some(number)
}
"#;

/// The changed files, and where in them each change is.
#[derive(Debug, Default)]
pub struct Schema {
    /// Texts by the path of their file.
    pub files: BTreeMap<String, String>,
    /// Numbers of the changes that are in, with their file and the lines (from 1) that they take.
    pub places: BTreeMap<u32, (String, Range<usize>)>,
}

/// What replaces a range of bytes.
struct Edit {
    range: Range<usize>,
    text: String,
    number: u32,
}

impl Schema {
    /// Writes as many of the numbered changes as can be into their files. `text` gives the file of a path.
    pub fn of<'a>(mutants: &[(u32, &Mutant)], text: impl Fn(&str) -> Option<&'a str>) -> Schema {
        let mut by_file: BTreeMap<&str, Vec<(u32, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in mutants {
            by_file.entry(&mutant.file).or_default().push((*number, mutant));
        }
        let mut schema = Schema::default();
        for (path, mutants) in by_file {
            if let Some((text, parsed)) = text(path).and_then(|text| Some((text, syn::parse_file(text).ok()?))) {
                let mut sites = Sites::default();
                sites.visit_file(&parsed);
                let edits =
                    mutants.into_iter().filter_map(|(number, mutant)| sites.edit(text, number, mutant)).collect();
                schema.add(path, text, edits);
            }
        }
        if let Some(root) = text(ROOT) {
            let root = schema.files.get(ROOT).map_or(root, String::as_str).to_owned() + SWITCH;
            schema.files.insert(ROOT.to_owned(), root);
        }
        schema
    }

    /// Puts the edits of one file into its text; one that reaches into another is left out.
    fn add(&mut self, path: &str, text: &str, mut edits: Vec<Edit>) {
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        let (mut new, mut at) = (String::new(), 0);
        let line = |new: &str| new.matches('\n').count() + 1;
        for edit in edits {
            if edit.range.start < at {
                continue;
            }
            new += &text[at..edit.range.start];
            let first = line(&new);
            new += &edit.text;
            at = edit.range.end;
            self.places.insert(edit.number, (path.to_owned(), first..line(&new) + 1));
        }
        self.files.insert(path.to_owned(), new + &text[at..]);
    }

    /// The changes on lines that the compiler names, as in `core/src/store/log.rs:197:35: error…`.
    pub fn blamed(&self, errors: &str) -> Vec<u32> {
        let named: Vec<(&str, usize)> = errors
            .lines()
            .filter(|line| line.contains(": error"))
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':');
                Some((parts.next()?, parts.next()?.parse().ok()?))
            })
            .collect();
        let is_named =
            |(path, lines): &(String, Range<usize>)| named.iter().any(|(p, n)| p == path && lines.contains(n));
        self.places.iter().filter(|(_, place)| is_named(place)).map(|(number, _)| *number).collect()
    }
}

/// What can be changed in a file, as byte ranges.
#[derive(Default)]
struct Sites {
    /// Operators, with the whole expression that each is an operator of.
    binaries: BTreeMap<usize, Range<usize>>,
    /// Prefix operators, with operand.
    unaries: BTreeMap<usize, (Range<usize>, Range<usize>)>,
    /// Arms of `match`, by their beginning: end of the pattern, guard.
    arms: BTreeMap<usize, (usize, Option<Range<usize>>)>,
}

/// Whether a condition has a `let` that a block around it would cut off.
fn binds(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl Sites {
    /// Notes the operators of a chain such as `a + b < c && d`; the outermost expression is the unit that is written twice.
    fn chain(&mut self, binary: &syn::ExprBinary, unit: Option<&Range<usize>>) {
        let free = !binds(&binary.left) && !binds(&binary.right);
        let own = binary.span().byte_range();
        let unit = free.then(|| unit.unwrap_or(&own));
        if let Some(unit) = unit {
            self.binaries.insert(binary.op.span().byte_range().start, unit.clone());
        }
        for side in [&*binary.left, &*binary.right] {
            match side {
                syn::Expr::Binary(inner) => self.chain(inner, unit),
                other => self.visit_expr(other),
            }
        }
    }

    /// How a change is written into the text, if it can be.
    fn edit(&self, text: &str, number: u32, mutant: &Mutant) -> Option<Edit> {
        let (from, to) = (offset(text, mutant.span.start)?, offset(text, mutant.span.end)?);
        let (on, new) = (format!("crate::mutant({number})"), mutant.replacement.as_str());
        let (range, text) = match mutant.genre {
            Genre::FnValue => (from..from, format!("if {on} {{ return {new}; }} ")),
            Genre::BinaryOperator => {
                let unit = self.binaries.get(&from)?.clone();
                let (before, after) = (&text[unit.start..from], &text[to..unit.end]);
                let old = &text[unit.clone()];
                (unit, format!("(if {on} {{ ({before}{new}{after}) }} else {{ ({old}) }})"))
            }
            Genre::UnaryOperator if new.is_empty() => {
                let (unit, operand) = self.unaries.get(&from)?.clone();
                let (old, operand) = (&text[unit.clone()], &text[operand]);
                (unit, format!("(if {on} {{ ({operand}) }} else {{ ({old}) }})"))
            }
            Genre::MatchArmGuard if !text[from..to].contains("let ") => {
                (from..to, format!("(if {on} {{ {new} }} else {{ {} }})", &text[from..to]))
            }
            Genre::MatchArm => match self.arms.get(&from)? {
                (_, Some(guard)) => (guard.clone(), format!("!{on} && ({})", &text[guard.clone()])),
                (end, None) => (*end..*end, format!(" if !{on}")),
            },
            _ => return None,
        };
        Some(Edit { range, text, number })
    }
}

impl<'ast> Visit<'ast> for Sites {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        self.chain(binary, None);
    }
    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let at = unary.op.span().byte_range().start;
        self.unaries.insert(at, (unary.span().byte_range(), unary.expr.span().byte_range()));
        visit::visit_expr_unary(self, unary);
    }
    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| guard.span().byte_range());
        self.arms.insert(arm.span().byte_range().start, (arm.pat.span().byte_range().end, guard));
        visit::visit_arm(self, arm);
    }
}

/// The byte at a line and column, both counted from 1.
fn offset(text: &str, place: Place) -> Option<usize> {
    let line: usize = text.split_inclusive('\n').take(place.line.checked_sub(1)?).map(str::len).sum();
    let rest = &text[line..];
    let column = rest.char_indices().map(|(at, _)| at).nth(place.column.checked_sub(1)?)?;
    Some(line + column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::draw::Span;

    /// A change of the first place at which `old` stands.
    fn mutant(text: &str, genre: Genre, old: &str, new: &str) -> Mutant {
        let at = text.find(old).expect("it is there");
        let place = |at: usize| {
            let before = &text[..at];
            let start = before.rfind('\n').map_or(0, |end| end + 1);
            Place { line: before.matches('\n').count() + 1, column: text[start..at].chars().count() + 1 }
        };
        let span = Span { start: place(at), end: place(at + old.len()) };
        let (name, file, replacement) = (String::new(), "core/src/a.rs".into(), new.into());
        Mutant { name, file, function: None, genre, span, replacement, diff: String::new() }
    }

    fn switched(text: &str, changes: &[(Genre, &str, &str)]) -> (String, Vec<u32>) {
        let mutants: Vec<Mutant> = changes.iter().map(|(genre, old, new)| mutant(text, *genre, old, new)).collect();
        let numbered: Vec<(u32, &Mutant)> = (1..).zip(&mutants).collect();
        let schema = Schema::of(&numbered, |path| (path == "core/src/a.rs").then_some(text));
        (schema.files["core/src/a.rs"].clone(), schema.places.into_keys().collect())
    }

    #[test]
    fn each_kind_of_change_is_put_behind_a_switch() {
        for (text, change, expected) in [
            (
                "fn f() -> bool { a + 1 <= b }",
                (Genre::BinaryOperator, "+", "-"),
                "fn f() -> bool { (if crate::mutant(1) { (a - 1 <= b) } else { (a + 1 <= b) }) }",
            ),
            (
                "fn f() { \"ü\"; x += 1; }",
                (Genre::BinaryOperator, "+=", "-="),
                "fn f() { \"ü\"; (if crate::mutant(1) { (x -= 1) } else { (x += 1) }); }",
            ),
            (
                "fn f() { if a == b && let Some(c) = d {} }",
                (Genre::BinaryOperator, "==", "!="),
                "fn f() { if (if crate::mutant(1) { (a != b) } else { (a == b) }) && let Some(c) = d {} }",
            ),
            (
                "fn f() { g(!a) }",
                (Genre::UnaryOperator, "!", ""),
                "fn f() { g((if crate::mutant(1) { (a) } else { (!a) })) }",
            ),
            (
                "fn f() -> u8 { g() }",
                (Genre::FnValue, "g()", "1"),
                "fn f() -> u8 { if crate::mutant(1) { return 1; } g() }",
            ),
            (
                "fn f() { match a { 1 => b, 2 if c => d, _ => e } }",
                (Genre::MatchArm, "1 => b,", ""),
                "fn f() { match a { 1 if !crate::mutant(1) => b, 2 if c => d, _ => e } }",
            ),
            (
                "fn f() { match a { 1 => b, 2 if c => d, _ => e } }",
                (Genre::MatchArm, "2 if c => d,", ""),
                "fn f() { match a { 1 => b, 2 if !crate::mutant(1) && (c) => d, _ => e } }",
            ),
            (
                "fn f() { match a { 2 if go => d, _ => e } }",
                (Genre::MatchArmGuard, "go", "true"),
                "fn f() { match a { 2 if (if crate::mutant(1) { true } else { go }) => d, _ => e } }",
            ),
        ] {
            assert_eq!(switched(text, &[change]), (expected.to_owned(), vec![1]), "{change:?}");
        }
    }

    #[test]
    fn what_cannot_be_switched_is_left_out() {
        let text = "fn f() { if a && let Some(b) = c { g(S { h: 1, ..i }) } }";
        let changes = [(Genre::BinaryOperator, "&&", "||"), (Genre::StructField, "h: 1,", "")];
        assert_eq!(switched(text, &changes), (text.to_owned(), vec![]));
        let text = "fn f() -> bool { a + 1 <= b }";
        let (new, numbers) = switched(text, &[(Genre::BinaryOperator, "+", "-"), (Genre::BinaryOperator, "<=", ">")]);
        assert_eq!(numbers, [1], "two changes of one expression need two builds");
        assert!(!new.contains("mutant(2)"));
    }

    #[test]
    fn errors_are_blamed_on_the_change_of_their_line() {
        let text = "fn f() -> u8 {\n    g()\n}\nfn h() -> u8 {\n    i()\n}\n";
        let mutants = [mutant(text, Genre::FnValue, "g()", "1"), mutant(text, Genre::FnValue, "i()", "\"no\"")];
        let numbered: Vec<(u32, &Mutant)> = (1..).zip(&mutants).collect();
        let schema = Schema::of(&numbered, |path| (path == "core/src/a.rs").then_some(text));
        let errors = "core/src/a.rs:2:9: warning: unused\ncore/src/a.rs:5:9: error[E0308]: mismatched types\n";
        assert_eq!(schema.blamed(errors), [2]);
        assert_eq!(schema.blamed("core/src/b.rs:5:9: error: other"), [] as [u32; 0]);
    }
}
