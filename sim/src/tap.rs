//! The canonical log of a run: every input and output of every node, with node and time, as length-prefixed binary
//! records, and the hash over all of them. What a type derives as `Hash` is its binary form.
//!
//! Invariant: two runs with the same hash took the same inputs and gave the same outputs in the same order at the same
//! virtual times; a record never contains an address of memory, a `Debug` text or anything else that differs between
//! processes.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex};

use seedmq::driver::Tap;
use seedmq_core::node::{Input, Node, Now, Output};

use crate::world::{HostId, World};

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An input of a node.
    Input,
    /// An output of a node.
    Output,
    /// A line of the client history.
    History,
    /// A fault that took effect.
    Fault,
    /// A change of a disk.
    Disk,
    /// The end: disk images, counters.
    Final,
}

/// The hash takes so many bytes at once: it is several times faster on long runs of bytes than record by record.
const GATHERED: usize = 64 << 10;

/// Runs of bytes above this length enter a record as length and checksum, so that the hash of a run does not cost more than the run.
const WHOLE: usize = 4 << 10;

/// Appends what is hashed. Numbers take as many bytes as they need, most of them one.
struct Gather<'a>(&'a mut Vec<u8>);

impl Gather<'_> {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl Hasher for Gather<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() > WHOLE {
            self.number(bytes.len() as u64);
            self.0.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        } else {
            self.0.extend_from_slice(bytes);
        }
    }
    fn write_u8(&mut self, number: u8) {
        self.0.push(number);
    }
    fn write_u16(&mut self, number: u16) {
        self.number(number.into());
    }
    fn write_u32(&mut self, number: u32) {
        self.number(number.into());
    }
    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }
    fn write_usize(&mut self, number: usize) {
        self.number(number as u64);
    }
    fn write_isize(&mut self, number: isize) {
        self.number(number as u64);
    }
    fn finish(&self) -> u64 {
        unreachable!("what is gathered is hashed as a whole")
    }
}

/// The log of a run.
pub struct Log {
    hasher: blake3::Hasher,
    events: u64,
    inputs: u64,
    /// Records that the hash has not taken yet.
    gathered: Vec<u8>,
    /// Where every record also goes as a line of text.
    trace: Option<Box<dyn Write + Send>>,
    /// Names of the hosts, for that text.
    names: Vec<String>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Log {
    /// An empty log.
    pub fn new(trace: Option<Box<dyn Write + Send>>) -> Log {
        Log { hasher: blake3::Hasher::new(), events: 0, inputs: 0, gathered: Vec::new(), trace, names: Vec::new() }
    }
    /// Adds a record.
    pub fn record(&mut self, at_ns: u64, host: HostId, kind: Kind, what: &(impl Hash + Debug)) {
        let begin = self.gathered.len();
        self.gathered.extend_from_slice(&[0; 4]);
        (at_ns, host, kind, what).hash(&mut Gather(&mut self.gathered));
        let len = u32::try_from(self.gathered.len() - begin - 4).expect("a record is small");
        self.gathered[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
        if self.gathered.len() >= GATHERED {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
        self.events += 1;
        self.inputs += u64::from(kind == Kind::Input);
        if let Some(trace) = &mut self.trace {
            let name = self.names.get(usize::from(host.0)).map_or("?", String::as_str);
            writeln!(trace, "{} {name} {kind:?} {what:?}", at_ns / 1000).expect("the trace file takes a line");
        }
    }
    /// Records so far.
    pub fn events(&self) -> u64 {
        self.events
    }
    /// The hash so far, 32 hexadecimal digits.
    pub fn hash(&self) -> String {
        self.hasher.clone().update(&self.gathered).finalize().to_hex()[..32].to_owned()
    }
}

/// The log as everybody shares it.
#[derive(Clone, Debug)]
pub struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    /// Shares a log.
    pub fn new(log: Log) -> SharedLog {
        SharedLog(Arc::new(Mutex::new(log)))
    }
    /// Adds a record.
    pub fn record(&self, at_ns: u64, host: HostId, kind: Kind, what: &(impl Hash + Debug)) {
        self.0.lock().expect("no task panics while it holds the log").record(at_ns, host, kind, what);
    }
    /// Names the hosts.
    pub fn name(&self, names: Vec<String>) {
        self.0.lock().expect("no task panics while it holds the log").names = names;
    }
    /// Records so far.
    pub fn events(&self) -> u64 {
        self.0.lock().expect("no task panics while it holds the log").events()
    }
    /// Records so far, how many of them are inputs, and the hash.
    pub fn result(&self) -> (u64, u64, String) {
        let log = self.0.lock().expect("no task panics while it holds the log");
        (log.events, log.inputs, log.hash())
    }
}

/// Puts what goes through the driver of one node into the log.
#[derive(Debug)]
pub struct LogTap {
    world: Arc<World>,
    host: HostId,
    log: SharedLog,
}

impl LogTap {
    /// A tap for the process on `host`.
    pub fn new(world: &Arc<World>, host: HostId, log: &SharedLog) -> LogTap {
        LogTap { world: Arc::clone(world), host, log: log.clone() }
    }
    fn record(&self, kind: Kind, what: &(impl Hash + Debug)) {
        self.log.record(self.world.now_ns(), self.host, kind, what);
    }
}

impl<N: Node> Tap<N> for LogTap
where
    N::Command: Hash + Debug,
    N::Event: Hash + Debug,
{
    fn input(&mut self, now: &Now, input: &Input<N::Command>) {
        if !matches!(input, Input::Settle) {
            self.record(Kind::Input, &(now, input));
        }
    }
    fn output(&mut self, output: &Output<N::Event>) {
        self.record(Kind::Output, output);
    }
    fn settled(&mut self, node: &N) {
        node.invariants();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Change;

    fn hash(records: &[(u64, u16, &str)]) -> String {
        let mut log = Log::new(None);
        records.iter().for_each(|(at, host, what)| log.record(*at, HostId(*host), Kind::Input, what));
        log.hash()
    }

    #[test]
    fn the_order_of_disk_operations_counts() {
        let changes = [
            Change::Write { path: "log", at: 0, len: 9, sum: 1, refused: false },
            Change::Truncate { path: "log", len: 9 },
            Change::Rename { from: "log", to: "old", done: true },
        ];
        let hash = |order: [usize; 3], host: u16| {
            let mut log = Log::new(None);
            order.iter().for_each(|n| log.record(1, HostId(host), Kind::Disk, &changes[*n]));
            log.hash()
        };
        assert_eq!(hash([0, 1, 2], 1), hash([0, 1, 2], 1));
        assert_ne!(hash([0, 1, 2], 1), hash([1, 0, 2], 1), "a write and a truncation");
        assert_ne!(hash([0, 1, 2], 1), hash([0, 2, 1], 1), "a truncation and a new name");
        assert_ne!(hash([0, 1, 2], 1), hash([0, 1, 2], 2), "the node");
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let base = hash(&[(1, 2, "ab"), (2, 2, "c")]);
        assert_eq!(base, hash(&[(1, 2, "ab"), (2, 2, "c")]));
        assert_ne!(base, hash(&[(2, 2, "c"), (1, 2, "ab")]), "order");
        assert_ne!(base, hash(&[(1, 2, "ab"), (3, 2, "c")]), "time");
        assert_ne!(base, hash(&[(1, 3, "ab"), (2, 2, "c")]), "node");
        assert_ne!(base, hash(&[(1, 2, "a"), (2, 2, "bc")]), "borders of records");
    }
}
