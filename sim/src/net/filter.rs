//! Faults on whole frames: requests or responses of certain codes are lost on connections that stay up.
//!
//! Invariant: what passes is passed byte for byte and in order; the filter only ever takes out or holds back whole frames.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use seedmq_core::wire::{Frame, codec};

use super::pipe::Payload;
use super::{ConnSerial, Side};
use crate::world::{Due, HostId, State};

/// What happens to a frame that a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterEffect {
    /// It is lost.
    Drop,
    /// It goes on its way so many nanoseconds later; what is behind it does not wait.
    Delay(u64),
    /// It is lost, and the connection with it.
    Sever,
}

/// Which frames.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Named by its owner, to take it away again.
    pub id: u64,
    /// The sender of the frame.
    pub from: HostId,
    /// The receiver; any when absent.
    pub to: Option<HostId>,
    /// Request codes: of the frame itself, or of the request that it answers.
    pub codes: Vec<i32>,
    /// Whether responses are meant, or requests.
    pub responses: bool,
    /// What happens to them.
    pub effect: FilterEffect,
    /// How many frames are left to be hit; `None` is no limit.
    pub left: Option<u32>,
}

/// All filters.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// Frames are followed: set before the first connection when the run has any filter at all.
    pub watching: bool,
    /// Hosts whose responses a filter of this run may take: requests to them are remembered.
    pub answering: BTreeSet<HostId>,
    list: Vec<Filter>,
    /// How many frames each filter hit, by id.
    pub hits: BTreeMap<u64, u64>,
    /// Filters that hit for the first time and were not reported yet.
    pub fresh: Vec<u64>,
}

impl Filters {
    pub fn add(&mut self, filter: Filter) {
        assert!(self.watching, "frames are followed from the first byte of a connection or not at all");
        self.list.push(filter);
    }
    pub fn remove(&mut self, id: u64) {
        self.list.retain(|filter| filter.id != id);
    }
    /// Whether frames from one host to another have to be read, not only told apart.
    fn reads(&self, from: HostId, to: HostId) -> bool {
        self.answering.contains(&to)
            || self
                .list
                .iter()
                .any(|filter| filter.from == from && filter.to.is_none_or(|only| only == to) && filter.left != Some(0))
    }
    fn effect(&mut self, from: HostId, to: HostId, response: bool, code: i32) -> Option<FilterEffect> {
        let hit = self.list.iter_mut().find(|filter| {
            filter.from == from
                && filter.to.is_none_or(|only| only == to)
                && filter.responses == response
                && filter.left != Some(0)
                && filter.codes.contains(&code)
        })?;
        hit.left = hit.left.map(|left| left - 1);
        let hits = self.hits.entry(hit.id).or_default();
        *hits += 1;
        if *hits == 1 {
            self.fresh.push(hit.id);
        }
        Some(hit.effect)
    }
}

/// What one end wrote so far, as frames.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    partial: BytesMut,
    /// Codes of requests that this end sent and that were not answered, by opaque number.
    asked: BTreeMap<i32, i32>,
    held: BTreeMap<u64, Vec<Bytes>>,
}

impl Tracker {
    /// Whether these bytes end where a frame ends, with nothing before them.
    fn are_whole(&self, bytes: &[u8]) -> bool {
        if !self.partial.is_empty() {
            return false;
        }
        let mut rest = bytes;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let Some(behind) = behind.get(u32::from_be_bytes(*length) as usize..) else { return false };
            rest = behind;
        }
        rest.is_empty()
    }
    /// Takes one whole frame off the bytes.
    fn next(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.partial.get(..4)?.try_into().expect("four bytes"));
        let whole = 4 + length as usize;
        (self.partial.len() >= whole).then(|| self.partial.split_to(whole).freeze())
    }
}

impl State {
    /// Puts bytes through the filters; what passes now is returned.
    pub(super) fn sift(&mut self, serial: ConnSerial, side: Side, bytes: Bytes) -> Bytes {
        let Some(conn) = self.net.conn(serial) else { return Bytes::new() };
        let (from, to) = (conn.ends[side as usize].host, conn.ends[side.other() as usize].host);
        let are_whole = conn.trackers[side as usize].are_whole(&bytes);
        let reads = self.net.filters.reads(from, to);
        if are_whole && !reads {
            return bytes;
        }
        let conn = self.net.conn(serial).expect("it was just found");
        conn.trackers[side as usize].partial.extend_from_slice(&bytes);
        let mut passed = BytesMut::new();
        while let Some(raw) = self.net.conn(serial).and_then(|conn| conn.trackers[side as usize].next()) {
            let frame = if reads { codec::decode(&mut BytesMut::from(&raw[..])).ok().flatten() } else { None };
            match frame.and_then(|frame| self.judge(serial, side, &frame)) {
                None => passed.extend_from_slice(&raw),
                Some(FilterEffect::Drop) => {}
                Some(FilterEffect::Sever) => {
                    self.sever(serial);
                    break;
                }
                Some(FilterEffect::Delay(by)) => self.hold(serial, side, raw, by),
            }
        }
        passed.freeze()
    }

    fn judge(&mut self, serial: ConnSerial, side: Side, frame: &Frame) -> Option<FilterEffect> {
        let conn = self.net.conn(serial)?;
        let (from, to) = (conn.ends[side as usize].host, conn.ends[side.other() as usize].host);
        let answering = self.net.filters.answering.contains(&to);
        let conn = self.net.conn(serial)?;
        let code = if frame.is_response() {
            conn.trackers[side.other() as usize].asked.remove(&frame.opaque)?
        } else {
            if !frame.is_oneway() && answering {
                conn.trackers[side as usize].asked.insert(frame.opaque, frame.code);
            }
            frame.code
        };
        self.net.filters.effect(from, to, frame.is_response(), code)
    }

    fn hold(&mut self, serial: ConnSerial, side: Side, raw: Bytes, by: u64) {
        let at = self.now() + by;
        let conn = self.net.conn(serial).expect("its frame was just judged");
        conn.trackers[side as usize].held.entry(at).or_default().push(raw);
        let name = conn.name;
        self.agenda.add(at, name, Due::Release(serial, side));
    }

    /// A held-back frame goes on its way, unless the connection is closing.
    pub(super) fn release(&mut self, serial: ConnSerial, side: Side) {
        let now = self.now();
        let Some(conn) = self.net.conn(serial) else { return };
        let usable = conn.ends[side as usize].open && !conn.pipes[side as usize].shut;
        let frames = conn.trackers[side as usize].held.remove(&now).unwrap_or_default();
        if usable {
            frames.into_iter().for_each(|frame| self.send(serial, side, Payload::Data(frame)));
        }
    }
}
