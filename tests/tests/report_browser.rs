//! The report in a real browser without a screen: it draws, zooms, filters and finds the proof, with a thousand events and with a
//! hundred thousand. The pictures are kept beside the test's other scratch files.
//!
//! Invariant: the page runs as a person would open it, from a file and without a network; the test only adds clicks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use seedmq_reports::{Campaign, Curve, Event, Lane, Mark, Oracle, RunRecord, Timeline, Violation, What, html};
use seedmq_tests::or_skip;
use seedmq_tests::tools::browser;
use serde_json::Value;

const LANES: [(&str, &str); 6] = [
    ("ns-0", "name-server"),
    ("broker-a", "broker"),
    ("broker-b", "broker"),
    ("p1", "producer"),
    ("billing-1", "consumer"),
    ("billing-2", "consumer"),
];
/// Virtual time between two events.
const STEP_US: u64 = 700;

/// The log of a broker: appended, durable and consumed; half way the power takes what is not durable.
fn curves(lane: u16, events: u64) -> Vec<Curve> {
    let half = events / 2;
    let curve = |mark, value: &dyn Fn(u64) -> u64| {
        let at = |nth: u64| nth * events / 2_000;
        let served = |n: u64| (!(half..half + events / 20).contains(&n)).then(|| value(n));
        Curve { lane, mark, points: (0..2_000).map(|nth| (at(nth) * STEP_US, served(at(nth)))).collect() }
    };
    let lost = |n: u64| if n >= half { events / 10 } else { 0 };
    vec![
        curve(Mark::Appended, &|n| (n - lost(n)) * 500),
        curve(Mark::Durable, &|n| (n - lost(n)) * 450),
        curve(Mark::Consumed("billing".into()), &|n| (n - lost(n)) / 2),
        curve(Mark::Stored("billing".into()), &|n| n - lost(n)),
    ]
}

/// A red run with so many events of every kind.
fn run(events: u64) -> RunRecord {
    let event = |n: u64| {
        let (lane, other) = ((n % 6) as u16, ((n + 1 + n / 6 % 5) % 6) as u16);
        let at_us = n * STEP_US;
        let (what, text) = match n % 50 {
            0 => (What::Fault { until_us: Some(at_us + 40 * STEP_US) }, format!("slow disk {n}")),
            7 => (What::State, "ready".to_owned()),
            13 => (What::Client { line: n + 2 }, format!("send p1-{n} is acknowledged")),
            _ => {
                let arrived_us = (!n.is_multiple_of(11)).then_some(at_us + 350);
                (What::Message { to: other, arrived_us }, format!("SEND_MESSAGE_V2 #{}", n % 40))
            }
        };
        Event { at_us, lane, what, text }
    };
    let lanes = LANES.map(|(name, role)| Lane { name: name.into(), role: role.into() });
    // A moment after three quarters, at which a client saw something.
    let proof = events * 3 / 4 / 50 * 50 + 13;
    let mut record = RunRecord {
        scenario: "browser".into(),
        seed: events,
        virtual_ms: events * STEP_US / 1_000,
        events,
        acked: events / 50,
        hash: "0123456789abcdef0123456789abcdef".into(),
        faults: [("slow-disk".to_owned(), events / 50)].into(),
        timeline: Timeline {
            lanes: lanes.to_vec(),
            events: (0..events).map(event).collect(),
            left_out: 0,
            curves: [1, 2].into_iter().flat_map(|lane| curves(lane, events)).collect(),
        },
        ..RunRecord::default()
    };
    record.object(Violation {
        oracle: Oracle::Lost,
        clause: "never-delivered".into(),
        role: "broker".into(),
        topic_kind: "normal".into(),
        text: "a message was acknowledged and never came".into(),
        at_ms: (proof * STEP_US) as f64 / 1_000.0,
        lines: vec![proof + 2],
        proof: vec!["{\"op\":\"send\"}".into()],
    });
    record
}

/// Runs before anything else on the page: what goes wrong is written down.
const LISTEN: &str = "<script>window.wrong = []; addEventListener('error', (e) => wrong.push(e.message));</script>";
/// Clicks as a person would, and writes down what the page shows after each; without a screen nothing calls for a frame, so it is painted.
const CLICK: &str = "<script>{
const seen = {};
const shown = () => document.getElementById('count').textContent.replace(/,/g, '').match(/^[0-9]+/)?.[0];
const ink = () => { const c = document.getElementById('chart'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n / (d.length / 4); };
const steps = [
  ['whole', () => document.getElementById('fit').click()],
  ['no curves', () => document.querySelectorAll('#kinds .chip')[4].click()],
  ['curves again', () => document.querySelectorAll('#kinds .chip')[4].click()],
  ['zoomed', () => { for (let i = 0; i < 3; i++) document.getElementById('in').click(); }],
  ['proof', () => document.getElementById('proof').click()],
  ['filtered', () => { document.getElementById('fit').click(); const t = document.getElementById('text'); t.value = 'slow disk'; t.oninput(); }],
  ['nothing', () => { const t = document.getElementById('text'); t.value = 'no such event'; t.oninput(); }],
  ['one lane off', () => { const t = document.getElementById('text'); t.value = ''; t.oninput(); document.querySelectorAll('#lanes .chip')[1].click(); }],
];
const hover = () => { const c = document.getElementById('chart'), at = c.getBoundingClientRect();
  c.dispatchEvent(new PointerEvent('pointermove', { clientX: at.left + c.clientWidth * 0.4, clientY: at.top + 22 + 64 * 2 + 40 }));
  return document.getElementById('tip').textContent; };
const next = () => {
  const step = steps.shift();
  if (!step) {
    const note = document.createElement('pre');
    note.id = 'seen'; note.textContent = JSON.stringify({ ...seen, wrong, about: document.getElementById('about').textContent });
    return document.body.append(note);
  }
  step[1]();
  setTimeout(() => { paint(); seen[step[0]] = { events: Number(shown()), hits: document.querySelectorAll('#events .hit').length, ink: ink(), tall: document.getElementById('chart').clientHeight }; if (step[0] === 'nothing') seen.tip = hover(); next(); }, 400);
};
setTimeout(next, 400);
}</script>";

/// What the page said, and the picture of it.
fn look(browser: &str, events: u64) -> (Value, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{events}"));
    fs::create_dir_all(&folder).expect("the scratch directory is writable");
    let page = html(&Campaign { records: vec![run(events)], wall_ms: 1_000, ..Campaign::default() });
    let (plain, clicked, picture) = (folder.join("index.html"), folder.join("clicked.html"), folder.join("page.png"));
    fs::write(&plain, &page).expect("the scratch directory is writable");
    let page =
        page.replacen("<style>", &format!("{LISTEN}<style>"), 1).replacen("</body>", &format!("{CLICK}</body>"), 1);
    fs::write(&clicked, page).expect("the scratch directory is writable");
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let screenless = |more: &[&str], page: &Path| {
        let mut command = Command::new(browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1600", &profile]);
        command.arg("--virtual-time-budget=20000").args(more).arg(format!("file://{}", page.display()));
        command.output().expect("the browser runs")
    };
    let dumped = screenless(&["--dump-dom"], &clicked);
    let dom = String::from_utf8_lossy(&dumped.stdout).into_owned();
    let said = dom.split_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let (said, _) = said.unwrap_or_else(|| panic!("no result: {}", String::from_utf8_lossy(&dumped.stderr)));
    screenless(&[&format!("--screenshot={}", picture.display())], &plain);
    (serde_json::from_str(&said.replace("&gt;", ">")).expect("the result is JSON"), picture)
}

fn judge(browser: &str, events: u64) {
    let (seen, picture) = look(browser, events);
    let number = |step: &str, what: &str| seen[step][what].as_f64().unwrap_or_else(|| panic!("{step} {what}: {seen}"));
    assert_eq!(seen["wrong"], serde_json::json!([]), "errors of the page");
    assert!(
        seen["about"].as_str().is_some_and(|about| about.replace(',', "").starts_with(&events.to_string())),
        "{seen}"
    );
    assert_eq!(number("whole", "events"), events as f64, "{seen}");
    assert!(number("whole", "ink") > 0.02, "the lanes are empty: {seen}");
    assert_eq!(number("whole", "tall") - number("no curves", "tall"), 2.0 * 74.0, "a strip for each broker: {seen}");
    assert_eq!(number("whole", "tall"), number("curves again", "tall"), "{seen}");
    let tip = seen["tip"].as_str().unwrap_or_default();
    assert!(tip.contains("broker-a") && tip.contains("a power cut would take") && tip.contains("behind"), "{tip}");
    let zoomed = number("zoomed", "events");
    assert!(zoomed > 0.0 && zoomed < events as f64 / 4.0, "{seen}");
    assert_eq!(number("proof", "hits"), 1.0, "the line that proves it stands out: {seen}");
    assert_eq!(number("filtered", "events"), events as f64 / 50.0, "{seen}");
    assert_eq!(number("nothing", "events"), 0.0, "{seen}");
    let without = number("one lane off", "events");
    assert!(without > 0.0 && without < events as f64, "{seen}");
    assert!(fs::metadata(&picture).is_ok_and(|file| file.len() > 20_000), "{} is hardly a picture", picture.display());
}

#[test]
fn a_thousand_events() {
    judge(or_skip!(browser()), 1_000);
}

#[test]
fn a_hundred_thousand_events() {
    judge(or_skip!(browser()), 100_000);
}
