//! The page: one file with data, style and script in it, that opens without a network.
//!
//! Invariant: no text of a run can end the script element or become markup: data goes in as JSON without `<`, and the script
//! writes it with `textContent` only.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::campaign::Sums;
use crate::{Campaign, Curve, Mark, RunRecord, Timeline, Verdict, What};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(include_str!("curves.js"), include_str!("page.js"));
/// Pictures in one page; failures come first.
const PICTURES: usize = 24;
/// Events in one page, so that it stays a file that a browser likes.
const EVENTS: usize = 1_500_000;

/// The page of a campaign.
pub fn html(campaign: &Campaign) -> String {
    let data =
        serde_json::to_string(&data(campaign)).expect("the page's data has only string keys").replace('<', "\\u003c");
    PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT).replace("/*DATA*/", &data)
}

fn data(campaign: &Campaign) -> Value {
    let about: BTreeMap<&str, &str> = campaign.scenarios.iter().map(|(n, a)| (n.as_str(), a.as_str())).collect();
    let scenario = |name: &&str| json!({"name": name, "about": about.get(name), "sums": campaign.sums(name)});
    let marks: BTreeMap<&str, u64> =
        campaign.records.iter().flat_map(|r| &r.marks).fold(BTreeMap::new(), |mut sums, (mark, n)| {
            *sums.entry(mark.as_str()).or_default() += n;
            sums
        });
    json!({
        "wall_ms": campaign.wall_ms,
        "all": Sums::of(campaign.records.iter()),
        "scenarios": campaign.names().iter().map(scenario).collect::<Vec<_>>(),
        "marks": marks,
        "unreached": campaign.unreached,
        "complaints": campaign.complaints,
        "runs": runs(campaign),
    })
}

/// Every run in brief, failures first, with pictures for as many as fit.
fn runs(campaign: &Campaign) -> Vec<Value> {
    let mut order: Vec<&RunRecord> = campaign.records.iter().collect();
    order.sort_by_key(|r| r.verdict == Verdict::Green);
    let (mut pictures, mut events) = (0, 0);
    let run = |record: &&RunRecord| {
        let fits =
            !record.timeline.is_empty() && pictures < PICTURES && events + record.timeline.events.len() <= EVENTS;
        if fits {
            pictures += 1;
            events += record.timeline.events.len();
        }
        let mut value = serde_json::to_value(record.brief()).expect("a record has only string keys");
        value["picture"] = if fits { picture(&record.timeline) } else { Value::Null };
        value
    };
    order.iter().map(run).collect()
}

/// A timeline in columns, with each text once.
#[derive(Debug, Default, Serialize)]
struct Columns<'a> {
    texts: Vec<&'a str>,
    /// Start in microseconds.
    t: Vec<u64>,
    /// End in microseconds; -1 where there is none.
    u: Vec<i64>,
    /// Lane.
    l: Vec<u16>,
    /// Kind: 0 message, 1 fault, 2 state, 3 client.
    k: Vec<u8>,
    /// Other lane of a message, line of a client event, otherwise 0.
    o: Vec<u64>,
    /// Index of the text.
    x: Vec<u32>,
}

fn picture(timeline: &Timeline) -> Value {
    let mut columns = Columns::default();
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    for event in &timeline.events {
        let end = |at: Option<u64>| at.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX));
        let (kind, other, until) = match event.what {
            What::Message { to, arrived_us } => (0, u64::from(to), end(arrived_us)),
            What::Fault { until_us } => (1, 0, end(until_us)),
            What::State => (2, 0, -1),
            What::Client { line } => (3, line, -1),
        };
        let next = u32::try_from(columns.texts.len()).expect("fewer than 2^32 texts");
        let text = *known.entry(event.text.as_str()).or_insert_with(|| {
            columns.texts.push(&event.text);
            next
        });
        columns.t.push(event.at_us);
        columns.u.push(until);
        columns.l.push(event.lane);
        columns.k.push(kind);
        columns.o.push(other);
        columns.x.push(text);
    }
    let curves: Vec<Value> = timeline.curves.iter().map(curve).collect();
    json!({"lanes": timeline.lanes, "left_out": timeline.left_out, "events": columns, "curves": curves})
}

/// A curve in columns; -1 where the broker does not serve.
fn curve(curve: &Curve) -> Value {
    let (kind, group) = match &curve.mark {
        Mark::Appended => ("appended", ""),
        Mark::Durable => ("durable", ""),
        Mark::Consumed(group) => ("consumed", group.as_str()),
        Mark::Stored(group) => ("stored", group.as_str()),
    };
    let value = |v: Option<u64>| v.map_or(-1, |v| i64::try_from(v).unwrap_or(i64::MAX));
    let (t, v): (Vec<u64>, Vec<i64>) = curve.points.iter().map(|(t, v)| (*t, value(*v))).unzip();
    json!({"lane": curve.lane, "kind": kind, "group": group, "t": t, "v": v})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Lane};

    #[test]
    fn no_text_ends_the_script() {
        let lane = Lane { name: "</script><script>alert(1)".into(), role: "broker".into() };
        let event = Event { at_us: 1, lane: 0, what: What::State, text: "<b>&".into() };
        let timeline = Timeline { lanes: vec![lane], events: vec![event], ..Timeline::default() };
        let record = RunRecord { scenario: "</script>".into(), timeline, ..RunRecord::default() };
        let page = html(&Campaign { records: vec![record], ..Campaign::default() });
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        assert!(page.contains("\\u003c/script>"));
        assert!(!page.contains("/*DATA*/") && !page.contains("/*SCRIPT*/") && !page.contains("/*STYLE*/"));
    }

    #[test]
    fn nothing_in_the_page_needs_a_network() {
        for part in [PAGE, STYLE, SCRIPT] {
            assert!(
                !part.contains("http:")
                    && !part.contains("https:")
                    && !part.contains("@import")
                    && !part.contains("src=\"")
            );
        }
    }

    #[test]
    fn failures_come_first_and_texts_once() {
        let event =
            |at_us| Event { at_us, lane: 0, what: What::Message { to: 1, arrived_us: None }, text: "same".into() };
        let timeline = Timeline { lanes: vec![], events: vec![event(1), event(2)], ..Timeline::default() };
        let green = RunRecord { timeline, ..RunRecord::default() };
        let red = RunRecord { verdict: Verdict::Red, ..RunRecord::default() };
        let all = runs(&Campaign { records: vec![green, red], ..Campaign::default() });
        assert_eq!(all[0]["verdict"], "red");
        assert_eq!(all[1]["picture"]["events"]["texts"], json!(["same"]));
        assert_eq!(all[1]["picture"]["events"]["u"], json!([-1, -1]));
    }
}
