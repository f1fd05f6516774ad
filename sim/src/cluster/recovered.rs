//! The time to recover: from the end of the last fault to the moment at which everything first looked well again.
//!
//! Invariant: load may go on. What counts is that brokers serve, nobody is missing, every queue has its owner, routes are true, and what was
//! stored when the fault had ended is consumed; what came later does not.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::oracles::settle::{self, Brokers};
use super::scene::Scene;
use crate::world::HostId;

/// The ends of queues by broker, topic and queue.
pub(super) type Ends = BTreeMap<(HostId, String, u32), u64>;

/// What is known of the way back from the last fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovered {
    /// When the last fault began or ended, as far as it was looked at, ns.
    fault_ns: u64,
    /// Where the queues ended when brokers served after that.
    ends: Option<Ends>,
    /// When everything looked well, ns.
    at_ns: Option<u64>,
}

impl Recovered {
    /// A look at the cluster: the last fault, and the ends of queues once all brokers serve. Gives the ends up to which everything has to be
    /// consumed, if it still has to be looked whether all is well.
    fn look(&mut self, fault_ns: u64, ends: impl FnOnce() -> Option<Ends>) -> Option<&Ends> {
        if self.fault_ns != fault_ns {
            *self = Recovered { fault_ns, ..Recovered::default() };
        }
        if self.at_ns.is_none() && self.ends.is_none() {
            self.ends = ends();
        }
        self.ends.as_ref().filter(|_| self.at_ns.is_none())
    }
    /// How long it took from the last fault, ms.
    pub fn ms(&self) -> Option<u64> {
        Some((self.at_ns? - self.fault_ns) / 1_000_000)
    }
}

/// Takes note if everything looks well for the first time since the last fault.
pub(super) fn look(scene: &Scene, brokers: Option<&Brokers>) {
    let (fault, missing) = scene.seen(|seen| (seen.last_fault_ns, !seen.returns.is_empty()));
    let (Some(fault_ns), false) = (fault, scene.is_disturbed()) else { return };
    let ends = || brokers.map(ends_of);
    let due = scene.seen(|seen| seen.recovered.look(fault_ns, ends).cloned());
    let (Some(due), Some(brokers), false) = (due, brokers, missing) else { return };
    let is_well = settle::owners(scene, brokers).is_none()
        && settle::unconsumed(scene, brokers, Some(&due)).is_none()
        && settle::routes(scene, brokers).is_none();
    if is_well {
        let now = scene.now();
        scene.seen(|seen| seen.recovered.at_ns = Some(now));
    }
}

fn ends_of(brokers: &Brokers) -> Ends {
    let of = |(host, look): (&HostId, &Rc<super::look::BrokerLook>)| {
        let host = *host;
        let ends = look.queues.iter().map(move |((topic, queue), range)| ((host, topic.clone(), *queue), range.1));
        ends.collect::<Vec<_>>()
    };
    brokers.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_anew_with_each_fault_and_stops_once() {
        let ends = |end| move || Some(Ends::from([((HostId(1), "T".to_owned(), 0), end)]));
        let mut recovered = Recovered::default();
        assert!(recovered.look(5_000_000, || None).is_none(), "a broker does not serve yet");
        assert_eq!(recovered.look(5_000_000, ends(7)).unwrap().values().sum::<u64>(), 7);
        assert_eq!(
            recovered.look(5_000_000, ends(9)).unwrap().values().sum::<u64>(),
            7,
            "what came later does not count"
        );
        recovered.at_ns = Some(9_000_000);
        assert!(recovered.look(5_000_000, ends(9)).is_none(), "it is known");
        assert_eq!(recovered.ms(), Some(4));
        assert_eq!(recovered.look(10_000_000, ends(9)).unwrap().values().sum::<u64>(), 9);
        assert_eq!(recovered.ms(), None, "another fault came");
    }
}
