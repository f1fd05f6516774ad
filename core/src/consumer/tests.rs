//! The push consumer against a scripted broker: two members, queues, offsets, locks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use super::decode::tests::record;
use super::*;
use crate::client::bench::{Answer, Bench, reply};
use crate::node::Addr;
use crate::wire::FLAG_RESPONSE;
use crate::wire::codes::response;
use crate::wire::heartbeat::ConsumerListBody;
use crate::wire::json::{self, Style};
use crate::wire::lock::{LockBatchBody, LockBatchResponseBody};
use crate::wire::offset::{OffsetResponseHeader, QueryConsumerOffsetHeader, UpdateConsumerOffsetHeader};
use crate::wire::pull::{FLAG_COMMIT, PullMessageHeader, PullMessageResponseHeader};

mod clustering;
mod orderly;

/// What the scripted broker `a` at `a:1` knows. Topic `T` has `queues` queues; there is no retry topic.
struct Broker {
    queues: i32,
    /// Body and tag of every message, by queue.
    log: BTreeMap<i32, Vec<(Bytes, String)>>,
    /// First offset that is still there.
    min: i64,
    committed: BTreeMap<i32, i64>,
    commits: Vec<(i32, i64)>,
    members: Vec<String>,
    /// Queues locked by somebody else.
    foreign: BTreeSet<i32>,
    /// Pulls that wait for messages.
    held: Vec<Frame>,
    /// Every pull is answered with this code.
    pull_code: Option<i32>,
    /// The next pull of this queue is answered 21 with this offset.
    reset: Option<(i32, i64)>,
    /// That is no reset, but the broker's own correction.
    lost_its_tail: bool,
}

impl Broker {
    fn new(queues: i32) -> Rc<RefCell<Broker>> {
        Rc::new(RefCell::new(Broker {
            queues,
            log: BTreeMap::new(),
            min: 0,
            committed: BTreeMap::new(),
            commits: Vec::new(),
            members: vec!["127.0.0.1@1#1".into()],
            foreign: BTreeSet::new(),
            held: Vec::new(),
            pull_code: None,
            reset: None,
            lost_its_tail: false,
        }))
    }

    fn append(&mut self, queue: i32, count: usize, tag: &str) {
        let log = self.log.entry(queue).or_default();
        for _ in 0..count {
            let offset = log.len();
            let properties = format!("TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}{queue}-{offset}\u{2}");
            let bytes = record("T", offset as u64, format!("{queue}-{offset}").as_bytes(), &properties, 0);
            log.push((bytes, tag.into()));
        }
    }

    fn answer(&mut self, frame: &Frame) -> Answer {
        match frame.code {
            code::GET_ROUTEINFO_BY_TOPIC if frame.fields.get("topic") != Some("T") => {
                Answer::Reply(reply(frame, response::TOPIC_NOT_EXIST))
            }
            code::GET_ROUTEINFO_BY_TOPIC => Answer::Reply(reply(frame, 0).with_body(format!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{0:"a:1"}},"brokerName":"a"}}],
                "queueDatas":[{{"brokerName":"a","perm":6,"readQueueNums":{0},"writeQueueNums":{0}}}]}}"#,
                self.queues
            ))),
            code::GET_CONSUMER_LIST_BY_GROUP => {
                let body = ConsumerListBody { consumer_id_list: self.members.clone() };
                Answer::Reply(reply(frame, 0).with_body(json::to_vec(&body, Style::Fastjson)))
            }
            code::QUERY_CONSUMER_OFFSET => {
                let header = QueryConsumerOffsetHeader::read(&frame.fields).unwrap();
                Answer::Reply(match self.committed.get(&header.queue_id) {
                    Some(offset) => reply(frame, 0).with_header(&OffsetResponseHeader { offset: *offset }),
                    None => reply(frame, response::QUERY_NOT_FOUND),
                })
            }
            code::GET_MAX_OFFSET => {
                let queue: i32 = frame.fields.number("queueId").unwrap();
                let offset = self.log.get(&queue).map_or(0, Vec::len) as i64;
                Answer::Reply(reply(frame, 0).with_header(&OffsetResponseHeader { offset }))
            }
            code::SEARCH_OFFSET_BY_TIMESTAMP => {
                let offset = frame.fields.number::<i64>("timestamp").unwrap() / 1000;
                Answer::Reply(reply(frame, 0).with_header(&OffsetResponseHeader { offset }))
            }
            code::UPDATE_CONSUMER_OFFSET => {
                let header = UpdateConsumerOffsetHeader::read(&frame.fields).unwrap();
                self.commit(header.queue_id, header.commit_offset);
                Answer::Silence
            }
            code::PULL_MESSAGE => self.pull(frame),
            code::LOCK_BATCH_MQ => {
                let mut body: LockBatchBody = json::from_slice(&frame.body).unwrap();
                body.mq_set.retain(|queue| !self.foreign.contains(&queue.queue_id));
                let body = LockBatchResponseBody { lock_ok_mq_set: body.mq_set };
                Answer::Reply(reply(frame, 0).with_body(json::to_vec(&body, Style::Fastjson)))
            }
            _ => Answer::Reply(reply(frame, 0)),
        }
    }

    fn commit(&mut self, queue: i32, offset: i64) {
        self.committed.insert(queue, offset);
        self.commits.push((queue, offset));
    }

    fn pull(&mut self, frame: &Frame) -> Answer {
        let header = PullMessageHeader::read(&frame.fields).unwrap();
        if header.sys_flag & FLAG_COMMIT != 0 {
            self.committed.insert(header.queue_id, header.commit_offset);
        }
        let max = self.log.get(&header.queue_id).map_or(0, Vec::len) as i64;
        let found = |code: i32, next: i64| {
            let header = PullMessageResponseHeader {
                next_begin_offset: next,
                min_offset: self.min,
                max_offset: max,
                ..Default::default()
            };
            reply(frame, code).with_header(&header)
        };
        if let Some(code) = self.pull_code {
            return Answer::Reply(reply(frame, code));
        }
        if let Some((_, to)) = self.reset.filter(|(queue, _)| *queue == header.queue_id) {
            self.reset = None;
            let mut moved = found(response::PULL_OFFSET_MOVED, to);
            moved.remark = (!self.lost_its_tail).then(|| "OFFSET_RESET".to_owned());
            return Answer::Reply(moved);
        }
        if header.queue_offset > max || header.queue_offset < self.min {
            let to = if header.queue_offset > max { max } else { self.min };
            return Answer::Reply(found(response::PULL_OFFSET_MOVED, to));
        }
        if header.queue_offset == max {
            self.held.push(frame.clone());
            return Answer::Silence;
        }
        let from = usize::try_from(header.queue_offset).unwrap();
        let log = &self.log[&header.queue_id];
        let until = log.len().min(from + usize::try_from(header.max_msg_nums).unwrap());
        let body: Vec<u8> = log[from..until].iter().flat_map(|(bytes, _)| bytes.to_vec()).collect();
        Answer::Reply(found(0, until as i64).with_body(body))
    }
}

struct World {
    bench: Bench<PushConsumer>,
    broker: Rc<RefCell<Broker>>,
}

fn config() -> ConsumerConfig {
    ConsumerConfig {
        group: "G".into(),
        name_servers: vec![Addr::from("n:1")],
        from: FromWhere::First,
        ..Default::default()
    }
}

fn key(queue: i32) -> Key {
    Key { topic: "T".into(), queue: Queue::new("a", queue) }
}

impl World {
    fn new(config: ConsumerConfig, broker: Rc<RefCell<Broker>>) -> World {
        let script = broker.clone();
        let bench = Bench::new(PushConsumer::new(config), move |_, frame| script.borrow_mut().answer(frame));
        World { bench, broker }
    }

    fn reading(config: ConsumerConfig, broker: Rc<RefCell<Broker>>, tags: &str) -> World {
        let mut world = World::new(config, broker);
        world.bench.command(ConsumerCommand::Subscribe { topic: "T".into(), tags: tags.into() });
        world
    }

    /// New messages, and the pulls that wait for them.
    fn append(&mut self, queue: i32, count: usize, tag: &str) {
        self.broker.borrow_mut().append(queue, count, tag);
        let held = std::mem::take(&mut self.broker.borrow_mut().held);
        for request in held {
            let answer = self.broker.borrow_mut().pull(&request);
            if let Answer::Reply(answer) = answer {
                let frame = Frame { opaque: request.opaque, flag: FLAG_RESPONSE, ..answer };
                self.bench.push("a:1", &frame);
            }
        }
    }

    /// What was delivered since the last look: delivery and bodies.
    fn delivered(&mut self) -> Vec<(u64, Vec<String>)> {
        let text = |message: &Message| String::from_utf8(message.body.to_vec()).unwrap();
        let mut delivered = Vec::new();
        self.bench.events.retain(|event| match event {
            ConsumerEvent::Deliver { delivery, messages, .. } => {
                delivered.push((*delivery, messages.iter().map(text).collect()));
                false
            }
            _ => true,
        });
        delivered
    }

    fn bodies(&mut self) -> Vec<String> {
        self.delivered().into_iter().flat_map(|(_, bodies)| bodies).collect()
    }

    fn consume(&mut self, delivery: u64, outcome: Outcome) {
        self.bench.command(ConsumerCommand::Consumed { delivery, outcome });
    }

    /// Consumes whatever is delivered until nothing comes.
    fn drain(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let delivered = self.delivered();
            if delivered.is_empty() {
                return all;
            }
            for (delivery, bodies) in delivered {
                all.extend(bodies);
                self.consume(delivery, Outcome::Success);
            }
        }
    }

    fn assigned(&mut self) -> Option<String> {
        let last = self.bench.events.iter().rev().find_map(|event| match event {
            ConsumerEvent::Assigned { queues, .. } => {
                Some(queues.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        });
        self.bench.events.retain(|event| !matches!(event, ConsumerEvent::Assigned { .. }));
        last
    }

    fn members(&mut self, names: &[&str]) {
        self.broker.borrow_mut().members = names.iter().map(ToString::to_string).collect();
        let frame = Frame::request(code::NOTIFY_CONSUMER_IDS_CHANGED)
            .with_header(&NotifyConsumerIdsChangedHeader { consumer_group: "G".into() });
        self.bench.push("a:1", &Frame { flag: crate::wire::FLAG_ONEWAY, ..frame });
    }
}
