//! A timeline for a terminal: one lane a node, faults as bars, proofs as numbers.
//!
//! Invariant: every lane has the same width, and a proof is never hidden by a fault.

use seedmq_reports::RunRecord;

use super::Point;
use super::faults::Spell;
use crate::tape::Tape;

/// Columns of a lane.
const WIDTH: usize = 84;
/// More lanes than this are only drawn when something happens in them.
const LANES: usize = 12;

/// The sign of the n-th proof, from 1.
pub(super) fn mark(n: usize) -> char {
    char::from_digit(u32::try_from(n).unwrap_or(0).min(35), 36).unwrap_or('*')
}

/// The part of the run that is shown, in milliseconds.
struct Window {
    from: f64,
    to: f64,
}

impl Window {
    /// From the first to the last thing that matters, with some room on both sides.
    fn around(record: &RunRecord, spells: &[Spell], points: &[Point]) -> Window {
        let ends = spells.iter().filter_map(|s| s.until);
        let times: Vec<f64> = points.iter().map(|p| p.ms).chain(spells.iter().map(|s| s.from)).chain(ends).collect();
        let whole = record.virtual_ms as f64;
        if times.is_empty() {
            return Window { from: 0.0, to: whole.max(1.0) };
        }
        let first = times.iter().copied().fold(f64::INFINITY, f64::min);
        let last = times.iter().copied().fold(0.0, f64::max);
        let room = ((last - first) * 0.04).max(50.0);
        Window { from: (first - room).max(0.0), to: (last + room).min(whole).max(first + 1.0) }
    }
    fn column(&self, ms: f64) -> usize {
        let part = (ms - self.from) / (self.to - self.from) * WIDTH as f64;
        (part.max(0.0) as usize).min(WIDTH - 1)
    }
    fn shows(&self, ms: f64) -> bool {
        ms >= self.from && ms <= self.to
    }
}

/// The whole picture.
pub(super) fn draw(tape: &Tape, record: &RunRecord, spells: &[Spell], points: &[Point]) -> String {
    let window = Window::around(record, spells, points);
    let names: Vec<&str> = tape.header.config.nodes().collect();
    let busy = |name: &&str| spells.iter().any(|s| s.touches(name)) || points.iter().any(|p| p.node == **name);
    let shown: Vec<&str> = names.iter().copied().filter(|name| names.len() <= LANES || busy(name)).collect();
    let wide = shown.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = scale(&window, wide);
    for name in &shown {
        let lane: String = lane(name, &window, spells, points).into_iter().collect();
        text += &format!("{name:>wide$} ┤{}\n", lane.trim_end());
    }
    let left_out = names.len() - shown.len();
    if left_out > 0 {
        text += &format!("{:>wide$}  ({left_out} nodes in which nothing of this happened)\n", "");
    }
    text + &format!("{:>wide$}  █ down  ▒ fault  ! moment  1-9 proofs, as numbered above\n\n", "")
}

fn scale(window: &Window, wide: usize) -> String {
    let mut line = vec![' '; WIDTH + 12];
    for part in 0..=4 {
        let ms = window.from + (window.to - window.from) * f64::from(part) / 4.0;
        let at = (WIDTH - 1) * part as usize / 4;
        let label = format!("{:.1}s", ms / 1000.0);
        for (n, c) in std::iter::once('╷').chain(label.chars()).enumerate() {
            line[(at + n).min(WIDTH + 11)] = c;
        }
    }
    format!("{:>wide$}  {}\n", "", line.iter().collect::<String>().trim_end())
}

fn lane(name: &str, window: &Window, spells: &[Spell], points: &[Point]) -> Vec<char> {
    let mut lane = vec!['·'; WIDTH];
    let mine = |down: bool| spells.iter().filter(move |s| s.touches(name) && s.is_down() == down);
    for spell in mine(false).chain(mine(true)) {
        let sign = match (spell.is_moment(), spell.is_down()) {
            (true, _) => '!',
            (_, true) => '█',
            _ => '▒',
        };
        let until = if spell.is_moment() { spell.from } else { spell.until.unwrap_or(window.to) };
        if until >= window.from && spell.from <= window.to {
            lane[window.column(spell.from)..=window.column(until)].fill(sign);
        }
    }
    let mut taken = [false; WIDTH];
    let numbered = points.iter().filter(|p| p.proof).zip(1..);
    for (point, n) in numbered.filter(|(p, _)| p.node == name && window.shows(p.ms)) {
        let at = window.column(point.ms);
        let free = (at..WIDTH).chain((0..at).rev()).find(|c| !taken[*c]).unwrap_or(at);
        taken[free] = true;
        lane[free] = mark(n);
    }
    lane
}
