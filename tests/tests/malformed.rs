//! Malformed and odd input against the real processes, compared with how the Java servers reacted (`golden/malformed.json.gz`).
//!
//! Invariant: a broken peer gets the answer that Java would give, or its connection closed, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use seedmq_tests::or_skip;
use seedmq_tests::server::{Make, Plan};
use serde_json::Value;

/// Cases where ours deliberately differs, with the reason. `codes` and `usable` are what ours does instead.
struct Deviation {
    case: &'static str,
    connection: &'static str,
    codes: &'static [i64],
    usable: bool,
    why: &'static str,
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "JSON empty object",
        connection: "new",
        codes: &[3],
        usable: true,
        why: "Java holds back the first 12 bytes of a connection to look for a PROXY header; ours answers at once",
    },
    Deviation {
        case: "TLS ClientHello",
        connection: "new",
        codes: &[],
        usable: false,
        why: "TLS is not served yet: the connection is closed without an answer",
    },
    Deviation {
        case: "PROXY v1 line then a valid frame",
        connection: "new",
        codes: &[],
        usable: false,
        why: "the PROXY protocol is not served yet: the connection is closed, as Java closes a used one",
    },
    Deviation {
        case: "PROXY v1 UNKNOWN then a valid frame",
        connection: "new",
        codes: &[],
        usable: false,
        why: "the PROXY protocol is not served yet: the connection is closed, as Java closes a used one",
    },
    Deviation {
        case: "PROXY v2 header then a valid frame",
        connection: "new",
        codes: &[],
        usable: false,
        why: "the PROXY protocol is not served yet: the connection is closed, as Java closes a used one",
    },
];

/// What a server did with some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Reaction {
    /// Codes of the responses, in order.
    codes: Vec<i64>,
    /// It closed the connection by itself.
    closed: bool,
    /// A valid request afterwards was answered.
    usable: bool,
}

/// Reads frames from a connection with a deadline for each question.
struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
    codes: Vec<i64>,
    garbage: bool,
    closed: bool,
}

impl Peer {
    fn connect(addr: &str) -> Peer {
        let addr: SocketAddr = addr.parse().expect("an address");
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5)).expect("the server accepts connections");
        stream.set_nodelay(true).expect("a fresh socket");
        Peer { stream, bytes: Vec::new(), codes: Vec::new(), garbage: false, closed: false }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            self.closed = true;
        }
    }

    /// Reads until `count` responses came, the connection closed, or `patience` ran out.
    fn read(&mut self, count: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut chunk = [0; 4096];
        while !self.closed && self.codes.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.stream.set_read_timeout(Some(left)).expect("a positive timeout");
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    self.bytes.extend_from_slice(&chunk[..n]);
                    self.cut();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(_) => self.closed = true,
            }
        }
    }

    fn cut(&mut self) {
        while !self.garbage && self.bytes.len() >= 8 {
            let length = u32::from_be_bytes(self.bytes[..4].try_into().expect("four bytes")) as usize;
            let header = u32::from_be_bytes([0, self.bytes[5], self.bytes[6], self.bytes[7]]) as usize;
            self.garbage = length > 1 << 20 || self.bytes[4] != 0;
            if self.garbage || self.bytes.len() < 4 + length {
                return;
            }
            let parsed: Value = serde_json::from_slice(&self.bytes[8..8 + header]).expect("a server's header is JSON");
            if parsed["flag"].as_i64().unwrap_or(0) & 1 == 1 {
                self.codes.push(parsed["code"].as_i64().unwrap_or(-1));
            }
            self.bytes.drain(..4 + length);
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
    text.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// One case on a connection of its own.
fn react(addr: &str, case: &Value, valid: &[u8]) -> Reaction {
    let mut peer = Peer::connect(addr);
    if case["connection"] == "used before" {
        peer.send(valid);
        peer.read(1, Duration::from_secs(10));
        assert_eq!(peer.codes.len(), 1, "a valid request is answered");
        peer.codes.clear();
    }
    let expected = case["responses"].as_array().map_or(0, Vec::len);
    peer.send(&unhex(case["sentHex"].as_str().expect("hexadecimal")));
    if case["closedByServer"] == true {
        peer.read(usize::MAX, Duration::from_secs(10));
    } else {
        peer.read(expected, Duration::from_secs(10));
        peer.read(expected + 1, Duration::from_millis(400));
    }
    let (codes, closed) = (peer.codes.clone(), peer.closed);
    peer.send(valid);
    peer.read(codes.len() + 1, Duration::from_secs(if case["followUpAnswered"] == true { 10 } else { 1 }));
    Reaction { usable: peer.codes.len() > codes.len(), codes, closed }
}

/// What is wrong with a reaction, if anything.
fn compare(case: &Value, got: &Reaction, make: Make) -> Option<String> {
    let name = case["case"].as_str().unwrap_or_default();
    let known = |d: &&Deviation| d.case == name && case["connection"] == d.connection && make == Make::Ours;
    let deviation = DEVIATIONS.iter().find(known);
    let codes: Vec<i64> = match deviation {
        Some(deviation) => deviation.codes.to_vec(),
        None => case["responses"].as_array().into_iter().flatten().filter_map(|r| r["code"].as_i64()).collect(),
    };
    let usable = deviation.map_or(case["followUpAnswered"] == true, |d| d.usable);
    // Where Java waits for more bytes before it closes, closing at once is as good.
    let stays = case["closedByServer"] == true && deviation.is_none() && !got.closed;
    let wrong = got.codes != codes || got.usable != usable || stays;
    let why = deviation.map_or("as Java", |d| d.why);
    wrong.then(|| {
        let java_closes = case["closedByServer"] == true;
        format!(
            "{} {} ({}): {got:?}, expected codes {codes:?}, usable {usable}, closed {java_closes} ({why})",
            case["target"], name, case["connection"]
        )
    })
}

#[test]
fn broken_peers_get_what_java_gives_them_and_nobody_else_notices() {
    let servers = or_skip!(Plan::cluster(1, 1).start());
    servers.create_topic("TopicHold", 4);
    let golden = flate2::read::GzDecoder::new(&include_bytes!("../golden/malformed.json.gz")[..]);
    let golden: Value = serde_json::from_reader(golden).expect("the golden file is JSON");
    let cases = golden["cases"].as_array().expect("a list of cases");
    let addrs = [("broker", servers.brokers[0].addr.clone()), ("namesrv", servers.name_server_addrs()[0].clone())];
    let mut wrong = Vec::new();
    for (target, addr) in &addrs {
        let of_target: Vec<&Value> = cases.iter().filter(|case| case["target"] == *target).collect();
        assert!(of_target.len() > 100, "the golden file has cases for the {target}");
        let control = of_target.iter().find(|case| case["case"] == "valid frame (control)").expect("a control");
        let valid = unhex(control["sentHex"].as_str().expect("hexadecimal"));
        let mut bystander = Peer::connect(addr);
        bystander.send(&valid);
        bystander.read(1, Duration::from_secs(10));
        let whole: Vec<&Value> = of_target.into_iter().filter(|case| case["sentHex"].is_string()).collect();
        for group in whole.chunks(32) {
            thread::scope(|scope| {
                let valid = &valid;
                let run = |case| scope.spawn(move || compare(case, &react(addr, case, valid), Make::wanted()));
                let running: Vec<_> = group.iter().map(|case| run(*case)).collect();
                wrong.extend(running.into_iter().filter_map(|case| case.join().expect("no case panics")));
            });
        }
        byte_by_byte(addr, &valid);
        half_closed(addr, &valid);
        bystander.send(&valid);
        bystander.read(2, Duration::from_secs(10));
        assert_eq!(
            (bystander.codes.as_slice(), bystander.closed),
            (&[0, 0][..], false),
            "the {target}'s other connections live"
        );
    }
    assert!(wrong.is_empty(), "{} reactions differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn byte_by_byte(addr: &str, valid: &[u8]) {
    let mut peer = Peer::connect(addr);
    for byte in valid {
        peer.send(&[*byte]);
        thread::sleep(Duration::from_millis(1));
    }
    peer.read(1, Duration::from_secs(10));
    assert_eq!(peer.codes, [0], "a frame may come in any pieces");
}

/// Java gives no answer to a peer that has closed its half; ours may give one. Either way the connection ends.
fn half_closed(addr: &str, valid: &[u8]) {
    let mut peer = Peer::connect(addr);
    peer.send(valid);
    peer.stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
    peer.read(usize::MAX, Duration::from_secs(10));
    assert!(peer.closed && peer.codes.len() <= 1, "a half-closed connection ends: {:?}", peer.codes);
}
