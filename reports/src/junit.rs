//! JUnit XML: a suite per scenario, a case per seed.
//!
//! Invariant: any text is escaped; a reader never sees broken XML.

use std::fmt::Write as _;

use crate::{Campaign, RunRecord, Verdict};

/// Escapes a text for an attribute or element; characters that XML forbids become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if (c as u32) < 0x20 => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The file.
pub fn junit(campaign: &Campaign) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for name in campaign.names() {
        let sums = campaign.sums(name);
        let (runs, red, seconds) = (sums.runs, sums.red, sums.cpu_ms as f64 / 1_000.0);
        let name = escape(name);
        let _ =
            writeln!(text, "  <testsuite name=\"{name}\" tests=\"{runs}\" failures=\"{red}\" time=\"{seconds:.3}\">");
        for record in campaign.records.iter().filter(|r| escape(&r.scenario) == name) {
            case(&mut text, &name, record);
        }
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn case(text: &mut String, suite: &str, record: &RunRecord) {
    let (seed, seconds) = (record.seed, record.cpu_ms as f64 / 1_000.0);
    let _ = write!(text, "    <testcase classname=\"{suite}\" name=\"seed {seed}\" time=\"{seconds:.3}\"");
    if record.verdict == Verdict::Green {
        *text += "/>\n";
        return;
    }
    let kind = record.signature.clone().unwrap_or_else(|| record.verdict.to_string());
    let message = record.violations.first().map(|v| v.text.clone()).or_else(|| record.note.clone()).unwrap_or_default();
    let proof = record.violations.first().map_or(String::new(), |v| v.proof.join("\n"));
    let tape = record.tape.as_ref().map_or(String::new(), |t| format!("\nreplay: cargo sim replay {t}"));
    let body = escape(&format!("{proof}{tape}")).replace("&#10;", "\n");
    let _ = writeln!(
        text,
        ">\n      <failure type=\"{}\" message=\"{}\">{body}</failure>\n    </testcase>",
        escape(&kind),
        escape(&message)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let record = RunRecord {
            scenario: "a&b".into(),
            verdict: Verdict::Timeout,
            note: Some("<slow> \"worker\"\n\u{1}".into()),
            ..RunRecord::default()
        };
        let text = junit(&Campaign { records: vec![record], ..Campaign::default() });
        assert!(text.contains("<testsuite name=\"a&amp;b\" tests=\"1\" failures=\"1\""), "{text}");
        assert!(text.contains("type=\"timeout\" message=\"&lt;slow&gt; &quot;worker&quot;&#10; \""), "{text}");
    }
}
