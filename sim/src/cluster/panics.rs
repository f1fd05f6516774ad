//! What panicked, and where.
//!
//! Invariant: a panic of a node becomes a violation that names the node; it never passes as the death of the simulator.

use std::cell::{Cell, RefCell};
use std::sync::Once;

use seedmq_reports::{Oracle, Violation};

use super::scene::Scene;
use crate::world::HostId;

#[derive(Clone, Debug)]
struct Caught {
    message: String,
    file: String,
    line: u32,
    host: Option<HostId>,
    in_invariants: bool,
}

thread_local! {
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
    static IN_INVARIANTS: Cell<bool> = const { Cell::new(false) };
    static STEPPING: Cell<Option<HostId>> = const { Cell::new(None) };
}

/// Whose machine takes inputs now.
pub(super) fn stepping(host: Option<HostId>) {
    STEPPING.set(host);
}

/// Runs a node's own check of itself.
pub(super) fn checking<T>(check: impl FnOnce() -> T) -> T {
    IN_INVARIANTS.set(true);
    let result = check();
    IN_INVARIANTS.set(false);
    result
}

/// Remembers panics of this thread from now on.
pub(super) fn listen() {
    static HOOK: Once = Once::new();
    IN_INVARIANTS.set(false);
    STEPPING.set(None);
    CAUGHT.with(|caught| *caught.borrow_mut() = None);
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let (file, line) = info.location().map_or(("?".into(), 0), |at| (at.file().to_owned(), at.line()));
            let (text, owned) = (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>());
            let message = text.copied().or(owned.map(String::as_str)).unwrap_or("no message").to_owned();
            eprintln!("panic at {file}:{line}: {message}");
            if std::env::var_os("RUST_BACKTRACE").is_some_and(|on| on != "0") {
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
            }
            let found = Caught { message, file, line, host: STEPPING.get(), in_invariants: IN_INVARIANTS.get() };
            CAUGHT.with(|caught| caught.borrow_mut().get_or_insert(found).line);
        }));
    });
}

/// The violation of the panic that ended the run.
pub(super) fn violation(scene: &Scene) -> Violation {
    let caught = CAUGHT.with(|caught| caught.borrow_mut().take());
    let caught = caught.unwrap_or_else(|| Caught {
        message: "a panic that nobody heard".to_owned(),
        file: "?".to_owned(),
        line: 0,
        host: None,
        in_invariants: false,
    });
    let host = caught.host;
    let who = host.map_or("the simulator", |host| scene.cast.name(host));
    let file = caught.file.rsplit_once("src/").map_or(caught.file.as_str(), |(_, rest)| rest);
    let clause: String =
        format!("{file}: {}", caught.message).chars().filter(|c| !c.is_ascii_digit()).take(80).collect();
    Violation {
        oracle: if caught.in_invariants { Oracle::Invariant } else { Oracle::Panic },
        clause,
        role: host.map_or("simulator", |host| scene.cast.role(host).name()).to_owned(),
        topic_kind: "-".to_owned(),
        text: format!("{who} panicked at {}:{}: {}", caught.file, caught.line, caught.message),
        at_ms: scene.now_ms(),
        lines: Vec::new(),
        proof: vec![caught.message],
    }
}
