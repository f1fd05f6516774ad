//! One send from its request to its outcome: what an attempt's end means.
//!
//! Invariant: a send that says "not stored" was never handed to a broker that may have stored it.

use std::sync::Arc;
use std::time::Duration;

use super::prepare::{CODE_NONE, Prepared};
use super::request::{Mode, Pick, Receipt, SendError, SendErrorKind, SendStatus, Stored};
use crate::client::{CallError, Queue};
use crate::node::Instant;
use crate::wire::codes::response;
use crate::wire::send::SendMessageResponseHeader;
use crate::wire::{Frame, Header as _};

/// Response codes after which a synchronous send goes to another broker (Java `DefaultMQProducer.retryResponseCodes`).
const RETRY_CODES: [i32; 7] = [
    response::TOPIC_NOT_EXIST,
    response::SERVICE_NOT_AVAILABLE,
    response::SYSTEM_ERROR,
    response::SYSTEM_BUSY,
    response::NO_PERMISSION,
    response::NO_BUYER_ID,
    response::NOT_IN_CURRENT_UNIT,
];
/// Response codes that a broker gives before it stores anything.
const NOT_STORED_CODES: [i32; 7] = [
    response::TOPIC_NOT_EXIST,
    response::SYSTEM_BUSY,
    response::REQUEST_CODE_NOT_SUPPORTED,
    response::NO_PERMISSION,
    response::MESSAGE_ILLEGAL,
    response::INVALID_PARAMETER,
    response::FLOW_CONTROL,
];
/// Java `ClientErrorCode`.
pub(super) const CODE_CONNECT: i32 = 10001;
pub(super) const CODE_TIMEOUT: i32 = 10002;
pub(super) const CODE_NO_BROKER: i32 = 10003;
pub(super) const CODE_NO_NAME_SERVER: i32 = 10004;
pub(super) const CODE_NO_ROUTE: i32 = 10005;
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A send without an outcome.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub ticket: u64,
    pub topic: Arc<str>,
    pub pick: Pick,
    pub mode: Mode,
    pub prepared: Prepared,
    pub began: Instant,
    pub timeout: Duration,
    pub born_ms: u64,
    pub attempts_max: u32,
    /// The brokers that were tried, in order.
    pub brokers: Vec<Arc<str>>,
    pub attempts: u32,
    pub stored: Stored,
    /// Where the attempt under way goes; absent while it waits for a route.
    pub at: Option<Queue>,
}

/// What the end of an attempt means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done(Receipt),
    Retry { why: String },
    Failed(SendError),
}

/// Why an attempt gave no receipt.
struct Failure {
    kind: SendErrorKind,
    code: i32,
    text: String,
    passing: bool,
}

impl Sending {
    /// When all attempts together are over.
    pub(super) fn deadline(&self) -> Instant {
        self.began + self.timeout
    }

    /// The end of the attempt under way.
    pub(super) fn judge(&mut self, now: Instant, result: Result<Frame, CallError>) -> Verdict {
        let queue = self.at.take().expect("an attempt is under way");
        let failure = match result {
            Ok(frame) => match self.receipt(&frame, &queue) {
                Ok(receipt) => return Verdict::Done(receipt),
                Err(failure) => failure,
            },
            Err(error) => self.broken(error, &queue),
        };
        self.after(now, failure)
    }

    /// The broker of the queue has no address any more.
    pub(super) fn judge_unroutable(&mut self, now: Instant, queue: &Queue) -> Verdict {
        let text = format!("The broker[{}] not exist{FAQ}", queue.broker);
        self.after(now, Failure { kind: SendErrorKind::Connection, code: CODE_NO_BROKER, text, passing: true })
    }

    /// A failure before or between attempts.
    pub(super) fn error(&self, kind: SendErrorKind, code: i32, text: impl Into<String>) -> SendError {
        SendError { kind, stored: self.stored, code, text: text.into(), attempts: self.attempts }
    }

    /// Nobody knows the topic.
    pub(super) fn no_route(&self) -> SendError {
        let text = format!("No route info of this topic: {}{FAQ}", self.topic);
        self.error(SendErrorKind::NoRoute, CODE_NO_ROUTE, text)
    }

    fn receipt(&mut self, frame: &Frame, queue: &Queue) -> Result<Receipt, Failure> {
        let status = match frame.code {
            response::SUCCESS => SendStatus::SendOk,
            response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
            response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
            response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
            code => return Err(self.refused(code, frame.remark.as_deref().unwrap_or_default())),
        };
        let header = SendMessageResponseHeader::read(&frame.fields).map_err(|error| {
            self.stored = Stored::Unknown;
            Failure { kind: SendErrorKind::Refused, code: CODE_NONE, text: error.to_string(), passing: false }
        })?;
        Ok(Receipt {
            status,
            msg_id: self.prepared.msg_id.clone(),
            offset_msg_id: header.msg_id,
            queue: Queue { broker: queue.broker.clone(), id: header.queue_id },
            queue_offset: header.queue_offset,
            attempts: self.attempts,
        })
    }

    fn refused(&mut self, code: i32, remark: &str) -> Failure {
        if !NOT_STORED_CODES.contains(&code) {
            self.stored = Stored::Unknown;
        }
        let passing = self.mode == Mode::Sync && RETRY_CODES.contains(&code);
        let text = format!("CODE: {code}  DESC: {remark}");
        Failure { kind: SendErrorKind::Refused, code, text, passing }
    }

    fn broken(&mut self, error: CallError, queue: &Queue) -> Failure {
        if !error.never_sent() {
            self.stored = Stored::Unknown;
        }
        let (kind, code) = match error {
            CallError::Connect | CallError::Closed => (SendErrorKind::Connection, CODE_CONNECT),
            CallError::Timeout { .. } => (SendErrorKind::Timeout, CODE_TIMEOUT),
            CallError::Busy => (SendErrorKind::Busy, CODE_NONE),
        };
        Failure { kind, code, text: format!("broker {}: {error}", queue.broker), passing: error != CallError::Busy }
    }

    fn after(&self, now: Instant, failure: Failure) -> Verdict {
        let Failure { kind, code, text, passing } = failure;
        if !passing {
            return Verdict::Failed(self.error(kind, code, text));
        }
        if self.attempts >= self.attempts_max {
            return Verdict::Failed(self.error(kind, code, self.still_failed(now, &text)));
        }
        if now >= self.deadline() {
            let text = format!("sendDefaultImpl call timeout; {}", self.still_failed(now, &text));
            return Verdict::Failed(self.error(SendErrorKind::Timeout, CODE_TIMEOUT, text));
        }
        Verdict::Retry { why: text }
    }

    /// The words that users of the Java client search for.
    fn still_failed(&self, now: Instant, cause: &str) -> String {
        let (times, topic) = (self.attempts, &self.topic);
        let (cost, brokers) = (now.since(self.began).as_millis(), self.brokers.join(", "));
        format!(
            "Send [{times}] times, still failed, cost [{cost}]ms, Topic: {topic}, BrokersSent: [{brokers}]{FAQ} Cause: {cause}"
        )
    }
}
