//! Sends, as clients see them.

use super::*;
use crate::message::batch::{self, BatchMessage};
use crate::message::record;
use crate::store::Flush;
use crate::wire::FLAG_ONEWAY;
use crate::wire::codes::response;

#[test]
fn a_message_goes_in_and_comes_out() {
    let mut world = World::new(config());
    assert!(world.events.contains(&BrokerEvent::Ready), "{:?}", world.events);
    let conn = world.connect(1);
    let answer = world.send(conn, "T", "UNIQ_KEY\x01k1\x02TAGS\x01a\x02");
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!((field(&answer, "queueId"), field(&answer, "queueOffset")), ("0", "0"));
    assert_eq!((field(&answer, "transactionId"), field(&answer, "MSG_REGION")), ("k1", "DefaultRegion"));
    assert_eq!(field(&answer, "TRACE_ON"), "true");
    assert_eq!(field(&answer, "msgId").len(), 32);
    let answer = world.ask(conn, pull("T", 0, 0, 4, "*"));
    assert_eq!((answer.code, answer.remark.as_deref()), (0, Some("FOUND")));
    assert_eq!((field(&answer, "nextBeginOffset"), field(&answer, "maxOffset")), ("1", "1"));
    let body = body_of(&answer);
    let records: Vec<_> = record::records(&body).collect();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].topic, records[0].body), ("T", &b"body"[..]));
    let properties = std::str::from_utf8(records[0].properties).unwrap();
    assert_eq!(
        properties,
        "UNIQ_KEY\x01k1\x02TAGS\x01a\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02CLUSTER\x01DefaultCluster\x02"
    );
    assert_eq!(records[0].born_host.to_string(), "10.0.0.1:40000");
}

#[test]
fn what_is_refused_is_not_stored() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let end = world.broker.store().marks().appended;
    for (topic, queue, properties, body, code, says) in [
        ("bad topic!", 0, "", "b", 29, "illegal characters"),
        ("", 0, "", "b", 29, "blank"),
        (&*"x".repeat(128), 0, "", "b", 29, "127"),
        ("SCHEDULE_TOPIC_XXXX", 0, "", "b", 16, "forbidden"),
        ("T", 99, "", "b", 29, "request queueId[99] is illegal, TopicConfig [topicName=T"),
        ("T", 0, "", "", 1, "no body"),
        ("T", 0, "DELAY\x013\x02", "b", 13, "DELAY"),
        ("T", 0, "DELAY\x01abc\x02", "b", 1, "DELAY"),
        ("T", 0, "TIMER_DELAY_SEC\x0110\x02", "b", 13, "timer"),
        ("T", 0, "TRAN_MSG\x01true\x02", "b", 13, "transactional"),
        ("%RETRY%bad group", 0, "", "b", 29, "illegal characters"),
        ("T", 0, &*format!("k\x01{}\x02", "v".repeat(32_764)), "b", 13, "properties length limit"),
        ("T", 0, "", &*"b".repeat((4 << 20) + 1), 13, "body length limit"),
    ] {
        let answer = world.ask(conn, send(topic, queue, properties, body));
        assert_eq!(answer.code, code, "{topic} {properties}: {answer:?}");
        assert!(answer.remark.as_deref().unwrap().contains(says), "{:?}", answer.remark);
        assert_eq!(field(&answer, "MSG_REGION"), "DefaultRegion");
    }
    for (code, says) in
        [(36, "retry"), (325, "request-reply"), (370, "recalling"), (37, "transactions"), (9999, "9999")]
    {
        let answer = world.ask(conn, frame(code, &[("topic", "T")]));
        assert_eq!(answer.code, 3);
        assert!(answer.remark.as_deref().unwrap().contains(says), "{:?}", answer.remark);
    }
    assert_eq!(world.broker.store().marks().appended, end, "nothing was stored");
}

#[test]
fn unknown_topics_are_created_only_when_they_may_be() {
    let mut world = World::new(BrokerConfig { auto_create_topic: false, ..config() });
    let conn = world.connect(1);
    let answer = world.send(conn, "New", "");
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
    assert!(answer.remark.unwrap().starts_with("topic[New] not exist, apply first please!"));
    assert_eq!(world.send(conn, "%RETRY%g", "").code, 0, "a retry topic is made for a group that exists or may");
    assert_eq!(world.broker.topics().get("%RETRY%g").unwrap().config.write_queue_nums, 1);
}

#[test]
fn a_send_to_a_new_topic_waits_until_the_topic_is_saved() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.disk.refuse_replace = true;
    let answer = world.send(conn, "New", "");
    assert_eq!(answer.code, response::SERVICE_NOT_AVAILABLE, "{answer:?}");
    // The next try is seconds away: who comes before it is not kept waiting.
    let next = world.post(conn, send("New", 0, "", "b"));
    world.quiet();
    let answer = world.answer(conn, next).expect("an answer at once");
    assert_eq!(answer.code, response::SERVICE_NOT_AVAILABLE, "{answer:?}");
    assert!(
        answer.remark.as_deref().is_some_and(|text| text.contains("topics.json cannot be written: ")),
        "{answer:?}"
    );
    assert_eq!(world.broker.store().marks().appended, 0);
    world.disk.refuse_replace = false;
    world.pass(Duration::from_secs(6));
    assert_eq!(world.send(conn, "New", "").code, 0);
    let saved = String::from_utf8(world.disk.content("config/topics.json").unwrap().clone()).unwrap();
    assert!(saved.contains("\"New\""), "{saved}");
}

#[test]
fn a_synchronous_send_waits_for_the_disk_and_not_for_ever() {
    let mut world =
        World::new(BrokerConfig { store: StoreConfig { flush: Flush::Sync, ..config().store }, ..config() });
    let conn = world.connect(1);
    assert_eq!(world.send(conn, "T", "").code, 0);
    world.disk.stalled = true;
    let waiting = world.post(conn, send("T", 0, "", "b"));
    let not_waiting = world.post(conn, send("T", 0, "WAIT\x01false\x02", "b"));
    world.quiet();
    assert_eq!(world.answer(conn, not_waiting).expect("it does not wait").code, 0);
    assert!(world.answer(conn, waiting).is_none());
    assert_eq!(world.broker.pending_acks().waiting_for_sync(), 1);
    world.pass(Duration::from_millis(4_900));
    assert!(world.answer(conn, waiting).is_none());
    world.pass(Duration::from_millis(200));
    let late = world.answer(conn, waiting).expect("patience is five seconds");
    assert_eq!((late.code, field(&late, "queueOffset")), (response::FLUSH_DISK_TIMEOUT, "1"));
    world.disk.stalled = false;
    world.quiet();
    assert_eq!(world.send(conn, "T", "").code, 0);
}

#[test]
fn a_oneway_request_is_done_and_not_answered() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.sent.clear();
    let mut oneway = send("T", 0, "", "b");
    oneway.flag = FLAG_ONEWAY;
    world.post(conn, oneway);
    let mut bad = send("bad topic!", 0, "", "b");
    bad.flag = FLAG_ONEWAY;
    world.post(conn, bad);
    world.quiet();
    assert!(world.sent.is_empty(), "{:?}", world.sent);
    assert_eq!(world.broker.store().queue_range("T", 0), 0..2);
}

#[test]
fn a_batch_is_stored_as_a_whole() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let message = |text: &'static str| BatchMessage {
        flag: 7,
        body: Bytes::from_static(text.as_bytes()),
        properties: Bytes::from_static(b"TAGS\x01x\x02"),
    };
    let mut request = send("T", 1, "UNIQ_KEY\x01outer\x02", "");
    request.code = request::SEND_BATCH_MESSAGE;
    request.body = batch::encode(&[message("one"), message("two"), message("three")]);
    let answer = world.ask(conn, request.clone());
    assert_eq!((answer.code, field(&answer, "queueOffset")), (0, "0"), "{answer:?}");
    assert_eq!(field(&answer, "msgId").split(',').count(), 3);
    assert_eq!(field(&answer, "transactionId"), "outer");
    let body = body_of(&world.ask(conn, pull("T", 1, 0, 4, "x")));
    let bodies: Vec<&[u8]> = record::records(&body).map(|record| record.body).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"three"]);
    request.body = request.body.slice(..request.body.len() - 1);
    let end = world.broker.store().marks().appended;
    assert_eq!(world.ask(conn, request).code, 1, "a batch that was cut is refused");
    assert_eq!(world.broker.store().marks().appended, end);
}

#[test]
fn too_many_waiting_answers_turn_senders_away() {
    let store = StoreConfig { flush: Flush::Sync, ..config().store };
    let mut world = World::new(BrokerConfig { store, pending_ack_bytes_max: 1000, ..config() });
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.disk.stalled = true;
    let codes: Vec<Option<i32>> = (0..10)
        .map(|_| {
            let opaque = world.post(conn, send("T", 0, "", "b"));
            world.answer(conn, opaque).map(|answer| answer.code)
        })
        .collect();
    assert_eq!(codes[0], None, "the first waits");
    assert_eq!(codes[9], Some(response::SYSTEM_BUSY), "the last is told to come back");
    world.disk.stalled = false;
    world.quiet();
    assert!(world.broker.pending_acks().is_empty());
    assert_eq!(world.send(conn, "T", "").code, 0);
}

#[test]
fn a_failed_sync_ends_the_taking_of_messages() {
    let store = StoreConfig { flush: Flush::Sync, ..config().store };
    let mut world = World::new(BrokerConfig { store, ..config() });
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.disk.fail_syncs = true;
    let answer = world.send(conn, "T", "");
    assert_eq!(answer.code, response::FLUSH_DISK_TIMEOUT, "it is stored but not durable: {answer:?}");
    world.disk.fail_syncs = false;
    assert_eq!(world.send(conn, "T", "").code, response::SERVICE_NOT_AVAILABLE);
    assert!(world.notices().iter().any(|text| text.contains("takes no more messages")), "{:?}", world.notices());
    assert_eq!(world.ask(conn, pull("T", 0, 0, 4, "*")).code, 0, "what is there can still be read");
}
