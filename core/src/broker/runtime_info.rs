//! GET_BROKER_RUNTIME_INFO: what `mqadmin brokerStatus` and `clusterList` show.
//!
//! Invariant: the keys that tools read have Java's names; a figure that this broker does not have is not made up, but for
//! the thread pools and the timer wheel of Java, which are shown as empty.

use std::collections::BTreeMap;

use super::dispatch::{Caller, Handled};
use super::{Broker, BrokerEvent};
use crate::meter::Meter;
use crate::node::{Cx, Usage};
use crate::wire::json::{self, Style};
use crate::wire::kv::KVTable;
use crate::wire::{OUR_VERSION, OUR_VERSION_NAME};

/// Java's thread pools, whose queues tools ask for.
const POOLS: [&str; 6] = ["send", "pull", "litePull", "query", "ack", "EndTransaction"];

/// The timer wheel, which this broker does not have: `clusterList` fails without these.
const TIMER: [&str; 5] =
    ["timerReadBehind", "timerOffsetBehind", "timerCongestNum", "timerEnqueueTps", "timerDequeueTps"];

impl Broker {
    pub(super) fn on_runtime_info(&mut self, caller: &Caller, cx: &mut Cx<'_, BrokerEvent>) -> Handled {
        let mut table = BTreeMap::new();
        self.describe_counts(&mut table);
        self.describe_store(&mut table, cx.disk.usage());
        self.describe_life(&mut table, cx.now.wall_ms);
        self.describe_first_message(&mut table, cx);
        for name in TIMER {
            table.insert(name.into(), if name.ends_with("Tps") { "0.0" } else { "0" }.into());
        }
        for pool in POOLS {
            let queue = if pool == "EndTransaction" { pool.to_owned() } else { format!("{pool}ThreadPool") };
            table.insert(format!("{queue}QueueSize"), "0".into());
            table.insert(format!("{pool}ThreadPoolQueueCapacity"), "0".into());
            if pool != "EndTransaction" {
                table.insert(format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".into());
            }
        }
        let body = json::to_vec(&KVTable { table }, Style::Fastjson);
        Ok(caller.success().with_body(body).into())
    }

    fn describe_counts(&self, table: &mut BTreeMap<String, String>) {
        let stats = &self.stats;
        let puts = stats.put_bytes.times.max(1);
        let rows: [(&str, String); 15] = [
            ("msgPutTotalTodayNow", stats.put.sum.to_string()),
            ("msgPutTotalTodayMorning", stats.put_this_morning.to_string()),
            ("msgPutTotalYesterdayMorning", stats.put_yesterday_morning.to_string()),
            ("msgGetTotalTodayNow", stats.transferred.sum.to_string()),
            ("msgGetTotalTodayMorning", stats.got_this_morning.to_string()),
            ("msgGetTotalYesterdayMorning", stats.got_yesterday_morning.to_string()),
            ("putTps", stats.put.triple()),
            ("getFoundTps", stats.get_found.triple()),
            ("getMissTps", stats.get_missed.triple()),
            ("getTotalTps", sum_of_triples(&stats.get_found, &stats.get_missed)),
            ("getTransferredTps", stats.transferred.triple()),
            ("putMessageTimesTotal", stats.put.times.to_string()),
            ("putMessageFailedTimes", stats.put_failed.to_string()),
            ("putMessageSizeTotal", stats.put_bytes.sum.to_string()),
            ("putMessageAverageSize", (stats.put_bytes.sum as f64 / puts as f64).to_string()),
        ];
        table.extend(rows.map(|(name, value)| (name.to_owned(), value)));
    }

    fn describe_store(&self, table: &mut BTreeMap<String, String>, usage: Usage) {
        let marks = self.store.marks();
        let used = usage.total.saturating_sub(usage.free);
        let ratio = if usage.total > 0 { used as f64 / usage.total as f64 } else { 0.0 };
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let (damaged, mended) = self.store.damage();
        let rows: [(&str, String); 11] = [
            ("commitLogMinOffset", marks.begin.to_string()),
            ("commitLogMaxOffset", marks.appended.to_string()),
            ("dispatchBehindBytes", (marks.appended - marks.written).to_string()),
            ("remainHowManyDataToFlush", format!("{} B", marks.written - marks.durable)),
            ("commitLogDiskRatio", format!("{ratio:.2}")),
            ("consumeQueueDiskRatio", format!("{ratio:.2}")),
            (
                "commitLogDirCapacity",
                format!("Total : {:.1} GiB, Free : {:.1} GiB.", gib(usage.total), gib(usage.free)),
            ),
            ("heldPulls", self.hold.len().to_string()),
            ("pendingAcks", self.pending.len().to_string()),
            ("damagedMessages", damaged.to_string()),
            ("mendedQueueEntries", mended.to_string()),
        ];
        table.extend(rows.map(|(name, value)| (name.to_owned(), value)));
    }

    fn describe_life(&self, table: &mut BTreeMap<String, String>, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.stats.started_ms) / 1000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let runtime = format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60);
        let rows: [(&str, String); 7] = [
            ("bootTimestamp", self.stats.started_ms.to_string()),
            ("brokerActive", "true".into()),
            ("brokerVersion", OUR_VERSION.to_string()),
            ("brokerVersionDesc", OUR_VERSION_NAME.into()),
            ("runtime", runtime),
            ("startAcceptSendRequestTimeStamp", self.config.accept_sends_from_ms.to_string()),
            ("pageCacheLockTimeMills", "0".into()),
        ];
        table.extend(rows.map(|(name, value)| (name.to_owned(), value)));
    }

    /// The time of the oldest message, if it is in memory: this request is not worth a cold read.
    fn describe_first_message(&mut self, table: &mut BTreeMap<String, String>, cx: &mut Cx<'_, BrokerEvent>) {
        let begin = self.store.marks().begin;
        let hit = self.store.by_position(begin, cx.disk, &mut Vec::new()).ok().flatten();
        let time = hit.and_then(|hit| crate::message::record::Record::parse(&hit.record).ok().map(|r| r.store_ms));
        table.insert("earliestMessageTimeStamp".into(), time.map_or("-1".into(), |time| time.to_string()));
    }
}

fn sum_of_triples(a: &Meter, b: &Meter) -> String {
    let rate = |secs| {
        let window = std::time::Duration::from_secs(secs);
        (a.window(window).per_second + b.window(window).per_second).to_string()
    };
    [rate(10), rate(60), rate(600)].join(" ")
}
