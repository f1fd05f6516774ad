//! What an administrator is shown of a cluster at rest is how it is: topics and brokers at name servers (oracle `route`), members of groups
//! (oracle `owner`), ends of queues, progress of groups, messages by id and offsets by time at brokers (oracle `projection`).
//!
//! Invariant: the truth comes from the disks, by a reader of our own, and from looks inside. No answer says nothing, nor does one that is too
//! busy, and what a fault damaged is not asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use seedmq_core::node::Addr;
use seedmq_core::wire::Frame;
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::group::{ConsumeStats, GetConsumeStatsHeader};
use seedmq_core::wire::heartbeat::{ConsumerConnection, GetConsumerConnectionListHeader};
use seedmq_core::wire::json;
use seedmq_core::wire::offset::SearchOffsetHeader;
use seedmq_core::wire::query::ViewMessageHeader;
use seedmq_core::wire::route::ClusterInfo;
use seedmq_core::wire::topic::{GetTopicStatsInfoHeader, TopicList, TopicStatsTable};
use seedmq_reports::Oracle;

use super::questions;
use super::settle::{self, Brokers};
use crate::cluster::cast::NAME_SERVER_PORT;
use crate::cluster::look::BrokerLook;
use crate::cluster::operate::ask;
use crate::cluster::phases::proceed;
use crate::cluster::scene::Scene;
use crate::cluster::setting::IDLE;
use crate::scenario::Requests;
use crate::tape::{Action, Trigger, What};
use crate::whitebox::{LogRecord, read_log};
use crate::world::HostId;

const MS: u64 = 1_000_000;
/// The administrator gives a request up after 3 s.
const PATIENCE_NS: u64 = 5_000 * MS;
/// Name servers are asked so often, with a pause between, until they say what is.
const ROUNDS: usize = 10;
const ROUND_NS: u64 = 1_000 * MS;
/// So long after the last fault every member has told every broker that it is there.
const AFTERMATH_NS: u64 = 35_000 * MS;
/// So much longer when a registration of the broker may have been dropped: it waits 24 s for the answer and asks again a second later, and
/// only then do members learn of it.
const REGISTRATION_NS: u64 = 25_000 * MS;
/// Records of a broker that are asked for.
const RECORDS: usize = 3;

/// What the answer to a question has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Truth {
    /// Topics of a name server: those of its brokers; perhaps deleted ones, which a broker may have kept, and those that a broker had not
    /// written down when it died (see [`super::topics::KnownTopics`]); and any when a broker lost its disk.
    Topics { are: BTreeSet<String>, perhaps: BTreeSet<String>, any: bool },
    /// Address of each broker.
    Brokers(BTreeMap<String, String>),
    /// Client ids of a group: those that have told the broker, all that run, and how those begin that went without the broker's knowing.
    Members { told: BTreeSet<String>, run: BTreeSet<String>, ghosts: BTreeSet<String> },
    /// First and next offset of each queue of a topic.
    Ends(BTreeMap<i32, (i64, i64)>),
    /// Next offset of each queue, and what a group has committed of it.
    Progress(BTreeMap<i32, (i64, Option<i64>)>),
    /// Topic, queue and offset of the message at a position of the log.
    Message(String, u32, u64),
    /// An offset.
    Offset(u64),
}

impl Truth {
    /// Whose it is, and the word for the signature.
    fn rule(&self) -> (Oracle, &'static str, &'static str) {
        match self {
            Truth::Topics { .. } => (Oracle::Route, "topic-list", "name-server"),
            Truth::Brokers(_) => (Oracle::Route, "cluster-list", "name-server"),
            Truth::Members { .. } => (Oracle::Owner, "member-list", "broker"),
            Truth::Ends(_) => (Oracle::Projection, "topic-stats", "broker"),
            Truth::Progress(_) => (Oracle::Projection, "progress", "broker"),
            Truth::Message(..) => (Oracle::Projection, "by-id", "broker"),
            Truth::Offset(_) => (Oracle::Projection, "by-time", "broker"),
        }
    }
    /// What an answer says instead.
    fn difference(&self, answer: &Frame) -> Option<String> {
        let told = match (self, answer.code) {
            (Truth::Members { .. }, response::CONSUMER_NOT_ONLINE) => Some(Told::Members(BTreeSet::new())),
            (_, response::SYSTEM_BUSY) => return None,
            (_, response::SUCCESS) => self.read(answer),
            (_, code) => {
                let why = answer.remark.as_deref().unwrap_or("no reason given");
                return Some(format!("it refused with {code}: {why}"));
            }
        };
        match told {
            None => Some("the answer cannot be read".to_owned()),
            Some(told) => self.wrong(&told),
        }
    }
    fn read(&self, answer: &Frame) -> Option<Told> {
        let body = &answer.body;
        Some(match self {
            Truth::Topics { .. } => {
                let list = json::from_slice::<TopicList>(body).ok()?.topic_list;
                Told::Topics(list.into_iter().filter(|topic| !topic.starts_with(IDLE)).collect())
            }
            Truth::Brokers(_) => {
                let table = json::from_slice::<ClusterInfo>(body).ok()?.broker_addr_table.into_iter();
                Told::Brokers(
                    table.filter_map(|(name, data)| Some((name, data.broker_addrs.get(&0)?.clone()))).collect(),
                )
            }
            Truth::Members { .. } => {
                let list = json::from_slice::<ConsumerConnection>(body).ok()?.connection_set;
                Told::Members(list.into_iter().map(|member| member.client_id).collect())
            }
            Truth::Ends(_) => {
                let table = json::from_slice::<TopicStatsTable>(body).ok()?.offset_table.into_iter();
                Told::Ends(table.map(|(queue, told)| (queue.queue_id, (told.min_offset, told.max_offset))).collect())
            }
            Truth::Progress(_) => {
                let table = json::from_slice::<ConsumeStats>(body).ok()?.offset_table.into_iter();
                let told = table.map(|(queue, told)| (queue.queue_id, (told.broker_offset, told.consumer_offset)));
                Told::Progress(told.collect())
            }
            Truth::Message(..) => {
                let [found] = &questions::messages(answer)?[..] else { return None };
                Told::Message(found.topic.clone(), found.queue, found.offset)
            }
            Truth::Offset(_) => Told::Offset(answer.fields.get("offset")?.parse().ok()?),
        })
    }
    /// What is wrong with what is told, in words.
    fn wrong(&self, told: &Told) -> Option<String> {
        match (self, told) {
            (Truth::Topics { are, perhaps, any }, Told::Topics(told)) => {
                let may_be: BTreeSet<String> = are.union(perhaps).cloned().collect();
                unlike(are, if *any { told } else { &may_be }, told)
            }
            (Truth::Brokers(are), Told::Brokers(told)) => {
                let named = |all: &BTreeMap<String, String>| {
                    all.iter().map(|(name, addr)| format!("{name} at {addr}")).collect::<BTreeSet<String>>()
                };
                unlike(&named(are), &named(are), &named(told))
            }
            (Truth::Members { told: due, run, ghosts }, Told::Members(told)) => {
                let is_ghost = |id: &&String| !run.contains(*id) && ghosts.iter().any(|ghost| id.starts_with(ghost));
                unlike(due, run, &told.iter().filter(|id| !is_ghost(id)).cloned().collect())
            }
            (Truth::Ends(are), Told::Ends(told)) => {
                let words = |(first, next): &(i64, i64)| format!("goes from {first} to {next}");
                other_queue(are, told, |is, told| is == told, words, words)
            }
            (Truth::Progress(are), Told::Progress(told)) => {
                let is_so = |is: &(i64, Option<i64>), told: &(i64, i64)| {
                    is.0 == told.0 && is.1.is_none_or(|committed| committed == told.1)
                };
                let due = |(next, committed): &(i64, Option<i64>)| {
                    format!("is consumed to {} of {next}", committed.unwrap_or_default())
                };
                other_queue(are, told, is_so, due, |told| due(&(told.0, Some(told.1))))
            }
            (Truth::Message(topic, queue, offset), Told::Message(told, of, at)) => {
                let is_it = (topic, queue, offset) == (told, of, at);
                let words =
                    format!("it gives number {at} of {told}/{of}, but there is number {offset} of {topic}/{queue}");
                (!is_it).then_some(words)
            }
            (Truth::Offset(is), Told::Offset(told)) => (is != told).then(|| format!("it says {told}, but it is {is}")),
            _ => Some("it answers another question".to_owned()),
        }
    }
}

/// What a list lacks that must be in it, or has that may not.
fn unlike(must: &BTreeSet<String>, may: &BTreeSet<String>, told: &BTreeSet<String>) -> Option<String> {
    let lacks: Vec<&str> = must.difference(told).map(String::as_str).collect();
    let has: Vec<&str> = told.difference(may).map(String::as_str).collect();
    match (lacks.is_empty(), has.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("it lacks {}", lacks.join(", "))),
        (true, false) => Some(format!("it has {}", has.join(", "))),
        (false, false) => Some(format!("it lacks {} and has {}", lacks.join(", "), has.join(", "))),
    }
}

/// The first queue that is not as it is told.
fn other_queue<A, B>(
    are: &BTreeMap<i32, A>,
    told: &BTreeMap<i32, B>,
    is_so: impl Fn(&A, &B) -> bool,
    is: impl Fn(&A) -> String,
    says: impl Fn(&B) -> String,
) -> Option<String> {
    let queues: BTreeSet<&i32> = are.keys().chain(told.keys()).collect();
    queues.into_iter().find_map(|queue| match (are.get(queue), told.get(queue)) {
        (Some(due), Some(told)) if is_so(due, told) => None,
        (Some(due), Some(told)) => Some(format!("it says that queue {queue} {}, but it {}", says(told), is(due))),
        (Some(_), None) => Some(format!("it lacks queue {queue}")),
        (None, _) => Some(format!("it has a queue {queue}")),
    })
}

/// What an answer says.
enum Told {
    Topics(BTreeSet<String>),
    Brokers(BTreeMap<String, String>),
    Members(BTreeSet<String>),
    Ends(BTreeMap<i32, (i64, i64)>),
    Progress(BTreeMap<i32, (i64, i64)>),
    Message(String, u32, u64),
    Offset(u64),
}

/// What is being asked, and what was wrong with the answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Questions that are under way, by the number of the request.
    open: BTreeMap<u64, Question>,
    wrong: Vec<(Question, String)>,
}

#[derive(Clone, Debug)]
struct Question {
    host: HostId,
    about: String,
    truth: Truth,
}

/// Asks everybody, once the cluster has settled, and waits for the answers.
pub(in crate::cluster) async fn ask_around(scene: &Rc<Scene>) {
    let up: Vec<HostId> = scene.cast.brokers().into_iter().filter(|host| scene.world.is_up(*host)).collect();
    if !settle::look_at(scene, &up).await {
        return;
    }
    let look = |host: HostId| scene.seen(|seen| Some((host, seen.looks.broker(host)?.1.clone())));
    let brokers: Brokers = up.into_iter().filter_map(look).collect();
    for (host, look) in &brokers {
        about_topics(scene, *host, look);
        about_groups(scene, *host, look);
        about_records(scene, *host, look);
    }
    complain(scene, answers(scene).await);
    // A broker whose last registration was lost closes that connection and comes back on another one.
    let mut wrong = Vec::new();
    for _ in 0..ROUNDS {
        for host in scene.cast.name_servers().into_iter().filter(|host| scene.world.is_up(*host)) {
            about_brokers(scene, host, &brokers);
        }
        wrong = answers(scene).await;
        if wrong.is_empty() || scene.is_cut() {
            return;
        }
        proceed(scene, scene.now() + ROUND_NS, |_| false).await;
    }
    complain(scene, wrong);
}

/// Waits for the answers to what was asked; those that are wrong.
async fn answers(scene: &Rc<Scene>) -> Vec<(Question, String)> {
    proceed(scene, scene.now() + PATIENCE_NS, |scene| scene.seen(|seen| seen.shown.open.is_empty())).await;
    scene.seen(|seen| std::mem::take(&mut seen.shown.wrong))
}

fn complain(scene: &Scene, wrong: Vec<(Question, String)>) {
    for (Question { host, about, truth }, difference) in wrong {
        let (oracle, clause, role) = truth.rule();
        let text = format!("{} was asked {about}: {difference}", scene.cast.name(host));
        scene.broken(oracle, clause, role, text, vec![difference]);
    }
}

fn put(scene: &Scene, (host, addr): (HostId, Addr), frame: Frame, about: String, truth: Truth) {
    let ticket = ask(scene, addr, frame, false);
    scene.seen(|seen| seen.shown.open.insert(ticket, Question { host, about, truth }));
}

/// Takes the answer to a question of this file; whether it was one.
pub(in crate::cluster) fn answer(scene: &Scene, ticket: u64, answer: Option<&Frame>) -> bool {
    scene.seen(|seen| {
        let Some(question) = seen.shown.open.remove(&ticket) else { return false };
        let wrong = answer.and_then(|answer| question.truth.difference(answer));
        seen.shown.wrong.extend(wrong.map(|difference| (question, difference)));
        true
    })
}

fn about_topics(scene: &Scene, host: HostId, look: &BrokerLook) {
    for topic in scene.tape.header.config.topics.keys() {
        let Some(queues) = look.topics.get(topic) else { continue };
        let ends = (0..*queues).map(|queue| {
            let (first, next) = look.queues.get(&(topic.clone(), queue)).copied().unwrap_or_default();
            (queue as i32, (first as i64, next as i64))
        });
        let header = GetTopicStatsInfoHeader { topic: topic.clone() };
        let frame = Frame::request(request::GET_TOPIC_STATS_INFO).with_header(&header);
        put(scene, broker(scene, host), frame, format!("for the queues of {topic}"), Truth::Ends(ends.collect()));
    }
}

fn about_groups(scene: &Scene, host: HostId, look: &BrokerLook) {
    let now = scene.now();
    let disturbed = scene.seen(|seen| seen.last_fault_ns.max(seen.rerouted_ns).unwrap_or(0));
    let unregistered = registrations_lost_until(scene, host).map_or(0, |until| until + REGISTRATION_NS);
    let quiet = now >= disturbed.max(unregistered) + AFTERMATH_NS;
    let ghosts: BTreeSet<String> =
        settle::ghosts(scene, host).into_iter().map(|ghost| format!("{}@", scene.cast.ip(ghost))).collect();
    let is_cut = scene.seen(|seen| !seen.open.is_empty());
    for (group, (hosts, topics)) in settle::members(scene) {
        for topic in topics.iter().filter(|topic| look.topics.contains_key(*topic)) {
            let progress = (0..look.topics[topic]).map(|queue| {
                let next = look.queues.get(&(topic.clone(), queue)).map_or(0, |(_, next)| *next);
                let committed = look.committed.get(&(group.clone(), topic.clone(), queue)).copied();
                (queue as i32, (next as i64, committed.map(|committed| committed as i64)))
            });
            let header = GetConsumeStatsHeader {
                consumer_group: group.clone(),
                topic: Some(topic.clone()),
                ..GetConsumeStatsHeader::default()
            };
            let frame = Frame::request(request::GET_CONSUME_STATS).with_header(&header);
            let about = format!("how far {group} is in {topic}");
            put(scene, broker(scene, host), frame, about, Truth::Progress(progress.collect()));
        }
        if is_cut {
            continue;
        }
        let run: BTreeSet<String> =
            hosts.iter().map(|host| crate::cluster::boot::identity(scene, *host).client_id()).collect();
        let reads_here = topics.iter().any(|topic| look.topics.contains_key(topic));
        let told = if quiet && reads_here { run.clone() } else { BTreeSet::new() };
        let header = GetConsumerConnectionListHeader { consumer_group: group.clone() };
        let frame = Frame::request(request::GET_CONSUMER_CONNECTION_LIST).with_header(&header);
        let truth = Truth::Members { told, run, ghosts: ghosts.clone() };
        put(scene, broker(scene, host), frame, format!("for the members of {group}"), truth);
    }
}

/// When the last fault of the tape ended that drops registrations of a broker, ns; now for one that waits for an event.
fn registrations_lost_until(scene: &Scene, host: HostId) -> Option<u64> {
    let registers = |code: &i32| Requests::Registration.codes().contains(code);
    let ready_ns = scene.seen(|seen| seen.ready_ns).unwrap_or(0);
    let end = |action: &Action| match (&action.what, &action.when) {
        (What::HeartbeatLoss { from, codes, for_ms, .. }, when)
            if scene.cast.host(from) == host && codes.iter().any(registers) =>
        {
            let Trigger::At { at } = when else { return Some(scene.now()) };
            Some(ready_ns + (at + for_ms) * MS)
        }
        _ => None,
    };
    scene.tape.actions.iter().filter_map(end).max()
}

/// Asks for some messages by their places in the log, and for their offsets by the times at which they were stored.
fn about_records(scene: &Scene, host: HostId, look: &BrokerLook) {
    let licence = scene.seen(|seen| seen.atlas.licence(host));
    if !licence.ranges.is_empty() || !licence.offsets.is_empty() || !licence.entries.is_empty() {
        return;
    }
    let log = scene.disks[&host].look(|image| read_log(image, &licence.ranges));
    let is_there = |record: &&LogRecord| {
        let range = look.queues.get(&(record.topic.clone(), record.queue));
        let is_in = range.is_some_and(|(first, next)| (*first..*next).contains(&record.queue_offset));
        is_in && !licence.deleted.contains(&record.topic)
    };
    let there: Vec<&LogRecord> = log.records.iter().filter(is_there).collect();
    for record in there.iter().step_by(there.len().div_ceil(RECORDS).max(1)) {
        let LogRecord { topic, queue, queue_offset, physical, .. } = record;
        let header = ViewMessageHeader { topic: Some(topic.clone()), offset: *physical as i64 };
        let frame = Frame::request(request::VIEW_MESSAGE_BY_ID).with_header(&header);
        let truth = Truth::Message(topic.clone(), *queue, *queue_offset);
        put(scene, broker(scene, host), frame, format!("for the message at {physical}"), truth);
        let queue: Vec<(u64, u64)> = there
            .iter()
            .filter(|other| (&other.topic, other.queue) == (topic, *queue))
            .map(|other| (other.queue_offset, other.store_ms))
            .collect();
        for upper in [false, true] {
            let Some(offset) = by_time(&queue, record.store_ms, upper) else { continue };
            let header = SearchOffsetHeader {
                topic: topic.clone(),
                queue_id: record.queue as i32,
                timestamp: record.store_ms as i64,
                boundary_type: Some(if upper { "UPPER" } else { "LOWER" }.to_owned()),
                ..SearchOffsetHeader::default()
            };
            let frame = Frame::request(request::SEARCH_OFFSET_BY_TIMESTAMP).with_header(&header);
            let which = if upper { "last" } else { "first" };
            let about = format!("for the {which} message of {topic}/{} stored at {}", record.queue, record.store_ms);
            put(scene, broker(scene, host), frame, about, Truth::Offset(offset));
        }
    }
}

/// The first (or last) offset of a queue with a time; nothing when its clock was set back, so that the question has several answers.
fn by_time(queue: &[(u64, u64)], ms: u64, last: bool) -> Option<u64> {
    if !queue.is_sorted_by_key(|(_, at)| *at) {
        return None;
    }
    let mut of_that_time = queue.iter().filter(|(_, at)| *at == ms).map(|(offset, _)| *offset);
    if last { of_that_time.next_back() } else { of_that_time.next() }
}

fn about_brokers(scene: &Scene, host: HostId, brokers: &Brokers) {
    let unknown = settle::cut_off(scene, host);
    let known = || brokers.iter().filter(|(broker, _)| !unknown.contains(scene.cast.name(**broker)));
    let addr = || (host, Addr::from(format!("{}:{NAME_SERVER_PORT}", scene.cast.ip(host))));
    let are =
        known().map(|(broker, _)| (scene.cast.name(*broker).to_owned(), scene.cast.broker_addr(*broker).to_string()));
    let frame = Frame::request(request::GET_BROKER_CLUSTER_INFO);
    put(scene, addr(), frame, "for its brokers".to_owned(), Truth::Brokers(are.collect()));
    let deleted: BTreeSet<String> =
        brokers.keys().flat_map(|host| scene.seen(|seen| seen.atlas.licence(*host)).deleted).collect();
    let are =
        known().flat_map(|(_, look)| look.topics.keys().filter(|topic| !deleted.contains(*topic)).cloned()).collect();
    let perhaps = scene.seen(|seen| deleted.union(seen.topics.forgotten()).cloned().collect());
    let any = brokers.keys().any(|host| scene.seen(|seen| seen.atlas.is_new(*host)));
    let frame = Frame::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    put(scene, addr(), frame, "for its topics".to_owned(), Truth::Topics { are, perhaps, any });
}

fn broker(scene: &Scene, host: HostId) -> (HostId, Addr) {
    (host, scene.cast.broker_addr(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_told_must_be_what_is() {
        let allows = |truth: &Truth, told: Told| truth.wrong(&told).is_none();
        let topics = Truth::Topics { are: set(&["a", "b"]), perhaps: set(&["c"]), any: false };
        assert!(
            allows(&topics, Told::Topics(set(&["a", "b"]))) && allows(&topics, Told::Topics(set(&["a", "b", "c"])))
        );
        assert!(!allows(&topics, Told::Topics(set(&["a"]))) && !allows(&topics, Told::Topics(set(&["a", "b", "d"]))));
        let any = Truth::Topics { are: set(&["a"]), perhaps: set(&[]), any: true };
        assert!(allows(&any, Told::Topics(set(&["a", "d"]))) && !allows(&any, Told::Topics(set(&["d"]))));
        let members = Truth::Members { told: set(&["x"]), run: set(&["x", "y"]), ghosts: set(&["g@"]) };
        assert!(allows(&members, Told::Members(set(&["x"]))) && allows(&members, Told::Members(set(&["x", "y"]))));
        assert!(!allows(&members, Told::Members(set(&["y"]))), "one that told the broker is missing");
        assert!(!allows(&members, Told::Members(set(&["x", "z"]))), "one does not run any more");
        assert!(allows(&members, Told::Members(set(&["x", "g@1"]))), "nobody told the broker that it went");
        assert!(!allows(&members, Told::Members(set(&["g@1"]))), "that excuses nobody else");
        let ends = Truth::Ends([(0, (0, 7))].into());
        assert!(allows(&ends, Told::Ends([(0, (0, 7))].into())));
        assert!(!allows(&ends, Told::Ends([(0, (0, 6))].into())) && !allows(&ends, Told::Ends(BTreeMap::new())));
        let progress = Truth::Progress([(0, (7, Some(5))), (1, (0, None))].into());
        assert!(allows(&progress, Told::Progress([(0, (7, 5)), (1, (0, 0))].into())));
        assert!(!allows(&progress, Told::Progress([(0, (7, 4)), (1, (0, 0))].into())));
        assert!(!allows(&progress, Told::Progress([(0, (7, 5))].into())), "a queue is missing");
        let said = |truth: &Truth, told: Told| truth.wrong(&told).unwrap_or_default();
        assert_eq!(said(&topics, Told::Topics(set(&["a", "d"]))), "it lacks b and has d");
        let says = "it says that queue 0 goes from 0 to 6, but it goes from 0 to 7";
        assert_eq!(said(&ends, Told::Ends([(0, (0, 6))].into())), says);
    }

    #[test]
    fn a_refusal_is_wrong_but_for_a_group_without_members() {
        let refused = |code| Frame { code, flag: seedmq_core::wire::FLAG_RESPONSE, ..Frame::request(code) };
        assert!(Truth::Offset(3).difference(&refused(response::SYSTEM_ERROR)).is_some());
        let nobody = Truth::Members { told: set(&[]), run: set(&["x"]), ghosts: set(&[]) };
        assert_eq!(nobody.difference(&refused(response::CONSUMER_NOT_ONLINE)), None);
        let one = Truth::Members { told: set(&["x"]), run: set(&["x"]), ghosts: set(&[]) };
        assert!(one.difference(&refused(response::CONSUMER_NOT_ONLINE)).is_some());
    }

    #[test]
    fn several_messages_of_one_time_have_a_first_and_a_last() {
        let queue = [(4, 10), (5, 20), (6, 20), (7, 30)];
        assert_eq!((by_time(&queue, 20, false), by_time(&queue, 20, true)), (Some(5), Some(6)));
        assert_eq!(by_time(&[(4, 20), (5, 10)], 20, false), None, "the clock was set back");
    }
}
