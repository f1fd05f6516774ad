//! Outgoing calls, driven by hand.

use super::*;

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

struct Bench {
    calls: Calls<&'static str>,
    out: Outbox<()>,
}

impl Bench {
    fn new() -> Bench {
        Bench { calls: Calls::new(), out: Outbox::default() }
    }
    fn call(&mut self, ms: u64, addr: &str, deadline: u64, tag: &'static str) {
        self.calls.call(at(ms), &Addr::from(addr), Frame::request(1), at(deadline), tag, &mut self.out);
        self.calls.invariants();
    }
    fn opened(&mut self, ms: u64, conn: u64, dial: u64) -> bool {
        let ours = self.calls.opened(at(ms), ConnId(conn), DialId(dial), &mut self.out);
        self.calls.invariants();
        ours
    }
    fn expired(&mut self, ms: u64) -> Vec<(&'static str, CallError)> {
        let ended = self.calls.expired(at(ms), &mut self.out);
        self.calls.invariants();
        ended
    }
    /// What was put out since the last look: `d<dial>`, `s<conn>:<opaque>`, `c<conn>`.
    fn out(&mut self) -> String {
        let outputs = std::mem::take(&mut self.out.0);
        let words = outputs.iter().map(|output| match output {
            Output::Dial { dial, addr } => format!("d{}@{addr}", dial.0),
            Output::Send { conn, frame } if frame.is_oneway() => format!("o{}:{}", conn.0, frame.opaque),
            Output::Send { conn, frame } => format!("s{}:{}", conn.0, frame.opaque),
            Output::Close { conn } => format!("c{}", conn.0),
            other => panic!("unexpected {other:?}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
    fn answer(&mut self, conn: u64, opaque: i32) -> Option<&'static str> {
        let frame = Frame { opaque, flag: FLAG_RESPONSE, ..Frame::request(0) };
        let tag = self.calls.response(ConnId(conn), &frame);
        self.calls.invariants();
        tag
    }
}

#[test]
fn calls_wait_for_one_dial_and_are_answered_in_any_order() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "first");
    bench.calls.oneway(at(0), &Addr::from("a"), Frame::request(2), &mut bench.out);
    bench.call(0, "a", 3000, "second");
    assert_eq!(bench.out(), "d0@a");
    assert!(bench.opened(10, 7, 0));
    assert_eq!(bench.out(), "s7:0 o7:1 s7:2");
    bench.call(11, "a", 3000, "third");
    assert_eq!(bench.out(), "s7:3");
    assert_eq!(bench.answer(7, 2), Some("second"));
    assert_eq!(bench.answer(7, 2), None, "a response counts once");
    assert_eq!(bench.answer(8, 0), None, "a response of a stranger counts for nothing");
    assert_eq!(bench.answer(7, 0), Some("first"));
    assert_eq!(bench.calls.in_flight(), 1);
}

#[test]
fn a_request_of_the_other_end_is_no_response() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "first");
    bench.opened(1, 7, 0);
    assert_eq!(bench.calls.response(ConnId(7), &Frame::request(40)), None);
    assert_eq!(bench.calls.in_flight(), 1);
}

#[test]
fn a_failed_dial_ends_what_waited_and_nothing_else() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "a1");
    bench.call(0, "b", 3000, "b1");
    bench.call(0, "a", 3000, "a2");
    assert_eq!(bench.calls.dial_failed(DialId(0)), [("a1", CallError::Connect), ("a2", CallError::Connect)]);
    assert_eq!(bench.calls.dial_failed(DialId(0)), []);
    bench.out();
    bench.call(1, "a", 3000, "a3");
    assert_eq!(bench.out(), "d2@a", "the next call dials anew");
}

#[test]
fn a_closed_connection_ends_what_was_in_flight() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "a1");
    bench.call(0, "b", 3000, "b1");
    bench.call(0, "a", 3000, "a2");
    bench.opened(1, 7, 0);
    bench.opened(1, 8, 1);
    assert_eq!(bench.calls.addr_of(ConnId(7)).map(|a| &**a), Some("a"));
    assert_eq!(bench.calls.closed(ConnId(7)), [("a1", CallError::Closed), ("a2", CallError::Closed)]);
    assert_eq!(bench.calls.closed(ConnId(7)), []);
    assert_eq!(bench.calls.conn_of(&Addr::from("a")), None);
    assert_eq!(bench.calls.conn_of(&Addr::from("b")), Some(ConnId(8)));
}

#[test]
fn deadlines_tell_what_was_sent_from_what_was_not() {
    let mut bench = Bench::new();
    bench.call(0, "a", 500, "queued");
    bench.call(0, "a", 1000, "sent");
    assert_eq!(bench.calls.wake_at(), Some(at(500)));
    assert_eq!(bench.expired(499), []);
    assert_eq!(bench.expired(500), [("queued", CallError::Timeout { sent: false })]);
    bench.out();
    bench.opened(600, 7, 0);
    assert_eq!(bench.out(), "s7:1", "what expired is not sent any more");
    assert_eq!(bench.expired(1000), [("sent", CallError::Timeout { sent: true })]);
    assert!(CallError::Timeout { sent: false }.never_sent() && !CallError::Timeout { sent: true }.never_sent());
}

#[test]
fn a_dial_without_an_answer_ends_after_three_seconds_and_is_closed_when_it_opens_late() {
    let mut bench = Bench::new();
    bench.call(0, "a", 30_000, "first");
    assert_eq!(bench.calls.wake_at(), Some(at(3000)));
    assert_eq!(bench.expired(3000), [("first", CallError::Connect)]);
    bench.out();
    assert!(bench.opened(3001, 7, 0));
    assert_eq!(bench.out(), "c7");
    assert!(!bench.opened(3002, 8, 1), "a dial that was never asked for is not ours");
    assert_eq!(bench.calls.wake_at(), None);
}

#[test]
fn a_silent_connection_is_closed_after_a_timeout_and_a_talking_one_is_kept() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "lost");
    bench.opened(1, 7, 0);
    bench.call(10, "a", 9000, "answered");
    assert_eq!(bench.answer(7, 1), Some("answered"));
    bench.out();
    bench.expired(3000);
    assert_eq!(bench.out(), "", "it answered another call since");
    bench.call(3000, "a", 6000, "lost too");
    bench.call(3000, "a", 9000, "in flight");
    bench.out();
    assert_eq!(bench.expired(6000), [("lost too", CallError::Timeout { sent: true })]);
    assert_eq!(bench.out(), "c7");
    bench.call(6001, "a", 9000, "new");
    assert_eq!(bench.out(), "d1@a");
    assert_eq!(bench.answer(7, 3), Some("in flight"), "it may still answer until it is closed");
    assert_eq!(bench.calls.closed(ConnId(7)), []);
}

#[test]
fn closing_by_address_ends_calls_sent_and_queued() {
    let mut bench = Bench::new();
    bench.call(0, "a", 3000, "sent");
    bench.opened(1, 7, 0);
    bench.call(1, "b", 3000, "queued");
    bench.out();
    bench.calls.close_all(&mut bench.out);
    assert_eq!(bench.out(), "c7");
    assert_eq!(bench.calls.wake_at(), Some(at(0)));
    assert_eq!(bench.expired(2), [("queued", CallError::Connect)]);
    assert_eq!(bench.calls.closed(ConnId(7)), [("sent", CallError::Closed)]);
    bench.opened(3, 8, 1);
    assert_eq!(bench.out(), "c8");
}

#[test]
fn calls_are_bounded() {
    let mut bench = Bench::new();
    let (addr, mut refused) = (Addr::from("a"), 0);
    for _ in 0..CALLS_MAX + 3 {
        bench.calls.call(at(0), &addr, Frame::request(1), at(100), "x", &mut bench.out);
    }
    for (_, error) in bench.expired(0) {
        assert_eq!(error, CallError::Busy);
        refused += 1;
    }
    assert_eq!(refused, 3);
    assert_eq!(bench.expired(100).len(), CALLS_MAX);
}

#[test]
fn opaque_numbers_wrap() {
    assert_eq!(opaque_of(OPAQUES + 5), 5);
    assert_eq!(seq_of(OPAQUES + 6, 5), Some(OPAQUES + 5));
    assert_eq!(seq_of(OPAQUES + 5, 5), Some(5));
    assert_eq!(seq_of(OPAQUES + 6, i32::MAX), Some(OPAQUES - 1));
    assert_eq!(seq_of(3, 3), None);
    assert_eq!(seq_of(0, 0), None);
    assert_eq!(seq_of(3, -1), None);
}
