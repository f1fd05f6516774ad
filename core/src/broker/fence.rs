//! Positions from before a power cut.
//!
//! A power cut takes the unsynced tail of a queue, and its positions are given out again. Whoever had read the tail comes back with
//! a position beyond it, which now lies in the middle, or soon will, of messages that he has never seen; the protocol carries
//! nothing that would tell. A Java broker lets him go on there, and he misses them. But every position beyond the recovered end
//! that this life of the broker did not hand out, to the reader that names it, may be from before, and that can be known. (To its
//! group is not enough: while the reader was away, another member may have come by and been told more.)
//!
//! A reader may be silent for longer than a life, even one with a clean end, so the ends are kept in a file for some hours and only
//! go down. A process that died without its machine has lost nothing: the file names the run of the operating system. Where an
//! operator says that the disk was lost (`storeWasLost`), an empty store stands for one whose queues all ended at 0.
//!
//! Invariant: after a power cut a position counts only if it lies within what was recovered or this life handed it out to the
//! reader that names it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::node::ConnId;

/// A position for each queue of each topic.
type Positions = BTreeMap<Arc<str>, BTreeMap<u32, u64>>;

/// The content of `config/recoveredEnds.json` (ours): where queues ended after power cuts since the last clean stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoveredEnds {
    /// The run of the operating system in which this was written (see `StoreConfig::boot`).
    pub boot: String,
    /// When the first of these ends was found, ms since 1970.
    pub since_ms: u64,
    /// The lowest end of each queue; nothing when there was no power cut.
    pub ends: Option<Positions>,
}

impl RecoveredEnds {
    /// What holds for a new life, given what the file of the last one says. Damage in the log makes a queue end earlier just as a power
    /// cut does.
    pub fn follow<'a>(
        self,
        life: &Life<'_>,
        now_ms: u64,
        queues: impl Iterator<Item = (&'a str, u32, Range<u64>)>,
    ) -> RecoveredEnds {
        let boot = life.boot;
        let same_boot = !boot.is_empty() && self.boot == boot;
        let lost_nothing = (life.ended_well || same_boot) && !life.gave_up_records;
        let is_young = now_ms < self.since_ms.saturating_add(SILENCE_MS);
        let since_ms = if self.ends.is_some() && is_young { self.since_ms } else { now_ms };
        let ends = match self.ends.filter(|_| is_young) {
            _ if life.lost_all => Some(Positions::new()),
            ends if lost_nothing => ends,
            before => {
                let mut ends = Positions::new();
                for (topic, queue, range) in queues {
                    // A queue that the file does not name was not there yet.
                    let end = before.as_ref().map_or(range.end, |before| find(before, topic, queue).min(range.end));
                    put(&mut ends, topic, queue, end);
                }
                Some(ends)
            }
        };
        let since_ms = if ends.is_some() { since_ms } else { 0 };
        RecoveredEnds { boot: boot.to_owned(), since_ms, ends }
    }
}

/// For how long a reader may be silent and come back with a position of an earlier life.
const SILENCE_MS: u64 = 3 * 3_600_000;

/// How the store of a new life was found.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// The run of the operating system (see `StoreConfig::boot`).
    pub boot: &'a str,
    /// Whether the life before had a clean end.
    pub ended_well: bool,
    /// Whether something that was in the log is not kept.
    pub gave_up_records: bool,
    /// Whether there was no log at all, because the disk was lost.
    pub lost_all: bool,
}

/// Readers whose positions are remembered. Who is forgotten reads again what it had not committed.
const READERS_MAX: usize = 16 * 1024;

/// Somebody who was told a position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Conn(ConnId),
    Client(Arc<str>),
}

/// Somebody who names a position.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Its connection.
    pub conn: ConnId,
    /// Its id, when its heartbeat has come over this connection.
    pub client_id: Option<Arc<str>>,
}

impl Reader {
    fn who(&self) -> Who {
        self.client_id.clone().map_or(Who::Conn(self.conn), Who::Client)
    }
}

/// What this life of a broker knows of positions. Empty and idle when no power cut came before.
#[derive(Debug, Default)]
pub struct Fence {
    /// See [`RecoveredEnds::ends`].
    recovered: Option<Positions>,
    /// The highest position that a reader was told, by group; the group is empty for answers that concern none.
    told: BTreeMap<(Who, Arc<str>), Positions>,
}

impl Fence {
    /// The fence of a new life.
    pub fn new(ends: RecoveredEnds) -> Fence {
        Fence { recovered: ends.ends, ..Fence::default() }
    }

    /// Whether there is anything to guard.
    pub fn is_up(&self) -> bool {
        self.recovered.is_some()
    }

    /// A reader was told a position, as a member of a group or of none (`""`).
    pub fn tell(&mut self, reader: &Reader, group: &str, topic: &str, queue: u32, position: u64) {
        if self.recovered.is_none() {
            return;
        }
        let key = (reader.who(), Arc::from(group));
        if !self.told.contains_key(&key) && self.told.len() >= READERS_MAX {
            self.told.pop_first();
        }
        put(self.told.entry(key).or_default(), topic, queue, position);
    }

    /// Where the queue ended when the store was recovered, if the position that a reader names may be from before that.
    pub fn stale(&self, reader: &Reader, group: &str, topic: &str, queue: u32, position: u64) -> Option<u64> {
        let end = find(self.recovered.as_ref()?, topic, queue);
        if position <= end {
            return None;
        }
        let known = [(Who::Conn(reader.conn), group), (Who::Conn(reader.conn), ""), (reader.who(), group)]
            .into_iter()
            .any(|(who, group)| {
                let told = self.told.get(&(who, Arc::from(group)));
                told.is_some_and(|positions| position <= find(positions, topic, queue))
            });
        (!known).then_some(end)
    }

    /// A connection is gone.
    pub fn closed(&mut self, conn: ConnId) {
        if !self.told.is_empty() {
            self.told.retain(|(who, _), _| *who != Who::Conn(conn));
        }
    }

    /// Forgets a topic: it begins again at 0.
    pub fn remove_topic(&mut self, topic: &str) {
        self.recovered.iter_mut().chain(self.told.values_mut()).for_each(|positions| {
            positions.remove(topic);
        });
    }

    /// Panics when more is kept than allowed.
    pub fn invariants(&self) {
        assert!(self.told.len() <= READERS_MAX, "the readers that are remembered are bounded");
        assert!(self.recovered.is_some() || self.told.is_empty(), "nothing is kept for nothing");
    }
}

fn find(positions: &Positions, topic: &str, queue: u32) -> u64 {
    positions.get(topic).and_then(|queues| queues.get(&queue)).copied().unwrap_or(0)
}

/// Keeps the higher position, without allocating when the topic is known.
fn put(positions: &mut Positions, topic: &str, queue: u32, position: u64) {
    let queues = match positions.get_mut(topic) {
        Some(queues) => queues,
        None => positions.entry(topic.into()).or_default(),
    };
    let highest = queues.entry(queue).or_default();
    *highest = position.max(*highest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_cut(before: RecoveredEnds, boot: &str, ends: &[(&'static str, u32, Range<u64>)]) -> RecoveredEnds {
        let life = Life { boot, ended_well: false, gave_up_records: false, lost_all: false };
        before.follow(&life, 1_000, ends.iter().cloned())
    }

    fn raised() -> Fence {
        Fence::new(after_cut(RecoveredEnds::default(), "b", &[("T", 0, 0..80), ("T", 1, 5..5)]))
    }

    #[test]
    fn ends_go_down_from_cut_to_cut_for_some_hours() {
        let end = |ends: &RecoveredEnds, topic, queue| ends.ends.as_ref().map(|ends| find(ends, topic, queue));
        let first = after_cut(RecoveredEnds::default(), "1", &[("T", 0, 0..80)]);
        assert_eq!(end(&first, "T", 0), Some(80));
        let second = after_cut(first.clone(), "2", &[("T", 0, 0..120), ("U", 0, 0..9)]);
        assert_eq!(end(&second, "T", 0), Some(80), "who was silent all the time may stand at 100 since before");
        assert_eq!(end(&second, "U", 0), Some(0), "it was not there at the first cut");
        let killed = after_cut(second.clone(), "2", &[("T", 0, 0..130)]);
        assert_eq!(killed, second, "a process that died alone lost nothing");
        let well = Life { boot: "2", ended_well: true, gave_up_records: false, lost_all: false };
        assert_eq!(second.clone().follow(&well, 2_000, [].into_iter()), second, "a reader may have been silent since");
        assert_eq!(second.clone().follow(&well, 1_000 + SILENCE_MS, [].into_iter()).ends, None);
        let fresh = RecoveredEnds::default().follow(&Life { boot: "1", ..well }, 1_000, [].into_iter());
        assert_eq!(after_cut(fresh, "1", &[("T", 0, 0..80)]).ends, None, "killed before any power cut");
        let damaged = Life { ended_well: false, gave_up_records: true, ..well };
        let queues = || [("T", 0, 0..70)].into_iter();
        assert_eq!(end(&second.follow(&damaged, 1_000, queues()), "T", 0), Some(70), "damage took the end");
        let empty = Life { lost_all: true, ..well };
        let new_disk = RecoveredEnds::default().follow(&empty, 1_000, [].into_iter());
        assert_eq!(end(&new_disk, "T", 0), Some(0), "its disk may have been lost");
    }

    fn reader(conn: u64, client: Option<&str>) -> Reader {
        Reader { conn: ConnId(conn), client_id: client.map(Arc::from) }
    }

    #[test]
    fn only_what_this_life_handed_out_lies_beyond_what_was_recovered() {
        let (mut fence, c) = (raised(), reader(1, Some("c")));
        assert_eq!(fence.stale(&c, "g", "T", 0, 80), None, "all of it was recovered");
        assert_eq!(fence.stale(&c, "g", "T", 0, 100), Some(80));
        fence.tell(&c, "g", "T", 0, 90);
        assert_eq!((fence.stale(&c, "g", "T", 0, 90), fence.stale(&c, "g", "T", 0, 91)), (None, Some(80)));
        assert_eq!(fence.stale(&c, "h", "T", 0, 90), Some(80), "in another group it was not told");
        assert_eq!(fence.stale(&reader(2, Some("d")), "g", "T", 0, 90), Some(80), "nor was another member");
        assert_eq!(
            fence.stale(&reader(3, Some("c")), "g", "T", 0, 90),
            None,
            "it may come back over another connection"
        );
        fence.tell(&c, "g", "T", 0, 85);
        assert_eq!(fence.stale(&c, "g", "T", 0, 90), None, "who goes back does not forget");
    }

    #[test]
    fn a_reader_is_known_by_its_connection_until_it_says_who_it_is() {
        let mut fence = raised();
        fence.tell(&reader(1, None), "", "T", 0, 95);
        for client in [None, Some("c")] {
            assert_eq!(fence.stale(&reader(1, client), "g", "T", 0, 95), None, "it asked for the end of the queue");
        }
        fence.closed(ConnId(1));
        assert_eq!(fence.stale(&reader(1, Some("c")), "g", "T", 0, 95), Some(80));
    }

    #[test]
    fn a_queue_that_was_lost_whole_ended_at_its_beginning() {
        let c = reader(1, None);
        assert_eq!(raised().stale(&c, "g", "U", 3, 1), Some(0));
        assert_eq!(raised().stale(&c, "g", "T", 1, 6), Some(5));
    }

    #[test]
    fn without_a_power_cut_every_position_counts() {
        let (mut fence, c) = (Fence::default(), reader(1, None));
        fence.tell(&c, "g", "T", 0, 1);
        assert_eq!(fence.stale(&c, "g", "T", 0, 1_000), None);
        fence.invariants();
    }

    #[test]
    fn a_topic_that_was_deleted_begins_anew() {
        let (mut fence, c) = (raised(), reader(1, None));
        fence.tell(&c, "g", "T", 0, 100);
        fence.remove_topic("T");
        assert_eq!(fence.stale(&c, "g", "T", 0, 100), Some(0));
    }
}
