//! The foreign client programs as children: commands in, history lines out.
//!
//! Invariant: a [`Member`] keeps every line that its program printed, in order, and the program ends with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::process::{signal, until, wait_for, with_owner};
use crate::tools::{self, Missing};

/// Which program.
#[derive(Clone, Debug)]
pub struct Kit {
    /// `java-5.5.0-json`, `go`, …
    pub name: String,
    /// Program and fixed arguments.
    words: Vec<String>,
    /// Whether the program sees brokers' names in deliveries and receipts.
    pub sees_broker: bool,
    /// Whether its batches are batches: the C++ library sends their bytes as the body of one plain message, and so the
    /// servers, Java's too, store one.
    pub batches: bool,
    /// Whether a new group begins at the first message: the C++ library knows no other place than the end of each queue.
    pub from_first: bool,
    /// What the program says when its library crashes in its own shutdown, if it is known to: the C++ one
    /// interrupts its own threads, and now and then one of them lets that escape.
    crash: Option<&'static str>,
}

impl Kit {
    /// The Java client of one release; `encoding` of headers is `JSON` or `ROCKETMQ`.
    pub fn java(release: &str, encoding: &str) -> Result<Kit, Missing> {
        let path = tools::java_client(release)?;
        let home = tools::target().join("outside/java-home");
        let words = [
            "java",
            "-Xmx128m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            &format!("-Duser.home={}", home.display()),
            &format!("-Drocketmq.serialize.type={encoding}"),
            "-cp",
            &path,
            "Client",
        ];
        Ok(Kit {
            name: format!("java-{release}-{}", encoding.to_lowercase()),
            words: words.map(str::to_owned).to_vec(),
            sees_broker: true,
            batches: true,
            from_first: true,
            crash: None,
        })
    }

    /// The Go client.
    pub fn go() -> Result<Kit, Missing> {
        let words = vec![tools::go_client()?.display().to_string()];
        Ok(Kit { name: "go".into(), words, sees_broker: true, batches: true, from_first: true, crash: None })
    }

    /// The Python client over the C++ library.
    pub fn python() -> Result<Kit, Missing> {
        let script = tools::repository().join("tests/clients/python/client.py");
        let words = vec![tools::python()?.display().to_string(), script.display().to_string()];
        let crash = Some("terminate called after throwing an instance of 'boost::thread_interrupted'");
        Ok(Kit { name: "python".into(), words, sees_broker: false, batches: false, from_first: false, crash })
    }

    /// Starts `send` or `consume` with `name=value` arguments as the client `client`.
    pub fn start(&self, clock: Clock, client: &str, verb: &str, args: &[(&str, &str)]) -> Member {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(verb).arg(format!("t0={}", clock.0)).arg(format!("client={client}"));
        command.args(args.iter().map(|(name, value)| format!("{name}={value}")));
        command.env("HOME", tools::target().join("outside"));
        Member::spawn(command, client, self.crash)
    }
}

/// Time zero of a history: milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub u64);

impl Clock {
    /// Now is zero.
    pub fn start() -> Clock {
        Clock(SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64)
    }

    /// Milliseconds since zero.
    pub fn now(self) -> f64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_micros() as f64 / 1000.0
            - self.0 as f64
    }
}

/// A running client program.
#[derive(Debug)]
pub struct Member {
    /// Its name in the history.
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    crash: Option<&'static str>,
    lines: Arc<Mutex<Vec<Value>>>,
    noise: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Member {
    fn spawn(command: Command, name: &str, crash: Option<&'static str>) -> Member {
        let mut command = with_owner(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (lines, noise) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let out = child.stdout.take().expect("stdout is a pipe");
        let err = child.stderr.take().expect("stderr is a pipe");
        let (kept, other) = (lines.clone(), noise.clone());
        let reads_out = std::thread::spawn(move || read_lines(out, &kept, &other));
        let (kept, other) = (lines.clone(), noise.clone());
        let reads_err = std::thread::spawn(move || read_lines(err, &kept, &other));
        let stdin = child.stdin.take();
        Member { name: name.into(), child, stdin, crash, lines, noise, readers: vec![reads_out, reads_err] }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// The history lines so far.
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// What else it printed.
    pub fn noise(&self) -> String {
        self.noise.lock().expect("no reader panics").join("\n")
    }

    /// Waits until a consumer says that it has started.
    pub fn wait_started(&self) {
        self.wait(Duration::from_secs(60), "its start", |lines| lines.iter().any(|line| line["op"] == "started"));
    }

    /// Waits until the lines satisfy `done`; panics with what the program said otherwise.
    pub fn wait(&self, patience: Duration, what: &str, mut done: impl FnMut(&[Value]) -> bool) {
        let reached = until(patience, || done(&self.lines.lock().expect("no reader panics")));
        let lines = self.lines.lock().expect("no reader panics").len();
        assert!(
            reached,
            "{}: no sight of {what} within {patience:?}, {lines} lines; it said: {}",
            self.name,
            self.noise()
        );
    }

    /// Closes its input and waits for its end; all its lines.
    pub fn finish(self) -> Vec<Value> {
        self.leave().0
    }

    /// As [`Member::finish`]; also, whether the end was a clean one. Any other than the crash that is known of its library
    /// is a panic.
    pub fn leave(mut self) -> (Vec<Value>, bool) {
        self.stdin.take();
        let status = wait_for(&mut self.child, Duration::from_secs(30));
        let Some(status) = status else { panic!("{} does not end; it said: {}", self.name, self.noise()) };
        let lines = self.collect();
        let crashed = self.crash.is_some_and(|crash| self.noise().contains(crash));
        assert!(status.success() || crashed, "{} ended with {status}; it said: {}", self.name, self.noise());
        (lines, status.success())
    }

    /// Waits until a sender is done; all its lines.
    pub fn done(mut self, patience: Duration) -> Vec<Value> {
        let status = wait_for(&mut self.child, patience);
        let ok = status.is_some_and(|status| status.success());
        assert!(ok, "{} ended with {status:?}; it said: {}", self.name, self.noise());
        self.collect()
    }

    /// SIGKILL; all its lines.
    pub fn kill(mut self) -> Vec<Value> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.collect()
    }

    fn collect(&mut self) -> Vec<Value> {
        self.readers.drain(..).for_each(|reader| reader.join().expect("no reader panics"));
        self.lines()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(from: impl std::io::Read, lines: &Mutex<Vec<Value>>, noise: &Mutex<Vec<String>>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        match serde_json::from_str::<Value>(&line) {
            Ok(value) if value.is_object() => lines.lock().expect("no reader panics").push(value),
            _ => noise.lock().expect("no reader panics").push(line),
        }
    }
}

/// How long something took, for messages of tests.
pub fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
