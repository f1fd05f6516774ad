//! Starts, registrations and ends.

use super::*;

#[test]
fn a_broken_file_stops_the_start_unless_its_backup_is_good() {
    let mut disk = MemoryDisk::default();
    disk.put("config/topics.json", b"{\"topicConfigTable\":");
    let world = World::on(config(), disk);
    let refused = world.events.iter().find_map(|event| match event {
        BrokerEvent::Refused(why) => Some(why.clone()),
        _ => None,
    });
    assert!(refused.expect("the start is refused").contains("config/topics.json"));
    let mut disk = MemoryDisk::default();
    disk.put("config/topics.json", b"{\"topicConfigTable\":");
    disk.put(
        "config/topics.json.bak",
        br#"{"topicConfigTable":{"Old":{"perm":6,"readQueueNums":2,"writeQueueNums":2}}}"#,
    );
    let world = World::on(config(), disk);
    assert!(world.broker.is_serving());
    assert_eq!(world.broker.topics().get("Old").unwrap().config.read_queue_nums, 2);
    assert!(world.notices().iter().any(|text| text.contains("topics.json.bak")));
}

#[test]
fn a_topic_with_messages_comes_back_when_its_file_is_lost() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.ask(conn, send("T", 2, "", "b"));
    for path in ["config/topics.json", "config/topics.json.bak"] {
        world.disk.paths.remove(path);
    }
    let mut world = world.restart(config());
    assert!(world.notices().iter().any(|text| text.contains("topic T has messages")), "{:?}", world.notices());
    let conn = world.connect(1);
    assert_eq!(world.ask(conn, pull("T", 2, 0, 4, "*")).code, 0);
}

#[test]
fn name_servers_are_told_of_every_change() {
    let servers: Vec<Addr> = vec!["ns1:9876".into(), "ns2:9876".into()];
    let mut world = World::new(BrokerConfig { name_servers: servers, ..config() });
    assert_eq!(world.dials.len(), 2);
    let (dial, _) = world.dials[0].clone();
    let addr: SocketAddr = "10.0.0.99:9876".parse().unwrap();
    world.input(Input::Opened { conn: ConnId(50), dial: Some(dial), peer: addr, local: addr });
    let take = |world: &mut World, code: i32| {
        let at = world.sent.iter().position(|(conn, frame)| *conn == ConnId(50) && frame.code == code);
        at.map(|at| world.sent.remove(at).1)
    };
    let reply = |world: &mut World, to: &Frame, fields: &[(&str, &str)]| {
        let mut answer = Frame::response(to, 0);
        for (name, value) in fields {
            answer.fields.push_any(name, value);
        }
        world.input(Input::Frame { conn: ConnId(50), frame: answer });
    };
    let first = take(&mut world, request::REGISTER_BROKER).expect("the first registration");
    assert_eq!((field(&first, "brokerAddr"), field(&first, "haServerAddr")), ("127.0.0.1:10911", "127.0.0.1:10912"));
    reply(&mut world, &first, &[]);
    assert!(world.events.iter().any(|event| matches!(event, BrokerEvent::Registered { .. })));
    let conn = world.connect(1);
    world.send(conn, "New", "");
    world.pass(Duration::from_millis(50));
    let second = take(&mut world, request::REGISTER_BROKER).expect("a new topic is told at once");
    assert!(String::from_utf8_lossy(&second.body).contains("\"New\""));
    reply(&mut world, &second, &[]);
    world.pass(Duration::from_secs(31));
    let query = take(&mut world, request::QUERY_DATA_VERSION).expect("nothing changed: the version is compared");
    assert!(take(&mut world, request::REGISTER_BROKER).is_none());
    reply(&mut world, &query, &[("changed", "true")]);
    let third = take(&mut world, request::REGISTER_BROKER).expect("the name server has forgotten us");
    reply(&mut world, &third, &[]);
    world.input(Input::Stop);
    let leave = take(&mut world, request::UNREGISTER_BROKER).expect("a graceful stop takes leave");
    reply(&mut world, &leave, &[]);
    world.pass(Duration::from_secs(31));
    assert!(world.stopped);
}

#[test]
fn a_registration_that_was_lost_is_sent_again_soon() {
    let mut world = World::new(BrokerConfig { name_servers: vec!["ns1:9876".into()], ..config() });
    let addr: SocketAddr = "10.0.0.99:9876".parse().unwrap();
    let (dial, _) = world.dials[0].clone();
    world.input(Input::Opened { conn: ConnId(50), dial: Some(dial), peer: addr, local: addr });
    assert!(world.sent.iter().any(|(_, frame)| frame.code == request::REGISTER_BROKER));
    world.pass(Duration::from_millis(config().register_timeout_ms));
    assert_eq!(world.closed, [ConnId(50)], "a connection without answers is given up");
    world.input(Input::Closed { conn: ConnId(50) });
    assert_eq!(world.dials.len(), 1);
    world.pass(Duration::from_millis(1_100));
    assert_eq!(world.dials.len(), 2, "the name server forgot this broker with the connection");
}

#[test]
fn a_graceful_stop_saves_everything_and_says_so_once() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let held = world.post(conn, pull("T", 0, 1, 6, "*"));
    world.ask(conn, pull("T", 0, 0, 5, "*"));
    world.input(Input::Stop);
    world.quiet();
    assert!(world.stopped, "{:?}", world.events);
    assert_eq!(world.answer(conn, held).expect("held pulls are answered").code, 19);
    assert!(world.disk.content("config/consumerOffset.json").is_some());
    assert!(world.disk.content("abort").is_none(), "a clean stop leaves no abort mark");
}

#[test]
fn a_deleted_topic_stays_deleted_although_the_log_still_has_its_records() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.send(conn, "U", "");
    assert_eq!(world.ask(conn, frame(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")])).code, 0);
    let mut world = world.restart(config());
    assert!(world.broker.topics().get("T").is_none());
    let conn = world.connect(1);
    assert_eq!(world.ask(conn, pull("T", 0, 0, 4, "*")).code, 17);
    assert_eq!(world.ask(conn, pull("U", 0, 0, 4, "*")).code, 0);
}
