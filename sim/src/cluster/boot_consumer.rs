//! Consumers on their hosts.
//!
//! Invariant: see [`crate::clients`].

use std::rc::Rc;

use super::scene::Scene;
use crate::world::HostId;

pub(super) async fn consumer(_scene: &Rc<Scene>, _host: HostId, _n: usize) {
    std::future::pending::<()>().await;
}

/// A handler is done.
pub(super) fn handled(_scene: &Scene, _host: HostId, _delivery: u64) {}
