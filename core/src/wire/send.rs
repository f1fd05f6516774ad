//! Sending: 10, 310 (V2), 320 (batch), 324, 325 (replies), 36 (send back), 37 and 39 (transactions), 370 (recall).
//!
//! Invariant: V1 and V2 are two spellings of one header; V2 shortens each name to a letter.

use super::header::headers;
use super::{FieldError, Fields, parse_number};

/// SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE, SEND_REPLY_MESSAGE(_V2). Borrows from the frame: this is the hottest
/// request. The letter is the name in V2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendMessageHeader<'a> {
    /// a `producerGroup`.
    pub producer_group: &'a str,
    /// b `topic`.
    pub topic: &'a str,
    /// c `defaultTopic`: whose settings an automatically created topic takes.
    pub default_topic: &'a str,
    /// d `defaultTopicQueueNums`.
    pub default_topic_queue_nums: i32,
    /// e `queueId`; below 0: any.
    pub queue_id: i32,
    /// f `sysFlag`.
    pub sys_flag: i32,
    /// g `bornTimestamp`, ms.
    pub born_timestamp: i64,
    /// h `flag`: the user's.
    pub flag: i32,
    /// i `properties`, in the text form of records; empty when absent.
    pub properties: &'a str,
    /// j `reconsumeTimes`.
    pub reconsume_times: Option<i32>,
    /// k `unitMode`.
    pub unit_mode: bool,
    /// l `maxReconsumeTimes`.
    pub max_reconsume_times: Option<i32>,
    /// m `batch`: the body is a batch.
    pub batch: bool,
    /// n (`bname` in V1).
    pub broker_name: Option<&'a str>,
}

impl<'a> SendMessageHeader<'a> {
    /// Reads the form with letters (310, 320, 325).
    pub fn read_v2(fields: &'a Fields) -> Result<Self, FieldError> {
        let mut header = SendMessageHeader::default();
        let mut seen = 0_u32;
        for (name, value) in fields.iter() {
            let &[letter @ b'a'..=b'n'] = name.as_bytes() else { continue };
            seen |= 1 << (letter - b'a');
            header.set(letter, value)?;
        }
        check_required(seen, |index| LETTERS[index])?;
        Ok(header)
    }

    /// Reads the form with whole names (10, 324).
    pub fn read_v1(fields: &'a Fields) -> Result<Self, FieldError> {
        let mut header = SendMessageHeader::default();
        let mut seen = 0_u32;
        for (name, value) in fields.iter() {
            let Some(index) = NAMES.iter().position(|known| *known == name) else { continue };
            seen |= 1 << index;
            header.set(b'a' + index as u8, value)?;
        }
        check_required(seen, |index| NAMES[index])?;
        Ok(header)
    }

    fn set(&mut self, letter: u8, value: &'a str) -> Result<(), FieldError> {
        match letter {
            b'a' => self.producer_group = value,
            b'b' => self.topic = value,
            b'c' => self.default_topic = value,
            b'd' => self.default_topic_queue_nums = parse_number("defaultTopicQueueNums", value)?,
            b'e' => self.queue_id = parse_number("queueId", value)?,
            b'f' => self.sys_flag = parse_number("sysFlag", value)?,
            b'g' => self.born_timestamp = parse_number("bornTimestamp", value)?,
            b'h' => self.flag = parse_number("flag", value)?,
            b'i' => self.properties = value,
            b'j' => self.reconsume_times = Some(parse_number("reconsumeTimes", value)?),
            b'k' => self.unit_mode = value.eq_ignore_ascii_case("true"),
            b'l' => self.max_reconsume_times = Some(parse_number("maxReconsumeTimes", value)?),
            // The C++ client writes "0" here.
            b'm' => self.batch = value.eq_ignore_ascii_case("true"),
            b'n' => self.broker_name = Some(value),
            _ => unreachable!("only a to n have a meaning"),
        }
        Ok(())
    }

    /// Writes the form with letters.
    pub fn write_v2(&self, fields: &mut Fields) {
        self.write(fields, &LETTERS);
    }

    /// Writes the form with whole names.
    pub fn write_v1(&self, fields: &mut Fields) {
        self.write(fields, &NAMES);
    }

    fn write(&self, fields: &mut Fields, names: &[&'static str; 14]) {
        let truth = |flag| if flag { "true" } else { "false" };
        fields.push_str(names[0], self.producer_group);
        fields.push_str(names[1], self.topic);
        fields.push_str(names[2], self.default_topic);
        fields.push_int(names[3], self.default_topic_queue_nums);
        fields.push_int(names[4], self.queue_id);
        fields.push_int(names[5], self.sys_flag);
        fields.push_int(names[6], self.born_timestamp);
        fields.push_int(names[7], self.flag);
        fields.push_str(names[8], self.properties);
        if let Some(times) = self.reconsume_times {
            fields.push_int(names[9], times);
        }
        fields.push_str(names[10], truth(self.unit_mode));
        if let Some(times) = self.max_reconsume_times {
            fields.push_int(names[11], times);
        }
        fields.push_str(names[12], truth(self.batch));
        if let Some(name) = self.broker_name {
            fields.push_str(names[13], name);
        }
    }
}

const LETTERS: [&str; 14] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

const NAMES: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

/// b to h must be there.
fn check_required(seen: u32, name: impl Fn(usize) -> &'static str) -> Result<(), FieldError> {
    // An empty producer group is absent in the binary encoding, and a Java broker does not miss it.
    match (!seen & 0xFE).trailing_zeros() as usize {
        index @ 0..8 => Err(FieldError::Missing(name(index))),
        _ => Ok(()),
    }
}

headers! {
    /// Response to a send. The broker adds the fields MSG_REGION and TRACE_ON behind it.
    SendMessageResponseHeader {
        /// The offset form of the id; for a batch one for each message, comma-separated.
        "msgId" => msg_id: String,
        "queueId" => queue_id: i32,
        "queueOffset" => queue_offset: i64,
        /// The unique id of the message.
        "transactionId" => transaction_id: Option<String>,
        "batchUniqId" => batch_uniq_id: Option<String>,
        "recallHandle" => recall_handle: Option<String>,
    }
    /// CONSUMER_SEND_MSG_BACK.
    ConsumerSendMsgBackHeader {
        /// Position in the commit log.
        "offset" => offset: i64,
        "group" => group: String,
        "delayLevel" => delay_level: i32,
        "originMsgId" => origin_msg_id: Option<String>,
        "originTopic" => origin_topic: Option<String>,
        "unitMode" => unit_mode: bool,
        "maxReconsumeTimes" => max_reconsume_times: Option<i32>,
        "bname" => broker_name: Option<String>,
    }
    /// END_TRANSACTION.
    EndTransactionHeader {
        "topic" => topic: Option<String>,
        "producerGroup" => producer_group: String,
        /// Queue offset of the half message.
        "tranStateTableOffset" => tran_state_table_offset: i64,
        /// Position of the half message.
        "commitLogOffset" => commit_log_offset: i64,
        /// 8 commit, 12 rollback, 0 unknown.
        "commitOrRollback" => commit_or_rollback: i32,
        "fromTransactionCheck" => from_transaction_check: bool,
        "msgId" => msg_id: String,
        "transactionId" => transaction_id: Option<String>,
        "bname" => broker_name: Option<String>,
    }
    /// CHECK_TRANSACTION_STATE, broker to client.
    CheckTransactionStateHeader {
        "topic" => topic: Option<String>,
        "tranStateTableOffset" => tran_state_table_offset: i64,
        "commitLogOffset" => commit_log_offset: i64,
        "msgId" => msg_id: Option<String>,
        "transactionId" => transaction_id: Option<String>,
        "offsetMsgId" => offset_msg_id: Option<String>,
        "bname" => broker_name: Option<String>,
    }
    /// RECALL_MESSAGE.
    RecallMessageHeader {
        "producerGroup" => producer_group: Option<String>,
        "topic" => topic: String,
        "recallHandle" => recall_handle: String,
        "bname" => broker_name: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::random::Random;
    use super::*;
    use crate::node::Rng;

    #[test]
    fn both_spellings_say_the_same() {
        let header = SendMessageHeader {
            producer_group: "PG",
            topic: "T",
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: -1,
            born_timestamp: 1 << 41,
            properties: "TAGS\u{1}a\u{2}",
            reconsume_times: Some(3),
            batch: true,
            broker_name: Some("b"),
            ..SendMessageHeader::default()
        };
        let (mut v1, mut v2) = (Fields::default(), Fields::default());
        header.write_v1(&mut v1);
        header.write_v2(&mut v2);
        assert_eq!(SendMessageHeader::read_v1(&v1).as_ref(), Ok(&header));
        assert_eq!(SendMessageHeader::read_v2(&v2).as_ref(), Ok(&header));
        assert_eq!(SendMessageHeader::read_v2(&v1), Err(FieldError::Missing("b")));
    }

    proptest! {
        #[test]
        fn any_send_header_survives_both_spellings(seed: u64) {
            let rng = &mut Rng::from_seed(seed);
            let texts: [String; 5] = std::array::from_fn(|_| String::random(rng));
            let header = SendMessageHeader {
                producer_group: &texts[0],
                topic: &texts[1],
                default_topic: &texts[2],
                default_topic_queue_nums: Random::random(rng),
                queue_id: Random::random(rng),
                sys_flag: Random::random(rng),
                born_timestamp: Random::random(rng),
                flag: Random::random(rng),
                properties: &texts[3],
                reconsume_times: Random::random(rng),
                unit_mode: Random::random(rng),
                max_reconsume_times: Random::random(rng),
                batch: Random::random(rng),
                broker_name: bool::random(rng).then_some(&texts[4]),
            };
            let (mut v1, mut v2) = (Fields::default(), Fields::default());
            header.write_v1(&mut v1);
            header.write_v2(&mut v2);
            prop_assert_eq!(SendMessageHeader::read_v1(&v1), Ok(header.clone()));
            prop_assert_eq!(SendMessageHeader::read_v2(&v2), Ok(header.clone()));
            let mut any = Fields::default();
            for letter in LETTERS.iter().filter(|_| seed % 5 > 0) {
                any.push_str(letter, if bool::random(rng) { "17" } else { &texts[0] });
            }
            let _ = SendMessageHeader::read_v2(&any);
        }
    }

    #[test]
    fn a_bad_number_is_named() {
        let mut fields = Fields::default();
        for (letter, value) in LETTERS.iter().zip(["a", "b", "c", "1", "x2"]) {
            fields.push_str(letter, value);
        }
        let error = SendMessageHeader::read_v2(&fields).expect_err("x2 is no number");
        assert_eq!(error.to_string(), "the custom field <queueId> is not a number: \"x2\"");
    }
}
