//! What every foreign client must manage, whoever runs the servers: one function a scene.
//!
//! Invariant: a scene names the topic and groups after its kit, so that scenes of several kits can share servers.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Clock, Kit, Member};
use crate::history::{History, acknowledged, check_all_acknowledged, delivered, deliveries, sent};
use crate::judged;
use crate::process::until;
use crate::raw::{self, Raw};
use crate::server::Servers;

/// How long a consumer may need for its first message. A Java 5.5.0 consumer whose second heartbeat loses a race pulls with
/// a subscription that the broker does not know yet, until its next heartbeat: 30 s.
pub const PATIENCE: Duration = Duration::from_secs(75);

/// One kit on one set of servers.
pub struct Scene<'a> {
    /// The clients.
    pub kit: &'a Kit,
    /// The servers.
    pub servers: &'a Servers,
    /// Time zero.
    pub clock: Clock,
    /// Topic of the scene, created.
    pub topic: String,
    list: String,
}

impl<'a> Scene<'a> {
    /// A scene with a fresh topic of 4 queues on each broker.
    pub fn new(kit: &'a Kit, servers: &'a Servers, name: &str) -> Scene<'a> {
        let topic = format!("{}_{}", name, kit.name.replace('.', "_"));
        servers.create_topic(&topic, 4);
        Scene { kit, servers, clock: Clock::start(), topic, list: servers.name_server_list() }
    }

    /// Starts a sender.
    pub fn send(&self, client: &str, mode: &str, count: usize, more: &[(&str, &str)]) -> Member {
        let count = count.to_string();
        let args = [
            ("ns", self.list.as_str()),
            ("topic", &self.topic),
            ("group", "P_TESTS"),
            ("mode", mode),
            ("count", &count),
        ];
        self.kit.start(self.clock, client, "send", &[&args[..], &[("prefix", client)], more].concat())
    }

    /// Starts a member of `group`.
    pub fn consume(&self, client: &str, group: &str, more: &[(&str, &str)]) -> Member {
        if !self.kit.from_first {
            self.begin(group).unwrap_or_else(|error| panic!("the first position of {group}: {error}"));
        }
        let args = [("ns", self.list.as_str()), ("topic", &self.topic), ("group", group)];
        self.kit.start(self.clock, client, "consume", &[&args[..], more].concat())
    }

    /// Lets a group that has no position on a queue begin at its first message, as `resetOffsetByTime` would: one that begins
    /// at the end misses what is stored before its members have found their queues.
    fn begin(&self, group: &str) -> io::Result<()> {
        for broker in &self.servers.brokers {
            let mut raw = Raw::connect(&broker.addr)?;
            for queue in 0..4 {
                if raw::committed(&mut raw, group, &self.topic, queue)?.is_none() {
                    raw::commit(&mut raw, group, &self.topic, queue, 0)?;
                }
            }
        }
        Ok(())
    }

    /// Waits as [`wait_delivered`] does; a panic tells how far the group got on each queue, and whom the brokers know.
    pub fn wait(&self, members: &[&Member], group: &str, keys: &BTreeSet<String>) {
        if let Err(why) = arrived(members, group, keys, PATIENCE) {
            panic!("{why}\n{}", self.progress(group));
        }
    }

    /// Bounds and committed offset of each queue, and the members of the group, by broker.
    fn progress(&self, group: &str) -> String {
        let mut lines = Vec::new();
        for broker in &self.servers.brokers {
            lines.push(format!("{} knows {:?}", broker.name, raw::members(&broker.addr, group)));
            let Ok(mut raw) = Raw::connect(&broker.addr) else { continue };
            for queue in 0..4 {
                let bounds = raw::offsets(&mut raw, &self.topic, queue);
                let committed = raw::committed(&mut raw, group, &self.topic, queue);
                lines.push(format!("  queue {queue}: {bounds:?}, committed {committed:?}"));
            }
        }
        lines.join("\n")
    }

    /// An empty history of this scene.
    pub fn history(&self, group: &str) -> History {
        History::start(self.clock, &self.topic, group)
    }

    /// Ends a history and has it judged.
    pub fn judge(&self, mut history: History, group: &str) {
        history.end(true);
        if !self.kit.sees_broker && self.servers.brokers.len() > 1 {
            judged::green_without_places(&history, group);
        } else {
            judged::green(&history, &self.servers.scratch().join(format!("{}.history.jsonl", self.topic)));
        }
    }
}

/// Waits until `member` (with the others' lines) has been handed all `keys`.
pub fn wait_delivered(members: &[&Member], group: &str, keys: &BTreeSet<String>, patience: Duration) {
    arrived(members, group, keys, patience).unwrap_or_else(|why| panic!("{why}"));
}

/// Whether all `keys` came within `patience`; if not, which did not, and what the clients said.
fn arrived(members: &[&Member], group: &str, keys: &BTreeSet<String>, patience: Duration) -> Result<(), String> {
    let seen = || -> BTreeSet<String> { members.iter().flat_map(|member| delivered(&member.lines(), group)).collect() };
    if until(patience, || keys.is_subset(&seen())) {
        return Ok(());
    }
    let seen = seen();
    let missing: Vec<&String> = keys.difference(&seen).collect();
    let said: Vec<String> = members.iter().map(|member| member.noise()).collect();
    let (count, some) = (missing.len(), missing.iter().take(20).collect::<Vec<_>>());
    Err(format!("of {} messages, {count} never arrived, {some:?} among them; clients said {said:?}", keys.len()))
}

/// Every way to send, with tags and keys, and what a consumer of everything and one of a single tag get.
pub fn every_mode(kit: &Kit, servers: &Servers) {
    let scene = Scene::new(kit, servers, "modes");
    let all = scene.consume("all", "C_ALL", &[("hb", "3000")]);
    let tagged = scene.consume("tagged", "C_TAG", &[("tags", "red || blue"), ("hb", "3000")]);
    let mut modes = vec!["sync", "async", "selector", "oneway"];
    if kit.batches {
        modes.push("batch");
    } else {
        batches_are_one(kit, servers);
    }
    let sender = scene.send("modes", &modes.join(","), 20, &[("tag", "red,green,blue"), ("size", "1500")]);
    let lines = sender.done(Duration::from_secs(90));
    check_sends(&lines, modes.len() * 20, 20, kit.sees_broker);
    scene.wait(&[&all], "C_ALL", &sent(&lines));
    let wanted = sent(&lines).into_iter().filter(|key| number(key) % 3 != 1).collect();
    scene.wait(&[&tagged], "C_TAG", &wanted);
    let (all, tagged) = (all.finish(), tagged.finish());
    assert_eq!(delivered(&tagged, "C_TAG"), wanted, "the tag filter passes exactly its messages");
    for line in deliveries(&all) {
        let key = line["key"].as_str().unwrap_or_default();
        assert_eq!(line["keys"], key, "keys arrive as sent: {line}");
        assert_eq!(line["tag"], ["red", "green", "blue"][number(key) % 3], "tags arrive as sent: {line}");
        assert_eq!(line["size"], 1500, "bodies arrive whole: {line}");
    }
    let mut history = scene.history("C_ALL");
    for lines in [lines, all] {
        history.add(lines);
    }
    scene.judge(history, "C_ALL");
}

/// A batch of ten from a client that cannot is acknowledged, and is one message.
fn batches_are_one(kit: &Kit, servers: &Servers) {
    let scene = Scene::new(kit, servers, "batch");
    let lines = scene.send("batch", "batch", 10, &[("tag", "red")]).done(Duration::from_secs(30));
    check_all_acknowledged(&lines, 10);
    let stored = |addr: &str| {
        let mut raw = Raw::connect(addr).expect("the broker runs");
        (0..4).map(|queue| raw::offsets(&mut raw, &scene.topic, queue).expect("the broker answers").1).sum::<i64>()
    };
    assert_eq!(servers.brokers.iter().map(|broker| stored(&broker.addr)).sum::<i64>(), 1);
}

fn number(key: &str) -> usize {
    key.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a key ends with its number")
}

fn check_sends(lines: &[Value], count: usize, unanswered: usize, sees_broker: bool) {
    let of = |op: &str| lines.iter().filter(|line| line["op"] == "send" && line["type"] == op).count();
    let oneway = lines.iter().filter(|line| line["oneway"] == true).count();
    let errors: Vec<&Value> = lines.iter().filter(|line| !line["error"].is_null()).collect();
    assert!(errors.is_empty(), "sends failed: {errors:?}");
    assert_eq!((of("invoke"), of("ok"), oneway), (count, count - unanswered, unanswered));
    // Messages of the selector went where it said: the same number of three gives the same queue.
    let mut places: BTreeSet<(usize, String)> = BTreeSet::new();
    let mut open = std::collections::BTreeMap::new();
    for line in lines {
        if line["type"] == "invoke" {
            open.insert(line["call"].as_u64(), line["key"].as_str().unwrap_or_default().to_owned());
        } else if let Some(key) = open.get(&line["call"].as_u64()).filter(|key| key.contains("selector")) {
            places.insert((number(key) % 3, line["queue"].to_string()));
        }
    }
    assert!(!sees_broker || places.len() == 3, "a selector's queue is kept: {places:?}");
}

/// Two members share a topic, a third joins, one leaves, all while messages flow.
pub fn members_come_and_go(kit: &Kit, servers: &Servers) {
    let scene = Scene::new(kit, servers, "group");
    let mut history = scene.history("C_GROUP");
    let join = |name: &str| scene.consume(name, "C_GROUP", &[("hb", "3000")]);
    let (one, two) = (join("one"), join("two"));
    let first = scene.send("first", "sync", 200, &[("gap", "20")]).done(Duration::from_secs(60));
    scene.wait(&[&one, &two], "C_GROUP", &acknowledged(&first));
    history.fault("join", "three");
    let three = join("three");
    three.wait_started();
    // Rebalancing is asked for by the broker at once and repeated by each client every 20 s.
    let mut rounds = Vec::new();
    for round in 0..12 {
        let sender = scene.send(&format!("second{round}"), "sync", 60, &[("gap", "20")]);
        rounds.push(sender.done(Duration::from_secs(60)));
        let acked = rounds.iter().flat_map(|lines| acknowledged(lines)).collect();
        scene.wait(&[&one, &two, &three], "C_GROUP", &acked);
        let shares = [&one, &two, &three].map(|member| share(&member.lines(), &format!("second{round}-")));
        if shares.iter().all(|queues| !queues.is_empty()) && disjoint(&shares) && even(&shares) {
            break;
        }
        assert!(round < 11, "the third member never got a share of its own: {shares:?}");
    }
    history.fault("leave", "one");
    history.add(one.finish());
    let last = scene.send("last", "sync", 200, &[("gap", "10")]).done(Duration::from_secs(60));
    scene.wait(&[&two, &three], "C_GROUP", &acknowledged(&last));
    let rest = [two.finish(), three.finish(), first, last];
    for lines in rest.into_iter().chain(rounds) {
        history.add(lines);
    }
    scene.judge(history, "C_GROUP");
}

/// Queues from which a member got messages of one round.
fn share(lines: &[Value], prefix: &str) -> BTreeSet<String> {
    let of_round = deliveries(lines).filter(|line| line["key"].as_str().is_some_and(|key| key.starts_with(prefix)));
    of_round.map(|line| line["queue"].to_string()).collect()
}

/// Whether no member has more than one queue more than another; queues without their brokers cannot be counted.
fn even(shares: &[BTreeSet<String>]) -> bool {
    let named = shares.iter().flatten().any(|queue| queue.contains(':'));
    let sizes = || shares.iter().map(BTreeSet::len);
    !named || sizes().max().zip(sizes().min()).is_some_and(|(most, fewest)| most - fewest <= 1)
}

/// Python does not name brokers, so that two queues of one number may count as shared: numbers then cannot tell.
fn disjoint(shares: &[BTreeSet<String>]) -> bool {
    let all: BTreeSet<&String> = shares.iter().flatten().collect();
    let named = all.iter().any(|queue| queue.contains(':'));
    !named || all.len() == shares.iter().map(BTreeSet::len).sum::<usize>()
}

/// A member's successor goes on where it stopped; so it does when the broker was stopped, or killed, in between.
pub fn goes_on_after_restarts(kit: &Kit, servers: &mut Servers) {
    let (topic, clock, mut history) = {
        let scene = Scene::new(kit, servers, "restart");
        (scene.topic.clone(), scene.clock, scene.history("C_RESTART"))
    };
    let mut done = BTreeSet::new();
    for (round, between) in ["nothing", "stop", "kill"].into_iter().enumerate() {
        if between != "nothing" {
            restart_brokers(servers, between, &topic, &mut history);
        }
        let scene = Scene { kit, servers, clock, topic: topic.clone(), list: servers.name_server_list() };
        let sent = scene.send(&format!("s{round}"), "sync", 40, &[]).done(Duration::from_secs(60));
        check_all_acknowledged(&sent, 40);
        let member = scene.consume(&format!("c{round}"), "C_RESTART", &[("hb", "3000")]);
        scene.wait(&[&member], "C_RESTART", &acknowledged(&sent));
        // A graceful end commits; a client that crashes in its own shutdown may not have.
        let (got, clean) = member.leave();
        let again: Vec<String> = delivered(&got, "C_RESTART").intersection(&done).cloned().collect();
        assert!(again.is_empty(), "round {round} ({between}): delivered again although committed: {again:?}");
        if clean {
            done.extend(delivered(&got, "C_RESTART"));
        } else {
            history.fault("kill", &format!("c{round}"));
        }
        history.add(sent);
        history.add(got);
    }
    let scene = Scene { kit, servers, clock, topic, list: servers.name_server_list() };
    scene.judge(history, "C_RESTART");
}

fn restart_brokers(servers: &mut Servers, how: &str, topic: &str, history: &mut History) {
    if how == "kill" {
        // Committed offsets reach the disk every 5 s, for the first time 10 s after the start: what is older is safe.
        std::thread::sleep(Duration::from_secs(12));
    }
    for broker in &mut servers.brokers {
        history.fault(how, &broker.name);
        if how == "kill" {
            broker.kill()
        } else {
            broker.stop()
        }
        broker.launch();
    }
    servers.wait_until_registered();
    let (names, brokers) = (servers.name_server_addrs(), servers.brokers.len());
    let routed = || names.iter().all(|addr| raw::brokers_of(addr, topic) == brokers);
    assert!(until(Duration::from_secs(30), routed), "the route of {topic} does not come back");
    for broker in &servers.brokers {
        history.fault("start", &broker.name);
    }
}
