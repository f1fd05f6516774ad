//! What the codec costs: nanoseconds for each step of a send and of a pull. Run with `--release`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::unwrap_used, reason = "it measures time")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use seedmq_core::wire::codec::{decode, encode, encode_head};
use seedmq_core::wire::codes::{request, response};
use seedmq_core::wire::pull::{PullMessageHeader, PullMessageResponseHeader};
use seedmq_core::wire::send::SendMessageHeader;
use seedmq_core::wire::{Encoding, Frame, Header};

/// Time that this process had a processor, ns: the machine may be busy with others.
fn on_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn cost(what: &str, mut work: impl FnMut()) {
    let rounds = 300_000;
    (0..rounds / 10).for_each(|_| work());
    let start = on_cpu();
    (0..rounds).for_each(|_| work());
    println!("{what:<44} {:>7.0} ns", (on_cpu() - start) as f64 / f64::from(rounds));
}

fn send() -> Frame {
    let header = SendMessageHeader {
        producer_group: "benchmark_producer",
        topic: "BenchmarkTest",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 3,
        born_timestamp: 1_795_391_548_472,
        properties: "KEYS\u{1}key-0 all\u{2}UNIQ_KEY\u{1}FD000000000000000000000000000002178E4E0E2F2A715D6E080000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagC\u{2}",
        reconsume_times: Some(0),
        broker_name: Some("broker-a"),
        ..SendMessageHeader::default()
    };
    let mut frame = Frame::request(request::SEND_MESSAGE_V2).with_body(vec![7; 1024]);
    header.write_v2(&mut frame.fields);
    frame
}

fn bytes_of(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode(frame, &mut out);
    out.freeze()
}

fn main() {
    for encoding in [Encoding::Json, Encoding::RocketMq] {
        println!("{encoding:?}");
        let frame = Frame { encoding, ..send() };
        let bytes = bytes_of(&frame);
        let copy = || BytesMut::from(&bytes[..]);
        cost("(copying the bytes of a send)", || drop(black_box(copy())));
        cost("decode a send of 1 KiB, copy included", || drop(black_box(decode(&mut copy()))));
        cost("read its header", || drop(black_box(SendMessageHeader::read_v2(&frame.fields))));
        let mut out = BytesMut::with_capacity(4096);
        cost("answer it", || {
            let mut answer = Frame::request(response::SUCCESS);
            answer.encoding = encoding;
            answer.fields = seedmq_core::wire::Fields::with_capacity(192);
            answer.fields.push_str("msgId", "7F000002000051AF000000000001C5EB");
            answer.fields.push("queueId", 3);
            answer.fields.push("queueOffset", 123_456_i64);
            answer.fields.push_str("transactionId", "FD000000000000000000000000000002178E4E0E2F2A715D6E080000");
            answer.fields.push_str("MSG_REGION", "DefaultRegion");
            answer.fields.push_str("TRACE_ON", "true");
            out.clear();
            encode_head(black_box(&answer), &mut out);
        });
        pull(encoding);
    }
}

fn pull(encoding: Encoding) {
    let header = PullMessageHeader {
        consumer_group: "benchmark_consumer".into(),
        topic: "BenchmarkTest".into(),
        queue_id: 3,
        queue_offset: 123_456,
        max_msg_nums: 32,
        sys_flag: 3,
        suspend_timeout_millis: 15_000,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..PullMessageHeader::default()
    };
    let frame = Frame { encoding, ..Frame::request(request::PULL_MESSAGE).with_header(&header) };
    let bytes = bytes_of(&frame);
    cost("decode a pull, copy included", || drop(black_box(decode(&mut BytesMut::from(&bytes[..])))));
    cost("read its header", || drop(black_box(PullMessageHeader::read(&frame.fields))));
    let mut out = BytesMut::with_capacity(4096);
    cost("answer it", || {
        let header =
            PullMessageResponseHeader { next_begin_offset: 123_488, max_offset: 200_000, ..Default::default() };
        let answer = Frame::request(response::SUCCESS).with_remark("FOUND").with_header(&header);
        out.clear();
        encode_head(black_box(&Frame { encoding, ..answer }), &mut out);
    });
}
