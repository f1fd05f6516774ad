//! A queue from the loop's thread to the threads that wait for the disk.
//!
//! Invariant: every job that was pushed is taken exactly once and in order, also those pushed before the end; after the end
//! every taker is told. Model-checked under all interleavings in `tests/handover.rs`, which compiles this file against
//! loom's primitives.

use std::collections::VecDeque;

use super::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug)]
pub struct Handover<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    over: bool,
}

impl<T> Handover<T> {
    /// An empty queue.
    pub fn new() -> Handover<T> {
        Handover { state: Mutex::new(State { jobs: VecDeque::new(), over: false }), changed: Condvar::new() }
    }
    /// Hands a job over. Never waits for a taker.
    pub fn push(&self, job: T) {
        let mut state = self.state.lock().expect("nobody panics while holding the queue");
        assert!(!state.over, "nothing is handed over after the end");
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
    }
    /// Waits for the next job; `None` after the end, once all jobs are taken.
    pub fn take(&self) -> Option<T> {
        let mut state = self.state.lock().expect("nobody panics while holding the queue");
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.over {
                return None;
            }
            state = self.changed.wait(state).expect("nobody panics while holding the queue");
        }
    }
    /// No more jobs come.
    pub fn end(&self) {
        self.state.lock().expect("nobody panics while holding the queue").over = true;
        self.changed.notify_all();
    }
}
