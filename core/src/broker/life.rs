//! From start to stop: reading the configuration files, recovering the store, serving, settling a batch, and the graceful
//! end.
//!
//! Invariant: requests are taken in one phase only, and [`crate::node::Output::Stopped`] is said once, after everything
//! that can still be saved is.

use std::net::SocketAddr;
use std::time::Duration;

use super::fence::{Fence, Life};
use super::groups::Groups;
use super::load::{FETCHES_FROM, Loading};
use super::offsets::Offsets;
use super::persist::{self, ConfigFile};
use super::registration::UNREGISTER_TIMEOUT;
use super::stats::BrokerStats;
use super::topics::{PERM_READ, PERM_WRITE, QUEUES_MAX, Topics, TopicsFile};
use super::{Broker, BrokerEvent, Peer, names};
use crate::message::ids::UniqueIds;
use crate::meter::SAMPLE_EVERY;
use crate::node::{Addr, ConnId, Cx, DialId, DiskDone, DiskError, Instant, Output};
use crate::store::StoreNews;
use crate::wire::Frame;
use crate::wire::codes::response;
use crate::wire::group::SubscriptionGroupWrapper;
use crate::wire::json::{self, Style};
use crate::wire::topic::TopicConfig;
use crate::{planted, sometimes};

/// Period of the look at held pulls (Java `PullRequestHoldService`).
const HOLD_CHECK: Duration = Duration::from_secs(5);
/// Period of the look for silent clients (Java `ClientHousekeepingService`).
const CLIENT_SCAN: Duration = Duration::from_secs(10);
/// Pause after a file could not be replaced.
const FILE_RETRY: Duration = Duration::from_secs(5);
/// The graceful end takes no longer than this.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Where a broker is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    New,
    /// Reading configuration files.
    Loading(Loading),
    /// The store reads its log.
    Recovering,
    Serving,
    Stopping {
        /// Name servers that have not answered by then are left without goodbye.
        leave_by: Instant,
        /// The end comes then, whatever is left to save.
        until: Instant,
    },
    Stopped,
    Refused,
}

impl PartialEq for Phase {
    fn eq(&self, other: &Phase) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Phase {
    /// What a peer hears that comes at the wrong time.
    pub(super) fn why_not(&self) -> &'static str {
        match self {
            Phase::New | Phase::Loading(_) => "the broker is starting",
            Phase::Recovering => "the broker is recovering its store",
            Phase::Serving => "the broker is serving",
            Phase::Stopping { .. } | Phase::Stopped => "the broker is stopping",
            Phase::Refused => "the broker could not open its store",
        }
    }
}

/// When periodic work is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarms {
    offsets: Instant,
    hold: Instant,
    clients: Instant,
    sample: Instant,
    files: Instant,
}

impl Broker {
    pub(super) fn on_start(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        assert!(self.phase == Phase::New, "a broker starts once");
        self.stats = BrokerStats::new(cx.now, self.config.store.local_ms(cx.now.wall_ms));
        // Ids of a process that runs for the second time must differ even if the wall clock went back.
        self.unique_ids = UniqueIds::new(self.store_host.ip(), cx.rng.next_u64() as u32);
        match Loading::begin(cx.disk, &mut self.asks) {
            Ok(loading) => self.phase = Phase::Loading(loading),
            Err(why) => return self.refuse(why, cx),
        }
        self.loaded(cx);
    }

    /// Goes on once every file has been read.
    fn loaded(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let Phase::Loading(loading) = &self.phase else { return };
        if !loading.is_done() {
            return;
        }
        let Phase::Loading(loading) = std::mem::replace(&mut self.phase, Phase::Recovering) else {
            unreachable!("it was just looked at")
        };
        if let Err(why) = self.take_files(&loading, cx) {
            return self.refuse(why, cx);
        }
        let news = self.store.start(cx.now, cx.disk, &mut self.asks);
        self.on_news(news, cx);
    }

    fn take_files(&mut self, loading: &Loading, cx: &mut Cx<'_, BrokerEvent>) -> Result<(), String> {
        self.take_overrides(loading, cx);
        let (topics, topics_from_backup) = loading.parse::<TopicsFile>(persist::TOPICS)?;
        let (groups, groups_from_backup) = loading.parse::<SubscriptionGroupWrapper>(persist::GROUPS)?;
        let (offsets, offsets_from_backup) = loading.parse::<super::offsets::OffsetsFile>(persist::OFFSETS)?;
        self.topics_file_is_whole = topics.is_some() && topics_from_backup.is_none();
        let (topics, mut notices) = Topics::load(topics.unwrap_or_default());
        let (groups, more) = Groups::load(groups.unwrap_or_default());
        (*self.topics, self.groups) = (topics, groups);
        notices.extend(more);
        *self.offsets = Offsets::load(offsets.unwrap_or_default());
        notices.extend([topics_from_backup, groups_from_backup, offsets_from_backup].into_iter().flatten());
        self.recovered_ends = loading.parse(persist::RECOVERED_ENDS)?.0.unwrap_or_default();
        let removed = loading.parse::<persist::RemovedTopics>(persist::REMOVED)?.0.unwrap_or_default();
        self.store.remember_removed(removed.into_iter());
        self.delay_offsets = loading.parse(persist::DELAY_OFFSETS).map_or(None, |(value, _)| value);
        for notice in notices {
            cx.out.event(BrokerEvent::Notice(notice));
        }
        Ok(())
    }

    fn refuse(&mut self, why: String, cx: &mut Cx<'_, BrokerEvent>) {
        self.phase = Phase::Refused;
        cx.out.event(BrokerEvent::Refused(why));
    }

    /// The store can be used: what it holds and what the files say are brought together.
    fn ready(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        assert!(self.phase == Phase::Recovering, "a store becomes ready once");
        self.phase = Phase::Serving;
        self.topics.create_system_topics(&self.config, cx.now.wall_ms);
        self.groups.create_system_groups(cx.now.wall_ms);
        self.find_lost_topics(cx);
        for notice in self.left_pending() {
            cx.out.event(BrokerEvent::Notice(notice));
        }
        let now = cx.now.mono;
        self.alarms = Alarms {
            offsets: now + Duration::from_millis(self.config.offsets_persist_ms),
            hold: now + HOLD_CHECK,
            clients: now + CLIENT_SCAN,
            sample: now,
            files: now,
        };
        cx.out.event(BrokerEvent::Ready);
        let servers = self.config.name_servers.clone();
        self.registration.set_servers(&servers, now);
        self.register(cx);
    }

    /// After a power cut, positions beyond what was recovered no longer say what they said. That, and every committed offset that was
    /// cut back, must be on disk before the first new position is handed out: see [`Broker::positions_unkept`].
    fn distrust_positions(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        if !self.store.ended_well() || self.store.gave_up_records() {
            self.cut_offsets_back(cx);
        }
        let before = std::mem::take(&mut self.recovered_ends);
        let boot = self.config.store.boot.as_str();
        let ends = {
            let store = &self.store;
            let (ended_well, gave_up_records) = (store.ended_well(), store.gave_up_records());
            let life = Life { boot, ended_well, gave_up_records, lost_all: store.lost_all() };
            before.clone().follow(&life, cx.now.wall_ms, store.queues())
        };
        self.fence = Fence::new(ends.clone());
        self.files.recovered_ends.want(u64::from(ends != before));
        // A deletion that the log does not reach any more holds up to where it ends now.
        self.removed_moved = u64::from(self.store.removed_topics().next().is_some());
        self.last_removal.removed = self.removed_moved;
        self.files.removed.want(self.removed_moved);
        self.recovered_ends = ends;
        self.settle_files(cx);
        self.ready_once_kept(cx);
    }

    /// Serves once what is known of positions is on disk. Where it cannot be written there are no sends, but reads.
    fn ready_once_kept(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let is_kept = |file: &ConfigFile| file.is_settled() || file.stuck().is_some();
        if self.phase == Phase::Recovering
            && [&self.files.recovered_ends, &self.files.offsets, &self.files.removed].into_iter().all(is_kept)
        {
            self.ready(cx);
        }
    }

    /// Why no message may be taken yet: what this life found out about positions is in memory only. After another power cut a reader
    /// would be led past what is stored meanwhile.
    pub(super) fn positions_unkept(&self) -> Option<String> {
        let (ends, offsets, removed) = (&self.files.recovered_ends, &self.files.offsets, &self.files.removed);
        let file = if !ends.is_settled() {
            ends
        } else if removed.done() < self.removed_moved {
            removed
        } else if offsets.done() < self.offsets_cut {
            offsets
        } else {
            return None;
        };
        let why =
            file.failed().map_or_else(|| "is being written".to_owned(), |why| format!("cannot be written: {why}"));
        Some(format!("no message is taken before {} is on the disk; it {why}", file.path()))
    }

    fn cut_offsets_back(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let store = &self.store;
        let end_of = |topic: &str, queue| {
            let end = u32::try_from(queue).map_or(0, |queue| store.queue_range(topic, queue).end);
            i64::try_from(end).expect("queue offsets are far below 2^63")
        };
        let cut = self.offsets.cut_back(end_of);
        if cut > 0 {
            sometimes!("committed offset cut back to what was recovered");
            if !planted!("cut-offsets-not-kept") {
                self.offsets_cut = self.offsets.version();
                self.files.offsets.want(self.offsets_cut);
            }
            let text =
                format!("{cut} committed offsets lay beyond the recovered end of their queue and were cut back to it");
            cx.out.event(BrokerEvent::Notice(text));
        }
    }

    /// Messages are there whose topic is not in `topics.json`. If that file was lost, they must stay readable; if it is
    /// whole, the topic was deleted, and the log only still holds its records.
    fn find_lost_topics(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let mut queues: std::collections::BTreeMap<String, u32> = std::collections::BTreeMap::new();
        for (topic, queue, range) in self.store.queues() {
            let known = self
                .topics
                .get(topic)
                .is_some_and(|topic| u32::try_from(topic.config.read_queue_nums).is_ok_and(|queues| queue < queues));
            if !known && !range.is_empty() {
                let most = queues.entry(topic.to_owned()).or_default();
                *most = (*most).max(queue + 1);
            }
        }
        for (topic, queues) in queues {
            let Ok(queues) = i32::try_from(queues) else { continue };
            if self.topics.get(&topic).is_some() || names::check_topic(&topic).is_err() || queues > QUEUES_MAX {
                continue;
            }
            if self.topics_file_is_whole {
                sometimes!("records of a deleted topic found in the log");
                continue;
            }
            sometimes!("topic found in the log but not in its file");
            let text = format!("topic {topic} has messages but is not in topics.json: it is back with {queues} queues");
            cx.out.event(BrokerEvent::Notice(text));
            self.topics.set(TopicConfig::new(&topic, queues, PERM_READ | PERM_WRITE), cx.now.wall_ms);
        }
    }

    /// What a Java broker left in the store that this one does not work on yet.
    fn left_pending(&self) -> Vec<String> {
        let mut notices = Vec::new();
        let mut delayed = 0;
        for (topic, queue, range) in self.store.queues() {
            if topic == names::SCHEDULE_TOPIC {
                let level = i32::try_from(queue).unwrap_or(i32::MAX - 1) + 1;
                let done = self.delay_offsets.as_ref().and_then(|file| file.offset_table.get(&level).copied());
                let done = u64::try_from(done.unwrap_or(0)).unwrap_or(0).max(range.start);
                delayed += range.end.saturating_sub(done);
            }
        }
        if delayed > 0 {
            notices.push(format!(
                "{delayed} delayed messages in {} are pending: this broker keeps them but does not deliver them yet",
                names::SCHEDULE_TOPIC
            ));
        }
        let half = self.store.queue_range(names::HALF_TOPIC, 0);
        let checked = self.offsets.committed("CID_RMQ_SYS_TRANS", names::HALF_TOPIC, 0).unwrap_or(0);
        let prepared = half.end.saturating_sub(u64::try_from(checked).unwrap_or(0).max(half.start));
        if prepared > 0 {
            notices.push(format!(
                "up to {prepared} prepared messages in {} may be unfinished: this broker keeps them but does not check \
                 transactions yet",
                names::HALF_TOPIC
            ));
        }
        let timers = self.store.queue_range(names::TIMER_TOPIC, 0);
        if !timers.is_empty() {
            notices.push(format!(
                "{} holds {} messages of the timer wheel: this broker keeps them but does not deliver them yet",
                names::TIMER_TOPIC,
                timers.end - timers.start
            ));
        }
        notices
    }

    pub(super) fn on_opened(
        &mut self,
        conn: ConnId,
        dial: Option<DialId>,
        addr: SocketAddr,
        local: SocketAddr,
        cx: &mut Cx<'_, BrokerEvent>,
    ) {
        let fast = self.config.port.checked_sub(2) == Some(local.port()) && dial.is_none();
        let peer = Peer { addr, fast, dialled: dial.is_some(), last: cx.now.mono };
        let before = self.conns.insert(conn, peer);
        assert!(before.is_none(), "connections are not opened twice");
        match dial {
            Some(dial) => {
                let ours = self.calls.opened(cx.now.mono, conn, dial, cx.out);
                assert!(ours, "only calls dial");
            }
            None if self.conns.len() > self.config.connections_max => {
                sometimes!("too many connections");
                cx.out.close(conn);
            }
            None => {}
        }
    }

    pub(super) fn on_closed(&mut self, conn: ConnId, cx: &mut Cx<'_, BrokerEvent>) {
        self.conns.remove(&conn);
        if !planted!("closed-pulls-stay-held") {
            self.hold.closed(conn);
        }
        self.fence.closed(conn);
        self.forget_client(conn, cx.out);
        self.forwarded_closed(conn, cx);
        if let Some(server) = self.calls.addr_of(conn).cloned() {
            self.registration.lost(&server, cx.now.mono);
        }
        for (tag, error) in self.calls.closed(conn) {
            self.on_call_failed(tag, error, cx);
        }
    }

    pub(super) fn on_frame(&mut self, conn: ConnId, frame: Frame, cx: &mut Cx<'_, BrokerEvent>) {
        let Some(peer) = self.conns.get_mut(&conn) else { return };
        peer.last = cx.now.mono;
        if !frame.is_response() {
            return self.on_request(conn, frame, cx);
        }
        match self.calls.response(conn, &frame) {
            Some(tag) => self.on_call_answered(tag, &frame, cx),
            None => self.on_forward_answered(conn, frame, cx),
        }
    }

    pub(super) fn on_disk(&mut self, done: DiskDone, cx: &mut Cx<'_, BrokerEvent>) {
        match done {
            DiskDone::Fetched { fetch, result } if fetch.0 >= FETCHES_FROM => {
                let Phase::Loading(loading) = &mut self.phase else { return };
                match loading.fetched(fetch, result) {
                    Ok(()) => self.loaded(cx),
                    Err(why) => self.refuse(why, cx),
                }
            }
            DiskDone::Replaced { path, result } if self.file_of(&path).is_some() => self.on_replaced(&path, result, cx),
            done => {
                let news = self.store.on_disk(cx.now, done, cx.disk, &mut self.asks);
                self.on_news(news, cx);
            }
        }
    }

    fn on_news(&mut self, news: Vec<StoreNews>, cx: &mut Cx<'_, BrokerEvent>) {
        for news in news {
            match news {
                StoreNews::Recovering { done, total } => cx.out.event(BrokerEvent::Recovering { done, total }),
                StoreNews::Ready(notices) => {
                    for notice in notices {
                        cx.out.event(BrokerEvent::Notice(notice));
                    }
                    if self.phase == Phase::Recovering {
                        self.distrust_positions(cx);
                    }
                }
                StoreNews::Refused(why) => self.refuse(why, cx),
                StoreNews::Durable => {}
                StoreNews::Warm(ticket) => self.on_warm(ticket, cx),
                StoreNews::Poisoned(why) => self.on_poisoned(&why, cx),
                StoreNews::Notice(text) => cx.out.event(BrokerEvent::Notice(text)),
            }
        }
    }

    /// No sync will succeed any more: what waits for one is told that its message may be lost in a power cut.
    fn on_poisoned(&mut self, why: &str, cx: &mut Cx<'_, BrokerEvent>) {
        sometimes!("store poisoned with answers waiting");
        cx.out.event(BrokerEvent::Notice(format!("the store takes no more messages: {why}")));
        while let Some(ack) = self.pending.pop_durable() {
            self.send_late(ack, Some("the disk failed; the message is stored but not durable"), cx);
        }
    }

    pub(super) fn on_settle(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        if matches!(self.phase, Phase::Serving | Phase::Stopping { .. }) {
            self.settle_store(cx);
            self.settle_files(cx);
        }
        if self.phase == Phase::Serving && self.register_at().is_some_and(|at| at <= cx.now.mono) {
            self.register(cx);
        }
        if matches!(self.phase, Phase::Stopping { .. }) {
            self.go_on_stopping(cx);
        }
        self.batch += 1;
    }

    fn settle_store(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let news = self.store.settle(cx.now, cx.disk, &mut self.asks, &mut arrivals);
        self.on_news(news, cx);
        for arrival in &arrivals {
            self.on_arrival(arrival, cx);
        }
        arrivals.clear();
        self.arrivals = arrivals;
        let marks = self.store.marks();
        while let Some(ack) = self.pending.pop(marks) {
            self.send_late(ack, None, cx);
        }
    }

    /// Sends an answer that waited; with a reason, as FLUSH_DISK_TIMEOUT.
    fn send_late(&mut self, ack: super::pending::PendingAck, late: Option<&str>, cx: &mut Cx<'_, BrokerEvent>) {
        if !self.conns.contains_key(&ack.conn) {
            sometimes!("answer outlived its connection");
            return;
        }
        let mut frame = ack.frame;
        if let Some(why) = late {
            frame.code = response::FLUSH_DISK_TIMEOUT;
            frame.remark = Some(why.to_owned());
        }
        cx.out.send(ack.conn, frame);
    }

    pub(super) fn file_of(&mut self, path: &Addr) -> Option<&mut ConfigFile> {
        let files = &mut self.files;
        let first = [&mut files.topics, &mut files.groups, &mut files.offsets];
        let second = [&mut files.overrides, &mut files.recovered_ends, &mut files.removed];
        first.into_iter().chain(second).find(|file| file.path() == path)
    }

    fn on_replaced(&mut self, path: &Addr, result: Result<(), DiskError>, cx: &mut Cx<'_, BrokerEvent>) {
        let result = result.or_else(|why| {
            let forget = &**path == persist::RECOVERED_ENDS && planted!("cut-not-written-down");
            if forget { Ok(()) } else { Err(why) }
        });
        let file = self.file_of(path).expect("the caller found it");
        let failed = result.as_ref().err().map(|error| format!("{path} cannot be written: {error}"));
        file.replaced(result);
        if let Some(why) = &failed {
            sometimes!("configuration file could not be replaced");
            cx.out.event(BrokerEvent::Notice(why.clone()));
            self.alarms.files = cx.now.mono + FILE_RETRY;
        }
        self.confirm(path, failed.as_deref(), cx);
        if [persist::TOPICS, persist::REMOVED, persist::OFFSETS].contains(&&**path) && !self.deferred.is_empty() {
            self.go_on_with_deferred(failed, cx);
        }
        self.ready_once_kept(cx);
    }

    /// Writes the files whose content changed. Offsets follow their own period.
    fn settle_files(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        self.files.topics.want(self.topics.version());
        self.files.groups.want(self.groups.version());
        let retry = self.files_failed() && self.alarms.files <= cx.now.mono;
        if retry {
            self.alarms.files = cx.now.mono + FILE_RETRY;
        }
        let (topics, groups) = (&self.topics, &self.groups);
        let mut ask = |file: &mut ConfigFile, content: &dyn Fn() -> bytes::Bytes| {
            if retry || file.failed().is_none() {
                self.asks.extend(file.ask(content));
            }
        };
        ask(&mut self.files.topics, &|| topics.to_file());
        ask(&mut self.files.groups, &|| groups.to_file());
        ask(&mut self.files.offsets, &|| self.offsets.to_file());
        ask(&mut self.files.removed, &|| {
            let removed: persist::RemovedTopics =
                self.store.removed_topics().map(|(topic, through)| (topic.clone(), through)).collect();
            json::to_vec(&removed, Style::Fastjson).into()
        });
        ask(&mut self.files.recovered_ends, &|| json::to_vec(&self.recovered_ends, Style::Fastjson).into());
        ask(&mut self.files.overrides, &|| super::admin::overrides_text(&self.overrides));
    }

    pub(super) fn on_wake(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        if self.store.wake_at().is_some_and(|at| at <= now) {
            let news = self.store.wake(cx.now, cx.disk, &mut self.asks);
            self.on_news(news, cx);
        }
        for (tag, error) in self.calls.expired(now, cx.out) {
            self.on_call_failed(tag, error, cx);
        }
        if matches!(self.phase, Phase::Serving | Phase::Stopping { .. }) {
            while let Some(ack) = self.pending.pop_expired(now) {
                sometimes!("synchronous flush timed out");
                self.send_late(ack, Some("the disk did not confirm the message in time"), cx);
            }
            self.expire_forwarded(cx);
        }
        if self.phase == Phase::Serving {
            self.periodic(cx);
        }
    }

    fn periodic(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let now = cx.now.mono;
        if due(&mut self.alarms.offsets, now, Duration::from_millis(self.config.offsets_persist_ms)) {
            self.files.offsets.want(self.offsets.version());
        }
        let hold_every = if self.config.long_polling {
            HOLD_CHECK
        } else {
            Duration::from_millis(self.config.short_polling_ms.max(1))
        };
        if due(&mut self.alarms.hold, now, hold_every) {
            self.check_held(cx);
        }
        if due(&mut self.alarms.clients, now, CLIENT_SCAN) {
            self.expire_clients(cx);
            self.locks.forget_expired(now);
        }
        if due(&mut self.alarms.sample, now, SAMPLE_EVERY) {
            self.stats.sample(now, self.config.store.local_ms(cx.now.wall_ms));
            self.topics.counters().sample(now);
            self.groups.sample(now);
        }
        if self.alarms.files <= now && self.files_failed() {
            self.settle_files(cx);
        }
        if self.register_at().is_some_and(|at| at <= now) {
            self.register(cx);
        }
    }

    fn files_failed(&self) -> bool {
        let files = &self.files;
        files.all().iter().any(|file| file.failed().is_some())
    }

    /// The earliest thing that waits for the clock.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        let (store, forwarded) = (self.store.wake_at(), self.forwarded.wake_at());
        let mut next = [None, None, None, store, self.calls.wake_at(), self.pending.wake_at(), forwarded];
        match &self.phase {
            Phase::New | Phase::Loading(_) | Phase::Stopped | Phase::Refused => return None,
            Phase::Recovering => {}
            Phase::Stopping { leave_by, until } => {
                next[0] = Some(*until);
                next[1] = (self.calls.in_flight() > 0 && !self.left).then_some(*leave_by);
            }
            Phase::Serving => {
                let alarms = &self.alarms;
                next[0] = [alarms.offsets, alarms.hold, alarms.clients, alarms.sample].into_iter().min();
                next[1] = self.register_at();
                next[2] = if self.files_failed() { Some(alarms.files) } else { None };
            }
        }
        Instant::first(&next)
    }

    pub(super) fn on_stop(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        match self.phase {
            Phase::Serving => {
                self.release_held(cx);
                let now = cx.now.mono;
                self.phase = Phase::Stopping { leave_by: now + UNREGISTER_TIMEOUT, until: now + STOP_PATIENCE };
                let servers: Vec<Addr> = self.registration.servers().cloned().collect();
                self.unregister(&servers, cx);
                self.files.offsets.want(self.offsets.version());
                self.settle_store(cx);
                self.store.stop(cx.now, cx.disk, &mut self.asks);
            }
            Phase::Stopping { .. } | Phase::Stopped => {}
            // Nothing was changed yet that a restart would not find as it was.
            Phase::New | Phase::Loading(_) | Phase::Recovering | Phase::Refused => {
                self.phase = Phase::Stopped;
                cx.out.0.push(Output::Stopped);
            }
        }
    }

    fn go_on_stopping(&mut self, cx: &mut Cx<'_, BrokerEvent>) {
        let Phase::Stopping { leave_by, until } = self.phase else { return };
        self.left = self.calls.in_flight() == 0 || cx.now.mono >= leave_by;
        let saved = self.files.all().iter().all(|file| file.is_settled());
        let done = saved && self.store.stopped() && self.left;
        if !done && cx.now.mono < until {
            return;
        }
        if !done {
            sometimes!("graceful stop ran out of patience");
            cx.out.event(BrokerEvent::Notice("not everything could be saved before the end".into()));
        }
        self.phase = Phase::Stopped;
        cx.out.0.push(Output::Stopped);
    }
}

/// Whether periodic work is due; if so, its next time is set.
fn due(alarm: &mut Instant, now: Instant, period: Duration) -> bool {
    let due = *alarm <= now;
    if due {
        *alarm = now + period;
    }
    due
}
