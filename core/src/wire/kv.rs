//! The name server's key-value configuration: 100, 101, 102, 219; and the table of texts that other answers use too.
//!
//! Invariant: keys live in namespaces; `ORDER_TOPIC_CONFIG` is the one that brokers are told about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::headers;

/// The namespace of ordered topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Java `KVTable`: body of the responses to 219, 28 and 103.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KVTable {
    /// The pairs.
    pub table: BTreeMap<String, String>,
}

headers! {
    /// PUT_KV_CONFIG.
    PutKVConfigHeader {
        "namespace" => namespace: String,
        "key" => key: String,
        "value" => value: String,
    }
    /// GET_KV_CONFIG.
    GetKVConfigHeader {
        "namespace" => namespace: String,
        "key" => key: String,
    }
    /// Response to GET_KV_CONFIG.
    GetKVConfigResponseHeader {
        "value" => value: Option<String>,
    }
    /// DELETE_KV_CONFIG.
    DeleteKVConfigHeader {
        "namespace" => namespace: String,
        "key" => key: String,
    }
    /// GET_KVLIST_BY_NAMESPACE.
    GetKVListByNamespaceHeader {
        "namespace" => namespace: String,
    }
}
