//! What every machine that asks others for something shares: outgoing calls, routes, the choice of a name server, heartbeats.
//!
//! Invariant: nothing here knows what a caller wants with an answer; a caller's own tag comes back with each outcome.

#[cfg(test)]
pub(crate) mod bench;
pub mod calls;
mod identity;
mod instance;
pub mod names;
mod namesrv;
mod queue;
pub mod routes;

pub use calls::{CallError, Calls};
pub use identity::Identity;
pub use instance::{API_TIMEOUT, Client, HEARTBEAT_EVERY, News, NewsList, POLL_EVERY, Presence, RouteNews, Want};
pub use namesrv::NameServers;
pub use queue::Queue;
pub(crate) use queue::by_text;
