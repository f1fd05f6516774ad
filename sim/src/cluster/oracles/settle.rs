//! Whether everything is well: nothing under way, every queue owned by one member, everything consumed, every route true.
//!
//! Invariant: what is judged was looked at after it was asked for; a state counts as well only when two looks in a row say so.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use seedmq::driver::Handle;
use seedmq_core::broker::BrokerCommand;
use seedmq_reports::Oracle;

use crate::cluster::cast::Role;
use crate::cluster::look::{BrokerLook, Held};
use crate::cluster::phases::proceed;
use crate::cluster::recovered::Ends;
use crate::cluster::scene::{Job, Scene};
use crate::tape::{Model, What};
use crate::world::HostId;

/// A held pull that a message was there for, and the look that saw it.
pub(crate) type Suspects = BTreeMap<(HostId, String, u32, u64), (u64, u64)>;

/// Why a run is not settled: the rule, a word for the signature, the facts.
pub(crate) type Unsettled = (Oracle, &'static str, String);

/// Takes a look at everything; once a second.
pub(in crate::cluster) fn look_around(scene: &Rc<Scene>) {
    for host in scene.cast.brokers() {
        held_pulls(scene, host);
        removals(scene, host);
    }
    let now = scene.now();
    if scene.cast.brokers().into_iter().any(|host| !ghosts(scene, host).is_empty()) {
        scene.seen(|seen| seen.ghosts_ns = Some(now));
    }
    let brokers = running_brokers(scene);
    let serving = brokers.as_ref().ok();
    orphans(scene, serving);
    super::stale::look(scene, serving);
    crate::cluster::recovered::look(scene, serving);
    let why = unsettled(scene, &brokers);
    scene.seen(|seen| {
        seen.calm = if why.is_none() { seen.calm + 1 } else { 0 };
        seen.unsettled = why;
        seen.looked_ns = now;
        let serving: Vec<HostId> = seen.ready.iter().chain(seen.name_servers.keys()).copied().collect();
        seen.looks.want(&serving);
    });
    wake_idle(scene);
    scene.tape.header.config.topics.keys().for_each(|topic| super::route::ask_all(scene, topic));
    super::questions::read(scene);
}

/// In the liveness phase a broker that has moved since it was last looked at is told what it knows already, so that there is a fresh look
/// even when nobody else asks it anything.
fn wake_idle(scene: &Scene) {
    let safety_ns = scene.tape.header.config.safety_ms * 1_000_000;
    if scene.seen(|seen| seen.ready_ns.is_none_or(|ready| scene.now() < ready + safety_ns)) {
        return;
    }
    let moved: Vec<HostId> =
        scene.seen(|seen| seen.ready.iter().filter(|host| !seen.looks.is_current(**host)).copied().collect());
    // One after the other: what happens in one moment on two hosts has no order.
    (1..).zip(moved).for_each(|(nth, host)| scene.remind(scene.now() + nth * 1_000_000, Job::Wake(host)));
}

/// Tells a broker what it knows already.
pub(in crate::cluster) fn wake(scene: &Scene, host: HostId) {
    let servers = scene.cast.name_server_addrs();
    // One that stands still takes only so much.
    let told = |handle: &Handle<BrokerCommand>| drop(handle.try_command(BrokerCommand::NameServers(servers)));
    scene.seen(|seen| seen.brokers.get(&host).map(told));
}

/// A broker removed old messages: what each queue still has goes into the history.
fn removals(scene: &Scene, host: HostId) {
    let kept = scene.seen(|seen| {
        let firsts: BTreeMap<(String, u32), u64> = {
            let (_, look) = seen.looks.broker(host).filter(|(_, look)| look.serving)?;
            look.queues.iter().map(|(queue, (first, _))| (queue.clone(), *first)).collect()
        };
        let before = seen.firsts.entry(host).or_default();
        let grew = firsts.iter().any(|(queue, first)| *first > before.get(queue).copied().unwrap_or(0));
        before.clone_from(&firsts);
        grew.then_some(firsts)
    });
    let mut topics: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((topic, queue), first) in kept.iter().flatten() {
        topics.entry(topic.clone()).or_default().insert(queue.to_string(), *first);
    }
    if kept.is_some() {
        scene.removal(host, scene.cast.name(host), topics);
    }
}

/// A broker that serves takes a step within that time.
const LOOK_NS: u64 = 60_000_000_000;
/// How long a queue may be without an owner while nothing is wrong: a broker tells the others at once when a member goes.
const ORPHANED_NS: u64 = 10_000_000_000;
/// After a fault or a change of routes everybody may be that late: one round of heartbeats and routes.
const AFTERMATH_NS: u64 = 30_000_000_000;

/// The oracle `owner` in quiet times: a queue that had an owner has one again soon.
fn orphans(scene: &Scene, brokers: Option<&Brokers>) {
    let Some(brokers) = brokers else { return };
    let now = scene.now();
    let mut owned = BTreeSet::new();
    let mut there = BTreeSet::new();
    for (group, (hosts, topics)) in members(scene) {
        for topic in topics {
            for host in &hosts {
                let mine = scene.seen(|seen| seen.consumers.get(host).map(|agent| agent.assigned(&topic)));
                let queues = mine.unwrap_or_default().into_iter();
                owned.extend(queues.map(|queue| (group.clone(), topic.clone(), queue)));
            }
            there.extend(
                queues_of(scene, brokers, &topic).into_iter().map(|queue| (group.clone(), topic.clone(), queue)),
            );
        }
    }
    let is_disturbed = scene.is_disturbed();
    let orphaned = scene.seen(|seen| {
        // Who was seen with an owner and has none: since when.
        for key in &owned {
            seen.owned.insert(key.clone(), None);
        }
        seen.owned.retain(|key, _| there.contains(key));
        let missing = seen.owned.iter_mut().filter(|(key, _)| !owned.contains(*key));
        let disturbed = seen.last_fault_ns.max(seen.rerouted_ns).max(seen.ghosts_ns).map_or(0, |at| at + AFTERMATH_NS);
        let quiet_from = if is_disturbed { u64::MAX } else { disturbed };
        let late = missing.filter_map(|(key, since)| {
            let since = *since.get_or_insert(now);
            (since >= quiet_from && now >= since + ORPHANED_NS).then(|| (key.clone(), since))
        });
        late.collect::<Vec<_>>()
    });
    for ((group, topic, (broker, queue)), since) in orphaned {
        let since = since / 1_000_000;
        let text =
            format!("{broker}:{queue} of {topic} has had no owner in {group} since {since} ms, with no fault about");
        let proof = vec![format!("{broker}:{queue} of {topic} in {group}, {since} ms")];
        scene.broken(Oracle::Owner, "orphaned", "cluster", text, proof);
    }
}

/// Consumers that closed a connection to a broker without its knowing: it may list them as members although they are gone.
pub(super) fn ghosts(scene: &Scene, broker: HostId) -> BTreeSet<HostId> {
    let peers = scene.world.deserted(broker).into_iter();
    peers.filter(|peer| matches!(scene.cast.role(*peer), Role::Consumer(_))).collect()
}

/// Takes a fresh look at brokers. Whether all were there to be looked at.
pub(in crate::cluster) async fn look_at(scene: &Rc<Scene>, hosts: &[HostId]) -> bool {
    scene.seen(|seen| {
        hosts.iter().for_each(|host| seen.looks.forget(*host));
        seen.looks.want(hosts);
    });
    // One after the other: what happens in one moment on two hosts has no order.
    (1..).zip(hosts).for_each(|(nth, host)| scene.remind(scene.now() + nth * 1_000_000, Job::Wake(*host)));
    let looked = |scene: &Rc<Scene>| scene.seen(|seen| hosts.iter().all(|host| seen.looks.broker(*host).is_some()));
    proceed(scene, scene.now() + LOOK_NS, looked).await
}

/// Whether two looks in a row found nothing amiss.
pub(in crate::cluster) fn is_settled(scene: &Rc<Scene>) -> bool {
    scene.seen(|seen| seen.calm >= 2)
}

/// The bound of the liveness phase was passed: says what is still amiss.
pub(in crate::cluster) fn complain(scene: &Scene) {
    let why = scene.seen(|seen| seen.unsettled.clone());
    let (oracle, clause, text) =
        why.unwrap_or((Oracle::Convergence, "restless", "the cluster was well only for a moment".to_owned()));
    let still = format!("still so at the end of the liveness phase: {text}");
    scene.broken(oracle, clause, "cluster", still, vec![text]);
}

/// The oracle `held-pull`: no pull waits for a message that is there, and none longer than it said.
fn held_pulls(scene: &Scene, host: HostId) {
    let found = scene.seen(|seen| {
        let (at, look) = seen.looks.broker(host)?;
        let mut proof = Vec::new();
        let mut next = Suspects::new();
        for held in &look.held {
            let key = (host, held.topic.clone(), held.queue, held.since_ns);
            let end = look.queues.get(&(held.topic.clone(), held.queue)).map_or(0, |range| range.1);
            if let Some((seen_at, end)) = seen.suspects.get(&key)
                && at > *seen_at
                && held.offset < *end
            {
                proof.push(complaint(held, *end, at));
            }
            if held.offset < end {
                next.insert(key, (at, end));
            }
            // Java looks at what it holds every 5 s, and so do we.
            if at > held.until_ns + 6_000_000_000 {
                proof.push(complaint(held, end, at));
            }
        }
        seen.suspects.retain(|key, (seen_at, _)| key.0 != host || *seen_at == at);
        for (key, value) in next {
            seen.suspects.entry(key).or_insert(value);
        }
        (!proof.is_empty()).then_some(proof)
    });
    let Some(proof) = found else { return };
    let text = format!("{} holds a pull that is due: {}", scene.cast.name(host), proof[0]);
    scene.broken(Oracle::HeldPull, "not-answered", "broker", text, proof);
}

fn complaint(held: &Held, end: u64, at_ns: u64) -> String {
    let ms = |ns: u64| ns / 1_000_000;
    let Held { topic, queue, offset, since_ns, until_ns } = held;
    format!(
        "a pull of {topic}/{queue} from {offset} waits since {} until {} ms; the queue ends at {end}, it is {} ms",
        ms(*since_ns),
        ms(*until_ns),
        ms(at_ns)
    )
}

/// The first thing that is not well.
fn unsettled(scene: &Scene, brokers: &Result<Brokers, String>) -> Option<Unsettled> {
    match brokers {
        Err(why) => Some((Oracle::Convergence, "broker-not-ready", why.clone())),
        Ok(brokers) => absent(scene)
            .or_else(|| sends(scene))
            .or_else(|| owners(scene, brokers))
            .or_else(|| busy(scene))
            .or_else(|| unconsumed(scene, brokers, None))
            .or_else(|| routes(scene, brokers)),
    }
}

pub(in crate::cluster) type Brokers = BTreeMap<HostId, Rc<BrokerLook>>;

/// A fresh look at every broker that runs, or why there is none.
fn running_brokers(scene: &Scene) -> Result<Brokers, String> {
    let mut brokers = Brokers::new();
    for host in scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)) {
        let look = scene.seen(|seen| seen.looks.broker_now(host, seen.looked_ns).filter(|look| look.serving).cloned());
        match look {
            Some(look) => drop(brokers.insert(host, look)),
            None => return Err(format!("{} does not serve, or does nothing at all", scene.cast.name(host))),
        }
    }
    Ok(brokers)
}

fn absent(scene: &Scene) -> Option<Unsettled> {
    let (now, origin) = (scene.now(), scene.seen(|seen| seen.ready_ns).unwrap_or(0));
    let down = scene.seen(|seen| seen.returns.keys().chain(seen.restarts.keys()).next().copied());
    let to_come = |(after_ns, host): &(u64, HostId)| (origin + after_ns > now).then_some(*host);
    let host = down.or_else(|| scene.arrivals.iter().find_map(to_come))?;
    Some((Oracle::Convergence, "still-down", format!("{} has not come back yet", scene.cast.name(host))))
}

/// Groups that have no member left: what is stored for them has nobody to come to.
pub(in crate::cluster) fn deserted(scene: &Scene) -> Vec<String> {
    let with_members = members(scene);
    let clustering = |name: &&String| {
        let shape = scene.tape.header.config.groups.get(*name);
        shape.is_none_or(|group| group.model == Model::Clustering)
    };
    let all: BTreeSet<&String> = scene.tape.header.config.consumers.iter().map(|consumer| &consumer.group).collect();
    all.into_iter().filter(clustering).filter(|name| !with_members.contains_key(*name)).cloned().collect()
}

fn sends(scene: &Scene) -> Option<Unsettled> {
    let waiting = scene.seen(|seen| {
        seen.producers.iter().find(|(_, agent)| agent.in_flight() > 0).map(|(host, agent)| (*host, agent.in_flight()))
    });
    let (host, count) = waiting?;
    Some((Oracle::Convergence, "send-without-outcome", format!("{} waits for {count} sends", scene.cast.name(host))))
}

/// Members of each group that run, with their topics.
pub(super) fn members(scene: &Scene) -> BTreeMap<String, (Vec<HostId>, BTreeSet<String>)> {
    let mut groups: BTreeMap<String, (Vec<HostId>, BTreeSet<String>)> = BTreeMap::new();
    for host in scene.cast.with_role(|role| matches!(role, Role::Consumer(_))) {
        let Role::Consumer(n) = scene.cast.role(host) else { continue };
        let shape = &scene.tape.header.config.consumers[n];
        let clustering = scene.tape.header.config.groups.get(&shape.group).is_none_or(|g| g.model == Model::Clustering);
        if clustering && scene.world.is_up(host) {
            let group = groups.entry(shape.group.clone()).or_default();
            group.0.push(host);
            group.1.extend(crate::cluster::boot_consumer::subscriptions(scene, host).into_keys());
        }
    }
    groups
}

fn queues_of(scene: &Scene, brokers: &Brokers, topic: &str) -> BTreeSet<(String, u32)> {
    let of = |(host, look): (&HostId, &Rc<BrokerLook>)| {
        let name = scene.cast.name(*host).to_owned();
        let count = look.topics.get(topic).copied().unwrap_or(0);
        (0..count).map(move |queue| (name.clone(), queue)).collect::<Vec<_>>()
    };
    brokers.iter().flat_map(of).collect()
}

/// The oracle `owner`: every queue has exactly one.
pub(in crate::cluster) fn owners(scene: &Scene, brokers: &Brokers) -> Option<Unsettled> {
    for (group, (hosts, topics)) in members(scene) {
        for topic in topics {
            let mut owned: BTreeMap<(String, u32), Vec<&str>> = BTreeMap::new();
            for host in &hosts {
                let mine = scene.seen(|seen| seen.consumers.get(host).map(|agent| agent.assigned(&topic)));
                for queue in mine.unwrap_or_default() {
                    owned.entry(queue).or_default().push(scene.cast.name(*host));
                }
            }
            let all = queues_of(scene, brokers, &topic);
            if let Some(((broker, queue), owners)) = owned.iter().find(|(_, owners)| owners.len() > 1) {
                let text = format!("{broker}:{queue} of {topic} has the owners {} in {group}", owners.join(", "));
                return Some((Oracle::Owner, "two-owners", text));
            }
            if let Some((broker, queue)) = all.iter().find(|queue| !owned.contains_key(*queue)) {
                let text = format!("{broker}:{queue} of {topic} has no owner in {group}");
                return Some((Oracle::Owner, "no-owner", text));
            }
        }
    }
    None
}

fn busy(scene: &Scene) -> Option<Unsettled> {
    let busy = scene.seen(|seen| seen.consumers.iter().find(|(_, agent)| agent.in_flight() > 0).map(|(host, _)| *host));
    let text = format!("{} still handles messages", scene.cast.name(busy?));
    Some((Oracle::Convergence, "handler-busy", text))
}

/// The first message of each queue that a handler of a group keeps and never returns: what is before it can be committed, and nothing else.
fn stuck(scene: &Scene) -> BTreeMap<(String, String, (String, u32)), u64> {
    let mut first = BTreeMap::new();
    for (group, (hosts, _)) in members(scene) {
        for host in hosts {
            let stuck =
                scene.seen(|seen| seen.consumers.get(&host).map(|agent| agent.stuck().cloned().collect::<Vec<_>>()));
            for stuck in stuck.into_iter().flatten().filter(|stuck| stuck.holds) {
                let at = first.entry((group.clone(), stuck.topic, stuck.queue)).or_insert(stuck.offset);
                *at = stuck.offset.min(*at);
            }
        }
    }
    first
}

/// Everything that is stored was consumed and committed, or what was stored when the queues ended at `due`; of a queue in which a handler
/// never returns, what is before its message.
pub(in crate::cluster) fn unconsumed(scene: &Scene, brokers: &Brokers, due: Option<&Ends>) -> Option<Unsettled> {
    let stuck = stuck(scene);
    for (group, (_, topics)) in members(scene) {
        for (host, look) in brokers {
            for ((topic, queue), (first, end)) in look.queues.iter().filter(|((topic, _), _)| topics.contains(topic)) {
                let key = (group.clone(), topic.clone(), *queue);
                let committed = look.committed.get(&key).copied();
                let due = due.map(|due| due.get(&(*host, topic.clone(), *queue)).copied().unwrap_or(0));
                let name = scene.cast.name(*host);
                let kept = stuck.get(&(group.clone(), topic.clone(), (name.to_owned(), *queue)));
                let due = due.unwrap_or(*end).min(*end).min(kept.copied().unwrap_or(u64::MAX));
                if committed.unwrap_or(*first) < due {
                    let text = format!(
                        "{group} has committed {committed:?} of {name}:{queue} of {topic}, which ends at {end}"
                    );
                    return Some((Oracle::Convergence, "not-consumed", text));
                }
            }
        }
    }
    None
}

/// The brokers that a name server is cut off from for good: it knows nothing of them.
pub(in crate::cluster) fn cut_off(scene: &Scene, server: HostId) -> BTreeSet<&str> {
    let open = scene.seen(|seen| seen.open.clone());
    let mut all = BTreeSet::new();
    for index in open {
        let What::Partition { a, b, for_ms: None, .. } = &scene.tape.actions[index].what else { continue };
        for (one, other) in [(a, b), (b, a)] {
            if one.iter().any(|name| scene.cast.host(name) == server) {
                all.extend(other.iter().map(String::as_str));
            }
        }
    }
    all
}

/// The oracle `route`: what name servers say is what runs.
pub(in crate::cluster) fn routes(scene: &Scene, brokers: &Brokers) -> Option<Unsettled> {
    for topic in scene.tape.header.config.topics.keys() {
        let truth: BTreeMap<String, u32> = brokers
            .iter()
            .filter_map(|(host, look)| Some((scene.cast.name(*host).to_owned(), *look.topics.get(topic)?)))
            .collect();
        for host in scene.cast.name_servers().into_iter().filter(|host| scene.world.is_up(*host)) {
            let told = scene.seen(|seen| seen.routes.get(&(host, topic.clone())).cloned()).flatten();
            let unknown = cut_off(scene, host);
            let mut truth = truth.clone();
            truth.retain(|broker, _| !unknown.contains(broker.as_str()));
            if told.as_ref() != Some(&truth) && !(truth.is_empty() && told.is_none()) {
                let name = scene.cast.name(host);
                let text = format!("{name} says that {topic} is at {told:?}, but it is at {truth:?}");
                return Some((Oracle::Route, "wrong-route", text));
            }
        }
    }
    None
}
