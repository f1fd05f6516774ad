//! A flag that one task raises and one task waits for.
//!
//! Invariant: a raise is never lost: it is either seen by the waiter that is parked or by the next wait.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// See the module. Single-threaded on purpose: everything of a driver lives on one thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
    /// Ready once after each raise (several raises count once).
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.raised.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
    pub(super) async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}
