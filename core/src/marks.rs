//! Marks for the simulator: `planted!`, `sometimes!`, `buggify!`.
//!
//! Invariant: without `--cfg madsim` all three are constants, so that production code pays nothing and no plant can be
//! switched on outside the simulator. The simulator installs one [`Context`] per process.

/// What the simulator answers to a mark.
pub trait Context: Send + Sync {
    /// Whether the named plant is switched on. A `true` answer means: this code path now misbehaves.
    fn planted(&self, place: &Place) -> bool;
    /// A rare state was reached.
    fn sometimes(&self, place: &Place);
    /// Whether a legal deviation (delay, small batch, early flush) is to be taken here, now.
    fn buggify(&self, site: &'static str) -> bool;
}

/// A place in the code that bears a mark. Marks are passed in every step: the context numbers their names once, and does not look
/// them up again.
#[derive(Debug)]
pub struct Place {
    /// The name of the mark. Several places may share it.
    pub name: &'static str,
    /// The number that the context gave to the name; 0 before it did.
    pub number: std::sync::atomic::AtomicU32,
}

impl Place {
    /// A place whose name has no number yet.
    pub const fn new(name: &'static str) -> Place {
        Place { name, number: std::sync::atomic::AtomicU32::new(0) }
    }
}

#[cfg(madsim)]
static CONTEXT: std::sync::OnceLock<Box<dyn Context>> = std::sync::OnceLock::new();

/// Installs the context of this process. The first call wins.
#[cfg(madsim)]
pub fn install(context: Box<dyn Context>) {
    let _ = CONTEXT.set(context);
}

/// The installed context.
#[cfg(madsim)]
pub fn context() -> Option<&'static dyn Context> {
    CONTEXT.get().map(Box::as_ref)
}

/// True when the named known bug is switched on: `if planted!("ack-before-fsync") { … }`.
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        #[cfg(madsim)]
        let on = {
            static PLACE: $crate::marks::Place = $crate::marks::Place::new($name);
            $crate::marks::context().is_some_and(|c| c.planted(&PLACE))
        };
        #[cfg(not(madsim))]
        let on = false;
        on
    }};
}

/// Records that a rare state was reached: `sometimes!("recovery cut a torn tail")`.
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {{
        #[cfg(madsim)]
        if let Some(c) = $crate::marks::context() {
            static PLACE: $crate::marks::Place = $crate::marks::Place::new($name);
            c.sometimes(&PLACE);
        }
    }};
}

/// True when the simulator wants a legal deviation here: `if buggify!("small pull batch") { max = 1; }`.
#[macro_export]
macro_rules! buggify {
    ($site:literal) => {{
        #[cfg(madsim)]
        let on = $crate::marks::context().is_some_and(|c| c.buggify($site));
        #[cfg(not(madsim))]
        let on = false;
        on
    }};
}
