//! Members, offsets and resets.

use super::*;

#[test]
fn groups_hear_of_their_members() {
    let mut world = World::new(config());
    let (a, b) = (world.connect(1), world.connect(2));
    let answer = world.ask(a, beat("a", "CG", "T"));
    assert_eq!((answer.code, field(&answer, "IS_SUPPORT_HEART_BEAT_V2")), (0, "true"));
    assert!(answer.fields.flag("IS_SUB_CHANGE"));
    assert!(world.broker.topics().get("%RETRY%CG").is_some());
    world.pushes(a);
    world.ask(b, beat("b", "CG", "T"));
    assert_eq!((world.pushes(a), world.pushes(b)), (1, 1));
    let list = world.ask(a, frame(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "CG")]));
    assert_eq!(&list.body[..], br#"{"consumerIdList":["a","b"]}"#);
    world.input(Input::Closed { conn: b });
    assert_eq!(world.pushes(a), 1, "a closed connection is told at once");
    world.pass(Duration::from_secs(115));
    assert!(world.closed.is_empty());
    world.pass(Duration::from_secs(20));
    assert_eq!(world.closed, [a], "silence for 120 s closes the connection");
    let list = world.ask(a, frame(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "CG")]));
    assert_eq!((list.code, list.remark.as_deref()), (1, Some("no consumer for this group, CG")));
}

#[test]
fn a_group_that_wants_no_notice_gets_none_when_a_member_leaves() {
    let mut world = World::new(config());
    let (a, b, c) = (world.connect(1), world.connect(2), world.connect(3));
    let quiet = frame(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[])
        .with_body(r#"{"groupName":"Q","notifyConsumerIdsChangedEnable":false}"#);
    assert_eq!(world.ask(a, quiet).code, 0);
    for (group, notices) in [("Q", 0), ("CG", 1)] {
        for (conn, client) in [(a, "a"), (b, "b"), (c, "c")] {
            world.ask(conn, beat(client, group, "T"));
        }
        world.pushes(a);
        let leave = frame(request::UNREGISTER_CLIENT, &[("clientID", "b"), ("consumerGroup", group)]);
        assert_eq!(world.ask(b, leave).code, 0);
        assert_eq!(world.pushes(a), notices, "{group}");
    }
    world.input(Input::Closed { conn: c });
    assert_eq!(world.pushes(a), 2, "of a connection that closes, both groups hear, as in Java");
}

#[test]
fn offsets_survive_a_killed_broker() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.ask(conn, beat("a", "CG", "T"));
    let query = || frame(request::QUERY_CONSUMER_OFFSET, &[("consumerGroup", "CG"), ("topic", "T"), ("queueId", "0")]);
    let answer = world.ask(conn, query());
    assert_eq!((answer.code, field(&answer, "offset")), (0, "0"), "the first message is still in memory");
    let unknown = frame(request::QUERY_CONSUMER_OFFSET, &[("consumerGroup", "CG"), ("topic", "No"), ("queueId", "0")]);
    assert_eq!(world.ask(conn, unknown).code, 22);
    let mut strict = query();
    strict.fields.push_str("setZeroIfNotFound", "false");
    assert_eq!(world.ask(conn, strict).code, 22);
    let commit = |topic: &str| {
        frame(
            request::UPDATE_CONSUMER_OFFSET,
            &[("consumerGroup", "CG"), ("topic", topic), ("queueId", "0"), ("commitOffset", "1")],
        )
    };
    assert_eq!(world.ask(conn, commit("No")).code, 17);
    assert_eq!(world.ask(conn, commit("T")).code, 0);
    world.pass(Duration::from_secs(6));
    let mut world = world.restart(config());
    let conn = world.connect(1);
    let answer = world.ask(conn, query());
    assert_eq!(field(&answer, "offset"), "1");
    let answer = world.ask(conn, pull("T", 0, 0, 4, "*"));
    assert_eq!(answer.code, 0, "{answer:?}");
}

#[test]
fn a_reset_moves_the_group_whatever_it_commits() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    for _ in 0..5 {
        world.send(conn, "T", "");
    }
    world.ask(conn, pull("T", 0, 5, 5, "*"));
    let reset = frame(
        request::INVOKE_BROKER_TO_RESET_OFFSET,
        &[("topic", "T"), ("group", "CG"), ("queueId", "0"), ("offset", "2"), ("timestamp", "0"), ("isForce", "true")],
    );
    let answer = world.ask(conn, reset);
    assert_eq!(
        (answer.code, &answer.body[..]),
        (0, &br#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:2}}"#[..])
    );
    let commit = frame(
        request::UPDATE_CONSUMER_OFFSET,
        &[("consumerGroup", "CG"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "5")],
    );
    assert_eq!(world.ask(conn, commit).remark.as_deref(), Some("Offset has been previously reset"));
    let answer = world.ask(conn, pull("T", 0, 5, 4, "*"));
    assert_eq!((answer.code, answer.remark.as_deref()), (21, Some("OFFSET_RESET")));
    assert_eq!(field(&answer, "nextBeginOffset"), "2");
    assert_eq!(world.ask(conn, pull("T", 0, 2, 4, "*")).code, 0);
}

#[test]
fn a_queue_has_one_owner_at_a_time() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    let lock = |code: i32, client: &str| {
        let body = format!(
            r#"{{"clientId":"{client}","consumerGroup":"CG","mqSet":[{{"brokerName":"broker-a","queueId":0,"topic":"T"}}]}}"#
        );
        frame(code, &[]).with_body(body)
    };
    let locked = br#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"T"}]}"#;
    assert_eq!(&world.ask(conn, lock(request::LOCK_BATCH_MQ, "a")).body[..], locked);
    assert_eq!(&world.ask(conn, lock(request::LOCK_BATCH_MQ, "b")).body[..], br#"{"lockOKMQSet":[]}"#);
    assert_eq!(world.ask(conn, lock(request::UNLOCK_BATCH_MQ, "a")).code, 0);
    assert_eq!(&world.ask(conn, lock(request::LOCK_BATCH_MQ, "b")).body[..], locked);
    world.pass(Duration::from_secs(61));
    assert_eq!(&world.ask(conn, lock(request::LOCK_BATCH_MQ, "a")).body[..], locked, "60 s without renewal are over");
}

#[test]
fn the_second_version_of_heartbeats_names_a_fingerprint() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    let body = |fingerprint: i32, without: bool| {
        let full = String::from_utf8(beat("a", "CG", "T").body.to_vec()).unwrap();
        let full = full.replace("\"heartbeatFingerprint\":0", &format!("\"heartbeatFingerprint\":{fingerprint}"));
        frame(request::HEART_BEAT, &[])
            .with_body(full.replace("\"withoutSub\":false", &format!("\"withoutSub\":{without}")))
    };
    let changed = |world: &mut World, frame: Frame| world.ask(conn, frame).fields.flag("IS_SUB_CHANGE");
    assert!(changed(&mut world, body(7, true)), "an unknown client must say what it wants");
    assert!(world.broker.clients().consumers("CG").is_none());
    changed(&mut world, body(7, false));
    assert!(!changed(&mut world, body(7, true)), "known and the same");
    assert!(changed(&mut world, body(8, true)), "something changed");
}

#[test]
fn a_request_reaches_a_client_through_its_broker() {
    let mut world = World::new(config());
    let (client, tool) = (world.connect(1), world.connect(2));
    world.ask(client, beat("a", "CG", "T"));
    let ask = |client: &str| {
        frame(
            request::GET_CONSUMER_RUNNING_INFO,
            &[("consumerGroup", "CG"), ("clientId", client), ("jstackEnable", "false")],
        )
    };
    let answer = world.ask(tool, ask("nobody"));
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("The Consumer <CG> <nobody> not online")));
    let passed_on = |world: &mut World| {
        let at =
            world.sent.iter().position(|(conn, frame)| *conn == client && frame.code == 307).expect("it is passed on");
        world.sent.remove(at).1
    };
    let opaque = world.post(tool, ask("a"));
    let passed = passed_on(&mut world);
    let reply = Frame::response(&passed, 0).with_body("info");
    world.input(Input::Frame { conn: client, frame: reply });
    assert_eq!(&world.answer(tool, opaque).expect("the client's answer comes back").body[..], b"info");
    let opaque = world.post(tool, ask("a"));
    passed_on(&mut world);
    world.pass(Duration::from_secs(11));
    assert_eq!(world.answer(tool, opaque).expect("patience ends").code, 207);
}
