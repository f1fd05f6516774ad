//! The catalogue of plants: known bugs, compiled in behind `planted!`, that only the simulator can switch on.
//!
//! Invariant: every `planted!` of core and driver stands here and the reverse; a test says so.

use seedmq_reports::Oracle;

/// One known bug.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name in `planted!`.
    pub name: &'static str,
    /// What it does wrong.
    pub about: &'static str,
    /// The oracles that may find it; any of them counts.
    pub oracles: &'static [Oracle],
    /// Ordinary scenarios that should find it, the quickest first; a kept tape (`bugs/NAME`) runs once, before them.
    pub scenarios: &'static [&'static str],
}

/// All of them.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "ack-before-fsync",
        about: "the broker acknowledges under synchronous flush before the sync is done",
        oracles: &[Oracle::Lost],
        scenarios: &["power-loss-sync-flush"],
    },
    Plant {
        name: "told-before-kept",
        about: "the broker answers that a topic is made before its file is on the disk",
        oracles: &[Oracle::Route],
        scenarios: &["told-topics"],
    },
    Plant {
        name: "name-not-synced",
        about: "the driver takes a file for replaced before its new name is on the disk",
        oracles: &[Oracle::Route],
        scenarios: &["told-topics"],
    },
    Plant {
        name: "queue-offset-hole",
        about: "the store leaves a hole in the offsets of a queue",
        oracles: &[Oracle::Dense, Oracle::Projection],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "recovery-keeps-torn-tail",
        about: "recovery does not cut a torn tail",
        oracles: &[Oracle::Projection, Oracle::Phantom, Oracle::RecoveryIdempotent, Oracle::Lost],
        scenarios: &["power-loss-sync-flush", "power-loss-async-flush"],
    },
    Plant {
        name: "batch-stored-twice",
        about: "the store appends a batch twice",
        oracles: &[Oracle::Duplicate],
        scenarios: &["broker-crash", "power-loss-async-flush"],
    },
    Plant {
        name: "batch-sent-twice",
        about: "the producer sends a batch twice",
        oracles: &[Oracle::Duplicate],
        scenarios: &["broker-crash", "power-loss-async-flush"],
    },
    Plant {
        name: "hold-not-rechecked",
        about: "a pull is held although a message arrived between the look and the hold",
        oracles: &[Oracle::HeldPull],
        scenarios: &["slow-world", "swarm"],
    },
    Plant {
        name: "full-hold-answers-at-once",
        about: "a pull for which there is no room to wait is told of no message, and is there again at once",
        oracles: &[Oracle::Bounds],
        scenarios: &["tight-limits"],
    },
    Plant {
        name: "ids-change-not-pushed",
        about: "the broker does not tell a group that a member went",
        oracles: &[Oracle::Owner],
        scenarios: &["rolling-deploy"],
    },
    Plant {
        name: "offset-commit-regresses",
        about: "the broker answers an older committed offset than it was told",
        oracles: &[Oracle::OffsetRegression, Oracle::Duplicate],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "lock-granted-twice",
        about: "the broker grants the lock of a queue to two members",
        oracles: &[Oracle::Overlap],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "route-keeps-dead-broker",
        about: "the name server keeps a dead broker in its routes",
        oracles: &[Oracle::Invariant, Oracle::Route],
        scenarios: &["broker-gone"],
    },
    Plant {
        name: "lost-name-server-left",
        about: "a broker whose connection to a name server went asks it again only with its next period",
        oracles: &[Oracle::Route],
        scenarios: &["namesrv-outage"],
    },
    Plant {
        name: "late-registration-taken",
        about: "the name server believes a registration on a connection that its broker has given up, and the end of that connection",
        oracles: &[Oracle::Owner, Oracle::Route],
        scenarios: &["late-registrations"],
    },
    Plant {
        name: "wipe-forgotten",
        about: "the name server says that it took a broker's write permission, and did not",
        oracles: &[Oracle::Route],
        scenarios: &["operations", "drained"],
    },
    Plant {
        name: "write-permission-ignored",
        about: "a producer uses brokers that it is told not to use",
        oracles: &[Oracle::Route],
        scenarios: &["drained"],
    },
    Plant {
        name: "retry-topic-made-again",
        about: "each heartbeat of a group gives its retry topic the settings of a new one",
        oracles: &[Oracle::Route],
        scenarios: &["failing-handlers", "operations"],
    },
    Plant {
        name: "same-settings-move-version",
        about: "a topic that is given the settings that it has makes the broker register anew",
        oracles: &[Oracle::Route],
        scenarios: &["failing-handlers", "operations"],
    },
    Plant {
        name: "full-disk-ignored",
        about: "the broker says that its disk is too full, and takes messages",
        oracles: &[Oracle::Bounds],
        scenarios: &["disk-space"],
    },
    Plant {
        name: "no-room-forgotten",
        about: "the broker takes messages although there was no room for the next file of its log",
        oracles: &[Oracle::Bounds],
        scenarios: &["disk-faults", "disk-space"],
    },
    Plant {
        name: "query-misses-one",
        about: "a broker that is asked for a key leaves the newest message out",
        oracles: &[Oracle::Projection],
        scenarios: &["operations"],
    },
    Plant {
        name: "kv-not-read-at-start",
        about: "a name server that starts does not read its key-value configuration",
        oracles: &[Oracle::Lost],
        scenarios: &["operations"],
    },
    Plant {
        name: "topics-of-first-registration-ignored",
        about: "the name server does not take the topics of a broker that it did not know",
        oracles: &[Oracle::Route],
        scenarios: &["broker-crash", "namesrv-outage"],
    },
    Plant {
        name: "retry-reuses-dead-broker",
        about: "the producer retries on the broker that just failed",
        oracles: &[Oracle::Convergence],
        scenarios: &["broker-gone", "broker-crash"],
    },
    Plant {
        name: "queue-owned-twice",
        about: "two members of a group take the same queue",
        oracles: &[Oracle::Owner],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "commit-past-unconsumed",
        about: "the consumer commits past messages whose handlers have not ended",
        oracles: &[Oracle::Lost],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "commit-past-running",
        about: "the consumer commits past messages that are with their handlers",
        oracles: &[Oracle::Lost],
        scenarios: &["stuck-handlers", "consumer-churn"],
    },
    Plant {
        name: "one-handler-stops-all",
        about: "a consumer hands out nothing more while one of its handlers does not return",
        oracles: &[Oracle::Convergence],
        scenarios: &["stuck-handlers"],
    },
    Plant {
        name: "unlocked-under-handler",
        about: "a member that leaves gives the lock of a queue back while a handler still runs there",
        oracles: &[Oracle::Overlap],
        scenarios: &["bugs/unlocked-under-handler", "stuck-handlers"],
    },
    Plant {
        name: "no-second-look-at-tags",
        about: "a consumer takes what the broker hands out without a look at the tags",
        oracles: &[Oracle::Filter],
        scenarios: &["subscriptions"],
    },
    Plant {
        name: "newer-subscription-ignored",
        about: "the broker keeps the first subscription of a group that it heard of",
        oracles: &[Oracle::Convergence, Oracle::Lost],
        scenarios: &["subscriptions"],
    },
    Plant {
        name: "name-server-kept",
        about: "a client goes on asking a name server that does not answer",
        oracles: &[Oracle::Convergence, Oracle::Owner],
        scenarios: &["permanent-cuts"],
    },
    Plant {
        name: "orderly-overlap",
        about: "an ordered consumer handles two messages of a queue at once",
        oracles: &[Oracle::Overlap],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "queue-entry-wrong-tag",
        about: "the store writes a wrong tag code into the queue",
        oracles: &[Oracle::Projection],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "index-entry-misplaced",
        about: "the store writes into the index where the record ends instead of where it begins",
        oracles: &[Oracle::Projection],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "index-chain-cut",
        about: "a new index entry does not lead on to the older ones of its slot",
        oracles: &[Oracle::Projection],
        scenarios: &["broker-crash", "swarm"],
    },
    Plant {
        name: "tag-not-indexed",
        about: "the store does not index the tags of messages",
        oracles: &[Oracle::Projection],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "route-forgotten",
        about: "a client forgets the route of a topic when no name server can be reached",
        oracles: &[Oracle::Convergence, Oracle::Owner],
        scenarios: &["namesrv-absent", "namesrv-outage"],
    },
    Plant {
        name: "large-registration-plain",
        about: "the broker registers thousands of topics without packing them",
        oracles: &[Oracle::Route, Oracle::Convergence],
        scenarios: &["many-topics"],
    },
    Plant {
        name: "offsets-read-lower",
        about: "a broker that starts takes each committed offset for one lower than it was written down",
        oracles: &[Oracle::RecoveryIdempotent],
        scenarios: &["controls/brief-overlap", "rolling-deploy"],
    },
    Plant {
        name: "torn-tail-panics",
        about: "recovery panics at a torn record instead of cutting it",
        oracles: &[Oracle::Panic],
        scenarios: &["power-loss-sync-flush", "power-loss-async-flush"],
    },
    Plant {
        name: "stored-but-refused",
        about: "the broker stores a message and tells the producer that it did not",
        oracles: &[Oracle::Phantom],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "tags-ignored",
        about: "broker and consumer let every tag pass",
        oracles: &[Oracle::Filter],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "handed-out-backwards",
        about: "a consumer hands out the last message that is ready first",
        oracles: &[Oracle::QueueOrder],
        scenarios: &["consumer-churn", "broker-crash"],
    },
    Plant {
        name: "shard-moves",
        about: "the producer sends the messages of one business id to changing queues",
        oracles: &[Oracle::KeyOrder],
        scenarios: &["consumer-churn", "broker-crash"],
    },
    Plant {
        name: "commit-goes-back",
        about: "the consumer commits a lower offset than before",
        oracles: &[Oracle::OffsetRegression],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "failed-sync-forgotten",
        about: "after a failed sync a restart takes what is in memory for what is on the disk",
        oracles: &[Oracle::Projection, Oracle::Lost, Oracle::Dense],
        scenarios: &["disk-faults"],
    },
    Plant {
        name: "stale-position-trusted",
        about: "after a power cut the broker lets a consumer go on beyond what was recovered",
        oracles: &[Oracle::Lost],
        scenarios: &["power-loss-async-flush"],
    },
    Plant {
        name: "cut-offsets-not-kept",
        about: "committed offsets that were cut back after a power cut stay in memory until the next round",
        oracles: &[Oracle::Lost],
        scenarios: &["bugs/cut-offsets-not-kept", "twice-cut"],
    },
    Plant {
        name: "cut-not-written-down",
        about: "the broker takes messages although it could not write down where its queues ended after a power cut",
        oracles: &[Oracle::Lost],
        scenarios: &["bugs/cut-not-written-down", "ends-not-kept"],
    },
    Plant {
        name: "first-queue-not-scrubbed",
        about: "recovery leaves what stands behind the end of the first queue",
        oracles: &[Oracle::Projection, Oracle::RecoveryIdempotent],
        scenarios: &["bugs/entries-behind-the-first-queue", "power-loss-async-flush"],
    },
    Plant {
        name: "cut-files-go-together",
        about: "recovery removes all log files behind the end at once, so that a power cut may leave a gap",
        oracles: &[Oracle::RecoveryIdempotent, Oracle::Convergence],
        scenarios: &["bugs/gap-in-the-log", "power-loss-async-flush"],
    },
    Plant {
        name: "queues-forgotten-by-retention",
        about: "on a full disk a log file goes whose queue entries are in memory only",
        oracles: &[
            Oracle::Projection,
            Oracle::Lost,
            Oracle::Phantom,
            Oracle::QueueOrder,
            Oracle::Dense,
            Oracle::RecoveryIdempotent,
        ],
        scenarios: &["bugs/queue-end-went-with-the-log", "full-then-killed"],
    },
    Plant {
        name: "dead-heartbeat-not-repeated",
        about: "a client whose heartbeat met a dead connection waits for the next period",
        oracles: &[Oracle::Owner],
        scenarios: &["bugs/heartbeat-to-a-dead-connection", "joins-in-crashes"],
    },
    Plant {
        name: "old-read-error-told",
        about: "a read that failed is told to whoever reads there next, however late",
        oracles: &[Oracle::Projection],
        scenarios: &["bugs/stale-read-error", "reads-given-up"],
    },
    Plant {
        name: "queue-file-left",
        about: "queue files stay when the part of the log that they lead to is removed",
        oracles: &[Oracle::Projection],
        scenarios: &["controls/removed-unread", "disk-space"],
    },
    Plant {
        name: "rotten-record-delivered",
        about: "the broker hands out a record without a look at its checksum",
        oracles: &[Oracle::Phantom],
        scenarios: &["bit-rot"],
    },
    Plant {
        name: "rot-truncates-log",
        about: "recovery takes damage in the log for its end and cuts what is behind it",
        oracles: &[Oracle::Lost, Oracle::Convergence],
        scenarios: &["bit-rot"],
    },
    Plant {
        name: "torn-end-taken-for-damage",
        about: "recovery that goes on behind a damaged message passes over a torn end as over more of the damage",
        oracles: &[Oracle::Projection],
        scenarios: &["bugs/torn-end-behind-damage", "rot-at-the-torn-end"],
    },
    Plant {
        name: "entry-of-another-believed",
        about: "the broker hands out whatever sound record an entry leads to",
        oracles: &[Oracle::Phantom, Oracle::QueueOrder, Oracle::Lost, Oracle::Duplicate],
        scenarios: &["misdirected-write"],
    },
    Plant {
        name: "missing-entry-skipped",
        about: "the broker leads a reader past entries that are missing although the log holds their messages",
        oracles: &[Oracle::Lost],
        scenarios: &["misdirected-write"],
    },
    Plant {
        name: "neighbours-believed",
        about: "a damaged entry is looked for between neighbours that lead to records of other queues",
        oracles: &[Oracle::Lost],
        scenarios: &["bugs/neighbours-of-another-queue", "misdirected-write"],
    },
    Plant {
        name: "read-error-skips",
        about: "the broker leads a reader past what the disk could not read",
        oracles: &[Oracle::Lost],
        scenarios: &["bit-rot"],
    },
    Plant {
        name: "pull-not-repeated",
        about: "the consumer does not pull again after a pull that failed",
        oracles: &[Oracle::Convergence, Oracle::Lost],
        scenarios: &["broker-crash", "partition"],
    },
    Plant {
        name: "removed-topic-comes-back",
        about: "recovery brings back the messages of a topic that was deleted",
        oracles: &[Oracle::Projection, Oracle::Phantom, Oracle::Dense, Oracle::RecoveryIdempotent, Oracle::QueueOrder],
        scenarios: &["bugs/deleted-topic-came-back", "topic-removed"],
    },
    Plant {
        name: "unfinished-forgotten",
        about: "a consumer that the broker sends back begins past a message that its handler has not taken",
        oracles: &[Oracle::Lost],
        scenarios: &["bugs/unfinished-forgotten", "sent-back"],
    },
    Plant {
        name: "finished-stays-out",
        about: "a consumed message stays in the books of the consumer",
        oracles: &[Oracle::Invariant],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "closed-pulls-stay-held",
        about: "the broker keeps the pulls of a connection that was closed until their time is over",
        oracles: &[Oracle::Bounds],
        scenarios: &["consumer-churn"],
    },
    Plant {
        name: "unread-for-good",
        about: "a connection that is not read because too much for it is unsent is never read again",
        oracles: &[Oracle::Convergence, Oracle::HeldPull, Oracle::Owner],
        scenarios: &["tight-limits"],
    },
    Plant {
        name: "rest-unwritten",
        about: "what a connection does not take at once is never written, nor what comes after it",
        oracles: &[Oracle::Convergence, Oracle::HeldPull, Oracle::Owner],
        scenarios: &["tight-limits"],
    },
    Plant {
        name: "cache-taken-for-disk",
        about: "after a kill, retention takes queue entries that only the page cache holds for durable",
        oracles: &[Oracle::Phantom, Oracle::Lost, Oracle::Dense],
        scenarios: &["bugs/cache-taken-for-disk", "removed-while-cached"],
    },
    Plant {
        name: "durable-forgotten",
        about: "a recovery that rebuilds all queues takes damage in the durable part of the log for its torn end",
        oracles: &[Oracle::Lost, Oracle::Dense, Oracle::Projection, Oracle::Phantom],
        scenarios: &["bugs/durable-forgotten", "rot-after-removal"],
    },
    Plant {
        name: "stats-end-short",
        about: "a broker that is asked for the queues of a topic leaves the last message out",
        oracles: &[Oracle::Projection],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "stored-then-skipped",
        about: "a search by time passes over what was stored at that very time",
        oracles: &[Oracle::Projection],
        scenarios: &["broker-crash"],
    },
    Plant {
        name: "member-not-listed",
        about: "a broker that is asked for the members of a group leaves one out",
        oracles: &[Oracle::Owner],
        scenarios: &["backlog"],
    },
    Plant {
        name: "full-queue-pulled-on",
        about: "a consumer pulls on although it holds as many messages of the queue as it may",
        oracles: &[Oracle::Bounds],
        scenarios: &["backlog"],
    },
];

/// Plants that may show without any fault, as the bug that they stand for does: ordinary work is enough, or members and brokers that come and
/// go in order. All others must leave a run without faults green.
pub const SHOW_WITHOUT_FAULTS: &[&str] = &[
    "queue-offset-hole",
    "batch-stored-twice",
    "batch-sent-twice",
    "hold-not-rechecked",
    "full-hold-answers-at-once",
    "offset-commit-regresses",
    "lock-granted-twice",
    "queue-owned-twice",
    "commit-past-unconsumed",
    "orderly-overlap",
    "queue-entry-wrong-tag",
    "index-entry-misplaced",
    "index-chain-cut",
    "offsets-read-lower",
    "stored-but-refused",
    "tags-ignored",
    "handed-out-backwards",
    "shard-moves",
    "commit-goes-back",
    "finished-stays-out",
    "closed-pulls-stay-held",
    "full-queue-pulled-on",
    "tag-not-indexed",
    "large-registration-plain",
    "newer-subscription-ignored",
    "no-second-look-at-tags",
    "query-misses-one",
    "queue-file-left",
    "stats-end-short",
    "unread-for-good",
    "rest-unwritten",
    "stored-then-skipped",
    "member-not-listed",
    "retry-topic-made-again",
    "same-settings-move-version",
    "full-disk-ignored",
    "no-room-forgotten",
    "wipe-forgotten",
    "write-permission-ignored",
];

/// Finds a plant.
pub fn find(name: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|p| p.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_plant_is_left_to_kept_tapes() {
        let is_ordinary = |name: &&str| crate::scenario::find(name).is_ok();
        let left = PLANTS.iter().filter(|plant| !plant.scenarios.iter().any(is_ordinary));
        assert_eq!(left.map(|plant| plant.name).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
