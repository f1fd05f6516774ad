//! Pulls, held and not.

use super::*;
use crate::message::record;

#[test]
fn a_held_pull_wakes_for_its_tag_only() {
    let mut world = World::new(config());
    let (producer, consumer) = (world.connect(1), world.connect(2));
    world.send(producer, "T", "TAGS\x01a\x02");
    let held = world.post(consumer, pull("T", 0, 1, 6, "b"));
    world.quiet();
    assert!(world.answer(consumer, held).is_none());
    assert_eq!(world.broker.held_pulls().count(), 1);
    world.send(producer, "T", "TAGS\x01a\x02");
    assert!(world.answer(consumer, held).is_none(), "another tag does not wake it");
    world.send(producer, "T", "TAGS\x01b\x02");
    let answer = world.answer(consumer, held).expect("its tag wakes it");
    assert_eq!((answer.code, field(&answer, "nextBeginOffset")), (0, "3"));
    assert_eq!(record::records(&body_of(&answer)).count(), 1);
}

#[test]
fn a_held_pull_ends_in_time() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let held = world.post(conn, pull("T", 0, 1, 6, "*"));
    world.pass(Duration::from_secs(14));
    assert!(world.answer(conn, held).is_none());
    world.pass(Duration::from_secs(7));
    let answer = world.answer(conn, held).expect("15 s, and up to 5 more");
    assert_eq!((answer.code, answer.remark.as_deref()), (19, Some("OFFSET_OVERFLOW_ONE")));
    assert_eq!(world.broker.held_pulls().count(), 0);
}

#[test]
fn a_message_of_the_same_batch_wakes_a_pull_that_came_after_it() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    let (mut put, mut get) = (send("T", 0, "", "b"), pull("T", 0, 1, 6, "*"));
    (put.opaque, get.opaque) = (901, 902);
    world.step(Input::Frame { conn, frame: put });
    world.step(Input::Frame { conn, frame: get });
    world.input(Input::Settle);
    assert_eq!(world.answer(conn, 902).expect("it was woken").code, 0);
}

#[test]
fn pulls_are_answered_as_a_java_broker_does() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    for _ in 0..3 {
        world.send(conn, "T", "");
    }
    for (queue, offset, flags, tags, code, remark) in [
        (
            99,
            0,
            4,
            "*",
            29,
            "queueId[99] is illegal, topic:[T] topicConfig.readQueueNums:[4] consumer:[/10.0.0.1:40000]",
        ),
        (
            -1,
            0,
            4,
            "*",
            29,
            "queueId[-1] is illegal, topic:[T] topicConfig.readQueueNums:[4] consumer:[/10.0.0.1:40000]",
        ),
        (0, -5, 4, "*", 21, "OFFSET_TOO_SMALL"),
        (0, 99_999, 4, "*", 21, "OFFSET_OVERFLOW_BADLY"),
        (0, 3, 4, "*", 19, "OFFSET_OVERFLOW_ONE"),
        (0, 0, 4, "nope", 20, "NO_MATCHED_MESSAGE"),
        (0, 0, 4, "||", 23, "parse the consumer's subscription failed"),
    ] {
        let answer = world.ask(conn, pull("T", queue, offset, flags, tags));
        assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)), "{queue} {offset} {tags}");
    }
    let answer = world.ask(conn, pull("T", 0, 99_999, 4, "*"));
    assert_eq!(field(&answer, "nextBeginOffset"), "3");
    let answer = world.ask(conn, pull("T", 3, 7, 4, "*"));
    assert_eq!((answer.code, field(&answer, "nextBeginOffset")), (21, "0"), "an empty queue begins at 0");
    let answer = world.ask(conn, pull("T", 3, 0, 4, "*"));
    assert_eq!(answer.code, 19);
    assert_eq!(world.ask(conn, pull("Nope", 0, 0, 4, "*")).code, 17);
    assert_eq!(world.ask(conn, pull("T", 0, 0, 0, "*")).code, 24, "the group is not online");
    let fast = world.connect_at(7, 10909);
    assert_eq!(world.ask(fast, pull("T", 0, 0, 4, "*")).code, 3, "the fast port serves no pulls");
    let answer = world.ask(conn, pull("T", 0, 0, 5, "*"));
    assert_eq!(answer.code, 0);
    assert_eq!(world.broker.committed_offsets().committed("CG", "T", 0), Some(3));
}

#[test]
fn a_pull_of_cold_records_waits_for_the_disk() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    for _ in 0..3 {
        world.send(conn, "T", "KEYS\x01k\x02");
    }
    let mut world = world.restart(config());
    let (conn, leaver) = (world.connect(1), world.connect(2));
    world.disk.cold = true;
    let gone = world.post(leaver, pull("T", 0, 0, 4, "*"));
    assert_eq!(world.broker.cold.len(), 1, "the read is cold");
    world.input(Input::Closed { conn: leaver });
    let answer = world.ask(conn, pull("T", 0, 0, 4, "*"));
    assert_eq!((answer.code, record::records(&body_of(&answer)).count()), (0, 3));
    assert!(world.answer(leaver, gone).is_none());
    let view = world.ask(conn, frame(request::VIEW_MESSAGE_BY_ID, &[("offset", "0")]));
    assert_eq!((view.code, record::records(&body_of(&view)).count()), (0, 1));
}

#[test]
fn a_full_table_tells_clients_to_come_later() {
    let mut world = World::new(BrokerConfig { held_pulls_max: 2, ..config() });
    let conn = world.connect(1);
    world.send(conn, "T", "");
    for _ in 0..2 {
        let held = world.post(conn, pull("T", 0, 1, 6, "*"));
        assert!(world.answer(conn, held).is_none());
    }
    let refused = world.ask(conn, pull("T", 0, 1, 6, "*"));
    assert_eq!(refused.code, 2, "a client that is told of no message asks again at once");
    assert!(refused.remark.as_deref().is_some_and(|remark| remark.contains("heldPullsMax=2")), "{refused:?}");
    assert_eq!(world.ask(conn, pull("T", 0, 1, 4, "*")).code, 19, "who does not wait is told so");
    world.input(Input::Closed { conn });
    assert_eq!(world.broker.held_pulls().count(), 0, "a closed connection leaves no pull behind");
}

#[test]
fn an_answer_is_bounded_in_memory_and_more_so_on_disk() {
    for (memory_bytes, count) in [(1 << 30, 32), (0, 8)] {
        let mut world = World::new(BrokerConfig { store: StoreConfig { memory_bytes, ..config().store }, ..config() });
        let conn = world.connect(1);
        for _ in 0..40 {
            world.send(conn, "T", "");
        }
        let answer = world.ask(conn, pull("T", 0, 0, 4, "*"));
        assert_eq!(record::records(&body_of(&answer)).count(), count);
        assert_eq!(field(&answer, "nextBeginOffset"), count.to_string());
    }
}

#[test]
fn a_position_from_before_a_power_cut_is_moved_back() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    for _ in 0..3 {
        world.send(conn, "T", "");
    }
    let mut world = world.restart(config());
    let conn = world.connect(1);
    for _ in 0..3 {
        world.send(conn, "T", "");
    }
    let moved = |world: &mut World, offset, flags| {
        let answer = world.ask(conn, pull("T", 0, offset, flags, "*"));
        (answer.code, field(&answer, "nextBeginOffset").to_owned())
    };
    assert_eq!(moved(&mut world, 5, 4), (21, "3".into()), "nobody was told 5 since the store was recovered");
    let fields = [("consumerGroup", "CG"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "5")];
    let commit = world.ask(conn, frame(request::UPDATE_CONSUMER_OFFSET, &fields));
    assert_eq!((commit.code, commit.remark.is_some()), (0, true));
    assert_eq!(world.broker.committed_offsets().committed("CG", "T", 0), None, "nor can it be committed");
    assert_eq!(moved(&mut world, 9, 4), (21, "3".into()), "the recovered end, not the present one");
    assert_eq!(moved(&mut world, 3, 4), (0, "6".into()));
    assert_eq!(moved(&mut world, 5, 4), (0, "6".into()), "now it was told");
    let max = world.ask(conn, frame(request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "0")]));
    assert_eq!(field(&max, "offset"), "6");
    let member = world.connect(2);
    assert_eq!(world.ask(member, pull_as("other", "T", 0, 5, 0, "*")).code, 24, "a member says first who it is");
    world.ask(member, beat("c", "other", "T"));
    assert_eq!(world.ask(member, pull_as("other", "T", 0, 5, 0, "*")).code, 21);
    assert_eq!(world.ask(conn, pull_as("other", "T", 0, 5, 4, "*")).code, 0, "it was told the end of the queue");
}

#[test]
fn committed_offsets_do_not_reach_beyond_what_was_recovered() {
    let mut world = World::new(config());
    let conn = world.connect(1);
    world.send(conn, "T", "");
    world.pass(Duration::from_secs(6));
    let file = br#"{"offsetTable":{"T@CG":{0:7}}}"#;
    world.disk.put("config/consumerOffset.json", file);
    let world = world.restart(config());
    assert_eq!(world.broker.committed_offsets().committed("CG", "T", 0), Some(1));
    assert!(world.notices().iter().any(|text| text.contains("cut back")), "{:?}", world.notices());
}
