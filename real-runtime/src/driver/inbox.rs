//! How inputs reach the loop: one bounded queue for frames, completions and the owner's commands.
//!
//! Invariant: the queue is bounded, and only tasks wait for room in it, never the loop: so a busy node makes its
//! connections stop reading, which is the back-pressure that the peers see.

use seedmq_core::node::{ConnId, Input};
use seedmq_core::wire::Frame;
use tokio::sync::mpsc;

/// Deliveries that may wait. Each is at most one socket read.
const DELIVERIES: usize = 256;

/// What is handed to the loop at once.
#[derive(Debug)]
pub(super) enum Delivery<C> {
    /// Boxed: a frame is large, and frames come the other way.
    One(Box<Input<C>>),
    /// All frames of one socket read, in order; never empty.
    Frames(ConnId, Vec<Frame>),
}

impl<C> Delivery<C> {
    /// One input that is no frame.
    pub(super) fn one(input: Input<C>) -> Delivery<C> {
        Delivery::One(Box::new(input))
    }
    /// How many inputs this is.
    pub(super) fn count(&self) -> usize {
        match self {
            Delivery::One(_) => 1,
            Delivery::Frames(_, frames) => frames.len(),
        }
    }
}

/// The driver's end of the queue.
#[derive(Debug)]
pub struct Mailbox<C> {
    pub(super) receiver: mpsc::Receiver<Delivery<C>>,
    pub(super) sender: mpsc::Sender<Delivery<C>>,
}

/// The owner's end of a node: asks it for things, from any thread.
#[derive(Debug)]
pub struct Handle<C> {
    sender: mpsc::Sender<Delivery<C>>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle { sender: self.sender.clone() }
    }
}

/// The node has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended")]
pub struct Ended;

/// A queue for [`super::drive`] and a handle to it.
pub fn mailbox<C>() -> (Mailbox<C>, Handle<C>) {
    let (sender, receiver) = mpsc::channel(DELIVERIES);
    (Mailbox { receiver, sender: sender.clone() }, Handle { sender })
}

impl<C> Handle<C> {
    /// Asks for something; waits while the node is busy.
    pub async fn command(&self, command: C) -> Result<(), Ended> {
        self.sender.send(Delivery::one(Input::Command(command))).await.map_err(|_| Ended)
    }
    /// Asks for something unless the node is too busy or gone; then gives the command back.
    pub fn try_command(&self, command: C) -> Result<(), C> {
        let Err(refused) = self.sender.try_send(Delivery::one(Input::Command(command))) else { return Ok(()) };
        let Delivery::One(input) = refused.into_inner() else { unreachable!("what was sent comes back") };
        let Input::Command(command) = *input else { unreachable!("what was sent comes back") };
        Err(command)
    }
    /// Whether the node has ended and hears nothing any more.
    pub fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }
    /// Asks for a graceful end unless the node is too busy or gone.
    pub fn try_stop(&self) -> Result<(), Ended> {
        self.sender.try_send(Delivery::one(Input::Stop)).map_err(|_| Ended)
    }
    /// Asks for a graceful end.
    pub async fn stop(&self) -> Result<(), Ended> {
        self.sender.send(Delivery::one(Input::Stop)).await.map_err(|_| Ended)
    }
    /// Asks for something from a thread that runs no tasks.
    pub fn blocking_command(&self, command: C) {
        // A node that has ended needs no asking.
        let _ = self.sender.blocking_send(Delivery::one(Input::Command(command)));
    }
    /// Asks for a graceful end from a thread that runs no tasks.
    pub fn blocking_stop(&self) {
        // A node that has ended needs no asking.
        let _ = self.sender.blocking_send(Delivery::one(Input::Stop));
    }
    /// Waits until the node has ended.
    pub async fn ended(&self) {
        self.sender.closed().await;
    }
}
