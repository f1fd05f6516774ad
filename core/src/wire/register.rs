//! Brokers at the name server: 103, 104, 322, 901, 904, 205, 327.
//!
//! Invariant: a compressed body reads back to what was written, but for what its text form of a topic loses (`order` and
//! the system flag).

use std::collections::BTreeMap;
use std::io::Read as _;

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
/// Largest compressed registration when unpacked: about 400,000 topics.
pub const UNPACKED_MAX: usize = 4 * MAX_FRAME;

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
        let mut text = Vec::new();
        let limit = UNPACKED_MAX as u64 + 1;
        ZlibDecoder::new(bytes).take(limit).read_to_end(&mut text).map_err(|e| JsonError::Value(e.to_string()))?;
        if text.len() > UNPACKED_MAX {
            return Err(JsonError::Value(format!("a registration of more than {UNPACKED_MAX} bytes")));
        }
        Self::unpack(&text, version)
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

    fn unpack(mut text: &[u8], version: i32) -> Result<RegisterBrokerBody, JsonError> {
        let text = &mut text;
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = Some(json::from_slice(take_text(text)?)?);
        for _ in 0..take_count(text)? {
            let topic = std::str::from_utf8(take_text(text)?).ok().and_then(TopicConfig::from_text);
            let topic = topic.ok_or_else(|| JsonError::Value("a broken topic in a registration".into()))?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = json::from_slice(take_text(text)?)?;
        if version >= VERSION_MAPPING && !text.is_empty() {
            for _ in 0..take_count(text)? {
                let info: TopicQueueMappingInfo = json::from_slice(take_text(text)?)?;
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

fn ends_early() -> JsonError {
    JsonError::Value("a compressed registration ends early".into())
}

fn take_count(text: &mut &[u8]) -> Result<u32, JsonError> {
    let (count, tail) = text.split_first_chunk().ok_or_else(ends_early)?;
    *text = tail;
    Ok(u32::from_be_bytes(*count))
}

fn take_text<'a>(text: &mut &'a [u8]) -> Result<&'a [u8], JsonError> {
    let len = take_count(text)? as usize;
    let (head, tail) = text.split_at_checked(len).ok_or_else(ends_early)?;
    *text = tail;
    Ok(head)
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
