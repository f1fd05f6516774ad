//! Actions that wait for the n-th event of a kind at a node.
//!
//! Invariant: an action fires at most once, at the event that it counted to, whatever other actions wait for the same kind.

use crate::tape::{Action, Moment, Trigger};

#[derive(Debug)]
struct Waiting {
    /// Index of the action on the tape.
    action: usize,
    node: String,
    event: Moment,
    code: Option<i32>,
    from_ns: u64,
    left: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    waiting: Vec<Waiting>,
    /// Whether any action looks at frames.
    pub frames: bool,
    /// Since when events count, ns; none count before it is set.
    origin_ns: Option<u64>,
}

impl Triggers {
    /// The triggers of a tape.
    pub fn new(actions: &[Action]) -> Triggers {
        let waiting: Vec<Waiting> =
            actions.iter().enumerate().filter_map(|(index, action)| waiting(index, action)).collect();
        let frames = waiting.iter().any(|w| matches!(w.event, Moment::RequestReceived | Moment::ResponseSent));
        Triggers { waiting, frames, origin_ns: None }
    }
    /// Events count from now on; what each action says counts from here too.
    pub fn set_origin(&mut self, origin_ns: u64) {
        self.origin_ns = Some(origin_ns);
    }
    /// Nothing fires any more.
    pub fn disarm(&mut self) {
        self.waiting.clear();
    }
    /// An event happened; the actions that it sets off.
    pub fn note(&mut self, now_ns: u64, node: &str, event: Moment, code: Option<i32>) -> Vec<usize> {
        let mut fired = Vec::new();
        let Some(origin) = self.origin_ns else { return fired };
        self.waiting.retain_mut(|w| {
            let counts = w.event == event
                && w.node == node
                && now_ns >= origin + w.from_ns
                && (w.code.is_none() || w.code == code);
            w.left -= u64::from(counts);
            if w.left == 0 {
                fired.push(w.action);
            }
            w.left > 0
        });
        fired
    }
}

fn waiting(index: usize, action: &Action) -> Option<Waiting> {
    let Trigger::On { node, event, code, n, from } = &action.when else { return None };
    Some(Waiting {
        action: index,
        node: node.clone(),
        event: *event,
        code: *code,
        from_ns: from * 1_000_000,
        left: (*n).max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::What;

    #[test]
    fn fires_once_at_the_nth_event_of_its_kind() {
        let when = Trigger::On { node: "a".into(), event: Moment::ResponseSent, code: Some(10), n: 2, from: 1 };
        let what = What::Kill { node: "a".into(), silent: None, down_ms: None };
        let mut triggers = Triggers::new(&[Action { id: 7, when, what }]);
        assert_eq!(
            triggers.note(u64::MAX, "a", Moment::ResponseSent, Some(10)),
            [] as [usize; 0],
            "still being set up"
        );
        triggers.set_origin(0);
        let mut note = |ms: u64, node, code| triggers.note(ms * 1_000_000, node, Moment::ResponseSent, Some(code));
        assert_eq!(note(0, "a", 10), [] as [usize; 0], "too early");
        assert_eq!(note(2, "a", 10), [] as [usize; 0]);
        assert_eq!(note(2, "b", 10), [] as [usize; 0]);
        assert_eq!(note(2, "a", 11), [] as [usize; 0]);
        assert_eq!(note(3, "a", 10), [0]);
        assert_eq!(note(4, "a", 10), [] as [usize; 0]);
    }
}
