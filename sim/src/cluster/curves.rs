//! How far the log of each broker is over virtual time, and the groups that read it: the curves of the picture.
//!
//! Invariant: a curve has at most [`POINTS_MAX`] points; of what is merged the lowest and the highest stay, so that a drop does too.

use std::collections::{BTreeMap, BTreeSet};

use seedmq_core::broker::Broker;
use seedmq_core::message::names::RETRY_PREFIX;
use seedmq_reports::{Curve, Mark};

use crate::tape::{Config, Model};

/// Most points of one curve: more than a screen has columns.
const POINTS_MAX: usize = 2_048;

/// The topics of each group whose offsets brokers keep.
pub(crate) type Readers = BTreeMap<String, BTreeSet<String>>;

/// Who reads what, by the tape.
pub(super) fn readers(config: &Config) -> Readers {
    let mut readers = Readers::new();
    for consumer in &config.consumers {
        if config.groups.get(&consumer.group).is_none_or(|group| group.model == Model::Clustering) {
            let topics = readers.entry(consumer.group.clone()).or_default();
            topics.extend(consumer.topics.iter().cloned());
            topics.insert(format!("{RETRY_PREFIX}{}", consumer.group));
        }
    }
    readers
}

/// Where a broker is; nothing while it does not serve.
pub(super) fn marks(broker: &Broker, readers: &Readers) -> Vec<(Mark, u64)> {
    if !broker.is_serving() {
        return Vec::new();
    }
    let log = broker.store().marks();
    let mut marks = vec![(Mark::Appended, log.appended), (Mark::Durable, log.durable)];
    for (group, topics) in readers {
        let (mut stored, mut consumed) = (0, 0);
        for (topic, queue, range) in broker.store().queues().filter(|(topic, ..)| topics.contains(*topic)) {
            let committed = broker.committed_offsets().queues_of(group, topic).and_then(|queues| {
                let offset = queues.get(&i32::try_from(queue).ok()?)?;
                u64::try_from(*offset).ok()
            });
            stored += range.end;
            consumed += committed.unwrap_or(range.start);
        }
        marks.extend([(Mark::Consumed(group.clone()), consumed), (Mark::Stored(group.clone()), stored)]);
    }
    marks
}

type Point = (u64, Option<u64>);

/// The points of a curve, and the stretch of time in which they are merged once there are too many.
#[derive(Debug)]
struct Points {
    all: Vec<Point>,
    step_us: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Curves(BTreeMap<(u16, Mark), Points>);

impl Curves {
    /// A broker is there.
    pub fn put(&mut self, lane: u16, at_us: u64, marks: Vec<(Mark, u64)>) {
        for (mark, value) in marks {
            self.0.entry((lane, mark)).or_default().push(at_us, Some(value));
        }
    }
    /// The process of a broker is no more.
    pub fn gone(&mut self, lane: u16, at_us: u64) {
        let own = self.0.iter_mut().filter(|((of, _), _)| *of == lane);
        own.for_each(|(_, points)| points.push(at_us, None));
    }
    pub fn take(&mut self) -> Vec<Curve> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.map(|((lane, mark), points)| Curve { lane, mark, points: points.all }).collect()
    }
}

impl Default for Points {
    fn default() -> Points {
        Points { all: Vec::new(), step_us: 1_000 }
    }
}

impl Points {
    fn push(&mut self, at_us: u64, value: Option<u64>) {
        if self.all.last().is_some_and(|(_, last)| *last == value) {
            return;
        }
        self.all.push((at_us, value));
        if self.all.len() <= POINTS_MAX {
            return;
        }
        loop {
            // What came since the last time is finer than the rest.
            let same = |a: &Point, b: &Point| a.0 / self.step_us == b.0 / self.step_us;
            self.all = self.all.chunk_by(same).flat_map(merge).collect();
            if self.all.len() <= POINTS_MAX / 2 {
                return;
            }
            self.step_us *= 2;
        }
    }
}

/// The first, the last, the lowest and the highest of some neighbours, and a break between them.
fn merge(points: &[Point]) -> Vec<Point> {
    let value = |at: &usize| points[*at].1;
    let there = || (0..points.len()).filter(|at| points[*at].1.is_some());
    let gap = points.iter().position(|(_, value)| value.is_none());
    let ends = [Some(0), points.len().checked_sub(1), there().min_by_key(value), there().max_by_key(value), gap];
    let kept: BTreeSet<usize> = ends.into_iter().flatten().collect();
    kept.into_iter().map(|at| points[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_bounded_and_keeps_its_drops() {
        let mut curves = Curves::default();
        let put = |curves: &mut Curves, t: u64, value| curves.put(1, t * 100, vec![(Mark::Durable, value)]);
        for t in 0..100_000 {
            // Every 20,000 steps the broker is away for a moment and then 5,000 behind.
            if t % 20_000 == 10_000 {
                curves.gone(1, t * 100);
            } else {
                put(&mut curves, t, t - if t % 20_000 == 10_001 { 5_000 } else { 0 });
            }
        }
        let curves = curves.take();
        let points = &curves[0].points;
        assert!(points.len() <= POINTS_MAX && points.len() > POINTS_MAX / 4, "{}", points.len());
        assert_eq!(points.iter().filter(|(_, value)| value.is_none()).count(), 5);
        let middle = points.partition_point(|(t, _)| *t < 5_000_000);
        assert!(middle > points.len() / 4, "what is long ago is as fine as what is not: {middle} of {}", points.len());
        let values: Vec<u64> = points.iter().filter_map(|(_, value)| *value).collect();
        assert_eq!(values.last(), Some(&99_999));
        assert_eq!(values.windows(2).filter(|w| w[1] < w[0]).count(), 5, "each drop is still there");
        assert!(points.is_sorted_by_key(|(t, _)| *t));
    }
}
