//! What a client knows of where topics are.
//!
//! Invariant: a route, once known, is kept until a newer one replaces it: name servers that are down or have forgotten a
//! broker for a moment do not stop a running client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::client::Queue;
use crate::node::Addr;
use crate::wire::route::{BrokerData, MASTER_ID, PERM_READ, PERM_WRITE, QueueData, TopicRouteData};

/// Queues that one broker may announce for a topic; a route with more is cut, so that a broken answer cannot fill the memory.
const QUEUES_MAX: i32 = 65_536;

/// The route of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    data: TopicRouteData,
    publish: Vec<Queue>,
    subscribe: Vec<Queue>,
}

impl Route {
    /// From the answer of a name server.
    pub fn new(mut data: TopicRouteData) -> Route {
        data.queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        data.broker_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let (publish, subscribe) = (publish(&data), subscribe(&data));
        Route { data, publish, subscribe }
    }

    /// The route that a topic would get if it were created after the default topic: at most `queues` queues a broker
    /// (Java `MQClientInstance.updateTopicRouteInfoFromNameServer`).
    pub fn of_default_topic(mut data: TopicRouteData, queues: i32) -> Route {
        for queue in &mut data.queue_datas {
            let at_most = queues.min(queue.read_queue_nums);
            queue.read_queue_nums = at_most;
            queue.write_queue_nums = at_most;
        }
        Route::new(data)
    }

    /// The queues that can be written to now: the broker's master is known and the topic is writable there. Sorted, unless
    /// the topic has an order of its own.
    pub fn publish(&self) -> &[Queue] {
        &self.publish
    }

    /// The queues that can be read, sorted.
    pub fn subscribe(&self) -> &[Queue] {
        &self.subscribe
    }

    /// The brokers with their replicas, by name.
    pub fn brokers(&self) -> &[BrokerData] {
        &self.data.broker_datas
    }
}

/// Java `MQClientInstance.topicRouteData2TopicPublishInfo`.
fn publish(data: &TopicRouteData) -> Vec<Queue> {
    if let Some(conf) = data.order_topic_conf.as_deref().filter(|conf| !conf.is_empty()) {
        return ordered(conf);
    }
    let has_master = |queue: &&QueueData| {
        let broker = data.broker_datas.iter().find(|broker| broker.broker_name == queue.broker_name);
        broker.is_some_and(|broker| broker.broker_addrs.contains_key(&MASTER_ID))
    };
    let may = |queue: &&QueueData| queue.perm & PERM_WRITE != 0 || crate::planted!("write-permission-ignored");
    let writable = data.queue_datas.iter().filter(may).filter(has_master);
    writable.flat_map(|queue| numbered(&queue.broker_name, queue.write_queue_nums)).collect()
}

/// Java `MQClientInstance.topicRouteData2TopicSubscribeInfo`.
fn subscribe(data: &TopicRouteData) -> Vec<Queue> {
    let readable = data.queue_datas.iter().filter(|queue| queue.perm & PERM_READ != 0);
    let all: BTreeSet<Queue> = readable.flat_map(|queue| numbered(&queue.broker_name, queue.read_queue_nums)).collect();
    all.into_iter().collect()
}

fn numbered(broker: &str, count: i32) -> impl Iterator<Item = Queue> + use<> {
    let broker: Arc<str> = Arc::from(broker);
    (0..count.min(QUEUES_MAX)).map(move |id| Queue::new(broker.clone(), id))
}

/// `broker:n;broker2:m`; a part that does not read is left out.
fn ordered(conf: &str) -> Vec<Queue> {
    let parts = conf.split(';').filter_map(|part| part.split_once(':'));
    let counts = parts.filter_map(|(broker, count)| Some((broker, count.trim().parse().ok()?)));
    counts.flat_map(|(broker, count)| numbered(broker, count)).collect()
}

/// The routes of all topics that a client is interested in.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    topics: BTreeMap<Arc<str>, Route>,
}

impl Routes {
    /// The route of a topic, if one was ever learnt.
    pub fn get(&self, topic: &str) -> Option<&Route> {
        self.topics.get(topic)
    }

    /// Every topic with its route.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.topics.iter().map(|(topic, route)| (&**topic, route))
    }

    /// Takes a newer route; whether it differs.
    pub fn learn(&mut self, topic: Arc<str>, route: Route) -> bool {
        let changed = self.topics.get(&topic) != Some(&route);
        self.topics.insert(topic, route);
        changed
    }

    /// Forgets a topic.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// The address of one replica of a broker.
    pub fn addr(&self, broker: &str, id: i64) -> Option<Addr> {
        self.replicas(broker).find_map(|data| data.broker_addrs.get(&id)).map(|addr| Addr::from(addr.as_str()))
    }

    /// The address of the replica with this id, or else of the one with the lowest (Java `findBrokerAddressInSubscribe`).
    pub fn addr_near(&self, broker: &str, id: i64) -> Option<(i64, Addr)> {
        if let Some(addr) = self.addr(broker, id) {
            return Some((id, addr));
        }
        let lowest = self.replicas(broker).filter_map(|data| data.broker_addrs.first_key_value()).min()?;
        Some((*lowest.0, Addr::from(lowest.1.as_str())))
    }

    /// Every broker address in any route, masters only if so asked.
    pub fn addrs(&self, masters_only: bool) -> BTreeSet<Addr> {
        let brokers = self.topics.values().flat_map(Route::brokers);
        let replicas = brokers.flat_map(|broker| &broker.broker_addrs);
        replicas
            .filter(|(id, _)| !masters_only || **id == MASTER_ID)
            .map(|(_, addr)| Addr::from(addr.as_str()))
            .collect()
    }

    fn replicas<'a>(&'a self, broker: &'a str) -> impl Iterator<Item = &'a BrokerData> {
        self.topics.values().flat_map(Route::brokers).filter(move |data| data.broker_name == broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    fn data(text: &str) -> TopicRouteData {
        json::from_slice(text.as_bytes()).unwrap()
    }

    fn names(queues: &[Queue]) -> String {
        queues.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    const ROUTE: &str = r#"{"brokerDatas":[
        {"brokerAddrs":{0:"b:1",1:"b:2"},"brokerName":"b","cluster":"c"},
        {"brokerAddrs":{0:"a:1"},"brokerName":"a","cluster":"c"},
        {"brokerAddrs":{2:"s:3",1:"s:2"},"brokerName":"slaves","cluster":"c"}],
        "queueDatas":[
        {"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":2},
        {"brokerName":"a","perm":4,"readQueueNums":2,"writeQueueNums":2},
        {"brokerName":"slaves","perm":6,"readQueueNums":1,"writeQueueNums":1},
        {"brokerName":"gone","perm":6,"readQueueNums":1,"writeQueueNums":1},
        {"brokerName":"closed","perm":2,"readQueueNums":1,"writeQueueNums":1}]}"#;

    #[test]
    fn writers_need_a_master_and_the_permission_readers_only_the_permission() {
        let route = Route::new(data(ROUTE));
        assert_eq!(names(route.publish()), "b:0 b:1");
        assert_eq!(names(route.subscribe()), "a:0 a:1 b:0 gone:0 slaves:0");
    }

    #[test]
    fn an_ordered_topic_names_its_queues() {
        let route = Route::new(TopicRouteData { order_topic_conf: Some("z:1;a:2;broken".into()), ..data(ROUTE) });
        assert_eq!(names(route.publish()), "z:0 a:0 a:1");
    }

    #[test]
    fn a_topic_to_be_created_has_no_more_queues_than_its_producer_wants() {
        let default = r#"{"brokerDatas":[{"brokerAddrs":{0:"a:1"},"brokerName":"a"},{"brokerAddrs":{0:"b:1"},"brokerName":"b"}],
            "queueDatas":[{"brokerName":"a","perm":7,"readQueueNums":8,"writeQueueNums":8},
            {"brokerName":"b","perm":7,"readQueueNums":2,"writeQueueNums":8}]}"#;
        let route = Route::of_default_topic(data(default), 4);
        assert_eq!(names(route.publish()), "a:0 a:1 a:2 a:3 b:0 b:1");
    }

    #[test]
    fn addresses_come_from_any_route() {
        let mut routes = Routes::default();
        assert!(routes.learn("T".into(), Route::new(data(ROUTE))));
        assert!(!routes.learn("T".into(), Route::new(data(ROUTE))), "nothing new");
        assert_eq!(routes.addr("b", 1).as_deref(), Some("b:2"));
        assert_eq!(routes.addr_near("slaves", 0), Some((1, Addr::from("s:2"))));
        assert_eq!(routes.addr_near("gone", 0), None);
        assert_eq!(routes.addrs(true).len(), 2);
        assert_eq!(routes.addrs(false).len(), 5);
    }

    #[test]
    fn an_absurd_number_of_queues_is_cut() {
        let route = r#"{"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":2147483647,"writeQueueNums":-5}]}"#;
        let route = Route::new(data(route));
        assert_eq!((route.subscribe().len(), route.publish().len()), (65_536, 0));
    }
}
