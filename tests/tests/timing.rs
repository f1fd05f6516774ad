//! What takes minutes in the real world: expiry of silent clients and brokers, registration, the loss of a name server.
//!
//! Invariant: each period is the Java server's, with room for the scan that notices and for a busy machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use seedmq_tests::client::Kit;
use seedmq_tests::history::{acknowledged, check_all_acknowledged};
use seedmq_tests::process::until;
use seedmq_tests::raw;
use seedmq_tests::scenes::{Scene, wait_delivered};
use seedmq_tests::server::Plan;
use seedmq_tests::{or_skip, server, tools};
use serde_json::Value;

/// A machine that runs three such tests and a compiler may notice so much late.
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn a_silent_connection_is_closed_after_two_minutes() {
    let servers = or_skip!(Plan::cluster(1, 1).start());
    let mut stream = TcpStream::connect(&servers.brokers[0].addr).expect("the broker listens");
    let heartbeat = br#"{"clientID":"silent@1","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"C_SILENT","messageModel":"CLUSTERING","subscriptionDataSet":[],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[],"withoutSub":false}"#;
    stream.write_all(&raw::frame(34, 1, 0, &[], heartbeat)).expect("an open connection");
    let since = Instant::now();
    assert!(until(Duration::from_secs(10), || raw::members(&servers.brokers[0].addr, "C_SILENT").len() == 1));
    stream.set_read_timeout(Some(Duration::from_secs(180))).expect("a positive timeout");
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).expect("the broker closes it") > 0 {}
    let took = since.elapsed();
    let expected = Duration::from_secs(120)..Duration::from_secs(130) + SLACK;
    assert!(expected.contains(&took), "closed after {took:?}");
    assert!(until(Duration::from_secs(5), || raw::members(&servers.brokers[0].addr, "C_SILENT").is_empty()));
}

#[test]
fn a_stopped_member_loses_its_queues_to_the_others() {
    let kit = or_skip!(Kit::go());
    let servers = or_skip!(Plan::cluster(1, 1).start());
    let scene = Scene::new(&kit, &servers, "stopped");
    let (frozen, other) = (scene.consume("frozen", "C_STOP", &[]), scene.consume("other", "C_STOP", &[]));
    let members = || raw::members(&servers.brokers[0].addr, "C_STOP").len();
    assert!(until(Duration::from_secs(60), || members() == 2), "both members are known");
    let before = scene.send("before", "sync", 40, &[]).done(Duration::from_secs(60));
    wait_delivered(&[&frozen, &other], "C_STOP", &acknowledged(&before), Duration::from_secs(60));
    frozen.signal("STOP");
    let since = Instant::now();
    assert!(until(Duration::from_secs(180), || members() == 1), "the frozen member stays");
    // Its last heartbeat may be 30 s old; the broker looks every 10 s.
    let expected = Duration::from_secs(88)..Duration::from_secs(130) + SLACK;
    assert!(expected.contains(&since.elapsed()), "gone after {:?}", since.elapsed());
    let after = scene.send("after", "sync", 40, &[]).done(Duration::from_secs(60));
    wait_delivered(&[&other], "C_STOP", &acknowledged(&after), Duration::from_secs(60));
    frozen.kill();
    other.finish();
}

#[test]
fn a_stopped_broker_leaves_the_routes_and_comes_back() {
    let servers = or_skip!(Plan::cluster(1, 2).start());
    servers.create_topic("frozen", 4);
    let name_server = servers.name_server_addrs()[0].clone();
    let mut servers = servers;
    servers.brokers[0].process().signal("STOP");
    let since = Instant::now();
    assert!(until(Duration::from_secs(180), || raw::brokers_of(&name_server, "frozen") == 1), "the route stays");
    // Its last registration may be 30 s old; the name server looks every 5 s.
    let expected = Duration::from_secs(88)..Duration::from_secs(125) + SLACK;
    assert!(expected.contains(&since.elapsed()), "gone after {:?}", since.elapsed());
    servers.brokers[0].process().signal("CONT");
    assert!(until(Duration::from_secs(45), || raw::brokers_of(&name_server, "frozen") == 2), "it does not come back");
}

#[test]
fn brokers_register_every_thirty_seconds() {
    let listener = TcpListener::bind((server::loopback().as_str(), 0)).expect("a free port");
    let addr = listener.local_addr().expect("a bound listener");
    let (told, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let told = told.clone();
            thread::spawn(move || pretend_name_server(stream, &told));
        }
    });
    let servers = or_skip!(Plan::cluster(1, 1).with("namesrvAddr", &addr.to_string()).prepare());
    let mut servers = servers;
    servers.brokers[0].start();
    let end = Instant::now() + Duration::from_secs(105);
    let mut times: Vec<Instant> = Vec::new();
    while let Ok((code, at)) = heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if code == 103 {
            times.push(at);
        }
    }
    // At the start there may be several, on changes of topics; then the period rules.
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let periods = gaps.iter().filter(|gap| (28.0..35.0).contains(*gap)).count();
    assert!(periods >= 2 && gaps.iter().all(|gap| *gap < 35.0), "registrations come with gaps of {gaps:?} s");
}

/// Answers everything with success and tells what was asked.
fn pretend_name_server(mut stream: TcpStream, told: &Sender<(i64, Instant)>) {
    loop {
        let mut head = [0; 8];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut rest = vec![0; length - 4];
        if stream.read_exact(&mut rest).is_err() {
            return;
        }
        let header = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let asked: Value = serde_json::from_slice(&rest[..header]).expect("brokers write JSON headers");
        let _ = told.send((asked["code"].as_i64().unwrap_or(-1), Instant::now()));
        let answer = format!(
            r#"{{"code":0,"extFields":{{"changed":"true"}},"flag":1,"language":"JAVA","opaque":{},"serializeTypeCurrentRPC":"JSON","version":513}}"#,
            asked["opaque"]
        );
        if stream.write_all(&raw::framed(answer.as_bytes(), &[])).is_err() {
            return;
        }
    }
}

#[test]
fn clients_live_with_one_name_server_less() {
    let kit = or_skip!(Kit::go());
    let mut servers = or_skip!(Plan::cluster(2, 1).start());
    servers.create_topic("names", 4);
    let list = servers.name_server_list();
    let clock = seedmq_tests::client::Clock::start();
    let start = |client: &str, verb: &str, more: &[(&str, &str)]| {
        kit.start(
            clock,
            client,
            verb,
            &[&[("ns", list.as_str()), ("topic", "names"), ("prefix", client)][..], more].concat(),
        )
    };
    let member = start("member", "consume", &[("group", "C_NAMES")]);
    member.wait_started();
    let sender = start("during", "send", &[("count", "1000"), ("gap", "40")]);
    thread::sleep(Duration::from_secs(5));
    servers.name_servers[0].kill();
    let during = sender.done(Duration::from_secs(120));
    // A name server is not on the path of messages.
    check_all_acknowledged(&during, 1000);
    // A client that starts now finds its way through the other one.
    let after = start("after", "send", &[("count", "20")]).done(Duration::from_secs(60));
    check_all_acknowledged(&after, 20);
    let all = acknowledged(&during).union(&acknowledged(&after)).cloned().collect();
    wait_delivered(&[&member], "C_NAMES", &all, Duration::from_secs(60));
    member.finish();
}

#[test]
fn running_clients_need_no_name_server_and_new_ones_say_what_they_miss() {
    let kit = or_skip!(Kit::go());
    let mut servers = or_skip!(Plan::cluster(1, 1).start());
    let (topic, member, sender) = {
        let scene = Scene::new(&kit, &servers, "alone");
        let member = scene.consume("member", "C_ALONE", &[]);
        member.wait_started();
        (scene.topic.clone(), member, scene.send("during", "sync", 1000, &[("gap", "60")]))
    };
    let list = servers.name_server_list();
    thread::sleep(Duration::from_secs(5));
    servers.name_servers[0].kill();
    let produce = || Command::new(tools::seedmq()).args(["produce", "-t", &topic, "-n", &list, "new"]).output();
    let refused = produce().expect("seedmq runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("No route info of this topic: {topic}")), "{said}");
    // Two polls of the routes later, nobody has forgotten anything.
    let during = sender.done(Duration::from_secs(120));
    check_all_acknowledged(&during, 1000);
    wait_delivered(&[&member], "C_ALONE", &acknowledged(&during), Duration::from_secs(60));
    servers.name_servers[0].start();
    let since = Instant::now();
    let taken = || produce().is_ok_and(|out| out.status.success());
    assert!(until(Duration::from_secs(45), taken), "nobody can start again {:?} after its return", since.elapsed());
    member.finish();
}
