//! Requests of operators and tools (Java `AdminBrokerProcessor`), one file a family.
//!
//! Invariant: a change is confirmed only after the file that keeps it is in place.

use super::dispatch::{Answer, Caller, Fault, Handled};
use super::{Broker, BrokerEvent};
use crate::node::{Addr, Cx};
use crate::wire::Frame;
use crate::wire::codes::response;

mod connections;
mod consume;
mod forward;
mod groups;
mod properties;
mod reset;
mod topics;

pub(super) use forward::Forwarded;
pub(super) use properties::overrides_text;

/// Answers that may wait for a file at once.
const CONFIRMATIONS_MAX: usize = 10_000;

/// The answer to a change that waits for its file.
#[derive(Debug)]
pub struct Confirmation {
    path: Addr,
    version: u64,
    caller: Caller,
    frame: Frame,
}

/// Which file keeps a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Topics,
    Groups,
    Overrides,
}

impl Broker {
    /// Answers once the present state of a table is in its file.
    fn confirm_when_saved(&mut self, kept: Kept, caller: &Caller, frame: Frame) -> Handled {
        let (file, version) = match kept {
            Kept::Topics => (&mut self.files.topics, self.topics.version()),
            Kept::Groups => (&mut self.files.groups, self.groups.version()),
            Kept::Overrides => {
                let version = self.overrides_version;
                (&mut self.files.overrides, version)
            }
        };
        file.want(version);
        if file.done() >= version || crate::planted!("told-before-kept") {
            return Ok(frame.into());
        }
        if self.confirmations.len() >= CONFIRMATIONS_MAX {
            return Err(Fault::new(response::SYSTEM_BUSY, "too many changes wait for the disk"));
        }
        crate::sometimes!("answer to a change waited for its file");
        let path = file.path().clone();
        self.confirmations.push(Confirmation { path, version, caller: *caller, frame });
        Ok(Answer::Later)
    }

    /// A file was replaced, or could not be: who waited for it hears.
    pub(super) fn confirm(&mut self, path: &Addr, failed: Option<&str>, cx: &mut Cx<'_, BrokerEvent>) {
        let done = self.file_of(path).expect("it was just replaced").done();
        let (ready, waiting) = std::mem::take(&mut self.confirmations)
            .into_iter()
            .partition(|one| one.path == *path && (failed.is_some() || one.version <= done));
        self.confirmations = waiting;
        for Confirmation { caller, frame, .. } in ready {
            let handled = match failed {
                None => Ok(frame.into()),
                Some(why) => Err(Fault::new(response::SYSTEM_ERROR, format!("the change is not saved: {why}"))),
            };
            self.finish(&caller, handled, cx);
        }
    }
}
