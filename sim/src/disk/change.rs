//! What happens to a disk, as the canonical log records it.
//!
//! Invariant: whatever changes a disk is told in the order in which it takes effect, also within one step of a node.

/// One change; contents as length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change<'a> {
    /// A file is there now, with so many bytes.
    Create {
        /// Its path.
        path: &'a str,
        /// Bytes.
        len: u64,
    },
    /// Bytes were written.
    Write {
        /// The file.
        path: &'a str,
        /// The first byte.
        at: u64,
        /// How many; of a write that was refused, how many got there.
        len: u64,
        /// CRC-32 of them.
        sum: u32,
        /// Whether the process was told that it failed.
        refused: bool,
    },
    /// A file was cut to so many bytes.
    Truncate {
        /// The file.
        path: &'a str,
        /// Bytes.
        len: u64,
    },
    /// A file has another name.
    Rename {
        /// Before.
        from: &'a str,
        /// Now.
        to: &'a str,
        /// Whether it was there.
        done: bool,
    },
    /// A file is gone.
    Remove {
        /// Its path.
        path: &'a str,
        /// Whether it was there.
        done: bool,
    },
    /// A sync of a file has ended.
    Sync {
        /// The file.
        path: &'a str,
        /// How.
        end: SyncEnd,
    },
    /// A sync of a directory has ended.
    SyncDir {
        /// The directory.
        path: &'a str,
        /// How.
        end: SyncEnd,
    },
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncEnd {
    /// It is durable.
    Done,
    /// The process was told so, and it is not.
    Lied,
    /// The process was told that it failed.
    Failed,
}
