//! Random headers and bodies of any type, and the properties that all of them share; for tests.
//!
//! Invariant: a type says nothing here: a header declared with `headers!` and a body that `serde` reads are made and checked as
//! they are declared.

use std::fmt::Debug;

use bytes::BytesMut;
use proptest::prelude::*;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};

use super::json::{self, JsonError, Style};
use super::{Encoding, Fields, Frame, Header, codec};
use crate::node::Rng;

/// Entries of a collection, at most.
const ENTRIES: u64 = 4;
/// Options that are never absent here: without them a body reads as Java's default.
const ALWAYS: [&str; 2] = ["topicFilterType", "groupRetryPolicy"];
/// What damaged text is made of.
const DAMAGE: &[u8] = b"{}[]:,\"\\0-9.eEntf \xff\x00";

/// Something that can be made from random numbers.
pub trait Random {
    /// One of them.
    fn random(rng: &mut Rng) -> Self;
}

/// Not empty: an empty text is an absent one in the binary encoding, as in Java.
impl Random for String {
    fn random(rng: &mut Rng) -> String {
        let len = 1 + rng.below(9);
        text(len, rng)
    }
}

fn text(len: u64, rng: &mut Rng) -> String {
    let pool = ['a', 'Z', '0', ' ', '=', '"', '\\', '{', ':', '\u{1}', '\u{2}', '\n', 'é', '你', '😀'];
    (0..len).map(|_| pool[index(rng, pool.len())]).collect()
}

fn maybe_empty(rng: &mut Rng) -> String {
    let len = rng.below(9);
    text(len, rng)
}

impl Random for bool {
    fn random(rng: &mut Rng) -> bool {
        rng.below(2) == 1
    }
}

impl Random for i64 {
    fn random(rng: &mut Rng) -> i64 {
        match rng.below(4) {
            0 => [0, 1, -1, i64::MIN, i64::MAX][index(rng, 5)],
            _ => rng.next_u64().cast_signed() >> rng.below(64),
        }
    }
}

impl Random for i32 {
    fn random(rng: &mut Rng) -> i32 {
        match rng.below(4) {
            0 => [0, 1, -1, i32::MIN, i32::MAX][index(rng, 5)],
            _ => (rng.next_u64().cast_signed() >> 32) as i32 >> rng.below(32),
        }
    }
}

impl<T: Random> Random for Option<T> {
    fn random(rng: &mut Rng) -> Option<T> {
        bool::random(rng).then(|| T::random(rng))
    }
}

fn index(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len as u64)).expect("below a length")
}

/// A header that `headers!` declares.
pub trait AnyHeader: Header + Random + Clone + Debug + PartialEq {
    /// The names of its fields on the wire.
    const NAMES: &'static [&'static str];
}

/// A header reads back from a frame in both encodings, and any texts in its fields read or are refused.
pub fn check_header<H: AnyHeader>() {
    proptest!(ProptestConfig::with_cases(64), |(seed: u64)| {
        let rng = &mut Rng::from_seed(seed);
        let header = H::random(rng);
        for encoding in [Encoding::Json, Encoding::RocketMq] {
            let mut bytes = BytesMut::new();
            codec::encode(&Frame { encoding, ..Frame::request(1).with_header(&header) }, &mut bytes);
            let frame = codec::decode(&mut bytes).expect("it decodes").expect("it is whole");
            prop_assert_eq!(H::read(&frame.fields), Ok(header.clone()), "{:?}", encoding);
        }
        let mut fields = Fields::default();
        for name in H::NAMES {
            if rng.below(4) == 0 {
                continue;
            }
            let number = i64::random(rng).to_string();
            fields.push_str(name, &if bool::random(rng) { number } else { maybe_empty(rng) });
        }
        if let Ok(header) = H::read(&fields) {
            let mut again = Fields::default();
            header.write(&mut again);
            prop_assert_eq!(H::read(&again), Ok(header));
        }
    });
}

/// A body reads back from both styles of JSON, and damaged text reads or is refused.
pub fn check_body<T: DeserializeOwned + Serialize + Debug + PartialEq>() {
    proptest!(ProptestConfig::with_cases(64), |(seed: u64)| {
        let rng = &mut Rng::from_seed(seed);
        let body = T::deserialize(Dice { rng, depth: 0, present: false }).expect("random values fit");
        for style in [Style::Fastjson, Style::Standard] {
            let text = json::to_vec(&body, style);
            let back = json::from_slice::<T>(&text);
            prop_assert_eq!(back.as_ref(), Ok(&body), "{}", String::from_utf8_lossy(&text));
            for _ in 0..8 {
                let _ = json::from_slice::<T>(&damaged(text.clone(), rng));
            }
        }
    });
}

/// The same bytes with some changed, put in, taken out or cut off.
pub fn damaged(mut bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    for _ in 0..=rng.below(3) {
        let (at, byte) = (index(rng, bytes.len() + 1), DAMAGE[index(rng, DAMAGE.len())]);
        match rng.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes
}

/// A deserializer that reads nothing: it throws dice for whatever is asked for.
struct Dice<'a> {
    rng: &'a mut Rng,
    depth: u32,
    /// An option is not to be absent.
    present: bool,
}

/// What is left to be given of a collection.
struct Left<'a> {
    dice: Dice<'a>,
    /// Names of a struct that are to come; empty for anything else.
    names: &'static [&'static str],
    /// Of the value that is due.
    name: &'static str,
    entries: u64,
}

impl<'a> Dice<'a> {
    fn again(&mut self) -> Dice<'_> {
        Dice { rng: self.rng, depth: self.depth + 1, present: false }
    }
    fn left(self, names: &'static [&'static str], entries: u64) -> Left<'a> {
        Left { dice: self, names, name: "", entries }
    }
    fn entries(&mut self) -> u64 {
        if self.depth > 12 { 0 } else { self.rng.below(ENTRIES) }
    }
}

macro_rules! thrown {
    ($($method:ident => $visit:ident $make:expr,)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            let make: fn(&mut Rng) -> _ = $make;
            visitor.$visit(make(self.rng))
        }
    )* };
}

impl<'de> Deserializer<'de> for Dice<'_> {
    type Error = JsonError;

    thrown! {
        deserialize_bool => visit_bool bool::random,
        deserialize_i8 => visit_i8 |rng| i32::random(rng) as i8,
        deserialize_i16 => visit_i16 |rng| i32::random(rng) as i16,
        deserialize_i32 => visit_i32 i32::random,
        deserialize_i64 => visit_i64 i64::random,
        deserialize_u8 => visit_u8 |rng| rng.next_u64() as u8,
        deserialize_u16 => visit_u16 |rng| rng.next_u64() as u16,
        deserialize_u32 => visit_u32 |rng| rng.next_u64() as u32,
        deserialize_u64 => visit_u64 |rng| rng.next_u64() >> 1,
        deserialize_f32 => visit_f32 |rng| i32::random(rng) as f32 / 8.0,
        deserialize_f64 => visit_f64 |rng| i32::random(rng) as f64 / 8.0,
        deserialize_char => visit_char |rng| if bool::random(rng) { 'c' } else { '你' },
        deserialize_str => visit_string maybe_empty,
        deserialize_string => visit_string maybe_empty,
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, JsonError> {
        match self.rng.below(if self.depth > 12 { 3 } else { 5 }) {
            0 => self.deserialize_bool(visitor),
            1 => self.deserialize_i64(visitor),
            2 => self.deserialize_string(visitor),
            3 => {
                let entries = self.entries();
                visitor.visit_seq(self.left(&[], entries))
            }
            _ => {
                let entries = self.entries();
                visitor.visit_map(self.left(&[], entries))
            }
        }
    }
    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, JsonError> {
        if self.present || bool::random(self.rng) { visitor.visit_some(self.again()) } else { visitor.visit_none() }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, JsonError> {
        let entries = self.entries();
        visitor.visit_seq(self.left(&[], entries))
    }
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, JsonError> {
        let entries = self.entries();
        visitor.visit_map(self.left(&[], entries))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let entries = names.len() as u64;
        visitor.visit_map(self.left(names, entries))
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        let name: StrDeserializer<'_, JsonError> = variants[index(self.rng, variants.len())].into_deserializer();
        visitor.visit_enum(name)
    }
    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Left<'_> {
    type Error = JsonError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, JsonError> {
        let Some(left) = self.entries.checked_sub(1) else { return Ok(None) };
        self.entries = left;
        seed.deserialize(self.dice.again()).map(Some)
    }
}

impl<'de> MapAccess<'de> for Left<'_> {
    type Error = JsonError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, JsonError> {
        let Some(left) = self.entries.checked_sub(1) else { return Ok(None) };
        self.entries = left;
        match self.names.split_first() {
            Some((name, rest)) => {
                (self.names, self.name) = (rest, name);
                let name: StrDeserializer<'_, JsonError> = name.into_deserializer();
                seed.deserialize(name).map(Some)
            }
            None => seed.deserialize(self.dice.again()).map(Some),
        }
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, JsonError> {
        let present = ALWAYS.contains(&self.name);
        seed.deserialize(Dice { present, ..self.dice.again() })
    }
}

macro_rules! every_body {
    ($($module:ident: $($body:ident)*;)*) => { $(
        mod $module {
            use crate::wire::$module::*;

            #[test]
            fn bodies_survive_their_text() {
                $( super::check_body::<$body>(); )*
            }
        }
    )* };
}

every_body! {
    admin: ResetOffsetBody GetConsumerStatusBody ConsumeMessageDirectlyResult ConsumerRunningInfo ProcessQueueInfo
        ConsumeStatus BrokerStatsData BrokerStatsItem;
    group: SubscriptionGroupConfig SubscriptionGroupList SubscriptionGroupWrapper ConsumeStats OffsetWrapper
        ConsumeStatsList GroupList QuerySubscriptionResponseBody QueryConsumeTimeSpanBody QueueTimeSpan GroupForbidden;
    heartbeat: HeartbeatData ProducerData ConsumerData SubscriptionData ConsumerListBody CheckClientBody Connection
        ConsumerConnection ProducerConnection ProducerInfo ProducerTableInfo;
    kv: KVTable;
    lock: MessageQueue LockBatchBody LockBatchResponseBody;
    query: QueryConsumeQueueResponseBody ConsumeQueueData;
    register: DataVersion TopicConfigSerializeWrapper TopicQueueMappingInfo RegisterBrokerBody GetBrokerMemberGroupBody
        BrokerMemberGroup;
    route: TopicRouteData BrokerData QueueData ClusterInfo;
    topic: TopicConfig TopicList CreateTopicListBody TopicStatsTable TopicOffset;
}
