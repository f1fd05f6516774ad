//! The terminal: one table, then each kind of failure in words.
//!
//! Invariant: a failure names the broken rule, the events that prove it, the tape, and the one command that replays it.

use std::fmt::Write as _;

use crate::campaign::Sums;
use crate::{Campaign, Found, RunRecord, Verdict};

/// Lines of proof that a terminal shows; the page has them all.
const PROOF_LINES: usize = 6;
/// Marks that are missing are named in the terminal when there are no more of them.
const NAMED_MARKS: usize = 20;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as `1h 02m 03s`, `2m 03s` or `3.4s`.
pub(crate) fn span(ms: u64) -> String {
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    match (h, m) {
        (0, 0) => format!("{s}.{}s", ms % 1_000 / 100),
        (0, _) => format!("{m}m {s:02}s"),
        _ => format!("{h}h {m:02}m {s:02}s"),
    }
}

fn rate(n: u64, ms: u64) -> String {
    n.saturating_mul(1_000).checked_div(ms).map_or("-".into(), grouped)
}

/// Columns with their widths taken from what they hold; the first is left-aligned, `left` names others that are.
pub(crate) fn align(rows: &[Vec<String>], left: &[usize]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(c, cell)| {
            let width = widths[c];
            if c == 0 || left.contains(&c) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn faults(sums: &Sums) -> String {
    let parts: Vec<String> = sums.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

fn verdict(sums: &Sums) -> String {
    match sums.worst {
        Verdict::Green => "green".into(),
        worst => format!("{worst} ({} of {})", sums.red, sums.runs),
    }
}

fn row(name: &str, sums: &Sums) -> Vec<String> {
    let recovery = sums.recovery_ms_max.map_or("-".into(), span);
    let cells = [
        name.to_string(),
        sums.runs.to_string(),
        span(sums.virtual_ms),
        grouped(sums.events),
        grouped(sums.acked),
        grouped(sums.delivered),
        recovery,
        sums.marks.to_string(),
        verdict(sums),
        faults(sums),
    ];
    cells.to_vec()
}

/// The table of a campaign, its figures and its failures.
pub fn table(campaign: &Campaign) -> String {
    let header = [
        "scenario",
        "seeds",
        "virtual",
        "events",
        "acked",
        "delivered",
        "recovery≤",
        "marks",
        "verdict",
        "faults that took effect",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(campaign.names().iter().map(|name| row(name, &campaign.sums(name))));
    let all = Sums::of(campaign.records.iter());
    if campaign.names().len() > 1 {
        rows.push(row("all", &Sums { faults: Default::default(), ..all.clone() }));
    }
    let mut text = align(&rows, &[8, 9]);
    text.push('\n');
    for (record, count) in campaign.failures() {
        text += &failure(record, count);
    }
    for complaint in &campaign.complaints {
        writeln!(text, "nothing proven: {complaint}").expect("a string takes any text");
    }
    text += &figures(&all, campaign);
    text
}

fn figures(all: &Sums, campaign: &Campaign) -> String {
    let faults: u64 = all.faults.values().sum();
    let wall = campaign.wall_ms;
    let mut text = format!(
        "{} runs in {}: {} seeds/s, {} events/s, {} faults/s; per CPU second {} virtual seconds, {} inputs of nodes\n",
        grouped(all.runs),
        span(wall),
        if wall == 0 { "-".into() } else { format!("{:.1}", all.runs as f64 * 1_000.0 / wall as f64) },
        rate(all.events, wall),
        if wall == 0 { "-".into() } else { format!("{:.1}", faults as f64 * 1_000.0 / wall as f64) },
        all.virtual_ms.checked_div(all.cpu_ms).map_or("-".into(), grouped),
        rate(all.inputs, all.cpu_ms),
    );
    if !all.fired.is_empty() {
        let each = all.fired.iter().map(|(event, n)| format!("{event} {}", grouped(*n))).collect::<Vec<_>>();
        writeln!(text, "set off by what a node did: {}", each.join(", ")).expect("a string takes any text");
    }
    if !campaign.unreached.is_empty() {
        let never = campaign.unreached.len();
        let which = if never > NAMED_MARKS {
            " (named in the report)".into()
        } else {
            format!(": {}", campaign.unreached.join("; "))
        };
        writeln!(text, "marks: {} reached, {never} never{which}", all.marks).expect("a string takes any text");
    }
    text
}

/// One failure in words.
fn failure(record: &RunRecord, count: u64) -> String {
    let mut text = format!("── {} {}", record.handle(), record.verdict);
    if let Some(signature) = &record.signature {
        text += &format!("  {signature}");
    }
    text += &if count > 1 { format!("  (and {} more like it)\n", count - 1) } else { "\n".into() };
    if let Some(note) = &record.note {
        text += &format!("   {}\n", note.replace('\n', "\n   "));
    }
    if let Some(v) = record.violations.first() {
        text += &format!("   {}: {}\n", v.oracle, v.text.replace('\n', "\n   "));
        for (i, line) in v.proof.iter().take(PROOF_LINES).enumerate() {
            let number = v.lines.get(i).map_or("     ".into(), |n| format!("{n:>5}"));
            text += &format!("   {number}  {line}\n");
        }
        let more = record.violations.len() - 1;
        if more > 0 {
            text += &format!("   … and {more} more violations in this run\n");
        }
    }
    if let Some(tape) = &record.tape {
        text += &format!("   tape:    {tape}\n   replay:  cargo sim replay {tape}\n");
        text += &format!("   explain: cargo sim explain {tape}\n   shrink:  cargo sim shrink {tape}\n");
    }
    text + "\n"
}

/// The table of a hunt.
pub fn hunt_table(all: &[Found]) -> String {
    let header = ["plant", "reached", "infected", "detected by", "seeds", "CPU s", "s", "fault-free", "in", "expected"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for f in all {
        let expected: Vec<&str> = f.expected.iter().map(|o| o.name()).collect();
        let detected = match (f.detected_by, f.others.len()) {
            (Some(oracle), _) => oracle.to_string(),
            (None, 0) => "NOT FOUND".into(),
            (None, _) => "NOT FOUND, but others objected".into(),
        };
        rows.push(vec![
            f.plant.clone(),
            grouped(f.reached),
            grouped(f.infected),
            detected,
            f.seeds.to_string(),
            format!("{:.1}", f.cpu_s),
            format!("{:.1}", f.wall_s),
            match (f.quiet, f.shows_without_faults) {
                ((0, _), _) => "-".into(),
                ((_, 0), _) => "green".into(),
                (_, true) => "expected red".into(),
                ((all, red), false) => format!("RED {red} of {all}"),
            },
            f.handle.clone().unwrap_or_else(|| "-".into()),
            expected.join(" or "),
        ]);
    }
    let mut text = align(&rows, &[3, 7, 8]);
    for f in all.iter().filter(|f| f.detected_by.is_none()) {
        for (signature, count) in &f.others {
            writeln!(text, "  {}: {count} × {signature}", f.plant).expect("a string takes any text");
        }
    }
    let mut costs: Vec<f64> = all.iter().filter(|f| f.detected_by.is_some()).map(|f| f.cpu_s).collect();
    costs.sort_by(f64::total_cmp);
    if let (Some(median), Some(most)) = (costs.get(costs.len() / 2), costs.last()) {
        writeln!(text, "{} of {} found; median {median:.1} CPU s, at most {most:.1}", costs.len(), all.len())
            .expect("a string takes any text");
    }
    for f in all.iter().filter(|f| !f.is_as_expected()) {
        let why = if f.detected_by.is_none() { "not found" } else { "red without faults, which it may not be" };
        writeln!(text, "not as expected: {}: {why}", f.plant).expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Oracle, Violation};

    /// A campaign with a green, a red and a dead run.
    pub(crate) fn sample() -> Campaign {
        let green = RunRecord {
            scenario: "broker-crash".into(),
            events: 1_234_567,
            faults: [("kill".to_string(), 3)].into(),
            virtual_ms: 75_400,
            cpu_ms: 21,
            acked: 800,
            delivered: 812,
            recovery_ms: Some(4_321),
            marks: [("a mark".to_string(), 1)].into(),
            ..RunRecord::default()
        };
        let mut red =
            RunRecord { seed: 1, tape: Some("target/sim-report/tapes/broker-crash-1.tape".into()), ..green.clone() };
        red.object(Violation {
            oracle: Oracle::Lost,
            clause: "never-delivered".into(),
            role: "broker".into(),
            topic_kind: "normal".into(),
            text: "\"p1-7\" was acknowledged, but never came".into(),
            at_ms: 12.5,
            lines: vec![2, 3],
            proof: vec!["{\"t\":1}".into(), "{\"t\":2}".into()],
        });
        let again = RunRecord { seed: 2, ..red.clone() };
        let dead = RunRecord {
            scenario: "partition".into(),
            verdict: Verdict::Crashed,
            note: Some("the worker died (signal: 6): stack\noverflow".into()),
            ..RunRecord::default()
        };
        Campaign {
            records: vec![green, red, again, dead],
            wall_ms: 2_000,
            scenarios: vec![],
            unreached: vec!["another mark".into()],
            complaints: vec!["partition: \"pause\" was planned in 9 runs and never took effect".into()],
        }
    }

    #[test]
    fn the_table_says_what_broke_and_how_to_see_it_again() {
        insta::assert_snapshot!(table(&sample()));
    }

    #[test]
    fn the_hunt_table_tells_found_from_not_found() {
        let found = Found {
            plant: "a-bug".into(),
            expected: vec![Oracle::Lost],
            reached: 12_000,
            infected: 7,
            detected_by: Some(Oracle::Lost),
            handle: Some("x:3".into()),
            seeds: 4,
            cpu_s: 1.5,
            wall_s: 0.9,
            quiet: (3, 0),
            ..Found::default()
        };
        let others = [("owner/no-owner/consumer/normal".to_string(), 2)].into();
        let missed =
            Found { plant: "no-bug".into(), detected_by: None, handle: None, others, quiet: (3, 1), ..found.clone() };
        let loud = Found { plant: "loud-bug".into(), quiet: (3, 1), ..found.clone() };
        insta::assert_snapshot!(hunt_table(&[found, missed, loud]));
    }
}
