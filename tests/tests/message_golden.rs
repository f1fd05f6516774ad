//! Records, properties, ids, batches and compressed bodies against those of Apache RocketMQ 5.5.0.
//!
//! Protects: a record of a Java broker reads as Java reads it, and the same message is written in the same bytes.

mod golden;

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use seedmq_core::message::compress::{Compression, compress, decompress, unpacked};
use seedmq_core::message::record::{MAGIC_V1, Record, body_crc, encode, encode_with_crc, records};
use seedmq_core::message::{Draft, batch, ids, properties};
use serde_json::Value;

/// Every record of the file with what Java decodes from it, and whether it carries the checksum property.
fn golden_records() -> Vec<(String, Value, bool)> {
    let mut all = Vec::new();
    for line in golden::lines("messages.jsonl") {
        let crc = line["propCrc"] == true;
        let label = golden::str(&line, "label").to_owned();
        match line["records"].as_array() {
            Some(records) => all.extend(records.iter().map(|record| (label.clone(), record.clone(), crc))),
            // `encodeUniquely` leaves the store fields out: no record of a log.
            None if line["decoded"].is_object() => all.push((label, line, crc)),
            None => {}
        }
    }
    assert!(all.len() > 80, "{} records", all.len());
    all
}

/// Java packed this body after it had computed the checksum.
const PACKED_LATE: &str = "MessageDecoder.encode 1";

/// `ip:port`, an IPv6 address without brackets.
fn host(text: &str) -> SocketAddr {
    let (ip, port) = text.rsplit_once(':').expect("a port");
    SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"))
}

#[test]
fn records_read_as_java_reads_them() {
    for (label, line, _) in golden_records() {
        let bytes = golden::hex(&line["hex"]);
        let record = Record::parse(&bytes).unwrap_or_else(|error| panic!("{label}: {error}"));
        let java = &line["decoded"];
        let int = |name: &str| golden::int(java, name);
        assert_eq!(record.total as i64, int("storeSize"), "{label}");
        assert_eq!(i64::from(record.body_crc), int("bodyCRC"), "{label}");
        assert!(record.body_is_sound() || label == PACKED_LATE, "{label}");
        assert_eq!(i64::from(record.queue_id), int("queueId"), "{label}");
        assert_eq!(i64::from(record.flag), int("flag"), "{label}");
        assert_eq!((record.queue_offset, record.physical), (int("queueOffset"), int("physicOffset")), "{label}");
        assert_eq!(i64::from(record.sys_flag), int("sysFlag"), "{label}");
        assert_eq!((record.born_ms, record.store_ms), (int("bornTimestamp"), int("storeTimestamp")), "{label}");
        assert_eq!(record.born_host, host(golden::str(java, "bornHost")), "{label}");
        assert_eq!(record.store_host, host(golden::str(java, "storeHost")), "{label}");
        assert_eq!(i64::from(record.reconsume_times), int("reconsumeTimes"), "{label}");
        assert_eq!(record.prepared_offset, int("preparedTransactionOffset"), "{label}");
        assert_eq!(record.topic, golden::str(java, "topic"), "{label}");
        assert_eq!(record.body.len() as i64, java["bodyLen"].as_i64().unwrap_or(0), "{label}");
        let id = ids::offset_msg_id(record.store_host, record.physical as u64);
        assert_eq!(id, golden::str(java, "msgId"), "{label}");
        check_properties(&label, record.properties, &java["properties"]);
        check_use(&label, &record, &line);
    }
}

fn check_properties(label: &str, text: &[u8], java: &Value) {
    let text = std::str::from_utf8(text).expect("Java writes UTF-8");
    let Some(java) = java.as_object() else { return assert_eq!(properties::iter(text).count(), 0, "{label}") };
    for (name, value) in java {
        assert_eq!(properties::get(text, name), value.as_str(), "{label}: {name}");
    }
    assert!(properties::iter(text).all(|(name, _)| java.contains_key(name)), "{label}");
}

/// What the store and a client make of the record.
fn check_use(label: &str, record: &Record<'_>, line: &Value) {
    let text = std::str::from_utf8(record.properties).expect("checked before");
    let body = Bytes::copy_from_slice(record.body);
    if line["decompressed"].is_object() && !label.starts_with("MessageDecoder") {
        let body = unpacked(&body, record.sys_flag, 1 << 20).unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(body.len() as i64, line["decompressed"]["bodyLen"].as_i64().unwrap_or(0), "{label}");
    }
    let unique = properties::get(text, "UNIQ_KEY")
        .map_or_else(|| ids::offset_msg_id(record.store_host, record.physical as u64), str::to_owned);
    assert_eq!(unique, golden::str(line, "clientMsgId"), "{label}");
    let dispatch = &line["dispatch"];
    if dispatch["success"] == true && record.topic != "SCHEDULE_TOPIC_XXXX" {
        let tag = properties::get(text, "TAGS").map_or(0, properties::tag_hash);
        assert_eq!(i64::from(tag), golden::int(dispatch, "tagsCode"), "{label}");
    }
}

#[test]
fn records_are_written_as_java_writes_them() {
    for (label, line, crc) in golden_records().into_iter().filter(|(label, ..)| label != PACKED_LATE) {
        let bytes = golden::hex(&line["hex"]);
        let record = Record::parse(&bytes).expect("read before");
        let mut own = record.properties;
        if crc {
            own = &own[..own.len() - 20];
        }
        let draft = Draft {
            topic: Bytes::copy_from_slice(record.topic.as_bytes()),
            queue_id: record.queue_id,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_ms: record.born_ms,
            born_host: record.born_host,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            prepared_offset: record.prepared_offset,
            body: Bytes::copy_from_slice(record.body),
            properties: Bytes::copy_from_slice(own),
        };
        let mut out = BytesMut::new();
        let write = if crc { encode_with_crc } else { encode };
        write(&draft, record.queue_offset as u64, record.physical as u64, record.store_ms as u64, &mut out);
        assert_eq!(out, bytes[..], "{label}");
    }
}

#[test]
fn concatenated_records_are_all_found() {
    let all: Vec<Vec<u8>> = golden_records().iter().map(|(_, line, _)| golden::hex(&line["hex"])).collect();
    let joined = all.concat();
    assert_eq!(records(&joined).count(), all.len());
    assert!(joined[4..8] == MAGIC_V1.to_be_bytes());
}

#[test]
fn batches_read_and_write_as_in_java() {
    let lines = golden::lines("messages.jsonl");
    let batches: Vec<&Value> = lines.iter().filter(|line| line["requestBodyHex"].is_string()).collect();
    assert_eq!(batches.len(), 4);
    for line in batches {
        let body = Bytes::from(golden::hex(&line["requestBodyHex"]));
        let messages = batch::decode(&body).expect("a batch of Java");
        assert_eq!(messages.len() as i64, golden::int(line, "msgNum"));
        assert_eq!(batch::encode(&messages), body);
        for (message, stored) in messages.iter().zip(line["records"].as_array().expect("a list")) {
            let bytes = golden::hex(&stored["hex"]);
            let record = Record::parse(&bytes).expect("a record");
            assert_eq!((record.body, record.flag), (&message.body[..], message.flag));
            assert!(record.properties.starts_with(&message.properties));
        }
    }
}

#[test]
fn tags_and_checksums_hash_as_in_java() {
    for line in golden::kind("tables.jsonl", "tag_hash") {
        let tag = line["tag"].as_str().unwrap_or("");
        assert_eq!(i64::from(properties::tag_hash(tag)), golden::int(&line, "tagsCode"), "{tag}");
    }
    for line in golden::kind("tables.jsonl", "crc32").iter().filter(|line| line["hex"].is_string()) {
        assert_eq!(i64::from(body_crc(&golden::hex(&line["hex"]))), golden::int(line, "crc"));
    }
    for line in golden::kind("tables.jsonl", "bytes2string") {
        assert_eq!(ids::hex(&golden::hex(&line["hex"])), golden::str(&line, "text"));
    }
}

#[test]
fn property_texts_read_and_write_as_in_java() {
    for line in golden::kind("tables.jsonl", "properties_parse") {
        check_properties(&line.to_string(), golden::str(&line, "text").as_bytes(), &line["map"]);
    }
    for line in golden::kind("tables.jsonl", "properties_format") {
        // Java leaves the order to a hash map; the file has it as in the text for what has more than one.
        let mut text = String::new();
        for (name, value) in line["map"].as_object().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                properties::append(&mut text, name, value);
            }
        }
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split_inclusive('\u{2}').map(str::to_owned).collect();
            parts.sort_unstable();
            parts
        };
        assert_eq!(sorted(&text), sorted(golden::str(&line, "text")));
    }
}

#[test]
fn ids_read_and_write_as_in_java() {
    for line in golden::kind("tables.jsonl", "offset_msg_id") {
        let ip: IpAddr = golden::str(&line, "host").parse().expect("an address");
        let host = SocketAddr::new(ip, golden::int(&line, "port") as u16);
        let offset = golden::int(&line, "offset") as u64;
        assert_eq!(ids::offset_msg_id(host, offset), golden::str(&line, "id"));
        assert_eq!(ids::parse_offset_msg_id(golden::str(&line, "id")), Some((host, offset)));
    }
    for line in golden::kind("tables.jsonl", "offset_msg_id_decode") {
        let parsed = ids::parse_offset_msg_id(golden::str(&line, "id"));
        assert_eq!(parsed.is_none(), line["error"].is_string(), "{line}");
        if let Some((_, offset)) = parsed {
            assert_eq!(offset as i64, golden::int(&line, "offset"));
        }
    }
    for (index, line) in golden::kind("tables.jsonl", "uniq_id").iter().enumerate() {
        let pid = golden::int(line, "pid") as u32;
        let mut ours = ids::UniqueIds::new(golden::str(line, "ip").parse().expect("an address"), pid);
        let (made, java) = (ours.next(golden::int(line, "createdAtMs") as u64), golden::str(line, "id"));
        // Address and process, then the time in the month; between them is what Java takes from a class loader.
        assert_eq!((&made[..36], made.len()), (&java[..36], 56), "{index}");
        let near = |id: &str| i64::from_str_radix(&id[44..52], 16).expect("hex");
        assert!((near(&made) - near(java)).abs() < 1000, "{made} {java}");
    }
}

#[test]
fn bodies_pack_and_unpack_with_java() {
    for line in golden::kind("tables.jsonl", "compress") {
        let how = match golden::str(&line, "type") {
            "LZ4" => Compression::Lz4,
            "ZSTD" => Compression::Zstd,
            "ZLIB" => Compression::Zlib,
            other => panic!("{other}"),
        };
        let len = golden::int(&line, "plainLen") as usize;
        let plain = decompress(&golden::hex(&line["compressedHex"]), how, len).expect("a body of Java");
        assert_eq!(plain.len(), len);
        assert_eq!(decompress(&compress(&plain, how, 5), how, len), Ok(plain));
    }
    for line in golden::kind("tables.jsonl", "sys_flag") {
        let name = match Compression::of(golden::int(&line, "flag") as i32) {
            Compression::Lz4 => "LZ4",
            Compression::Zstd => "ZSTD",
            Compression::Zlib => "ZLIB",
        };
        if line["compression"].is_string() {
            assert_eq!(name, golden::str(&line, "compression"), "{line}");
        }
    }
}
