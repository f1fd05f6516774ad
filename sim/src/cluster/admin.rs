//! The administrator: a small machine that sends requests to brokers and name servers, through the same driver as everybody.
//!
//! Invariant: every request is answered by exactly one [`AdminEvent`].

use seedmq_core::client::Calls;
use seedmq_core::node::{Addr, Cx, Input, Instant, Node};
use seedmq_core::wire::Frame;
/// Ask this address; the number comes back with the answer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct AdminCommand {
    pub ticket: u64,
    pub addr: Addr,
    pub frame: Frame,
}

/// The response, or nothing when none came in time.
#[derive(Clone, Debug, Hash)]
pub(crate) struct AdminEvent {
    pub ticket: u64,
    pub answer: Option<Frame>,
}

/// How long a request may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(crate) struct Admin {
    calls: Calls<u64>,
}

impl Admin {
    pub fn new() -> Admin {
        Admin { calls: Calls::new() }
    }
}

fn failed<E>(lost: Vec<(u64, E)>, cx: &mut Cx<'_, AdminEvent>) {
    lost.into_iter().for_each(|(ticket, _)| cx.out.event(AdminEvent { ticket, answer: None }));
}

impl Node for Admin {
    type Command = AdminCommand;
    type Event = AdminEvent;

    fn step(&mut self, input: Input<AdminCommand>, cx: &mut Cx<'_, AdminEvent>) {
        let now = cx.now.mono;
        match input {
            Input::Command(AdminCommand { ticket, addr, frame }) => {
                self.calls.call(now, &addr, frame, now + PATIENCE, ticket, cx.out);
            }
            Input::Opened { conn, dial: Some(dial), .. } => {
                self.calls.opened(now, conn, dial, cx.out);
            }
            Input::DialFailed { dial } => failed(self.calls.dial_failed(dial), cx),
            Input::Closed { conn } => failed(self.calls.closed(conn), cx),
            Input::Frame { conn, frame } => {
                if let Some(ticket) = self.calls.response(conn, &frame) {
                    cx.out.event(AdminEvent { ticket, answer: Some(frame) });
                }
            }
            Input::Wake => failed(self.calls.expired(now, cx.out), cx),
            Input::Stop => cx.out.0.push(seedmq_core::node::Output::Stopped),
            Input::Start | Input::Settle | Input::Disk(_) | Input::Opened { .. } => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.calls.wake_at()
    }
}
