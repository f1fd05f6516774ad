//! `seedmq` as a person meets it: exit codes, boot lines, refusals, a first message.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn seedmq(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedmq"));
    command.args(args).env_remove("NAMESRV_ADDR").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A server that is killed when the test ends.
struct Server {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Server {
    fn start(args: &[&str], home: &Path) -> Server {
        let mut child = seedmq(args).env("HOME", home).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let streams: [Box<dyn BufRead + Send>; 2] = [
            Box::new(BufReader::new(child.stdout.take().unwrap())),
            Box::new(BufReader::new(child.stderr.take().unwrap())),
        ];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || stream.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        }
        Server { child, lines }
    }
    /// The next line that contains `part`.
    fn line(&self, part: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {part:?} in {seen:?}");
    }
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
    fn code(&mut self) -> Option<i32> {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn help_and_version_are_there() {
    let output = seedmq(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["standalone", "namesrv", "broker", "produce", "consume", "Examples:", "Exit status"] {
        assert!(text(&output).contains(part), "{part}");
    }
    for command in ["standalone", "namesrv", "broker", "produce", "consume"] {
        let output = seedmq(&[command, "--help"]).output().unwrap();
        assert!(text(&output).contains("Examples:"), "{command}: {}", text(&output));
    }
    let output = seedmq(&["--version"]).output().unwrap();
    assert_eq!(text(&output), format!("seedmq {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_and_wrong_files_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("broker.conf");
    std::fs::write(&conf, "brokerName=b\nlistenPort=port\n").unwrap();
    let conf = conf.to_str().unwrap();
    for (args, part) in [
        (vec!["brew"], "brew"),
        (vec!["namesrv", "-p", "100000"], "100000"),
        (vec!["namesrv", "-c", "/nowhere/n.conf"], "/nowhere/n.conf: cannot be read"),
        (vec!["broker", "-c", conf], "broker.conf:2: listenPort=port: expected"),
        (vec!["namesrv", "--log", "a=b=c"], "--log a=b=c"),
    ] {
        let output = seedmq(&args).env("HOME", dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(part), "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_name_server_boots_with_javas_line_and_ends_gracefully() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let mut server = Server::start(&["namesrv", "-p", &port, "--listen", "127.0.0.1"], home.path());
    let line = server.line("success");
    assert_eq!(line, format!("The Name Server boot success. serializeType=JSON, address 127.0.0.1:{port}"));
    let second = seedmq(&["namesrv", "-p", &port, "--listen", "127.0.0.1"]).env("HOME", home.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains("in use: another process holds"), "{}", text(&second));
    let elsewhere = tempfile::tempdir().unwrap();
    let third =
        seedmq(&["namesrv", "-p", &port, "--listen", "127.0.0.1"]).env("HOME", elsewhere.path()).output().unwrap();
    assert_eq!(third.status.code(), Some(1), "{}", text(&third));
    assert!(text(&third).contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", text(&third));
    server.signal("-TERM");
    assert_eq!(server.code(), Some(0));
}

/// A standalone queue on free ports.
struct Standalone {
    server: Server,
    name_server: String,
}

impl Standalone {
    fn start(store: &Path, more: &[&str]) -> Standalone {
        let (namesrv, broker) = (free_port().to_string(), free_port().to_string());
        let store = store.to_str().unwrap();
        let ports = ["standalone", "--store", store, "--namesrv-port", &namesrv, "--broker-port", &broker];
        let server = Server::start(&[&ports[..], more].concat(), Path::new("/nowhere"));
        let line = server.line("The broker[");
        let expected = format!(
            "The broker[broker-a, 127.0.0.1:{broker}] boot success. serializeType=JSON and name server is 127.0.0.1:{namesrv}"
        );
        assert_eq!(line, expected);
        Standalone { server, name_server: format!("127.0.0.1:{namesrv}") }
    }
    fn run(&self, args: &[&str]) -> Output {
        seedmq(args).args(["-n", &self.name_server]).output().unwrap()
    }
}

#[test]
fn a_first_message_goes_through_and_stays_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut queue = Standalone::start(&store, &[]);
    let sent = queue.run(&["produce", "--topic", "Hello", "first", "second"]);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent));
    assert_eq!(text(&sent).matches(" stored in broker-a:").count(), 2, "{}", text(&sent));
    let got = queue.run(&["consume", "--topic", "Hello", "--group", "me", "--count", "2"]);
    assert_eq!(got.status.code(), Some(0), "{}", text(&got));
    let mut lines: Vec<_> = text(&got).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["first", "second"]);

    let refused = seedmq(&["standalone", "--store", store.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("lock"), "{}", text(&refused));

    queue.server.signal("-INT");
    assert_eq!(queue.server.code(), Some(0));
    assert!(!store.join("abort").exists(), "a graceful end leaves no abort mark");

    let queue = Standalone::start(&store, &["--sync"]);
    let sent = queue.run(&["produce", "--topic", "Hello", "third"]);
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent));
    let got = queue.run(&["consume", "--topic", "Hello", "--group", "me", "--count", "1", "--verbose"]);
    assert!(text(&got).ends_with(" tag=- keys=- third\n"), "the group goes on where it left off: {}", text(&got));
}

#[test]
fn lines_of_the_standard_input_are_messages() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Standalone::start(&dir.path().join("store"), &[]);
    let mut producer = seedmq(&["produce", "--topic", "Lines", "--tag", "t", "--key", "k", "-n", &queue.name_server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    producer.stdin.take().unwrap().write_all(b"one\ntwo\nthree\n").unwrap();
    let output = producer.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output).lines().count(), 3, "{}", text(&output));
    let got = queue.run(&["consume", "-t", "Lines", "-g", "me", "--count", "3", "--tags", "t", "--quiet"]);
    assert!(text(&got).starts_with("3 messages in "), "{}", text(&got));
}

#[test]
fn a_producer_without_a_queue_says_so_and_fails() {
    let port = free_port();
    let output = seedmq(&["produce", "--topic", "T", "x", "-n", &format!("127.0.0.1:{port}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for part in ["1 of 1 messages failed", "No route info of this topic: T"] {
        assert!(text(&output).contains(part), "{part}: {}", text(&output));
    }
}

#[test]
fn a_broker_warns_about_settings_of_java_that_mean_nothing_and_uses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let conf = dir.path().join("broker.conf");
    let store = dir.path().join("store");
    let text = format!(
        "brokerName=mine\nhaListenPort=1\nlistenPort={port}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\n",
        store.display()
    );
    std::fs::write(&conf, text).unwrap();
    let mut broker = Server::start(&["broker", "-c", conf.to_str().unwrap(), "--listen", "127.0.0.1"], dir.path());
    assert!(broker.line("no meaning").contains("broker.conf:2: haListenPort has no meaning here, ignored"));
    assert_eq!(
        broker.line("boot success"),
        format!("The broker[mine, 127.0.0.1:{port}] boot success. serializeType=JSON")
    );
    assert!(store.join("commitlog").is_dir() || store.join("abort").exists());
    broker.signal("-TERM");
    assert_eq!(broker.code(), Some(0));
}

/// One request over TCP; the whole answer.
fn http(port: u16, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

#[test]
fn brokers_and_clients_find_the_name_server_through_its_own_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (port, endpoint, broker_port) = (free_port(), free_port(), free_port());
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let conf =
        write("namesrv.conf", &format!("listenPort={port}\nbindAddress=127.0.0.1\naddressServerPort={endpoint}\n"));
    let namesrv = Server::start(&["namesrv", "-c", &conf], dir.path());
    namesrv.line(&format!("http://127.0.0.1:{endpoint}/rocketmq/nsaddr answers 127.0.0.1:{port}"));
    let conf = write(
        "broker.conf",
        &format!(
            "brokerName=b\nlistenPort={broker_port}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\n\
             fetchNamesrvAddrByAddressServer=true\nrmqAddressServerDomain=127.0.0.1:{endpoint}\n",
            dir.path().join("store").display()
        ),
    );
    let broker = Server::start(&["broker", "-c", &conf, "--listen", "127.0.0.1"], dir.path());
    broker.line("boot success");
    namesrv.line("broker b (0, DefaultCluster)");

    let domain = format!("rocketmq.namesrv.domain=127.0.0.1:{endpoint}");
    let sent = seedmq(&["produce", "--topic", "Found", "-D", &domain, "over http"]).output().unwrap();
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent));
    let consume = ["consume", "-t", "Found", "-g", "me", "--count", "1", "-D", &domain];
    assert_eq!(text(&seedmq(&consume).output().unwrap()), "over http\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = seedmq::AddressServer::new(format!("127.0.0.1:{endpoint}"));
    let receipt = runtime.block_on(async {
        let producer = seedmq::Producer::builder("P").address_server(server).start().unwrap();
        producer.send("Found", seedmq::Message::new("from Rust")).await.unwrap()
    });
    assert_eq!(&*receipt.queue.broker, "b");

    let list = format!("127.0.0.1:{port}");
    assert!(http(endpoint, "GET /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n\r\n").ends_with(&format!("\r\n\r\n{list}")));
    assert!(http(endpoint, "GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    let endless = format!("GET /rocketmq/nsaddr HTTP/1.1\r\nX: {}", "x".repeat(4096))[..4096].to_owned();
    assert!(http(endpoint, &endless).starts_with("HTTP/1.1 431 "));
    assert_eq!(http(endpoint, "GET /rocketmq"), "", "who says nothing more is let go without an answer");
}

#[test]
fn an_endpoint_that_is_not_there_is_named_with_the_cure() {
    let domain = format!("rocketmq.namesrv.domain=127.0.0.1:{}", free_port());
    let output = seedmq(&["consume", "--topic", "T", "--group", "g", "-D", &domain]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for part in [&*domain, "/rocketmq/nsaddr: ", "-n goes without it"] {
        assert!(text(&output).contains(part), "{}", text(&output));
    }
}

/// One frame of the remoting protocol to a server, and the code of the answer.
fn remoting(port: u16, code: i32, body: &str) -> i32 {
    let header = format!(r#"{{"code":{code},"flag":0,"language":"JAVA","opaque":1,"version":513}}"#);
    let mut frame = u32::try_from(4 + header.len() + body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(u32::try_from(header.len()).unwrap().to_be_bytes());
    frame.extend([header.as_bytes(), body.as_bytes()].concat());
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&frame).unwrap();
    let mut lengths = [0; 8];
    std::io::Read::read_exact(&mut stream, &mut lengths).unwrap();
    let mut header = vec![0; usize::from(lengths[6]) << 8 | usize::from(lengths[7])];
    std::io::Read::read_exact(&mut stream, &mut header).unwrap();
    let header = String::from_utf8(header).unwrap();
    let code = header.split_once("\"code\":").unwrap().1;
    code.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn what_a_request_changes_in_a_name_server_is_kept_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let conf = dir.path().join("namesrv.conf");
    let text = format!("# ours\nlistenPort={port}\nbindAddress=127.0.0.1\norderMessageEnable=false\n");
    std::fs::write(&conf, text).unwrap();
    let start = || Server::start(&["namesrv", "-c", conf.to_str().unwrap()], dir.path());
    let mut server = start();
    server.line("boot success");
    assert_eq!(remoting(port, 318, "orderMessageEnable=true\nsupportActingMaster=true\nnoSuchThing=1\n"), 0);
    let kept = std::fs::read_to_string(&conf).unwrap();
    let expected = format!(
        "# ours\nlistenPort={port}\nbindAddress=127.0.0.1\norderMessageEnable=true\nsupportActingMaster=true\n"
    );
    assert_eq!(kept, expected, "it is there when the answer is");
    assert_eq!(remoting(port, 318, "configStorePath=/x\n"), 16);
    server.line("kept in ");
    server.signal("-TERM");
    assert_eq!(server.code(), Some(0));
    let server = start();
    server.line("boot success");
    drop(server);

    let other = free_port();
    let server = Server::start(&["namesrv", "-p", &other.to_string(), "--listen", "127.0.0.1"], dir.path());
    server.line("boot success");
    assert_eq!(remoting(other, 318, "orderMessageEnable=true\n"), 0);
    server.line("orderMessageEnable: changed by a request until this process ends; started with -c FILE");
}
