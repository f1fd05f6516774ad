//! Name servers and brokers as processes: ours or Apache's, on an address of 127/8 of their own.
//!
//! Invariant: a test says which roles it wants and gets a dialect-free handle; whose servers they are is decided by
//! `SEEDMQ_TEST_SERVER=apache` (default: ours), so that every test of ours can be proven against the original.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, until};
use crate::tools::Missing;
use crate::{raw, tools};

/// Whose servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// The `seedmq` program.
    Ours,
    /// Apache RocketMQ 5.5.0.
    Apache,
}

impl Make {
    /// What `SEEDMQ_TEST_SERVER` asks for.
    pub fn wanted() -> Make {
        if env::var("SEEDMQ_TEST_SERVER").is_ok_and(|value| value == "apache") { Make::Apache } else { Make::Ours }
    }
}

/// One server that can be stopped, killed and started again on the same data.
#[derive(Debug)]
pub struct Server {
    /// `broker-1`, `namesrv-1` or `standalone`.
    pub name: String,
    /// `host:port` that clients dial.
    pub addr: String,
    /// Where it keeps its data.
    pub store: PathBuf,
    recipe: Vec<String>,
    envs: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Process>,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(&mut self) {
        self.launch();
        let addr = self.addr.clone();
        let up = until(Duration::from_secs(60), || {
            let alive = self.process().alive();
            assert!(alive, "{} ended: {}", self.name, tail(&self.output()));
            raw::Raw::connect(&addr).is_ok()
        });
        assert!(up, "{} does not listen on {addr}: {}", self.name, tail(&self.output()));
    }

    /// Starts it and returns at once.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(&self.recipe[0]);
        command.args(&self.recipe[1..]).envs(self.envs.iter().cloned());
        let process = Process::spawn(command, &self.log);
        self.process = Some(process.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name)));
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let status = process.terminate(Duration::from_secs(30));
        // Java ends with 143 (128 + SIGTERM) after its shutdown hook.
        let code = status.and_then(|status| status.code());
        assert!(matches!(code, Some(0 | 143)), "{} ended with {status:?}: {}", self.name, tail(&process.output()));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// Whether it was started and not stopped.
    pub fn running(&self) -> bool {
        self.process.is_some()
    }

    /// Everything it printed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose.
    pub make: Make,
    /// How many name servers.
    pub name_servers: usize,
    /// How many brokers.
    pub brokers: usize,
    /// Name server and broker in one process (ours only; Apache gets one of each).
    pub standalone: bool,
    /// More lines of every `broker.conf`.
    pub broker_conf: Vec<(String, String)>,
    /// Heap of each Java broker.
    pub heap: &'static str,
    /// Store of the first broker, instead of a fresh directory.
    pub store: Option<PathBuf>,
}

impl Plan {
    /// One process that is everything.
    pub fn standalone() -> Plan {
        Plan { standalone: true, ..Plan::cluster(1, 1) }
    }

    /// That many of each.
    pub fn cluster(name_servers: usize, brokers: usize) -> Plan {
        let (broker_conf, store) = (Vec::new(), None);
        Plan { make: Make::wanted(), name_servers, brokers, standalone: false, broker_conf, heap: "512m", store }
    }

    /// With one more line in every `broker.conf`.
    pub fn with(mut self, key: &str, value: &str) -> Plan {
        self.broker_conf.push((key.into(), value.into()));
        self
    }

    /// Of that make.
    pub fn make(mut self, make: Make) -> Plan {
        self.make = make;
        self
    }

    /// Starts it all.
    pub fn start(self) -> Result<Servers, Missing> {
        let mut servers = self.prepare()?;
        servers.start();
        Ok(servers)
    }

    /// Writes the files; nothing runs yet.
    pub fn prepare(self) -> Result<Servers, Missing> {
        let dir = tempfile::Builder::new().prefix("seedmq-").tempdir().expect("a scratch directory");
        let ip = loopback();
        let launcher = match self.make {
            Make::Ours => Launcher::Ours(tools::seedmq()),
            Make::Apache => Launcher::Apache(tools::apache()?),
        };
        let mut servers = Servers { ip: ip.clone(), name_servers: Vec::new(), brokers: Vec::new(), dir, plan: self };
        servers.describe(&launcher);
        Ok(servers)
    }
}

enum Launcher {
    Ours(PathBuf),
    Apache(String),
}

/// A set of servers.
#[derive(Debug)]
pub struct Servers {
    /// The address of 127/8 that all of them listen on.
    pub ip: String,
    /// Name servers; empty in a standalone process of ours.
    pub name_servers: Vec<Server>,
    /// Brokers; the first one is everything in a standalone process of ours.
    pub brokers: Vec<Server>,
    dir: TempDir,
    plan: Plan,
}

impl Servers {
    /// The name server list for a client: `a:9876;b:9877`.
    pub fn name_server_list(&self) -> String {
        self.name_server_addrs().join(";")
    }

    /// Each name server.
    pub fn name_server_addrs(&self) -> Vec<String> {
        (0..self.plan.name_servers).map(|n| format!("{}:{}", self.ip, 9876 + n)).collect()
    }

    /// A scratch directory that ends with the servers.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Starts everything and waits until every name server knows every broker.
    pub fn start(&mut self) {
        self.name_servers.iter_mut().for_each(Server::start);
        self.brokers.iter_mut().for_each(Server::launch);
        self.wait_until_registered();
    }

    /// Waits until every name server knows every broker that runs, and each of those listens.
    pub fn wait_until_registered(&mut self) {
        let running = self.brokers.iter().filter(|broker| broker.running()).count();
        let name_servers = self.name_server_addrs();
        let known = until(Duration::from_secs(90), || {
            for broker in self.brokers.iter_mut().filter(|broker| broker.running()) {
                assert!(broker.process().alive(), "{} ended: {}", broker.name, tail(&broker.output()));
                if raw::Raw::connect(&broker.addr).is_err() {
                    return false;
                }
            }
            name_servers.iter().all(|addr| raw::cluster(addr).len() == running)
        });
        let logs = || self.brokers.iter().map(|broker| tail(&broker.output())).collect::<Vec<_>>().join("\n");
        assert!(known, "not all of {running} brokers are known to {name_servers:?}: {}", logs());
    }

    /// Creates a topic on every broker and waits until every route names all of them.
    pub fn create_topic(&self, topic: &str, queues: u32) {
        for broker in &self.brokers {
            raw::create_topic(&broker.addr, topic, queues).unwrap_or_else(|error| panic!("create {topic}: {error}"));
        }
        let known = || self.name_server_addrs().iter().all(|addr| raw::brokers_of(addr, topic) == self.brokers.len());
        assert!(until(Duration::from_secs(20), known), "no complete route of {topic}");
    }

    fn describe(&mut self, launcher: &Launcher) {
        if let (Launcher::Ours(program), true) = (launcher, self.plan.standalone && self.plan.broker_conf.is_empty()) {
            let store = self.store_of(1);
            let recipe = [
                &program.display().to_string(),
                "standalone",
                "--store",
                &store.display().to_string(),
                "--listen",
                &self.ip,
            ]
            .map(str::to_owned);
            let addr = format!("{}:10911", self.ip);
            let server = self.server("standalone", addr, store, recipe.to_vec());
            self.brokers.push(server);
            return;
        }
        for n in 0..self.plan.name_servers {
            let conf = self.name_server_conf(n);
            let recipe = match launcher {
                Launcher::Ours(program) => vec![program.display().to_string(), "namesrv".into()],
                Launcher::Apache(jars) => self.java(jars, "160m", "org.apache.rocketmq.namesrv.NamesrvStartup"),
            };
            let recipe = [recipe, vec!["-c".into(), conf]].concat();
            let addr = format!("{}:{}", self.ip, 9876 + n);
            let server = self.server(&format!("namesrv-{}", n + 1), addr, self.dir.path().to_owned(), recipe);
            self.name_servers.push(server);
        }
        for n in 1..=self.plan.brokers {
            let (conf, addr, store) = self.broker_conf(n);
            let recipe = match launcher {
                Launcher::Ours(program) => vec![program.display().to_string(), "broker".into()],
                Launcher::Apache(jars) => self.java(jars, self.plan.heap, "org.apache.rocketmq.broker.BrokerStartup"),
            };
            let server = self.server(&format!("broker-{n}"), addr, store, [recipe, vec!["-c".into(), conf]].concat());
            self.brokers.push(server);
        }
    }

    fn server(&self, name: &str, addr: String, store: PathBuf, recipe: Vec<String>) -> Server {
        let home = self.dir.path().join("home");
        fs::create_dir_all(home.join("conf")).expect("the scratch directory is writable");
        let envs = vec![("ROCKETMQ_HOME".to_owned(), home.display().to_string())];
        let log = self.dir.path().join(format!("{name}.log"));
        Server { name: name.into(), addr, store, recipe, envs, log, process: None }
    }

    fn java(&self, jars: &str, heap: &str, class: &str) -> Vec<String> {
        let mut words =
            vec!["java".to_owned(), format!("-Xmx{heap}"), format!("-Duser.home={}", self.dir.path().display())];
        words.extend(java_opens());
        words.extend(["-cp".into(), jars.into(), class.into()]);
        words
    }

    fn name_server_conf(&self, n: usize) -> String {
        let kv = self.dir.path().join(format!("kvConfig-{n}.json"));
        let text = format!("listenPort={}\nbindAddress={}\nkvConfigPath={}\n", 9876 + n, self.ip, kv.display());
        self.write(&format!("namesrv-{}.conf", n + 1), &text)
    }

    fn store_of(&self, n: usize) -> PathBuf {
        self.plan.store.clone().filter(|_| n == 1).unwrap_or_else(|| self.dir.path().join(format!("store-{n}")))
    }

    fn broker_conf(&self, n: usize) -> (String, String, PathBuf) {
        let (port, store) = (10901 + 10 * n, self.store_of(n));
        fs::create_dir_all(&store).expect("the scratch directory is writable");
        let mut lines = vec![
            "brokerClusterName=DefaultCluster".to_owned(),
            format!("brokerName=broker-{n}"),
            "brokerId=0".into(),
            format!("brokerIP1={}", self.ip),
            format!("brokerIP2={}", self.ip),
            format!("bindAddress={}", self.ip),
            format!("namesrvAddr={}", self.name_server_list()),
            format!("listenPort={port}"),
            format!("storePathRootDir={}", store.display()),
            format!("storePathCommitLog={}/commitlog", store.display()),
            "diskMaxUsedSpaceRatio=95".into(),
        ];
        if self.plan.make == Make::Apache {
            // Its HA port is bound on every address: one that is free. The rest keeps a loaded broker from refusing.
            lines.extend([format!("haListenPort={}", free_port()), "waitTimeMillsInSendQueue=3000".into()]);
            lines.extend(["transactionOpBatchInterval=3600000".into(), "transactionOpMsgMaxSize=1".into()]);
        }
        lines.extend(self.plan.broker_conf.iter().map(|(key, value)| format!("{key}={value}")));
        let path = self.write(&format!("broker-{n}.conf"), &(lines.join("\n") + "\n"));
        (path, format!("{}:{port}", self.ip), store)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("the scratch directory is writable");
        path.display().to_string()
    }
}

/// What Java 17 needs to let the broker map files.
pub fn java_opens() -> Vec<String> {
    let mut words = vec!["-XX:+IgnoreUnrecognizedVMOptions".to_owned(), "-XX:-UsePerfData".into()];
    for package in ["java.nio", "java.util", "java.lang", "sun.nio.ch", "jdk.internal.misc"] {
        words.push(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    words.push("--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED".into());
    words
}

/// An address of 127/8 on which nothing listens on the ports of a cluster.
pub fn loopback() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mixed = (std::process::id().wrapping_mul(64) + n).wrapping_mul(0x9E37_79B1) >> 8;
        let ip = format!("127.{}.{}.{}", 16 + (mixed >> 16) % 200, (mixed >> 8) & 255, 2 + mixed % 250);
        let free = |port: u16| TcpListener::bind((ip.as_str(), port)).is_ok();
        if [9876, 9877, 10909, 10911, 10912, 10919, 10921, 10922].into_iter().all(free) {
            return ip;
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
