//! The command line tools of Apache RocketMQ 5.5.0, unmodified, against our servers.
//!
//! Invariant: each command ends well and prints what is true of the cluster.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use seedmq_tests::client::{Clock, Kit};
use seedmq_tests::history::{acknowledged, check_all_acknowledged};
use seedmq_tests::scenes::wait_delivered;
use seedmq_tests::server::{Plan, Servers, java_opens};
use seedmq_tests::tools::{self, Missing};
use seedmq_tests::{or_skip, raw};

/// The tools, bound to one cluster.
struct Admin {
    jars: String,
    name_servers: String,
    home: String,
}

impl Admin {
    fn new(servers: &Servers) -> Result<Admin, Missing> {
        let home = servers.scratch().display().to_string();
        Ok(Admin { jars: tools::apache()?, name_servers: servers.name_server_list(), home })
    }

    /// Runs one command; what it printed.
    fn run(&self, words: &[&str]) -> String {
        let mut java = Command::new("java");
        java.args(["-Xmx160m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(format!("-Duser.home={}", self.home));
        java.arg(format!("-Drocketmq.namesrv.addr={}", self.name_servers)).args(java_opens()).args(["-cp", &self.jars]);
        // Some commands write files where they are.
        let out = java
            .current_dir(&self.home)
            .env("ROCKETMQ_HOME", &self.home)
            .arg("org.apache.rocketmq.tools.command.MQAdminStartup")
            .args(words)
            .output();
        let out = out.expect("java runs");
        let all = [out.stdout, out.stderr].concat();
        // The broker's jar brings a logging configuration that talks about itself.
        let text = String::from_utf8_lossy(&all);
        let said = text.lines().filter(|line| !line.contains(" |-")).collect::<Vec<_>>();
        let said = said.join("\n");
        assert!(out.status.success(), "mqadmin {words:?} ended with {}: {said}", out.status);
        said
    }

    /// Runs one command and looks for words in what it printed.
    fn expect(&self, words: &[&str], wanted: &[&str]) -> String {
        let said = self.run(words);
        for text in wanted {
            assert!(said.contains(text), "mqadmin {words:?} does not say \"{text}\": {said}");
        }
        let broken = said.contains("Exception:") || said.contains("\tat org.apache");
        assert!(!broken, "mqadmin {words:?} fails: {said}");
        said
    }
}

/// The row of a table whose first columns are these.
fn row<'a>(table: &'a str, start: &[&str]) -> Vec<&'a str> {
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = rows.find(|row| row.len() >= start.len() && row[..start.len()] == *start);
    found.unwrap_or_else(|| panic!("no row {start:?} in {table}"))
}

fn all_commands(servers: &Servers) {
    let admin = or_skip!(Admin::new(servers));
    let kit = or_skip!(Kit::java("5.5.0", "JSON"));
    let brokers = servers.brokers.len();
    let said = admin.run(&["clusterList"]);
    for broker in &servers.brokers {
        let line = said.lines().find(|line| line.contains(&broker.addr));
        let line = line.unwrap_or_else(|| panic!("clusterList does not name {}: {said}", broker.addr));
        assert!(line.starts_with("DefaultCluster"), "{line}");
    }
    let name = raw::cluster(&servers.name_server_addrs()[0])[0].clone();
    admin.expect(&["updateTopic", "-c", "DefaultCluster", "-t", "AdminTopic", "-r", "4", "-w", "4"], &["success"]);
    admin.expect(&["updateTopic", "-b", &servers.brokers[0].addr, "-t", "Doomed", "-r", "2", "-w", "2"], &["success"]);
    std::thread::sleep(Duration::from_millis(500));
    let listed = admin.expect(&["topicList"], &["AdminTopic", "Doomed", "TBW102"]);
    assert!(listed.lines().any(|line| line.trim() == "AdminTopic"), "{listed}");
    let route = admin.expect(&["topicRoute", "-t", "AdminTopic"], &["\"writeQueueNums\":4", &servers.brokers[0].addr]);
    assert_eq!(route.matches("\"readQueueNums\":4").count(), brokers, "{route}");

    let clock = Clock::start();
    let list = servers.name_server_list();
    let args = [("ns", list.as_str()), ("topic", "AdminTopic")];
    let send =
        [&args[..], &[("group", "P"), ("mode", "sync"), ("count", "40"), ("prefix", "admin"), ("tag", "t")]].concat();
    let lines = kit.start(clock, "admin", "send", &send).done(Duration::from_secs(60));
    check_all_acknowledged(&lines, 40);
    let status = admin.run(&["topicStatus", "-t", "AdminTopic"]);
    let stored = (0..4).map(|queue| row(&status, &[&name, &queue.to_string()])[3].parse::<u64>().expect("a number"));
    assert_eq!(stored.sum::<u64>(), 40 / brokers as u64, "{status}");

    let member = kit.start(clock, "member", "consume", &[&args[..], &[("group", "C_ADMIN"), ("hb", "3000")]].concat());
    wait_delivered(&[&member], "C_ADMIN", &acknowledged(&lines), Duration::from_secs(60));
    member.finish();
    let progress = admin.expect(&["consumerProgress", "-g", "C_ADMIN"], &["AdminTopic", "Diff Total: 0"]);
    assert_eq!(
        row(&progress, &["AdminTopic", &name, "0"])[3..5],
        ["10", "10"].map(|ten| if brokers == 1 { ten } else { "5" }),
        "{progress}"
    );
    admin.expect(&["consumerProgress"], &["C_ADMIN"]);
    let runtime = admin.run(&["brokerStatus", "-b", &servers.brokers[0].addr]);
    for key in ["bootTimestamp", "brokerVersionDesc", "msgPutTotalTodayNow", "commitLogMaxOffset", "putTps", "runtime"]
    {
        assert!(runtime.lines().any(|line| line.trim_start().starts_with(key)), "brokerStatus has no {key}: {runtime}");
    }

    let stored = lines.iter().find(|line| line["type"] == "ok").expect("a send was acknowledged");
    let (offset_id, unique) = (stored["offset_msg_id"].as_str(), stored["msg_id"].as_str());
    let (offset_id, unique) = (offset_id.expect("an id"), unique.expect("an id"));
    let facts = ["Topic:", "AdminTopic", "admin-0", "Tags:", "[t]"];
    admin.expect(&["queryMsgById", "-t", "AdminTopic", "-i", offset_id], &facts);
    admin.expect(&["queryMsgByUniqueKey", "-t", "AdminTopic", "-i", unique], &["admin-0"]);
    let key = admin.expect(&["queryMsgByKey", "-t", "AdminTopic", "-k", "admin-7"], &["#Message ID"]);
    let found: Vec<&str> = key.lines().filter(|line| line.len() > 40 && !line.starts_with('#')).collect();
    assert_eq!(found.len(), 1, "one message has that key: {key}");

    admin.expect(&["deleteTopic", "-c", "DefaultCluster", "-t", "Doomed"], &["success"]);
    let gone = Instant::now();
    while raw::brokers_of(&servers.name_server_addrs()[0], "Doomed") > 0 {
        assert!(gone.elapsed() < Duration::from_secs(10), "the route of a deleted topic stays");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!admin.run(&["topicList"]).lines().any(|line| line.trim() == "Doomed"));
}

/// A command of `seedmq` as a client that runs until it is dropped.
struct Ours(std::process::Child);

impl Ours {
    /// With a standard input that stays open.
    fn start(servers: &Servers, words: &[&str]) -> Ours {
        let mut command = Command::new(tools::seedmq());
        command.args(words).args(["-n", &servers.name_server_list()]).stdin(Stdio::piped()).stdout(Stdio::null());
        Ours(command.spawn().expect("seedmq runs"))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Members of ours, asked by the tools through the broker.
fn members_of_ours(servers: &Servers) {
    let admin = or_skip!(Admin::new(servers));
    let (list, broker) = (servers.name_server_list(), servers.brokers[0].addr.clone());
    admin.expect(&["updateTopic", "-c", "DefaultCluster", "-t", "Asked", "-r", "4", "-w", "4"], &["success"]);
    let _member = Ours::start(servers, &["consume", "-t", "Asked", "-g", "C_OURS", "--tags", "a||b"]);
    let mut producer = Ours::start(servers, &["produce", "-t", "Asked", "-g", "P_OURS", "--tag", "a"]);
    let stdin = producer.0.stdin.as_mut().expect("a standard input");
    stdin.write_all(b"one\ntwo\nthree\n").expect("it reads");
    let name = raw::cluster(&servers.name_server_addrs()[0])[0].clone();
    let drained = Instant::now();
    loop {
        let progress = admin.run(&["consumerProgress", "-g", "C_OURS", "-s", "true"]);
        let rows = progress.lines().filter(|line| line.starts_with("Asked")).map(str::split_whitespace);
        let consumed: i64 = rows.filter_map(|mut row| row.nth(4)).filter_map(|number| number.parse::<i64>().ok()).sum();
        if consumed == 3 && progress.contains("Diff Total: 0") {
            // Without an answer of the member its queues would have no owner.
            let row = row(&progress, &["Asked", &name, "0"]);
            assert!(row[5].parse::<std::net::IpAddr>().is_ok(), "{row:?}: {progress}");
            break;
        }
        assert!(drained.elapsed() < Duration::from_secs(60), "{progress}");
    }

    let said = admin.expect(
        &["consumerConnection", "-g", "C_OURS"],
        &["Asked", "a||b", "CONSUME_PASSIVELY", "CLUSTERING", "CONSUME_FROM_FIRST_OFFSET", "RUST", "V5_5_0"],
    );
    let client = said.lines().find(|line| line.contains("RUST")).and_then(|line| line.split_whitespace().next());
    let client = client.unwrap_or_else(|| panic!("no client id in {said}"));
    assert!(client.contains('@'), "{client}: {said}");
    admin.expect(&["producerConnection", "-g", "P_OURS", "-t", "Asked"], &["RUST", "V5_5_0", "@"]);

    let status = admin.expect(
        &["consumerStatus", "-g", "C_OURS", "-i", client, "-s"],
        &[
            "PROP_CONSUME_TYPE",
            "CONSUME_PASSIVELY",
            &list,
            "#Consumer Subscription#",
            "a||b",
            "%RETRY%C_OURS",
            "#Consumer Offset#",
            "#Consumer MQ Detail#",
            "#Consumer RT&TPS#",
            "0 deliveries without an outcome",
        ],
    );
    let offsets = status.split("#Consumer Offset#").nth(1).and_then(|rest| rest.split("#Consumer MQ Detail#").next());
    let offsets = offsets.expect("a part with offsets");
    let consumed: i64 = (0..4)
        .map(|queue| row(offsets, &["Asked", &name, &queue.to_string()])[3].parse::<i64>())
        .map(Result::unwrap_or_default)
        .sum();
    assert_eq!(consumed, 3, "{status}");
    let all =
        admin.expect(&["consumerStatus", "-g", "C_OURS"], &[client, "Same subscription in the same group of consumer"]);
    assert!(all.contains("Rebalance OK"), "{all}");

    let config = admin.expect(&["getBrokerConfig", "-b", &broker], &[&broker, "brokerClusterName", "DefaultCluster"]);
    let line = config.lines().find(|line| line.trim_start().starts_with("brokerName "));
    assert!(line.is_some_and(|line| line.ends_with(&name)), "{config}");
}

#[test]
fn members_of_ours_answer_mqadmin_on_standalone() {
    members_of_ours(&or_skip!(Plan::standalone().start()));
}

#[test]
fn mqadmin_works_on_standalone() {
    all_commands(&or_skip!(Plan::standalone().start()));
}

#[test]
fn mqadmin_works_on_a_cluster() {
    all_commands(&or_skip!(Plan::cluster(2, 2).start()));
}
