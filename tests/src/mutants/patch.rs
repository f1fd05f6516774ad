//! Applies a unified diff of one file.
//!
//! Invariant: what the diff takes away stands where it says, or nothing is changed.

/// The text after the change.
pub fn apply(text: &str, diff: &str) -> Result<String, String> {
    let old: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut new, mut at, mut inside) = (String::new(), 0, false);
    for line in diff.split_inclusive('\n') {
        if let Some(hunk) = line.strip_prefix("@@ ") {
            let start = start(hunk).ok_or_else(|| format!("not the head of a hunk: {}", line.trim_end()))?;
            if start < at || start > old.len() {
                return Err(format!("a hunk begins at line {}, the text has {} lines", start + 1, old.len()));
            }
            new.extend(old[at..start].iter().copied());
            (at, inside) = (start, true);
        } else if inside && !line.starts_with('\\') {
            let (sign, rest) = line.split_at_checked(1).unwrap_or(("", ""));
            if sign == "+" {
                new += rest;
                continue;
            }
            if !matches!(sign, "-" | " ") || old.get(at).is_none_or(|old| old.trim_end() != rest.trim_end()) {
                return Err(format!("line {} is not what the diff says: {}", at + 1, line.trim_end()));
            }
            new += if sign == " " { old[at] } else { "" };
            at += 1;
        }
    }
    if !inside {
        return Err("the diff changes nothing".into());
    }
    new.extend(old[at..].iter().copied());
    Ok(new)
}

/// The index of the first line, of `-57,9 +57,9 @@ …`.
fn start(hunk: &str) -> Option<usize> {
    let (from, _) = hunk.strip_prefix('-')?.split_once(' ')?;
    let (line, count) = from.split_once(',').unwrap_or((from, "1"));
    let line: usize = line.parse().ok()?;
    // Of nothing the line before it is named.
    if count == "0" { Some(line) } else { line.checked_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\nb\nc\nd\ne\nf\n";

    #[test]
    fn a_line_is_replaced() {
        let diff = "--- x.rs\n+++ with a change\n@@ -2,3 +2,3 @@\n b\n-c\n+C\n d\n";
        assert_eq!(apply(TEXT, diff).as_deref(), Ok("a\nb\nC\nd\ne\nf\n"));
    }

    #[test]
    fn hunks_lengthen_and_shorten() {
        let diff = "@@ -1,2 +1,3 @@ fn f()\n a\n+a2\n b\n@@ -4,3 +5,1 @@\n-d\n-e\n f\n";
        assert_eq!(apply(TEXT, diff).as_deref(), Ok("a\na2\nb\nc\nf\n"));
    }

    #[test]
    fn a_diff_of_another_text_changes_nothing() {
        for (diff, why) in [
            ("@@ -2,2 +2,2 @@\n-x\n+y\n c\n", "line 2 is not what the diff says"),
            ("@@ -6,2 +6,2 @@\n f\n-g\n+h\n", "line 7 is not"),
            ("@@ -9,1 +9,1 @@\n-x\n+y\n", "begins at line 9"),
            ("@@ nonsense\n", "not the head of a hunk"),
            ("", "changes nothing"),
        ] {
            let error = apply(TEXT, diff).unwrap_err();
            assert!(error.contains(why), "{diff:?}: {error}");
        }
    }
}
