//! Benchmark bookkeeping: what was measured of whom, medians, and the table that shows them.
//!
//! Invariant: a ratio is taken within a round, where both sides saw the same machine; the table shows the median of those.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Whose figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// SeedMQ.
    Ours,
    /// Apache RocketMQ 5.5.0.
    Apache,
    /// The bare server.
    Bare,
}

/// A quantity of a line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Messages per second.
    Rate,
    /// Microseconds of the server's CPU per message.
    Cpu,
    /// Median latency in microseconds.
    P50,
    /// 99th percentile of latency in microseconds.
    P99,
    /// 99.9th percentile of latency in microseconds.
    P999,
    /// Seconds.
    Seconds,
    /// Mebibytes of anonymous memory.
    Memory,
}

impl Quantity {
    fn label(self) -> &'static str {
        match self {
            Quantity::Rate => "messages/s",
            Quantity::Cpu => "µs CPU a message",
            Quantity::P50 => "p50 µs",
            Quantity::P99 => "p99 µs",
            Quantity::P999 => "p99.9 µs",
            Quantity::Seconds => "s",
            Quantity::Memory => "MiB anonymous",
        }
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Figures {
    lines: Vec<String>,
    values: BTreeMap<(usize, Quantity, Side), Vec<f64>>,
}

impl Figures {
    /// Adds one figure to a line of the table.
    pub fn add(&mut self, line: &str, quantity: Quantity, side: Side, value: f64) {
        let at = self.lines.iter().position(|known| known == line).unwrap_or_else(|| {
            self.lines.push(line.into());
            self.lines.len() - 1
        });
        self.values.entry((at, quantity, side)).or_default().push(value);
    }

    fn get(&self, line: usize, quantity: Quantity, side: Side) -> Option<&Vec<f64>> {
        self.values.get(&(line, quantity, side))
    }

    fn ratio(&self, line: usize, quantity: Quantity, of: Side, to: Side) -> Option<f64> {
        let (a, b) = (self.get(line, quantity, of)?, self.get(line, quantity, to)?);
        Some(median(a.iter().zip(b).map(|(a, b)| a / b.max(1e-12)).collect()))
    }

    /// The table in Markdown.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| work | figure | SeedMQ | Apache 5.5.0 | ratio | bare server | ratio to bare |\n|---|---|---|---|---|---|---|\n",
        );
        for (at, line) in self.lines.iter().enumerate() {
            use Quantity::{Cpu, Memory, P50, P99, P999, Rate, Seconds};
            for quantity in [Rate, Cpu, P50, P99, P999, Seconds, Memory] {
                let cell = |side| self.get(at, quantity, side).map_or("–".into(), |all| show(median(all.clone())));
                let ratio =
                    |to| self.ratio(at, quantity, Side::Ours, to).map_or("–".into(), |r| format!("{}×", show(r)));
                if [Side::Ours, Side::Apache, Side::Bare].iter().any(|side| self.get(at, quantity, *side).is_some()) {
                    let cells = [
                        cell(Side::Ours),
                        cell(Side::Apache),
                        ratio(Side::Apache),
                        cell(Side::Bare),
                        ratio(Side::Bare),
                    ];
                    let _ = writeln!(out, "| {line} | {} | {} |", quantity.label(), cells.join(" | "));
                }
            }
        }
        out
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Three digits that mean something.
fn show(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => {
            let digits = format!("{value:.0}");
            let groups: Vec<String> =
                digits.as_bytes().rchunks(3).rev().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            groups.join(",")
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut figures = Figures::default();
        for (ours, theirs) in [(10.0, 1.0), (40.0, 8.0), (9.0, 3.0)] {
            figures.add("send", Quantity::Rate, Side::Ours, ours);
            figures.add("send", Quantity::Rate, Side::Apache, theirs);
        }
        assert_eq!(figures.ratio(0, Quantity::Rate, Side::Ours, Side::Apache), Some(5.0));
        assert!(figures.table().contains("| send | messages/s | 10.0 | 3.00 | 5.00× | – | – |"), "{}", figures.table());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([1_234_567.0, 234.5, 23.456, 2.345, 0.04].map(show), ["1,234,567", "234", "23.5", "2.35", "0.0400"]);
    }
}
