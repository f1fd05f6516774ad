//! A tape without some of its nodes.
//!
//! Invariant: whatever names a node that is gone goes with it, so that the result is a tape that can be run.

use crate::tape::{Action, Config, Tape, Trigger, What};

/// The tape with only these nodes.
pub(super) fn only(tape: &Tape, names: &[String]) -> Tape {
    let stays = |name: &str| names.iter().any(|n| n == name);
    let mut config = tape.header.config.clone();
    config.name_servers.retain(|name| stays(name));
    config.brokers.retain(|broker| stays(&broker.name));
    config.producers.retain(|producer| stays(&producer.name));
    config.consumers.retain(|consumer| stays(&consumer.name));
    config.clock_offsets_ms.retain(|node, _| stays(node));
    config.topics.values_mut().for_each(|topic| topic.brokers.retain(|broker| stays(broker)));
    forget(&mut config);
    let has_reader = |what: &What| match what {
        What::ResetOffsets { group, topic, .. } => {
            config.consumers.iter().any(|consumer| consumer.group == *group && consumer.topics.contains(topic))
        }
        _ => true,
    };
    let kept = tape.actions.iter().filter(|action| has_reader(&action.what));
    let actions = kept.filter_map(|action| without(action, &stays)).collect();
    let mut header = tape.header.clone();
    header.config = config;
    Tape { header, actions }
}

/// Forgets groups without a member.
fn forget(config: &mut Config) {
    let consumers = &config.consumers;
    config.groups.retain(|name, _| consumers.iter().any(|consumer| consumer.group == *name));
}

/// The action as far as it concerns nodes that stay.
fn without(action: &Action, stays: &impl Fn(&str) -> bool) -> Option<Action> {
    if let Trigger::On { node, .. } = &action.when
        && !stays(node)
    {
        return None;
    }
    let mut action = action.clone();
    let whole = match &mut action.what {
        What::Topic { brokers, .. } => {
            let some = !brokers.is_empty();
            brokers.retain(|broker| stays(broker));
            !some || !brokers.is_empty()
        }
        What::Partition { a, b, .. }
        | What::SlowLink { a, b, .. }
        | What::ThinLink { a, b, .. }
        | What::HalfClose { a, b }
        | What::Reset { a, b } => {
            a.retain(|node| stays(node));
            b.retain(|node| stays(node));
            !a.is_empty() && !b.is_empty()
        }
        what => what.nodes().into_iter().all(&stays),
    };
    whole.then_some(action)
}
