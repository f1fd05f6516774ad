//! Concurrent consumption.

use super::*;
use crate::wire::admin::{ConsumeStatus, ConsumerRunningInfo, GetConsumerRunningInfoHeader, ProcessQueueInfo};
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::lock::MessageQueue;

const ME: &str = "127.0.0.1@1#1";

#[test]
fn everything_is_delivered_once_and_committed_every_five_seconds() {
    let broker = Broker::new(2);
    broker.borrow_mut().append(0, 50, "x");
    broker.borrow_mut().append(1, 3, "x");
    let mut world = World::reading(config(), broker, "*");
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1"));
    let first = world.delivered();
    assert_eq!(first.len(), 20, "as many deliveries as the limit allows");
    for (delivery, _) in &first[..2] {
        world.consume(*delivery, Outcome::Success);
    }
    let turn = world.delivered();
    assert_eq!(
        turn.iter().map(|(_, bodies)| bodies[0].as_str()).collect::<Vec<_>>(),
        ["1-0", "0-20"],
        "queues take turns"
    );
    for (delivery, _) in first[2..].iter().chain(&turn) {
        world.consume(*delivery, Outcome::Success);
    }
    let mut rest = world.drain();
    world.append(1, 2, "x");
    rest.extend(world.drain());
    assert_eq!(rest.len() + 22, 55);
    assert_eq!(world.bench.node.unfinished(), 0);
    world.bench.pass(5000);
    let broker = world.broker.borrow();
    assert_eq!(broker.commits, [(0, 50), (1, 5)]);
}

#[test]
fn nothing_beyond_an_unfinished_message_is_committed() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 5, "x");
    let mut world = World::reading(config(), broker, "*");
    let delivered = world.delivered();
    for (delivery, _) in &delivered[2..] {
        world.consume(*delivery, Outcome::Success);
    }
    world.bench.pass(5000);
    world.consume(delivered[0].0, Outcome::Success);
    world.bench.pass(5000);
    world.consume(delivered[1].0, Outcome::Success);
    world.bench.pass(5000);
    assert_eq!(world.broker.borrow().commits, [(0, 0), (0, 1), (0, 5)]);
}

#[test]
fn a_failed_message_comes_again_after_five_seconds_with_a_notice() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 2, "x");
    let mut world = World::reading(config(), broker, "*");
    let delivered = world.delivered();
    world.consume(delivered[0].0, Outcome::Later);
    world.consume(delivered[1].0, Outcome::Success);
    world.bench.pass(4999);
    assert!(world.bodies().is_empty());
    world.bench.pass(1);
    let again = world.bench.events().into_iter().find_map(|event| match event {
        ConsumerEvent::Deliver { messages, .. } => Some(messages),
        ConsumerEvent::Notice(text) => {
            assert!(text.contains("not offered yet"), "{text}");
            None
        }
        _ => None,
    });
    let again = again.expect("it was delivered again");
    assert_eq!((again[0].offset, again[0].reconsume_times), (0, 1));
    assert!(world.broker.borrow().commits.iter().all(|(_, offset)| *offset == 0));
}

#[test]
fn tags_are_filtered_exactly_and_what_is_filtered_counts_as_consumed() {
    let broker = Broker::new(1);
    for tag in ["Aa", "BB", "C", "Aa", "BB"] {
        broker.borrow_mut().append(0, 1, tag);
    }
    let mut world = World::reading(config(), broker, "Aa || C");
    assert_eq!(world.drain(), ["0-0", "0-2", "0-3"], "Aa and BB have one hash");
    world.bench.pass(5000);
    assert_eq!(world.broker.borrow().committed[&0], 5);
    let heartbeats = world.bench.taken(code::HEART_BEAT);
    let data: HeartbeatData = json::from_slice(&heartbeats[0].1.body).unwrap();
    let subscription = &data.consumer_data_set[0].subscription_data_set[1];
    assert_eq!((subscription.topic.as_str(), subscription.code_set.len()), ("T", 2));
    assert_eq!(data.consumer_data_set[0].subscription_data_set[0].topic, "%RETRY%G");
}

#[test]
fn a_group_begins_where_it_is_told_to_and_goes_on_where_it_was() {
    let begin = |from: FromWhere, committed: Option<i64>| {
        let broker = Broker::new(1);
        broker.borrow_mut().append(0, 10, "x");
        broker.borrow_mut().committed.extend(committed.map(|offset| (0, offset)));
        let mut world = World::reading(ConsumerConfig { from, ..config() }, broker, "*");
        world.append(0, 1, "x");
        world.bodies().first().cloned()
    };
    assert_eq!(begin(FromWhere::First, None).as_deref(), Some("0-0"));
    assert_eq!(begin(FromWhere::Last, None).as_deref(), Some("0-10"));
    assert_eq!(begin(FromWhere::Timestamp(4000), None).as_deref(), Some("0-4"));
    for from in [FromWhere::First, FromWhere::Last, FromWhere::Timestamp(4000)] {
        assert_eq!(begin(from, Some(7)).as_deref(), Some("0-7"));
    }
}

#[test]
fn an_offset_out_of_range_is_corrected_and_committed() {
    for (committed, min, corrected) in [(30, 0, 10), (2, 5, 5)] {
        let broker = Broker::new(1);
        broker.borrow_mut().append(0, 10, "x");
        broker.borrow_mut().committed.insert(0, committed);
        broker.borrow_mut().min = min;
        let mut world = World::reading(config(), broker, "*");
        let told = world.bench.events.iter().any(|event| {
            matches!(event, ConsumerEvent::Corrected { from, to, .. } if (*from, *to) == (committed, corrected))
        });
        assert!(told);
        assert_eq!(world.broker.borrow().commits[0], (0, corrected));
        assert_eq!(world.drain().len() as i64, 10 - corrected);
    }
}

#[test]
fn a_reset_delivers_again_and_old_outcomes_count_for_nothing() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 3, "x");
    let mut world = World::reading(config(), broker, "*");
    let old = world.delivered();
    world.broker.borrow_mut().reset = Some((0, 1));
    world.append(0, 1, "x");
    let again = world.delivered();
    assert_eq!(again.iter().map(|(_, bodies)| bodies[0].as_str()).collect::<Vec<_>>(), ["0-1", "0-2", "0-3"]);
    for (delivery, _) in old {
        world.consume(delivery, Outcome::Success);
    }
    world.bench.pass(5000);
    assert_eq!(world.broker.borrow().committed[&0], 1);
    assert_eq!(world.bench.node.in_flight(), 3);
}

/// The broker lost its tail, and sends the consumer back to what it has: a message before that may still wait to be tried again.
#[test]
fn a_correction_leads_past_no_unfinished_message() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 4, "x");
    let mut world = World::reading(config(), broker, "*");
    let delivered = world.delivered();
    delivered[1..].iter().for_each(|(delivery, _)| world.consume(*delivery, Outcome::Success));
    world.consume(delivered[0].0, Outcome::Later);
    world.broker.borrow_mut().lost_its_tail = true;
    world.broker.borrow_mut().reset = Some((0, 2));
    world.append(0, 1, "x");
    let told = |event: &ConsumerEvent| matches!(event, ConsumerEvent::Corrected { from: 4, to: 0, .. });
    assert!(world.bench.events.iter().any(told), "{:?}", world.bench.events);
    assert_eq!(world.bodies().first().map(String::as_str), Some("0-0"));
}

#[test]
fn members_share_queues_and_hand_them_over_with_their_offsets() {
    let broker = Broker::new(4);
    for queue in 0..4 {
        broker.borrow_mut().append(queue, 2, "x");
    }
    let mut world = World::reading(config(), broker, "*");
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1 a:2 a:3"));
    let delivered = world.delivered();
    for (delivery, bodies) in &delivered {
        if bodies[0].ends_with("-0") {
            world.consume(*delivery, Outcome::Success);
        }
    }
    world.members(&[ME, "127.0.0.1@2#2"]);
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1"));
    assert_eq!(world.broker.borrow().commits, [(2, 1), (3, 1)], "what goes is committed as far as it was consumed");
    for (delivery, bodies) in &delivered {
        if bodies[0].ends_with("-1") {
            world.consume(*delivery, Outcome::Success);
        }
    }
    world.bench.pass(5000);
    assert_eq!(world.broker.borrow().commits[2..], [(0, 2), (1, 2)]);
    world.members(&[ME]);
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1 a:2 a:3"));
    assert_eq!(world.drain(), ["2-1", "3-1"], "delivered again, for they had no outcome in time");
}

#[test]
fn a_list_without_this_member_is_asked_for_again_before_queues_are_given_away() {
    let mut world = World::reading(config(), Broker::new(2), "*");
    world.assigned();
    world.bench.taken(code::HEART_BEAT);
    world.members(&["127.0.0.1@2#2"]);
    assert_eq!(world.assigned(), None);
    assert_eq!(world.bench.taken(code::HEART_BEAT).len(), 1);
    world.bench.pass(1000);
    assert_eq!(world.assigned().as_deref(), Some(""));
    world.members(&[ME]);
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1"));
}

#[test]
fn queues_are_shared_anew_every_twenty_seconds_and_when_the_topic_grows() {
    let mut world = World::reading(config(), Broker::new(2), "*");
    world.bench.taken(code::GET_CONSUMER_LIST_BY_GROUP);
    world.bench.pass(60_000);
    assert_eq!(world.bench.taken(code::GET_CONSUMER_LIST_BY_GROUP).len(), 3);
    world.broker.borrow_mut().queues = 3;
    world.assigned();
    world.bench.pass(30_000);
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1 a:2"));
}

#[test]
fn flow_control_stops_pulling_until_something_is_consumed() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 300, "x");
    let mut world = World::reading(ConsumerConfig { queue_messages_max: 100, ..config() }, broker, "*");
    assert_eq!(world.bench.node.unfinished(), 128, "the pull that crossed the line is the last");
    world.bench.pass(60_000);
    assert_eq!(world.bench.node.unfinished(), 128);
    assert_eq!(world.drain().len(), 300);

    // The first pull has 118 bytes: it does not cross the line, the second does.
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 300, "x");
    let mut world = World::reading(ConsumerConfig { queue_bytes_max: 118, ..config() }, broker, "*");
    world.bench.pass(60_000);
    assert_eq!((world.bench.node.unfinished(), world.drain().len()), (64, 300), "bytes count too");

    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 300, "x");
    let mut world = World::reading(ConsumerConfig { queue_span_max: 50, deliveries_max: 500, ..config() }, broker, "*");
    let delivered = world.delivered();
    for (delivery, _) in &delivered[1..] {
        world.consume(*delivery, Outcome::Success);
    }
    assert_eq!((delivered.len(), world.bodies().len()), (64, 32), "the first message holds the window");
    world.bench.pass(60_000);
    assert_eq!(world.bench.node.unfinished(), 33);
    world.consume(delivered[0].0, Outcome::Success);
    assert_eq!(world.bodies().first().map(String::as_str), Some("0-96"));
}

#[test]
fn a_broker_that_does_not_know_the_group_gets_a_heartbeat() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 1, "x");
    broker.borrow_mut().pull_code = Some(response::SUBSCRIPTION_NOT_EXIST);
    let mut world = World::reading(config(), broker, "*");
    assert_eq!(world.bench.taken(code::HEART_BEAT).len(), 2);
    world.broker.borrow_mut().pull_code = None;
    assert!(world.bodies().is_empty());
    world.bench.pass(1000);
    assert_eq!(world.bodies(), ["0-0"]);
}

#[test]
fn a_broker_that_comes_back_is_read_on() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 2, "x");
    let mut world = World::reading(config(), broker, "*");
    assert_eq!(world.drain().len(), 2);
    world.bench.crash("a:1");
    world.bench.pass(10_000);
    world.bench.down.clear();
    world.broker.borrow_mut().append(0, 2, "x");
    world.bench.taken(code::HEART_BEAT);
    world.bench.pass(1000);
    assert_eq!(world.drain(), ["0-2", "0-3"]);
    assert_eq!(world.bench.taken(code::HEART_BEAT).len(), 1);
}

#[test]
fn a_stop_commits_and_says_goodbye() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 3, "x");
    let mut world = World::reading(config(), broker, "*");
    let delivered = world.delivered();
    world.bench.step(Input::Stop);
    assert!(!world.bench.stopped, "it waits for outcomes");
    for (delivery, _) in delivered {
        world.consume(delivery, Outcome::Success);
    }
    assert!(world.bench.stopped);
    assert_eq!(world.broker.borrow().commits, [(0, 3)]);
    let order: Vec<i32> = world.bench.sent.iter().rev().take(2).map(|(_, frame)| frame.code).collect();
    assert_eq!(order, [code::UNREGISTER_CLIENT, code::UPDATE_CONSUMER_OFFSET]);

    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 3, "x");
    let mut world = World::reading(config(), broker, "*");
    world.bench.step(Input::Stop);
    world.bench.pass(3000);
    assert!(world.bench.stopped, "a handler that never answers does not hold it for ever");
    assert_eq!(world.broker.borrow().commits, [(0, 0)]);
}

#[test]
fn what_is_wrong_is_refused() {
    let cases = [
        (ConsumerConfig { model: Model::Broadcasting, ..config() }, "broadcasting is not offered yet"),
        (ConsumerConfig { group: "".into(), ..config() }, "the specified group is blank"),
        (
            ConsumerConfig { group: "DEFAULT_CONSUMER".into(), ..config() },
            "consumerGroup can not equal DEFAULT_CONSUMER",
        ),
    ];
    for (config, text) in cases {
        let mut world = World::reading(config, Broker::new(1), "*");
        assert!(matches!(&world.bench.events[0], ConsumerEvent::Refused(why) if why.starts_with(text)));
        world.bench.pass(60_000);
        assert!(world.bench.sent.is_empty());
        world.bench.step(Input::Stop);
        assert!(world.bench.stopped);
    }
    let world = World::reading(config(), Broker::new(1), "||");
    assert!(world.bench.events.iter().any(|event| matches!(event, ConsumerEvent::Refused(_))));
}

#[test]
fn a_topic_is_read_no_longer_after_unsubscribing() {
    let mut world = World::reading(config(), Broker::new(2), "*");
    world.bench.command(ConsumerCommand::Unsubscribe("T".into()));
    assert_eq!(world.assigned().as_deref(), Some(""));
    world.append(0, 1, "x");
    world.bench.pass(60_000);
    assert!(world.bodies().is_empty());
    assert_eq!(world.bench.node.owned().count(), 0);
}

#[test]
fn a_broken_record_is_told_and_passed_over() {
    let broker = Broker::new(1);
    broker.borrow_mut().append(0, 3, "x");
    {
        let mut broker = broker.borrow_mut();
        let record = &mut broker.log.get_mut(&0).unwrap()[1].0;
        let mut bytes = record.to_vec();
        bytes[9] ^= 1;
        *record = bytes.into();
    }
    let mut world = World::reading(config(), broker, "*");
    assert_eq!(world.drain(), ["0-0", "0-2"]);
    let told = world.bench.events.iter().any(|event| matches!(event, ConsumerEvent::Malformed { offset: Some(1), .. }));
    assert!(told);
    world.bench.pass(5000);
    assert_eq!(world.broker.borrow().committed[&0], 3);
}

#[test]
fn requests_that_are_not_offered_are_answered_so() {
    let mut world = World::reading(config(), Broker::new(1), "*");
    world.bench.sent.clear();
    world.bench.push("a:1", &Frame { opaque: 9, ..Frame::request(code::CONSUME_MESSAGE_DIRECTLY) });
    let (_, answer) = &world.bench.sent[0];
    assert_eq!((answer.code, answer.opaque, answer.is_response()), (response::REQUEST_CODE_NOT_SUPPORTED, 9, true));
}

#[test]
fn an_operator_is_told_how_a_member_is() {
    let broker = Broker::new(2);
    broker.borrow_mut().append(0, 5, "x");
    let mut world = World::reading(config(), broker, "x||y");
    let started_ms = world.bench.now.wall_ms;
    let delivered = world.delivered();
    world.bench.pass(400);
    world.consume(delivered[0].0, Outcome::Success);
    world.consume(delivered[1].0, Outcome::Later);
    world.bench.pass(600);
    let mut ask = |group: &str, jstack_enable: bool| {
        let (consumer_group, client_id) = (group.to_owned(), ME.to_owned());
        let header = GetConsumerRunningInfoHeader { consumer_group, client_id, jstack_enable };
        world.bench.sent.clear();
        world.bench.push("a:1", &Frame::request(code::GET_CONSUMER_RUNNING_INFO).with_header(&header));
        let answer = world.bench.sent.iter().map(|(_, frame)| frame.clone()).find(Frame::is_response);
        answer.expect("an answer")
    };
    let refused = ask("H", false);
    let text = "The Consumer Group <H> not exist in this consumer";
    assert_eq!((refused.code, refused.remark.as_deref()), (response::SYSTEM_ERROR, Some(text)));

    let info = ask("G", false);
    assert!(info.body.starts_with(br#"{"mqPopTable":{},"mqTable":{{"brokerName":"a","queueId":0,"topic":"T"}:{"#));
    let info: ConsumerRunningInfo = json::from_slice(&info.body).unwrap();
    assert_eq!(info.jstack, None);
    let ms = started_ms as i64;
    let queue = |queue_id: i32| MessageQueue { broker_name: "a".into(), queue_id, topic: "T".into() };
    let expected = ProcessQueueInfo {
        commit_offset: 1,
        cached_msg_count: 4,
        cached_msg_min_offset: 1,
        cached_msg_max_offset: 4,
        last_pull_timestamp: ms,
        last_consume_timestamp: ms + 400,
        last_lock_timestamp: ms,
        ..ProcessQueueInfo::default()
    };
    assert_eq!(info.mq_table[&queue(0)], expected);
    assert_eq!((info.mq_table.len(), info.mq_table[&queue(1)].cached_msg_count), (2, 0));
    let status = ConsumeStatus {
        pull_rt: 0.0,
        pull_tps: 5.0,
        consume_rt: 400.0,
        consume_ok_tps: 1.0,
        consume_failed_tps: 1.0,
        consume_failed_msgs: 1,
    };
    assert_eq!(info.status_table["T"], status);
    let topics: Vec<_> = info.subscription_set.iter().map(|data| (&*data.topic, &*data.sub_string)).collect();
    assert_eq!(topics, [("%RETRY%G", "*"), ("T", "x||y")]);
    for (name, value) in [
        ("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY"),
        ("PROP_NAMESERVER_ADDR", "n:1"),
        ("PROP_CONSUMEORDERLY", "false"),
        ("PROP_CONSUMER_START_TIMESTAMP", &*ms.to_string()),
        ("consumerGroup", "G"),
    ] {
        assert_eq!(info.properties[name], value, "{name}");
    }
    let info: ConsumerRunningInfo = json::from_slice(&ask("G", true).body).unwrap();
    let expected = "3 deliveries without an outcome\nT a:0 offsets 2 to 2: for 1000 ms\n";
    assert!(info.jstack.as_ref().is_some_and(|text| text.starts_with(expected)), "{:?}", info.jstack);

    // What failed counts for an hour, in steps of ten minutes; rates are those of a minute.
    world.bench.pass(3_000_000);
    let mut failed_after = |ms: u64| {
        world.bench.pass(ms);
        let now = world.bench.now;
        world.bench.node.stats["T"].status(now.mono).consume_failed_msgs
    };
    assert_eq!(failed_after(0), 1);
    assert_eq!(failed_after(1_200_000), 0);
    assert_eq!(world.bench.node.stats["T"].status(world.bench.now.mono).consume_failed_tps, 0.0);
}
