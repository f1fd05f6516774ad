//! What tools ask.

use super::*;
use crate::message::record;
use crate::wire::group::ConsumeStats;
use crate::wire::json;
use crate::wire::topic::TopicStatsTable;

#[test]
fn topics_and_groups_are_administered() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    let topic = |name: &str, queues: &str, perm: &str| {
        frame(
            request::UPDATE_AND_CREATE_TOPIC,
            &[
                ("topic", name),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", queues),
                ("writeQueueNums", queues),
                ("perm", perm),
                ("topicFilterType", "SINGLE_TAG"),
                ("topicSysFlag", "0"),
                ("order", "false"),
            ],
        )
    };
    assert_eq!(world.ask(conn, topic("A", "2", "6")).code, 0);
    assert_eq!(world.ask(conn, topic("A", "2", "6")).code, 0, "again");
    for (name, queues, perm, says) in [
        ("TBW102", "2", "6", "conflict with system topic"),
        ("bad name", "2", "6", "illegal characters"),
        ("B", "0", "6", "0 read"),
        ("B", "1", "99", "perm 99"),
    ] {
        let answer = world.ask(conn, topic(name, queues, perm));
        assert_eq!(answer.code, 29, "{name}");
        assert!(answer.remark.unwrap().contains(says));
    }
    let saved = String::from_utf8(world.disk.content("config/topics.json").unwrap().clone()).unwrap();
    assert!(saved.contains("\"A\""));
    let stats = world.ask(conn, frame(request::GET_TOPIC_STATS_INFO, &[("topic", "A")]));
    assert!(String::from_utf8_lossy(&stats.body).contains(r#"{"brokerName":"broker-a","queueId":1,"topic":"A"}:"#));
    assert_eq!(world.ask(conn, frame(request::DELETE_TOPIC_IN_BROKER, &[("topic", "A")])).code, 0);
    assert_eq!(world.ask(conn, frame(request::GET_TOPIC_CONFIG, &[("topic", "A")])).code, 17);
    let group = frame(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[])
        .with_body(r#"{"groupName":"G","consumeEnable":false}"#);
    assert_eq!(world.ask(conn, group).code, 0);
    let config = world.ask(conn, frame(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "G")]));
    assert!(String::from_utf8_lossy(&config.body).contains(r#""consumeEnable":false"#));
    let bad = frame(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]).with_body(r#"{"groupName":"bad name"}"#);
    assert_eq!(world.ask(conn, bad).code, 29);
}

#[test]
fn statistics_of_a_group_are_those_of_the_topics_that_were_asked_for() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.ask(conn, beat("a", "CG", "A"));
    for topic in ["A", "B", "C"] {
        world.send(conn, topic, "");
        let commit = [("consumerGroup", "CG"), ("topic", topic), ("queueId", "0"), ("commitOffset", "1")];
        assert_eq!(world.ask(conn, frame(request::UPDATE_CONSUMER_OFFSET, &commit)).code, 0);
    }
    let mut topics = |more: &[(&str, &str)]| {
        let fields = [&[("consumerGroup", "CG")], more].concat();
        let stats = world.ask(conn, frame(request::GET_CONSUME_STATS, &fields));
        let stats: ConsumeStats = json::from_slice(&stats.body).unwrap();
        let topics: std::collections::BTreeSet<_> = stats.offset_table.into_keys().map(|queue| queue.topic).collect();
        topics.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(topics(&[]), "A B C");
    assert_eq!(topics(&[("topic", "B")]), "B");
    assert_eq!(topics(&[("topicList", "A;C;")]), "A C");
    assert_eq!(topics(&[("topic", "B"), ("topicList", "A;No;A")]), "A", "the list wins");
    assert_eq!(topics(&[("topic", ""), ("topicList", ";")]), "A B C");
}

#[test]
fn the_rate_of_a_topic_is_that_of_the_last_minute() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let rate = |world: &mut World, seconds: u64| {
        world.pass(Duration::from_secs(seconds));
        let stats = world.ask(conn, frame(request::GET_TOPIC_STATS_INFO, &[("topic", "T")]));
        json::from_slice::<TopicStatsTable>(&stats.body).unwrap().topic_put_tps
    };
    assert_eq!(rate(&mut world, 60), 0.0, "the only message was sent before the first sample");
    (0..30).for_each(|_| assert_eq!(world.send(conn, "T", "").code, 0));
    let of_a_minute = rate(&mut world, 20);
    assert!((0.4..=1.6).contains(&of_a_minute), "{of_a_minute}");
    assert_eq!(rate(&mut world, 100), 0.0);
}

#[test]
fn properties_change_in_a_running_broker_and_after_a_restart() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    let update = |text: &str| frame(request::UPDATE_BROKER_CONFIG, &[]).with_body(text.to_owned());
    assert_eq!(world.ask(conn, update("brokerPermission=4\n")).code, 0);
    assert_eq!(world.ask(conn, update("brokerConfigPath=x")).code, 16);
    assert_eq!(world.ask(conn, update("noSuchKey=1")).code, 29);
    assert_eq!(world.ask(conn, update("maxMsgsNumBatch=abc")).code, 29);
    assert_eq!(world.ask(conn, update("listenPort=1")).code, 29, "not in a running broker");
    let text = world.ask(conn, frame(request::GET_BROKER_CONFIG, &[])).body;
    assert!(String::from_utf8_lossy(&text).contains("brokerPermission=4\n"));
    let world = world.restart(config());
    assert_eq!(world.broker.config().permission, 4);
    assert!(world.notices().iter().any(|text| text.contains("brokerPermission=4")));
}

#[test]
fn messages_are_found_by_id_by_key_and_by_tag() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "KEYS\x01one two\x02UNIQ_KEY\x01u1\x02");
    world.send(conn, "T", "KEYS\x01two\x02UNIQ_KEY\x01u2\x02");
    let query = |key: &str, max: &str| {
        let to = (BORN + 1000).to_string();
        frame(
            request::QUERY_MESSAGE,
            &[("topic", "T"), ("key", key), ("maxNum", max), ("beginTimestamp", "0"), ("endTimestamp", &to)],
        )
    };
    for (key, max, count) in
        [("one", "8", 1), ("two", "8", 2), ("two", "1", 1), ("u2", "8", 1), ("none", "8", 0), ("one", "0", 0)]
    {
        let answer = world.ask(conn, query(key, max));
        assert_eq!(answer.code, if count > 0 { 0 } else { 22 }, "{key}");
        assert_eq!(record::records(&body_of(&answer)).count(), count, "{key}");
    }
    world.send(conn, "T", "TAGS\x01one\x02UNIQ_KEY\x01u3\x02");
    for (key, kind, count) in [("one", "T", 1), ("two", "T", 0), ("one", "K", 1), ("u3", "U", 1), ("u3", "T", 0)] {
        let mut of_kind = query(key, "8");
        of_kind.fields.push_str("indexType", kind);
        assert_eq!(record::records(&body_of(&world.ask(conn, of_kind))).count(), count, "{key} as {kind}");
    }
    let view = |offset: &str| frame(request::VIEW_MESSAGE_BY_ID, &[("offset", offset)]);
    assert_eq!(record::records(&body_of(&world.ask(conn, view("0")))).count(), 1);
    assert_eq!(world.ask(conn, view("3")).code, 1);
    assert_eq!(world.ask(conn, view("-1")).code, 1);
}

#[test]
fn no_request_makes_the_broker_panic() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    for code in (0..420).chain([513, 904, 1001, 2003, 200_050]) {
        for fields in [&[][..], &[("topic", ""), ("queueId", "-9"), ("group", ""), ("consumerGroup", "")][..]] {
            for body in ["", "{}", "[", "\u{0}\u{ff}", r#"{"clientID":1}"#] {
                world.post(conn, frame(code, fields).with_body(body.to_owned()));
            }
        }
    }
    world.quiet();
    assert_eq!(world.send(conn, "T", "").code, 0);
}

#[test]
fn tools_see_clients_and_their_progress() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.send(conn, "T", "");
    world.ask(conn, beat("a", "CG", "T"));
    world.ask(conn, pull("T", 0, 0, 5, "*"));
    let text = |world: &mut World, code: i32, fields: &[(&str, &str)]| {
        let answer = world.ask(conn, frame(code, fields));
        assert_eq!(answer.code, 0, "{code}: {answer:?}");
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    let connections = text(&mut world, request::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "CG")]);
    assert!(connections.contains(r#""clientAddr":"10.0.0.1:40000","clientId":"a""#), "{connections}");
    assert!(connections.contains(r#""messageModel":"CLUSTERING""#), "{connections}");
    let stats = text(&mut world, request::GET_CONSUME_STATS, &[("consumerGroup", "CG"), ("topic", "")]);
    assert!(stats.contains(r#""brokerOffset":2,"consumerOffset":3"#), "{stats}");
    let who = text(&mut world, request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "T")]);
    assert_eq!(who, r#"{"groupList":["CG"]}"#);
    let topics = text(&mut world, request::QUERY_TOPICS_BY_CONSUMER, &[("group", "CG")]);
    assert_eq!(topics, r#"{"brokerAddr":"127.0.0.1:10911","topicList":["T"]}"#);
    let info = text(&mut world, request::GET_BROKER_RUNTIME_INFO, &[]);
    for key in [r#""msgPutTotalTodayNow":"2""#, r#""brokerVersionDesc":"V5_5_0""#, r#""timerReadBehind":"0""#] {
        assert!(info.contains(key), "{key} is in {info}");
    }
    let list = text(&mut world, request::GET_ALL_TOPIC_CONFIG, &[("topicSeq", "0"), ("maxTopicNum", "1")]);
    assert_eq!(list.matches("topicName").count(), 1);
}
