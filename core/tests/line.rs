//! The whole line on one thread: name servers, brokers, producers and push consumers as they are, over a plain network.
//!
//! Invariant: whatever dies, every acknowledged message is delivered, and nothing is committed that was not consumed.

mod bench;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bench::{Cluster, Host};
use seedmq_core::broker::{Broker, BrokerConfig};
use seedmq_core::client::{Identity, Queue};
use seedmq_core::consumer::{ConsumerCommand, ConsumerConfig, ConsumerEvent, FromWhere, Outcome, PushConsumer};
use seedmq_core::namesrv::{NameServer, NameServerConfig};
use seedmq_core::node::{Addr, Rng};
use seedmq_core::producer::{
    Mode, OutMessage, Pick, Producer, ProducerCommand, ProducerConfig, ProducerEvent, SendRequest, Stored,
};

const TOPIC: &str = "Orders";
const TICK: Duration = Duration::from_millis(100);

fn name_servers() -> Vec<Addr> {
    vec![Addr::from("10.0.0.1:9876"), Addr::from("10.0.0.2:9876")]
}

/// Two name servers, two brokers, one producer, and consumers as they come.
struct Line {
    cluster: Cluster,
    name_servers: Vec<usize>,
    brokers: Vec<usize>,
    producer: usize,
    consumers: Vec<usize>,
    orderly: bool,
    next_ticket: u64,
    acknowledged: BTreeSet<String>,
    surely_not: BTreeSet<String>,
    /// Consumed bodies and how often.
    consumed: BTreeMap<String, u32>,
    /// Deliveries under way: (consumer, delivery, due tick, queue, bodies).
    handlers: Vec<(usize, u64, u64, String, Vec<String>)>,
    tick: u64,
    rng: Rng,
    /// Offsets of each queue in the order in which their handlers succeeded.
    order: BTreeMap<String, Vec<i64>>,
}

impl Line {
    fn new(seed: u64, orderly: bool) -> Line {
        let mut cluster = Cluster::new();
        let server = |addr: &Addr, cluster: &mut Cluster| {
            cluster.add(addr, Host::new(seed, || NameServer::new(NameServerConfig::default())))
        };
        let name_servers_at: Vec<usize> = name_servers().iter().map(|addr| server(addr, &mut cluster)).collect();
        let brokers = ["a", "b"].map(|name| {
            let ip = if name == "a" { "10.0.1.1" } else { "10.0.1.2" };
            let mut config = BrokerConfig {
                name: name.into(),
                ip: ip.into(),
                name_servers: name_servers(),
                ..BrokerConfig::default()
            };
            config.store.log_file_bytes = 1 << 20;
            config.store.queue_file_entries = 1000;
            cluster.add(&format!("{ip}:10911"), Host::new(seed + 1, move || Broker::new(config.clone())))
        });
        cluster.pass(Duration::from_secs(15));
        let config = ProducerConfig { group: "PG".into(), name_servers: name_servers(), ..ProducerConfig::default() };
        let producer = cluster.add("producer", Host::new(seed + 2, move || Producer::new(config.clone())));
        Line {
            cluster,
            name_servers: name_servers_at,
            brokers: brokers.into(),
            producer,
            consumers: Vec::new(),
            orderly,
            next_ticket: 0,
            acknowledged: BTreeSet::new(),
            surely_not: BTreeSet::new(),
            consumed: BTreeMap::new(),
            handlers: Vec::new(),
            tick: 0,
            rng: Rng::from_seed(seed),
            order: BTreeMap::new(),
        }
    }

    fn join(&mut self) -> usize {
        let n = self.consumers.len();
        let identity = Identity { process: n as u32, instance: format!("c{n}"), ..Identity::default() };
        let config = ConsumerConfig {
            group: "CG".into(),
            identity,
            name_servers: name_servers(),
            from: FromWhere::First,
            orderly: self.orderly,
            ..ConsumerConfig::default()
        };
        let at =
            self.cluster.add(&format!("consumer-{n}"), Host::new(n as u64, move || PushConsumer::new(config.clone())));
        self.cluster.command::<PushConsumer>(at, ConsumerCommand::Subscribe { topic: TOPIC.into(), tags: "*".into() });
        self.consumers.push(at);
        at
    }

    /// The process is gone, and its handlers with it.
    fn kill_consumer(&mut self, at: usize) {
        self.cluster.kill(at);
        self.handlers.retain(|(consumer, ..)| *consumer != at);
        self.consumers.retain(|consumer| *consumer != at);
    }

    fn send(&mut self) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let request = SendRequest {
            ticket,
            topic: TOPIC.into(),
            messages: vec![OutMessage::new(format!("m{ticket}")).with_tag("t")],
            queue: Pick::RoundRobin,
            mode: Mode::Sync,
            timeout: None,
        };
        self.cluster.command::<Producer>(self.producer, ProducerCommand::Send(request));
    }

    /// One tick of time with its sends; handlers take up to half a second and fail now and then.
    fn run(&mut self, ticks: u64, sends: u64) {
        for _ in 0..ticks {
            for _ in 0..sends {
                self.send();
            }
            self.cluster.pass(TICK);
            self.tick += 1;
            self.hear();
        }
    }

    fn hear(&mut self) {
        for event in std::mem::take(&mut self.cluster.host::<Producer>(self.producer).events) {
            if let ProducerEvent::Sent { ticket, result } = event {
                match result {
                    Ok(_) => self.acknowledged.insert(format!("m{ticket}")),
                    Err(error) if error.stored == Stored::No => self.surely_not.insert(format!("m{ticket}")),
                    Err(_) => false,
                };
            }
        }
        for consumer in self.consumers.clone() {
            for event in std::mem::take(&mut self.cluster.host::<PushConsumer>(consumer).events) {
                self.on_event(consumer, event);
            }
        }
        let due = self.handlers.extract_if(.., |(_, _, due, ..)| *due <= self.tick).collect::<Vec<_>>();
        for (consumer, delivery, _, queue, bodies) in due {
            let good = self.rng.below(20) > 0;
            if good {
                for body in bodies {
                    let (body, offset) = body.split_once('@').expect("body@offset");
                    *self.consumed.entry(body.into()).or_default() += 1;
                    self.order.entry(queue.clone()).or_default().push(offset.parse().expect("an offset"));
                }
            }
            let outcome = if good { Outcome::Success } else { Outcome::Later };
            self.cluster.command::<PushConsumer>(consumer, ConsumerCommand::Consumed { delivery, outcome });
        }
    }

    fn on_event(&mut self, consumer: usize, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Deliver { delivery, queue, messages, .. } => {
                if self.orderly {
                    let busy = self.handlers.iter().any(|(_, _, _, other, _)| *other == queue.to_string());
                    assert!(!busy, "two handlers on {queue}");
                }
                let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("text");
                let bodies = messages.iter().map(|m| format!("{}@{}", text(&m.body), m.offset)).collect();
                let due = self.tick + self.rng.below(5);
                self.handlers.push((consumer, delivery, due, queue.to_string(), bodies));
            }
            ConsumerEvent::Malformed { why, .. } => panic!("malformed: {why}"),
            ConsumerEvent::Refused(why) => panic!("refused: {why}"),
            _ => {}
        }
    }

    fn owners(&mut self) -> BTreeMap<String, Vec<usize>> {
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for consumer in self.consumers.clone() {
            let node = &self.cluster.host::<PushConsumer>(consumer).node;
            let queues: Vec<Queue> =
                node.owned().filter(|(topic, _)| &***topic == TOPIC).map(|(_, q)| q.clone()).collect();
            for queue in queues {
                owners.entry(queue.to_string()).or_default().push(consumer);
            }
        }
        owners
    }

    /// Nothing more is sent; after a while everything is consumed and every queue has one owner.
    fn finish(&mut self, queues: usize) {
        self.run(1200, 0);
        let lost: Vec<&String> = self.acknowledged.iter().filter(|body| !self.consumed.contains_key(*body)).collect();
        assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), self.acknowledged.len());
        let phantom: Vec<&String> = self.surely_not.iter().filter(|body| self.consumed.contains_key(*body)).collect();
        assert!(phantom.is_empty(), "said not to be stored: {phantom:?}");
        let owners = self.owners();
        assert_eq!(owners.len(), queues, "{owners:?}");
        assert!(owners.values().all(|owners| owners.len() == 1), "{owners:?}");
        assert!(self.handlers.is_empty());
    }

    fn twice(&self) -> usize {
        self.consumed.values().filter(|count| **count > 1).count()
    }
}

#[test]
fn in_peace_every_message_is_consumed_once() {
    let mut line = Line::new(1, false);
    line.join();
    line.join();
    line.run(300, 3);
    line.finish(8);
    assert_eq!((line.acknowledged.len(), line.consumed.len()), (900, 900));
    let shares: BTreeMap<usize, usize> = line.owners().into_values().fold(BTreeMap::new(), |mut shares, owners| {
        *shares.entry(owners[0]).or_default() += 1;
        shares
    });
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [4, 4]);
    assert!(line.twice() < 30, "only what was in flight when the second joined: {}", line.twice());
}

#[test]
fn members_come_and_go() {
    for seed in 0..2 {
        let mut line = Line::new(seed, false);
        let first = line.join();
        line.run(100, 3);
        line.join();
        line.run(50, 3);
        line.join();
        line.run(100, 3);
        line.kill_consumer(first);
        line.run(50, 3);
        let leaving = line.consumers[0];
        line.cluster.stop(leaving);
        line.run(100, 3);
        line.consumers.retain(|consumer| *consumer != leaving);
        line.handlers.retain(|(consumer, ..)| *consumer != leaving);
        line.finish(8);
    }
}

#[test]
fn brokers_and_name_servers_die_and_come_back() {
    for seed in 0..2 {
        let mut line = Line::new(seed, false);
        line.join();
        line.join();
        line.run(100, 3);
        let broker = line.brokers[seed as usize % 2];
        line.cluster.kill(broker);
        line.run(50, 3);
        for at in line.name_servers.clone() {
            line.cluster.kill(at);
        }
        line.run(100, 3);
        line.cluster.restart(broker);
        line.run(100, 3);
        for at in line.name_servers.clone() {
            line.cluster.restart(at);
        }
        line.run(400, 3);
        line.finish(8);
        assert_eq!(line.acknowledged.len() as u64, line.next_ticket, "no send failed: the other broker was there");
    }
}

#[test]
fn orderly_members_come_and_go_without_overlap_and_in_order() {
    for seed in 0..2 {
        let mut line = Line::new(seed, true);
        line.join();
        line.run(100, 2);
        line.join();
        line.run(150, 2);
        let third = line.join();
        line.run(150, 2);
        line.cluster.stop(third);
        line.run(100, 2);
        line.consumers.retain(|consumer| *consumer != third);
        line.finish(8);
        for (queue, offsets) in &line.order {
            assert!(offsets.is_sorted(), "{queue}: {offsets:?}");
        }
    }
}
