//! From a request code to the handler, and from what the handler says to an answer on the wire.
//!
//! Invariant: every request gets exactly one answer, unless it is one-way: at once, or later from the table that keeps it.
//! Nothing that a peer sends makes the broker panic.

use super::pull::Pull;
use super::{Broker, BrokerEvent, Phase};
use crate::node::{ConnId, Cx};
use crate::sometimes;
use crate::store;
use crate::wire::codes::{request, response};
use crate::wire::{FieldError, Frame, Language};

/// Who asked, as far as an answer needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection.
    pub conn: ConnId,
    /// Pairs the answer with the request.
    pub opaque: i32,
    /// Nobody waits for an answer.
    pub oneway: bool,
    /// What the client is written in.
    pub language: Language,
    /// Its release.
    pub version: i32,
    /// The request code.
    pub code: i32,
}

impl Caller {
    /// The sender of a frame.
    pub fn of(conn: ConnId, frame: &Frame) -> Caller {
        Caller {
            conn,
            opaque: frame.opaque,
            oneway: frame.is_oneway(),
            language: frame.language,
            version: frame.version,
            code: frame.code,
        }
    }
    /// An answer to this request.
    pub fn answer(&self, code: i32) -> Frame {
        let mut frame = Frame::request(code);
        frame.opaque = self.opaque;
        frame.flag = crate::wire::FLAG_RESPONSE;
        frame.language = Language::Java;
        frame
    }
    /// The answer SUCCESS.
    pub fn success(&self) -> Frame {
        self.answer(response::SUCCESS)
    }
}

/// What a handler says.
#[derive(Debug)]
pub enum Answer {
    /// The answer.
    Now(Frame),
    /// The request is kept somewhere and will be answered from there.
    Later,
}

/// A refusal: the code and the text that the peer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Response code.
    pub code: i32,
    /// Remark.
    pub text: String,
    /// Not refused at all: the records that the request needs are being read, under this ticket of the store.
    pub cold: Option<u64>,
}

/// What waits for a cold read.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A pull, whose checks are behind it.
    Pull(Pull),
    /// Any other request: it is handled from the beginning.
    Request(Caller, Frame),
}

/// What every handler returns.
pub type Handled = Result<Answer, Fault>;

impl Fault {
    /// A refusal.
    pub fn new(code: i32, text: impl Into<String>) -> Fault {
        Fault { code, text: text.into(), cold: None }
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Fault {
        Fault::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<store::Fault> for Fault {
    fn from(fault: store::Fault) -> Fault {
        let cold = match &fault {
            store::Fault::Cold(ticket) => Some(*ticket),
            store::Fault::Disk(_) => None,
        };
        Fault { cold, ..Fault::new(response::SYSTEM_ERROR, format!("the store cannot be read: {fault}")) }
    }
}

impl From<Frame> for Answer {
    fn from(frame: Frame) -> Answer {
        Answer::Now(frame)
    }
}

type BrokerCx<'a, 'b> = &'a mut Cx<'b, BrokerEvent>;

impl Broker {
    /// Takes a request and answers it or keeps it.
    pub(super) fn on_request(&mut self, conn: ConnId, frame: Frame, cx: BrokerCx<'_, '_>) {
        let caller = Caller::of(conn, &frame);
        let handled = match self.phase {
            Phase::Serving if is_send(frame.code) => self.on_send(&caller, frame, cx),
            Phase::Serving => match self.handle(&caller, &frame, cx) {
                Err(Fault { cold: Some(ticket), .. }) => self.wait_for_disk(Waiting::Request(caller, frame), ticket),
                handled => handled,
            },
            _ => Err(Fault::new(response::SERVICE_NOT_AVAILABLE, self.phase.why_not())),
        };
        self.finish(&caller, handled, cx);
    }

    /// Keeps a request until what it reads is in memory.
    pub(super) fn wait_for_disk(&mut self, waiting: Waiting, ticket: u64) -> Handled {
        if self.cold.values().map(Vec::len).sum::<usize>() >= self.config.cold_reads_max {
            sometimes!("too many requests wait for the disk");
            let text = "[PCBUSY_CLEAN_QUEUE]broker busy, too many requests wait for the disk";
            return Err(Fault::new(response::SYSTEM_BUSY, text));
        }
        self.cold.entry(ticket).or_default().push(waiting);
        Ok(Answer::Later)
    }

    /// The records that requests waited for are in memory.
    pub(super) fn on_warm(&mut self, ticket: u64, cx: BrokerCx<'_, '_>) {
        for waiting in self.cold.remove(&ticket).unwrap_or_default() {
            match waiting {
                Waiting::Pull(pull) if self.conns.contains_key(&pull.caller.conn) => self.pull_again(pull, cx),
                Waiting::Request(caller, frame) if self.conns.contains_key(&caller.conn) => {
                    self.on_request(caller.conn, frame, cx);
                }
                _ => sometimes!("request outlived its connection during a cold read"),
            }
        }
    }

    /// Sends what a handler said.
    pub(super) fn finish(&mut self, caller: &Caller, handled: Handled, cx: BrokerCx<'_, '_>) {
        let frame = match handled {
            Ok(Answer::Now(frame)) => frame,
            Ok(Answer::Later) => return,
            Err(fault) => {
                let mut frame = caller.answer(fault.code).with_remark(fault.text);
                if is_send(caller.code) {
                    self.push_region(&mut frame);
                }
                frame
            }
        };
        assert!(frame.is_response(), "an answer is marked as one");
        if !caller.oneway {
            cx.out.send(caller.conn, frame);
        }
    }

    fn handle(&mut self, caller: &Caller, frame: &Frame, cx: BrokerCx<'_, '_>) -> Handled {
        match frame.code {
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => self.on_pull(caller, frame, cx),
            request::HEART_BEAT => self.on_heartbeat(caller, frame, cx),
            request::UNREGISTER_CLIENT => self.on_unregister_client(caller, frame, cx),
            request::CHECK_CLIENT_CONFIG => self.on_check_client_config(caller, frame),
            request::GET_CONSUMER_LIST_BY_GROUP => self.on_consumer_list(caller, frame),
            request::QUERY_CONSUMER_OFFSET => self.on_query_offset(caller, frame, cx),
            request::UPDATE_CONSUMER_OFFSET => self.on_update_offset(caller, frame),
            request::SEARCH_OFFSET_BY_TIMESTAMP => self.on_search_offset(caller, frame, cx),
            request::GET_MAX_OFFSET => self.on_max_offset(caller, frame),
            request::GET_MIN_OFFSET => self.on_min_offset(caller, frame),
            request::GET_EARLIEST_MSG_STORETIME => self.on_earliest_time(caller, frame, cx),
            request::LOCK_BATCH_MQ => self.on_lock(caller, frame, cx),
            request::UNLOCK_BATCH_MQ => self.on_unlock(caller, frame),
            request::VIEW_MESSAGE_BY_ID => self.on_view_message(caller, frame, cx),
            request::QUERY_MESSAGE => self.on_query_message(caller, frame, cx),
            _ => self.handle_admin(caller, frame, cx),
        }
    }

    fn handle_admin(&mut self, caller: &Caller, frame: &Frame, cx: BrokerCx<'_, '_>) -> Handled {
        match frame.code {
            request::UPDATE_AND_CREATE_TOPIC => self.on_update_topic(caller, frame, cx),
            request::UPDATE_AND_CREATE_TOPIC_LIST => self.on_update_topic_list(caller, frame, cx),
            request::DELETE_TOPIC_IN_BROKER => self.on_delete_topic(caller, frame, cx),
            request::GET_ALL_TOPIC_CONFIG => self.on_all_topic_config(caller, frame),
            request::GET_TOPIC_CONFIG => self.on_topic_config(caller, frame),
            request::GET_TOPIC_STATS_INFO => self.on_topic_stats(caller, frame, cx),
            request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.on_system_topics(caller),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.on_update_group(caller, frame, cx),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.on_update_group_list(caller, frame, cx),
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.on_all_group_config(caller, frame),
            request::GET_SUBSCRIPTIONGROUP_CONFIG => self.on_group_config(caller, frame, cx),
            request::UPDATE_AND_GET_GROUP_FORBIDDEN => self.on_group_forbidden(caller, frame, cx),
            request::DELETE_SUBSCRIPTIONGROUP => self.on_delete_group(caller, frame, cx),
            request::GET_CONSUMER_CONNECTION_LIST => self.on_consumer_connections(caller, frame),
            request::GET_PRODUCER_CONNECTION_LIST => self.on_producer_connections(caller, frame),
            request::GET_ALL_PRODUCER_INFO => self.on_all_producers(caller),
            request::GET_CONSUME_STATS => self.on_consume_stats(caller, frame, cx),
            request::GET_BROKER_CONSUME_STATS => self.on_broker_consume_stats(caller, frame, cx),
            request::QUERY_TOPIC_CONSUME_BY_WHO => self.on_who_consumes(caller, frame),
            request::QUERY_TOPICS_BY_CONSUMER => self.on_topics_by_consumer(caller, frame),
            request::QUERY_SUBSCRIPTION_BY_CONSUMER => self.on_subscription_by_consumer(caller, frame),
            request::QUERY_CONSUME_TIME_SPAN => self.on_consume_time_span(caller, frame, cx),
            request::VIEW_BROKER_STATS_DATA => self.on_view_stats(caller, frame),
            request::CLONE_GROUP_OFFSET => self.on_clone_group_offset(caller, frame),
            request::INVOKE_BROKER_TO_RESET_OFFSET => self.on_reset_offset(caller, frame, cx),
            request::GET_ALL_CONSUMER_OFFSET => self.on_all_consumer_offsets(caller),
            request::GET_CONSUMER_RUNNING_INFO => self.on_consumer_running_info(caller, frame, cx),
            request::CONSUME_MESSAGE_DIRECTLY => self.on_consume_directly(caller, frame, cx),
            request::GET_BROKER_CONFIG => self.on_get_config(caller),
            request::UPDATE_BROKER_CONFIG => self.on_update_config(caller, frame, cx),
            request::GET_BROKER_RUNTIME_INFO => self.on_runtime_info(caller, cx),
            code => Err(not_supported(code)),
        }
    }
}

/// Whether a code is one of the sends, whose answers carry the region.
fn is_send(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE)
}

/// The refusal of a code that has no handler: Java's text, and the feature by name where it is one of Java's.
pub fn not_supported(code: i32) -> Fault {
    let feature = match code {
        request::CONSUMER_SEND_MSG_BACK => "sending messages back for retry",
        request::SEND_REPLY_MESSAGE | request::SEND_REPLY_MESSAGE_V2 => "request-reply messages",
        request::END_TRANSACTION | request::RESUME_CHECK_HALF_MESSAGE => "transactions",
        request::RECALL_MESSAGE => "recalling delayed messages",
        request::POP_MESSAGE
        | request::ACK_MESSAGE
        | request::BATCH_ACK_MESSAGE
        | request::PEEK_MESSAGE
        | request::CHANGE_MESSAGE_INVISIBLETIME
        | request::NOTIFICATION
        | request::POLLING_INFO
        | request::POP_ROLLBACK
        | request::SET_MESSAGE_REQUEST_MODE
        | request::GET_ALL_MESSAGE_REQUEST_MODE => "POP consumption",
        request::QUERY_ASSIGNMENT => "assignment by the broker",
        request::UPDATE_AND_CREATE_STATIC_TOPIC => "static topics",
        request::GET_ALL_DELAY_OFFSET | request::GET_TIMER_CHECK_POINT | request::GET_TIMER_METRICS => {
            "delayed messages"
        }
        request::EXCHANGE_BROKER_HA_INFO | request::GET_BROKER_HA_STATUS | request::RESET_MASTER_FLUSH_OFFSET => {
            "replication"
        }
        3001..=3010 => "users and access control lists",
        _ => return Fault::new(response::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {code} not supported")),
    };
    let text = format!(" request type {code} not supported: this broker does not have {feature} yet");
    Fault::new(response::REQUEST_CODE_NOT_SUPPORTED, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_get_javas_text_and_missing_features_their_name() {
        assert_eq!(not_supported(9999), Fault::new(3, " request type 9999 not supported"));
        assert!(not_supported(36).text.starts_with(" request type 36 not supported: "));
        assert!(not_supported(200_050).text.contains("POP"));
    }
}
