//! Brokers at the name server: 103, 104, 322, 901, 904, 205, 327.
//!
//! Invariant: a compressed body reads back to what was written, but for what its text form of a topic loses (`order` and
//! the system flag).

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::MAX_FRAME;
use super::header::headers;
use super::json::{self, JsonError, Style};
use super::topic::TopicConfig;

/// The release from which a compressed registration holds static topics (V5_0_0).
const VERSION_MAPPING: i32 = 413;
/// Largest compressed registration when unpacked: about 400,000 topics. It may exceed a frame, for that is what a broker
/// compresses it for, and a Java name server knows no limit at all. It is unpacked piece by piece, so that only the topics
/// themselves take memory, and no more of them than [`TOPICS_MAX`].
pub const UNPACKED_MAX: usize = 4 * MAX_FRAME;
/// Most topics of a compressed registration: as many as a broker of ours takes.
pub const TOPICS_MAX: usize = 1_000_000;
/// Longest piece of a compressed registration: a version, a topic, a mapping.
const PIECE_MAX: usize = 1 << 20;

/// Java `DataVersion`: tells states of a table apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Grows with every change.
    pub counter: i64,
    /// Epoch of the master; 0 without a controller.
    pub state_version: i64,
    /// When it last changed, ms.
    pub timestamp: i64,
}

impl DataVersion {
    /// The version after a change now.
    pub fn advance(&mut self, wall_ms: u64) {
        self.counter += 1;
        self.timestamp = i64::try_from(wall_ms).expect("milliseconds of this era fit");
    }
}

/// Java `TopicConfigAndMappingSerializeWrapper`: in REGISTER_BROKER, and the body of the response to GET_ALL_TOPIC_CONFIG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    /// Of the table.
    pub data_version: Option<DataVersion>,
    /// Of the static topics.
    pub mapping_data_version: Option<DataVersion>,
    /// By name.
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics; kept as they are.
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    /// Static topics as the name server needs them.
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

/// A static topic at a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMappingInfo {
    /// Broker name.
    pub bname: String,
    /// Physical queue by logical queue.
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Changed since it was persisted.
    pub dirty: bool,
    /// Epoch of the mapping.
    pub epoch: i64,
    /// `__global__` or a name.
    pub scope: String,
    /// Topic.
    pub topic: String,
    /// Logical queues in all.
    pub total_queues: i32,
}

/// Body of REGISTER_BROKER.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Always empty by now.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

impl RegisterBrokerBody {
    /// As it is sent, and its CRC for the header.
    pub fn encode(&self, compressed: bool) -> (Vec<u8>, i32) {
        let bytes = if compressed { self.pack() } else { json::to_vec(self, Style::Fastjson) };
        let crc = body_crc(&bytes);
        (bytes, crc)
    }

    /// Reads a body that a broker of `version` sent.
    pub fn decode(bytes: &[u8], compressed: bool, version: i32) -> Result<RegisterBrokerBody, JsonError> {
        if !compressed {
            return json::from_slice(bytes);
        }
        let packed = BufReader::new(ZlibDecoder::new(bytes).take(UNPACKED_MAX as u64 + 1));
        Self::unpack(Pieces { packed, taken: 0, piece: Vec::new() }, version)
    }

    fn pack(&self) -> Vec<u8> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut put = |part: Part<'_>| part.write(&mut out).expect("writing to memory cannot fail");
        let version = wrapper.data_version.clone().unwrap_or_default();
        put(Part::Text(&json::to_string(&version, Style::Fastjson)));
        put(Part::Count(wrapper.topic_config_table.len()));
        for topic in wrapper.topic_config_table.values() {
            put(Part::Text(&topic.to_text()));
        }
        put(Part::Text(&json::to_string(&self.filter_server_list, Style::Fastjson)));
        put(Part::Count(wrapper.topic_queue_mapping_info_map.len()));
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put(Part::Text(&json::to_string(mapping, Style::Fastjson)));
        }
        out.finish().expect("writing to memory cannot fail")
    }

    fn unpack(mut from: Pieces<impl BufRead>, version: i32) -> Result<RegisterBrokerBody, JsonError> {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = Some(json::from_slice(from.text()?)?);
        for _ in 0..from.count_of_topics()? {
            let topic = std::str::from_utf8(from.text()?).ok().and_then(TopicConfig::from_text);
            let topic = topic.ok_or_else(|| JsonError::Value("a broken topic in a registration".into()))?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = json::from_slice(from.text()?)?;
        if version >= VERSION_MAPPING && !from.is_at_end()? {
            for _ in 0..from.count_of_topics()? {
                let info: TopicQueueMappingInfo = json::from_slice(from.text()?)?;
                wrapper.topic_queue_mapping_info_map.insert(info.topic.clone(), info);
            }
        }
        Ok(body)
    }
}

enum Part<'a> {
    Count(usize),
    Text(&'a str),
}

impl Part<'_> {
    fn write(self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let (number, text) = match self {
            Part::Count(count) => (count, ""),
            Part::Text(text) => (text.len(), text),
        };
        let number = u32::try_from(number).expect("a registration is far below 4 GiB");
        out.write_all(&number.to_be_bytes())?;
        out.write_all(text.as_bytes())
    }
}

/// A compressed registration, unpacked as far as it was read.
struct Pieces<R> {
    packed: R,
    taken: usize,
    piece: Vec<u8>,
}

impl<R: BufRead> Pieces<R> {
    fn fill(&mut self, len: usize) -> Result<&[u8], JsonError> {
        self.taken += len;
        if self.taken > UNPACKED_MAX {
            return Err(JsonError::Value(format!("a registration of more than {UNPACKED_MAX} bytes")));
        }
        // It grows with what is there, not with what a length claims.
        self.piece.clear();
        let read = (&mut self.packed).take(len as u64).read_to_end(&mut self.piece).map_err(broken)?;
        if read < len {
            return Err(JsonError::Value("a compressed registration ends early".into()));
        }
        Ok(&self.piece)
    }

    fn count(&mut self) -> Result<usize, JsonError> {
        let bytes = self.fill(4)?.try_into().expect("four bytes");
        Ok(usize::try_from(u32::from_be_bytes(bytes)).expect("32 bits fit"))
    }

    fn count_of_topics(&mut self) -> Result<usize, JsonError> {
        let count = self.count()?;
        if count > TOPICS_MAX {
            return Err(JsonError::Value(format!("a registration of {count} topics, at most {TOPICS_MAX} are taken")));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<&[u8], JsonError> {
        let len = self.count()?;
        if len > PIECE_MAX {
            return Err(JsonError::Value(format!("a piece of {len} bytes in a registration")));
        }
        self.fill(len)
    }

    fn is_at_end(&mut self) -> Result<bool, JsonError> {
        Ok(self.packed.fill_buf().map_err(broken)?.is_empty())
    }
}

fn broken(error: io::Error) -> JsonError {
    JsonError::Value(error.to_string())
}

/// The checksum of header field `bodyCrc32`: over the body as it is sent, sign bit cleared.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7FFF_FFFF) as i32
}

/// Body of the response to GET_BROKER_MEMBER_GROUP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GetBrokerMemberGroupBody {
    /// The replicas.
    pub broker_member_group: BrokerMemberGroup,
}

/// The replicas of a broker name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// `ip:port` by broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The name.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}

headers! {
    /// REGISTER_BROKER.
    RegisterBrokerHeader {
        "brokerName" => broker_name: String,
        "brokerAddr" => broker_addr: String,
        "clusterName" => cluster_name: String,
        "haServerAddr" => ha_server_addr: String,
        "brokerId" => broker_id: i64,
        "heartbeatTimeoutMillis" => heartbeat_timeout_millis: Option<i64>,
        /// Its presence also says that the broker knows of acting masters.
        "enableActingMaster" => enable_acting_master: Option<bool>,
        "compressed" => compressed: bool,
        /// 0 or absent: unchecked.
        "bodyCrc32" => body_crc32: Option<i32>,
        "__ZONE_NAME" => zone_name: Option<String>,
    }
    /// Response to REGISTER_BROKER; filled for slaves whose master is known.
    RegisterBrokerResponseHeader {
        "haServerAddr" => ha_server_addr: Option<String>,
        "masterAddr" => master_addr: Option<String>,
    }
    /// UNREGISTER_BROKER.
    UnregisterBrokerHeader {
        "brokerName" => broker_name: String,
        "brokerAddr" => broker_addr: String,
        "clusterName" => cluster_name: String,
        "brokerId" => broker_id: i64,
    }
    /// QUERY_DATA_VERSION.
    QueryDataVersionHeader {
        "brokerName" => broker_name: String,
        "brokerAddr" => broker_addr: String,
        "clusterName" => cluster_name: String,
        "brokerId" => broker_id: i64,
    }
    /// Response to QUERY_DATA_VERSION.
    QueryDataVersionResponseHeader {
        "changed" => changed: bool,
    }
    /// BROKER_HEARTBEAT.
    BrokerHeartbeatHeader {
        "clusterName" => cluster_name: String,
        "brokerAddr" => broker_addr: String,
        "brokerName" => broker_name: String,
        "brokerId" => broker_id: Option<i64>,
        "heartbeatTimeoutMillis" => heartbeat_timeout_millis: Option<i64>,
        "epoch" => epoch: Option<i32>,
        "maxOffset" => max_offset: Option<i64>,
        "confirmOffset" => confirm_offset: Option<i64>,
        /// So spelt by controllers' clients.
        "heartbeatTimeoutMills" => heartbeat_timeout_mills: Option<i64>,
        "electionPriority" => election_priority: Option<i32>,
    }
    /// GET_BROKER_MEMBER_GROUP.
    GetBrokerMemberGroupHeader {
        "clusterName" => cluster_name: String,
        "brokerName" => broker_name: String,
    }
    /// WIPE_WRITE_PERM_OF_BROKER and ADD_WRITE_PERM_OF_BROKER.
    WritePermOfBrokerHeader {
        "brokerName" => broker_name: String,
    }
    /// Response to WIPE_WRITE_PERM_OF_BROKER.
    WipeWritePermResponseHeader {
        "wipeTopicCount" => wipe_topic_count: i32,
    }
    /// Response to ADD_WRITE_PERM_OF_BROKER.
    AddWritePermResponseHeader {
        "addTopicCount" => add_topic_count: i32,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::super::random::damaged;
    use super::*;
    use crate::node::Rng;
    use crate::wire::topic::TopicFilterType;

    fn body() -> impl Strategy<Value = RegisterBrokerBody> {
        let topic = ("[%a-zA-Z0-9_-]{1,12}", 0..9, 0..9, 0..7, any::<bool>(), proptest::option::of("[a-z.]{1,5}"));
        let topic = topic.prop_map(|(topic_name, read_queue_nums, write_queue_nums, perm, single, attribute)| {
            let filter = if single { TopicFilterType::SingleTag } else { TopicFilterType::MultiTag };
            let attributes = attribute.map(|name| (name.clone(), name)).into_iter().collect();
            let topic_filter_type = Some(filter);
            let rest = TopicConfig::default();
            TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, attributes, ..rest }
        });
        let mapping =
            ("[a-z]{1,5}", "[a-z]{1,5}", any::<i64>(), proptest::collection::btree_map(0..9, any::<i32>(), 0..4));
        let mapping = mapping.prop_map(|(topic, bname, epoch, curr_id_map)| TopicQueueMappingInfo {
            topic,
            bname,
            epoch,
            curr_id_map,
            ..TopicQueueMappingInfo::default()
        });
        let version = any::<[i64; 3]>().prop_map(|[counter, state_version, timestamp]| DataVersion {
            counter,
            state_version,
            timestamp,
        });
        let topics = proptest::collection::vec(topic, 0..5);
        let mappings = proptest::collection::vec(mapping, 0..3);
        (version, topics, mappings, proptest::collection::vec("[a-z]{0,4}", 0..3)).prop_map(
            |(version, topics, mappings, filter_server_list)| {
                let mut wrapper = TopicConfigSerializeWrapper {
                    data_version: Some(version),
                    ..TopicConfigSerializeWrapper::default()
                };
                let named = topics.into_iter().map(|topic| (topic.topic_name.clone(), topic));
                wrapper.topic_config_table = named.collect();
                let named = mappings.into_iter().map(|mapping| (mapping.topic.clone(), mapping));
                wrapper.topic_queue_mapping_info_map = named.collect();
                RegisterBrokerBody { filter_server_list, topic_config_serialize_wrapper: wrapper }
            },
        )
    }

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
        out.write_all(plain).unwrap();
        out.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        ZlibDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    proptest! {
        #[test]
        fn a_registration_reads_back_packed_and_plain(body in body()) {
            for compressed in [false, true] {
                let (bytes, crc) = body.encode(compressed);
                prop_assert_eq!(crc, body_crc(&bytes));
                let back = RegisterBrokerBody::decode(&bytes, compressed, VERSION_MAPPING);
                prop_assert_eq!(back.as_ref(), Ok(&body));
            }
            let mut old = body.clone();
            old.topic_config_serialize_wrapper.topic_queue_mapping_info_map.clear();
            let (bytes, _) = body.encode(true);
            prop_assert_eq!(RegisterBrokerBody::decode(&bytes, true, VERSION_MAPPING - 1), Ok(old));
        }

        #[test]
        fn damaged_registrations_read_or_are_refused(body in body(), seed: u64) {
            let rng = &mut Rng::from_seed(seed);
            let (bytes, _) = body.encode(true);
            for _ in 0..8 {
                let _ = RegisterBrokerBody::decode(&damaged(bytes.clone(), rng), true, VERSION_MAPPING);
                let inside = packed(&damaged(unpacked(&bytes), rng));
                let _ = RegisterBrokerBody::decode(&inside, true, VERSION_MAPPING);
            }
        }
    }

    #[track_caller]
    fn check_refused(plain: &[u8], why: &str) {
        let refused = RegisterBrokerBody::decode(&packed(plain), true, VERSION_MAPPING).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }

    #[test]
    fn what_would_grow_in_memory_is_refused() {
        let version = [&2_u32.to_be_bytes()[..], b"{}"].concat();
        check_refused(&[&version[..], &u32::MAX.to_be_bytes()].concat(), "of 4294967295 topics, at most 1000000");
        check_refused(&u32::MAX.to_be_bytes(), "a piece of 4294967295 bytes");
        check_refused(&[&(1_u32 << 20).to_be_bytes()[..], b"{}"].concat(), "ends early");
        let name = "n".repeat(1000);
        let topic = format!("{name} 1 1 6 SINGLE_TAG {{}}");
        let topic = [&u32::try_from(topic.len()).unwrap().to_be_bytes()[..], topic.as_bytes()].concat();
        let bomb = [&version[..], &100_000_u32.to_be_bytes(), &topic.repeat(UNPACKED_MAX / topic.len() + 1)].concat();
        assert!(packed(&bomb).len() < MAX_FRAME / 16);
        check_refused(&bomb, "of more than 67108864 bytes");
    }
}
