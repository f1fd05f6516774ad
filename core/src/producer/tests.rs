//! The producer against a scripted cluster.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;
use crate::client::bench::{Answer, Bench, reply};
use crate::message::batch;
use crate::message::compress::{self, FLAG_COMPRESSED};
use crate::node::Addr;
use crate::wire::codes::response;
use crate::wire::send::SendMessageResponseHeader;

/// Which code each broker answers sends with; absent: success.
type Codes = Rc<RefCell<BTreeMap<&'static str, i32>>>;

const TWO_BROKERS: &str = r#"{"brokerDatas":[{"brokerAddrs":{0:"a:1"},"brokerName":"a"},{"brokerAddrs":{0:"b:1",1:"b:2"},"brokerName":"b"}],
    "queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":2,"writeQueueNums":2},
    {"brokerName":"b","perm":6,"readQueueNums":2,"writeQueueNums":2}]}"#;

fn config() -> ProducerConfig {
    ProducerConfig {
        group: "PG".into(),
        name_servers: vec![Addr::from("n:1"), Addr::from("n:2")],
        ..Default::default()
    }
}

fn sent(request: &Frame, code: i32) -> Frame {
    let header = SendMessageHeader::read_v2(&request.fields).unwrap();
    let answer = SendMessageResponseHeader {
        msg_id: "OFFSETID".into(),
        queue_id: header.queue_id,
        queue_offset: 41,
        ..Default::default()
    };
    reply(request, code).with_header(&answer)
}

fn cluster(codes: &Codes) -> impl FnMut(&str, &Frame) -> Answer + 'static {
    let codes = codes.clone();
    move |addr, frame| match frame.code {
        code::GET_ROUTEINFO_BY_TOPIC if frame.fields.get("topic") == Some("Nowhere") => {
            Answer::Reply(reply(frame, response::TOPIC_NOT_EXIST))
        }
        code::GET_ROUTEINFO_BY_TOPIC if frame.fields.get("topic") == Some("TBW102") => {
            Answer::Reply(reply(frame, response::TOPIC_NOT_EXIST))
        }
        code::GET_ROUTEINFO_BY_TOPIC => Answer::Reply(reply(frame, 0).with_body(TWO_BROKERS)),
        code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => {
            Answer::Reply(sent(frame, codes.borrow().get(&addr[..1]).copied().unwrap_or(0)))
        }
        _ => Answer::Reply(reply(frame, 0)),
    }
}

fn bench() -> (Bench<Producer>, Codes) {
    let codes = Codes::default();
    (Bench::new(Producer::new(config()), cluster(&codes)), codes)
}

fn request(ticket: u64, topic: &str) -> SendRequest {
    let messages = vec![OutMessage::new("hello").with_tag("TagA")];
    SendRequest { ticket, topic: topic.into(), messages, queue: Pick::RoundRobin, mode: Mode::Sync, timeout: None }
}

fn send(bench: &mut Bench<Producer>, request: SendRequest) -> Result<Receipt, SendError> {
    let ticket = request.ticket;
    bench.command(ProducerCommand::Send(request));
    outcome(bench, ticket).expect("the send has ended")
}

fn outcome(bench: &mut Bench<Producer>, of: u64) -> Option<Result<Receipt, SendError>> {
    let mut ended = bench.events().into_iter().filter_map(|event| match event {
        ProducerEvent::Sent { ticket, result } if ticket == of => Some(result),
        _ => None,
    });
    let first = ended.next();
    assert!(ended.next().is_none(), "a send ends once");
    first
}

#[test]
fn sends_go_round_all_queues_in_the_java_form() {
    let (mut bench, _) = bench();
    let mut queues = BTreeMap::new();
    for ticket in 0..8 {
        let receipt = send(&mut bench, request(ticket, "T")).unwrap();
        assert_eq!((receipt.status, receipt.queue_offset, receipt.attempts), (SendStatus::SendOk, 41, 1));
        *queues.entry(receipt.queue.to_string()).or_insert(0) += 1;
    }
    assert_eq!(
        queues.into_iter().collect::<Vec<_>>(),
        [("a:0", 2), ("a:1", 2), ("b:0", 2), ("b:1", 2)].map(|(q, n)| (q.into(), n))
    );
    let (_, frame) = bench.taken(code::SEND_MESSAGE_V2).remove(0);
    let header = SendMessageHeader::read_v2(&frame.fields).unwrap();
    assert_eq!((header.producer_group, header.topic, header.default_topic), ("PG", "T", "TBW102"));
    assert_eq!((header.default_topic_queue_nums, header.sys_flag, header.batch), (4, 0, false));
    assert!(header.properties.starts_with("TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}"), "{}", header.properties);
    assert!(header.properties.ends_with("WAIT\u{1}true\u{2}"));
    assert_eq!(&frame.body[..], b"hello");
    assert_eq!(bench.taken(code::GET_ROUTEINFO_BY_TOPIC).len(), 1, "the route is asked for once");
}

#[test]
fn message_ids_are_unique_and_the_ones_in_the_messages() {
    let (mut bench, _) = bench();
    let ids: Vec<String> = (0..3).map(|ticket| send(&mut bench, request(ticket, "T")).unwrap().msg_id).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0].len() == 32);
    for (id, (_, frame)) in ids.iter().zip(bench.taken(code::SEND_MESSAGE_V2)) {
        assert!(SendMessageHeader::read_v2(&frame.fields).unwrap().properties.contains(id.as_str()));
    }
}

#[test]
fn a_broker_that_is_down_is_passed_over_and_the_user_sees_nothing() {
    let (mut bench, _) = bench();
    send(&mut bench, request(0, "T")).unwrap();
    bench.crash("a:1");
    for ticket in 1..6 {
        let receipt = send(&mut bench, request(ticket, "T")).unwrap();
        assert_eq!(&*receipt.queue.broker, "b");
    }
}

#[test]
fn when_every_broker_is_down_the_error_says_what_java_says() {
    let (mut bench, _) = bench();
    send(&mut bench, request(0, "T")).unwrap();
    bench.crash("a:1");
    bench.crash("b:1");
    let error = send(&mut bench, request(1, "T")).unwrap_err();
    assert!(error.text.starts_with("Send [3] times, still failed, cost [0]ms, Topic: T, BrokersSent: ["), "{error}");
    assert_eq!((error.stored, error.attempts, error.kind), (Stored::No, 3, SendErrorKind::Connection));
}

#[test]
fn codes_that_may_pass_are_tried_again_when_synchronous() {
    for code in [17, 14, 1, 2, 16, 204, 205] {
        let (mut bench, codes) = bench();
        codes.borrow_mut().insert("a", code);
        for ticket in 0..4 {
            assert_eq!(&*send(&mut bench, request(ticket, "T")).unwrap().queue.broker, "b", "code {code}");
        }
        codes.borrow_mut().insert("b", code);
        let error = send(&mut bench, request(9, "T")).unwrap_err();
        let stored = if [17, 2, 16].contains(&code) { Stored::No } else { Stored::Unknown };
        assert_eq!((error.code, error.attempts, error.stored), (code, 3, stored));
        let request = SendRequest { mode: Mode::Async, ..request(10, "T") };
        assert_eq!(send(&mut bench, request).unwrap_err().attempts, 1);
    }
}

#[test]
fn a_refusal_for_good_is_final() {
    let (mut bench, codes) = bench();
    codes.borrow_mut().extend([("a", 13), ("b", 13)]);
    let error = send(&mut bench, request(0, "T")).unwrap_err();
    assert_eq!((error.code, error.attempts, error.stored), (13, 1, Stored::No));
    assert!(error.text.starts_with("CODE: 13  DESC: "));
}

#[test]
fn stored_but_not_flushed_is_a_receipt() {
    let (mut bench, codes) = bench();
    for (code, status) in
        [(10, SendStatus::FlushDiskTimeout), (11, SendStatus::SlaveNotAvailable), (12, SendStatus::FlushSlaveTimeout)]
    {
        codes.borrow_mut().extend([("a", code), ("b", code)]);
        assert_eq!(send(&mut bench, request(0, "T")).unwrap().status, status);
    }
}

#[test]
fn a_lost_response_leaves_the_outcome_unknown() {
    let (mut bench, codes) = bench();
    let mut inner = cluster(&codes);
    bench.script = Box::new(move |addr, frame| match frame.code {
        code::SEND_MESSAGE_V2 => Answer::Close,
        _ => inner(addr, frame),
    });
    let error = send(&mut bench, request(0, "T")).unwrap_err();
    assert_eq!((error.stored, error.attempts), (Stored::Unknown, 3));
}

#[test]
fn silence_ends_with_the_send_timeout() {
    let (mut bench, codes) = bench();
    let mut inner = cluster(&codes);
    bench.script = Box::new(move |addr, frame| match frame.code {
        code::SEND_MESSAGE_V2 => Answer::Silence,
        _ => inner(addr, frame),
    });
    bench.command(ProducerCommand::Send(request(5, "T")));
    bench.pass(2999);
    assert!(outcome(&mut bench, 5).is_none());
    bench.pass(1);
    let error = outcome(&mut bench, 5).unwrap().unwrap_err();
    assert_eq!((error.kind, error.stored, error.attempts), (SendErrorKind::Timeout, Stored::Unknown, 1));
    assert_eq!(bench.node.in_flight(), 0);
}

#[test]
fn a_topic_without_a_route_fails_with_the_known_words() {
    let (mut bench, _) = bench();
    let error = send(&mut bench, request(0, "Nowhere")).unwrap_err();
    assert!(error.text.starts_with("No route info of this topic: Nowhere"), "{error}");
    assert_eq!((error.stored, error.kind), (Stored::No, SendErrorKind::NoRoute));
    assert_eq!(bench.taken(code::GET_ROUTEINFO_BY_TOPIC).len(), 2, "the topic, then TBW102");
    let mut lonely =
        Bench::new(Producer::new(ProducerConfig { name_servers: Vec::new(), ..config() }), |_, _| Answer::Silence);
    lonely.command(ProducerCommand::Send(request(1, "T")));
    lonely.pass(0);
    assert_eq!(outcome(&mut lonely, 1).unwrap().unwrap_err().text, "No name server address, please set it.");
}

#[test]
fn a_new_topic_takes_the_route_of_the_default_topic() {
    let (mut bench, _) = bench();
    bench.script = Box::new(|_, frame| match frame.code {
        code::GET_ROUTEINFO_BY_TOPIC if frame.fields.get("topic") == Some("TBW102") => {
            Answer::Reply(reply(frame, 0).with_body(
                r#"{"brokerDatas":[{"brokerAddrs":{0:"a:1"},"brokerName":"a"}],
            "queueDatas":[{"brokerName":"a","perm":7,"readQueueNums":8,"writeQueueNums":8}]}"#,
            ))
        }
        code::GET_ROUTEINFO_BY_TOPIC => Answer::Reply(reply(frame, response::TOPIC_NOT_EXIST)),
        code::SEND_MESSAGE_V2 => Answer::Reply(sent(frame, 0)),
        _ => Answer::Reply(reply(frame, 0)),
    });
    let ids: Vec<i32> = (0..5).map(|ticket| send(&mut bench, request(ticket, "New")).unwrap().queue.id).collect();
    assert_eq!(ids[0], ids[4], "four queues: {ids:?}");
}

#[test]
fn a_name_server_that_is_down_is_replaced_by_another() {
    for down in ["n:1", "n:2"] {
        let codes = Codes::default();
        let mut bench = Bench::new(Producer::new(config()), cluster(&codes));
        bench.down.insert(down.into());
        send(&mut bench, request(0, "T")).unwrap();
        bench.crash("n:1");
        bench.crash("n:2");
        bench.pass(600_000);
        send(&mut bench, request(1, "T")).expect("a route that is known stays known");
        let error = send(&mut bench, request(2, "Other")).unwrap_err();
        assert!(error.text.starts_with("No route info of this topic: Other"));
    }
}

#[test]
fn heartbeats_go_to_masters_at_once_and_every_thirty_seconds() {
    let (mut bench, _) = bench();
    send(&mut bench, request(0, "T")).unwrap();
    let brokers = |sent: Vec<(String, Frame)>| sent.into_iter().map(|(addr, _)| addr).collect::<Vec<_>>();
    let first = bench.taken(code::HEART_BEAT);
    assert!(String::from_utf8_lossy(&first[0].1.body).contains(r#""producerDataSet":[{"groupName":"PG"}]"#));
    assert_eq!(brokers(first), ["a:1", "b:1"]);
    bench.pass(29_999);
    assert_eq!(bench.taken(code::HEART_BEAT).len(), 0);
    bench.pass(1);
    assert_eq!(brokers(bench.taken(code::HEART_BEAT)), ["a:1", "b:1"]);
    assert_eq!(bench.taken(code::GET_ROUTEINFO_BY_TOPIC).len(), 2, "one at first, one poll");
    bench.cut("a:1");
    for ticket in 1..3 {
        send(&mut bench, request(ticket, "T")).unwrap();
    }
    assert_eq!(brokers(bench.taken(code::HEART_BEAT)), ["a:1"], "a new connection begins with one");
}

#[test]
fn a_heartbeat_that_met_a_dead_connection_is_repeated_once() {
    let dead = Rc::new(RefCell::new(0));
    let (left, mut answers) = (dead.clone(), cluster(&Codes::default()));
    let script = move |addr: &str, frame: &Frame| {
        if frame.code == code::HEART_BEAT && addr == "a:1" && *left.borrow() > 0 {
            *left.borrow_mut() -= 1;
            return Answer::Close;
        }
        answers(addr, frame)
    };
    let mut bench = Bench::new(Producer::new(config()), script);
    send(&mut bench, request(0, "T")).unwrap();
    let to_a = |bench: &mut Bench<Producer>| {
        bench.taken(code::HEART_BEAT).into_iter().filter(|(addr, _)| addr == "a:1").count()
    };
    assert_eq!(to_a(&mut bench), 1);
    *dead.borrow_mut() = 1;
    bench.pass(30_000);
    assert_eq!(to_a(&mut bench), 2, "the broker has restarted and hears of the client at once");
    *dead.borrow_mut() = 9;
    bench.pass(30_000);
    assert_eq!(to_a(&mut bench), 2, "a broker that closes every connection is not asked without end");
}

#[test]
fn a_batch_is_one_request_with_an_id_for_each_message() {
    let (mut bench, _) = bench();
    let messages: Vec<OutMessage> =
        (0..3).map(|n| OutMessage::new(format!("body {n}")).with_keys(format!("k{n}"))).collect();
    let receipt = send(&mut bench, SendRequest { messages, ..request(0, "T") }).unwrap();
    let ids: Vec<&str> = receipt.msg_id.split(',').collect();
    let (_, frame) = bench.taken(code::SEND_BATCH_MESSAGE).remove(0);
    assert!(SendMessageHeader::read_v2(&frame.fields).unwrap().batch);
    let parts = batch::decode(&frame.body).unwrap();
    assert_eq!((parts.len(), ids.len()), (3, 3));
    for (n, part) in parts.iter().enumerate() {
        let properties = String::from_utf8(part.properties.to_vec()).unwrap();
        assert_eq!(part.body, format!("body {n}"));
        assert!(properties.contains(ids[n]) && properties.contains(&format!("KEYS\u{1}k{n}\u{2}")));
    }
}

#[test]
fn long_bodies_are_compressed_unless_told_otherwise() {
    let body = "x".repeat(4096);
    let long = |ticket| SendRequest { messages: vec![OutMessage::new(body.clone())], ..request(ticket, "T") };
    let (mut bench, codes) = bench();
    send(&mut bench, long(0)).unwrap();
    let (_, frame) = bench.taken(code::SEND_MESSAGE_V2).remove(0);
    let sys_flag = SendMessageHeader::read_v2(&frame.fields).unwrap().sys_flag;
    assert_eq!((sys_flag, sys_flag & FLAG_COMPRESSED), (0x301, 1));
    assert_eq!(compress::unpacked(&frame.body, sys_flag, 4096).unwrap(), body);
    let plain = ProducerConfig { compress_from: None, ..config() };
    let mut bench = Bench::new(Producer::new(plain), cluster(&codes));
    send(&mut bench, long(0)).unwrap();
    assert_eq!(bench.taken(code::SEND_MESSAGE_V2)[0].1.body, body);
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_sent() {
    let (mut bench, _) = bench();
    let batch = |messages: Vec<OutMessage>| SendRequest { messages, ..request(0, "T") };
    let big = OutMessage::new(vec![0; 4 * 1024 * 1024 + 1]);
    let cases = [
        (request(0, ""), "The specified topic is blank"),
        (request(0, "a b"), "The specified topic[a b] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"),
        (request(0, "SCHEDULE_TOPIC_XXXX"), "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden."),
        (batch(vec![OutMessage::new("")]), "the message body length is zero"),
        (batch(vec![big]), "the message body size over max value, MAX: 4194304"),
        (
            batch(vec![OutMessage::new(vec![0; 3_000_000]), OutMessage::new(vec![0; 3_000_000])]),
            "the message body size over max value, MAX: 4194304",
        ),
        (
            batch(vec![OutMessage::new("a"), OutMessage::new("b").with_property("DELAY", "1")]),
            "TimeDelayLevel is not supported for batching",
        ),
        (batch(Vec::new()), "the message is null"),
        (
            batch(vec![OutMessage::new("a").with_keys("x".repeat(40_000))]),
            "the properties take 40058 bytes, MAX: 32767",
        ),
    ];
    for (request, text) in cases {
        let error = send(&mut bench, request).unwrap_err();
        assert_eq!((error.text.as_str(), error.stored, error.attempts), (text, Stored::No, 0));
    }
    assert!(bench.sent.is_empty());
}

#[test]
fn selected_queues_are_not_replaced() {
    let (mut bench, _) = bench();
    let hash = |ticket| SendRequest { queue: Pick::Hash(-7), ..request(ticket, "T") };
    assert_eq!(send(&mut bench, hash(0)).unwrap().queue, Queue::new("b", 1));
    let exact = |ticket| SendRequest { queue: Pick::Queue(Queue::new("a", 1)), ..request(ticket, "T") };
    assert_eq!(send(&mut bench, exact(1)).unwrap().queue, Queue::new("a", 1));
    bench.crash("a:1");
    let error = send(&mut bench, exact(2)).unwrap_err();
    assert_eq!((error.attempts, error.stored), (1, Stored::No));
    let nowhere = SendRequest { queue: Pick::Queue(Queue::new("z", 1)), ..request(3, "T") };
    assert!(send(&mut bench, nowhere).unwrap_err().text.contains("The broker[z] not exist"));
}

#[test]
fn oneway_ends_at_once() {
    let (mut bench, _) = bench();
    send(&mut bench, request(0, "T")).unwrap();
    let receipt = send(&mut bench, SendRequest { mode: Mode::Oneway, ..request(1, "T") }).unwrap();
    assert_eq!((receipt.status, receipt.queue_offset), (SendStatus::Unconfirmed, -1));
    assert!(bench.taken(code::SEND_MESSAGE_V2)[1].1.is_oneway());
}

#[test]
fn a_stop_ends_what_is_under_way_and_says_goodbye() {
    let (mut bench, codes) = bench();
    let mut inner = cluster(&codes);
    bench.script = Box::new(move |addr, frame| match frame.code {
        code::SEND_MESSAGE_V2 => Answer::Silence,
        _ => inner(addr, frame),
    });
    bench.command(ProducerCommand::Send(request(1, "T")));
    bench.step(Input::Stop);
    assert_eq!(send(&mut bench, request(2, "T")).unwrap_err().kind, SendErrorKind::Stopped);
    assert!(!bench.stopped);
    bench.pass(3000);
    assert!(outcome(&mut bench, 1).unwrap().is_err());
    assert!(bench.stopped);
    let goodbyes = bench.taken(code::UNREGISTER_CLIENT);
    assert_eq!(goodbyes.len(), 2, "one to each broker");
    assert_eq!(goodbyes[0].1.fields.get("producerGroup"), Some("PG"));
}

#[test]
fn a_wrong_group_is_refused() {
    let config = ProducerConfig { group: "DEFAULT_PRODUCER".into(), ..config() };
    let mut bench = Bench::new(Producer::new(config), |_, _| Answer::Silence);
    assert!(
        matches!(bench.events().as_slice(), [ProducerEvent::Refused(text)] if text.starts_with("producerGroup can not equal DEFAULT_PRODUCER"))
    );
    assert_eq!(send(&mut bench, request(0, "T")).unwrap_err().kind, SendErrorKind::Stopped);
}

#[test]
fn too_many_sends_are_refused() {
    let config = ProducerConfig { sends_max: 2, ..config() };
    let mut bench = Bench::new(Producer::new(config), |_, _| Answer::Silence);
    for ticket in 0..2 {
        bench.command(ProducerCommand::Send(request(ticket, "T")));
    }
    assert_eq!(send(&mut bench, request(2, "T")).unwrap_err().kind, SendErrorKind::Busy);
    bench.pass(3000);
    let error = outcome(&mut bench, 0).unwrap().unwrap_err();
    assert!(error.text.contains("No route info of this topic: T"), "{error}");
    assert_eq!(error.stored, Stored::No);
}

#[test]
fn other_name_servers_are_used_from_now_on() {
    let codes = Codes::default();
    let config = ProducerConfig { name_servers: Vec::new(), ..config() };
    let mut bench = Bench::new(Producer::new(config), cluster(&codes));
    bench.command(ProducerCommand::Send(request(0, "T")));
    bench.pass(0);
    assert_eq!(outcome(&mut bench, 0).unwrap().unwrap_err().kind, SendErrorKind::NoRoute);
    bench.command(ProducerCommand::NameServers(vec![Addr::from("n:1")]));
    send(&mut bench, request(1, "T")).unwrap();
    bench.command(ProducerCommand::NameServers(vec![Addr::from("n:9")]));
    assert_eq!(bench.taken(code::GET_ROUTEINFO_BY_TOPIC).pop().unwrap().0, "n:9");
    bench.crash("n:9");
    let error = send(&mut bench, request(2, "Other")).unwrap_err();
    assert!(error.text.starts_with("No route info of this topic: Other"), "{error}");
}

#[test]
fn routes_are_told_when_asked_for() {
    let (mut bench, _) = bench();
    bench.command(ProducerCommand::FetchRoute("T".into()));
    bench.command(ProducerCommand::FetchRoute("Nowhere".into()));
    let events = bench.events();
    assert!(matches!(&events[0], ProducerEvent::Route { queues, .. } if queues.len() == 4));
    assert!(matches!(&events[1], ProducerEvent::NoRoute { why, .. } if why == "no such topic"));
}
