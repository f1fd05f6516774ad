//! Orderly consumption: locks, one delivery at a time.

use super::*;

const ME: &str = "127.0.0.1@1#1";

fn orderly() -> ConsumerConfig {
    ConsumerConfig { orderly: true, ..config() }
}

fn two_queues() -> World {
    let broker = Broker::new(2);
    broker.borrow_mut().append(0, 3, "x");
    broker.borrow_mut().append(1, 3, "x");
    World::reading(orderly(), broker, "*")
}

#[test]
fn a_queue_has_one_delivery_at_a_time_in_order() {
    let mut world = two_queues();
    let first = world.delivered();
    assert_eq!(first, [(0, vec!["0-0".to_owned()]), (1, vec!["1-0".into()])]);
    world.consume(0, Outcome::Success);
    assert_eq!(world.bodies(), ["0-1"]);
    world.consume(1, Outcome::Later);
    world.bench.pass(999);
    assert!(world.bodies().is_empty(), "the whole queue waits");
    world.bench.pass(1);
    let again = world.bench.events.iter().rev().find_map(|event| match event {
        ConsumerEvent::Deliver { messages, .. } => Some((messages[0].msg_id.clone(), messages[0].reconsume_times)),
        _ => None,
    });
    assert_eq!(again, Some(("1-0".into(), 1)));
}

#[test]
fn a_queue_that_is_locked_by_another_is_not_read() {
    let broker = Broker::new(2);
    broker.borrow_mut().append(0, 1, "x");
    broker.borrow_mut().append(1, 1, "x");
    broker.borrow_mut().foreign.insert(1);
    let mut world = World::reading(orderly(), broker, "*");
    assert_eq!(world.drain(), ["0-0"]);
    world.bench.pass(30_000);
    assert!(world.drain().is_empty());
    world.broker.borrow_mut().foreign.clear();
    world.bench.pass(1000);
    assert_eq!(world.drain(), ["1-0"]);
}

#[test]
fn a_lost_lock_stops_deliveries_and_the_queue_begins_anew() {
    let mut world = two_queues();
    let first = world.delivered();
    world.broker.borrow_mut().foreign.insert(0);
    world.bench.pass(20_000);
    world.broker.borrow_mut().committed.insert(0, 2);
    world.consume(first[0].0, Outcome::Success);
    assert!(world.bodies().is_empty(), "nothing is delivered without the lock");
    world.broker.borrow_mut().foreign.clear();
    world.bench.pass(1000);
    assert_eq!(world.bodies(), ["0-2"], "at the offset that the other member committed");
}

#[test]
fn a_lock_that_is_not_renewed_runs_out() {
    let mut world = two_queues();
    let first = world.delivered();
    let mut script = std::mem::replace(&mut world.bench.script, Box::new(|_, _| Answer::Silence));
    world.bench.script = Box::new(move |addr, frame| match frame.code {
        code::LOCK_BATCH_MQ => Answer::Silence,
        _ => script(addr, frame),
    });
    world.bench.pass(29_999);
    world.consume(first[0].0, Outcome::Success);
    assert_eq!(world.bodies(), ["0-1"]);
    world.bench.pass(1);
    world.consume(first[1].0, Outcome::Success);
    assert!(world.bodies().is_empty(), "30 s after it was given");
}

#[test]
fn a_queue_that_moves_away_is_given_back_after_its_delivery_has_ended() {
    let mut world = two_queues();
    let first = world.delivered();
    world.members(&["127.0.0.1@0#0", ME]);
    assert_eq!(world.assigned().as_deref(), Some("a:1"));
    assert!(world.bench.node.is_leaving(&key(0)));
    assert_eq!(world.bench.taken(code::UNLOCK_BATCH_MQ).len(), 0);
    world.consume(first[0].0, Outcome::Success);
    assert!(!world.bench.node.is_leaving(&key(0)));
    assert!(world.bodies().is_empty(), "nothing more of it is delivered here");
    assert_eq!(world.broker.borrow().commits, [(0, 1)]);
    assert_eq!(world.bench.taken(code::UNLOCK_BATCH_MQ).len(), 1);
}

#[test]
fn a_queue_that_comes_back_meanwhile_stays() {
    let mut world = two_queues();
    let first = world.delivered();
    world.members(&["127.0.0.1@0#0", ME]);
    world.members(&[ME]);
    assert_eq!(world.assigned().as_deref(), Some("a:0 a:1"));
    world.consume(first[0].0, Outcome::Success);
    assert_eq!(world.bodies(), ["0-1"]);
}

#[test]
fn a_reset_does_not_overlap_with_the_delivery_under_way() {
    let mut world = two_queues();
    let first = world.delivered();
    world.broker.borrow_mut().reset = Some((0, 2));
    world.append(0, 1, "x");
    assert!(world.bodies().is_empty());
    world.consume(first[0].0, Outcome::Success);
    assert_eq!(world.bodies(), ["0-2"]);
}

#[test]
fn locks_are_renewed_and_given_back_at_the_end() {
    let mut world = two_queues();
    assert_eq!(world.bench.taken(code::LOCK_BATCH_MQ).len(), 1, "one request for all queues of a broker");
    world.bench.pass(60_000);
    assert_eq!(world.bench.taken(code::LOCK_BATCH_MQ).len(), 3);
    let first = world.delivered();
    assert_eq!(first.len(), 2);
    world.bench.step(Input::Stop);
    world.consume(first[0].0, Outcome::Success);
    world.bench.pass(3000);
    assert!(world.bench.stopped);
    assert_eq!(world.bench.taken(code::UNLOCK_BATCH_MQ).len(), 1, "a handler still runs in the other queue");
}
