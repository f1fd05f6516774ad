//! The smallest node: answers every request with its own body. For tests of drivers and worlds.

use std::collections::BTreeMap;

use seedmq_core::node::{Addr, ConnId, Cx, DialId, Input, Instant, Node, Output};
use seedmq_core::wire::Frame;
/// What the owner of an [`Echo`] can ask.
#[derive(Clone, Debug, Hash)]
pub enum EchoCommand {
    /// Connect, send this frame, and report the answer.
    Ask(Addr, Frame),
}

/// What an [`Echo`] tells.
#[derive(Clone, Debug, Hash)]
pub enum EchoEvent {
    /// A response came.
    Answered(Frame),
    /// A connection ended or could not be made.
    Lost,
}

/// Answers requests, and asks when told to.
#[derive(Debug, Default)]
pub struct Echo {
    dials: u64,
    asking: BTreeMap<DialId, Frame>,
    /// Open connections.
    pub open: BTreeMap<ConnId, u64>,
    /// Batches settled.
    pub settled: u64,
}

impl Node for Echo {
    type Command = EchoCommand;
    type Event = EchoEvent;

    fn step(&mut self, input: Input<EchoCommand>, cx: &mut Cx<'_, EchoEvent>) {
        match input {
            Input::Opened { conn, dial, .. } => {
                self.open.insert(conn, 0);
                if let Some(frame) = dial.and_then(|dial| self.asking.remove(&dial)) {
                    cx.out.send(conn, frame);
                }
            }
            Input::Closed { conn } => {
                assert!(self.open.remove(&conn).is_some(), "a connection opens once and closes once");
                cx.out.event(EchoEvent::Lost);
            }
            Input::DialFailed { dial } => {
                self.asking.remove(&dial);
                cx.out.event(EchoEvent::Lost);
            }
            Input::Frame { conn, frame } => {
                *self.open.get_mut(&conn).expect("frames come from open connections") += 1;
                if frame.is_response() {
                    cx.out.event(EchoEvent::Answered(frame));
                } else if !frame.is_oneway() {
                    cx.out.send(conn, Frame::response(&frame, 0).with_body(frame.body));
                }
            }
            Input::Command(EchoCommand::Ask(addr, frame)) => {
                let dial = DialId(self.dials);
                self.dials += 1;
                self.asking.insert(dial, frame);
                cx.out.0.push(Output::Dial { dial, addr });
            }
            Input::Settle => self.settled += 1,
            Input::Stop => cx.out.0.push(Output::Stopped),
            Input::Start | Input::Wake | Input::Disk(_) => {}
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        None
    }
}
