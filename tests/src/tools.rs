//! The foreign tools that the tests borrow, fetched or built once into `target/outside`.
//!
//! Invariant: a missing tool is a printed skip, never a silent pass; with `SEEDMQ_REQUIRE_TOOLS` set it is a failure.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a test cannot run here: the name of what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

/// Either the value, or a return from the test with a printed skip (a panic where skips count as failures).
#[macro_export]
macro_rules! or_skip {
    ($got:expr) => {
        match $got {
            Ok(value) => value,
            Err($crate::tools::Missing(what)) => {
                println!("skipped: no {what}");
                assert!(std::env::var_os("SEEDMQ_REQUIRE_TOOLS").is_none(), "no {what}, and skips count as failures");
                return;
            }
        }
    };
}

/// Releases of the Java client that the tests run.
pub const JAVA_CLIENTS: [&str; 2] = ["4.9.8", "5.5.0"];

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The folder of a cargo profile that this program lies in: `target/debug`.
fn profile_dir() -> Option<PathBuf> {
    let exe = env::current_exe().expect("a running program has a path");
    exe.ancestors().find(|dir| dir.join(".fingerprint").is_dir()).map(Path::to_owned)
}

/// The last part of it: `debug`.
fn profile_folder() -> Option<String> {
    profile_dir()?.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// The target directory that this program was built into.
pub fn target() -> PathBuf {
    profile_dir().and_then(|dir| dir.parent().map(Path::to_owned)).unwrap_or_else(|| repository().join("target"))
}

/// Builds `name` under `target/outside` once, by `make`, which gets the directory to fill. Safe among processes.
fn once(name: &str, make: impl FnOnce(&Path) -> Result<(), Missing>) -> Result<PathBuf, Missing> {
    let dir = target().join("outside");
    let broken = |what: &str| Missing(format!("{name}: {what}"));
    fs::create_dir_all(&dir).map_err(|error| broken(&error.to_string()))?;
    let lock = File::create(dir.join(format!("{name}.lock"))).map_err(|error| broken(&error.to_string()))?;
    lock.lock().map_err(|error| broken(&error.to_string()))?;
    let (made, done) = (dir.join(name), dir.join(format!("{name}.done")));
    if !done.exists() {
        let _ = fs::remove_dir_all(&made);
        fs::create_dir_all(&made).map_err(|error| broken(&error.to_string()))?;
        make(&made)?;
        File::create(done).map_err(|error| broken(&error.to_string()))?;
    }
    Ok(made)
}

/// Runs a command to its end; what it printed is in the error.
fn run(command: &mut Command, what: &str) -> Result<(), Missing> {
    let out = command.stdin(Stdio::null()).output().map_err(|_| Missing(what.into()))?;
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].concat();
    Err(Missing(format!("{what} ({})", String::from_utf8_lossy(&said).trim().lines().last().unwrap_or("it failed"))))
}

/// Whether a program answers to `flag`.
fn present(program: &str, flag: &str) -> Result<(), Missing> {
    run(Command::new(program).arg(flag), program)
}

/// A digest of files, so that a changed source is built anew.
fn stamp(files: &[&str]) -> String {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        for byte in fs::read(repository().join(file)).unwrap_or_default() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{:08x}", sum as u32)
}

/// Jars of a pom, copied by Maven.
fn jars(pom: &str, name: &str, release: &str) -> Result<PathBuf, Missing> {
    present("java", "-version")?;
    present("mvn", "-v")?;
    once(&format!("{name}-{release}"), |dir| {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(repository().join(pom)).arg(format!("-Drmq={release}"));
        run(maven.arg("dependency:copy-dependencies").arg(format!("-DoutputDirectory={}", dir.display())), "mvn")
    })
}

/// Class path of Apache RocketMQ 5.5.0: name server, broker, mqadmin.
pub fn apache() -> Result<String, Missing> {
    Ok(format!("{}/*", jars("tests/apache/pom.xml", "apache", "5.5.0")?.display()))
}

/// Class path of the Java client program with one release of the client.
pub fn java_client(release: &str) -> Result<String, Missing> {
    let jars = jars("tests/clients/java/pom.xml", "client", release)?;
    let source = "tests/clients/java/src/Client.java";
    let classes = once(&format!("java-{release}-{}", stamp(&[source])), |dir| {
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-d"]).arg(dir).arg("-cp").arg(format!("{}/*", jars.display()));
        run(javac.arg(repository().join(source)), "javac")
    })?;
    Ok(format!("{}:{}/*", classes.display(), jars.display()))
}

/// A browser that runs without a screen.
pub fn browser() -> Result<&'static str, Missing> {
    let known = ["chromium", "chromium-browser", "google-chrome"];
    known.into_iter().find(|program| present(program, "--version").is_ok()).ok_or(Missing("chromium".into()))
}

/// The Go client program.
pub fn go_client() -> Result<PathBuf, Missing> {
    present("go", "version")?;
    let folder = repository().join("tests/clients/go");
    let name = format!("go-{}", stamp(&["tests/clients/go/main.go", "tests/clients/go/go.mod"]));
    let dir = once(&name, |dir| {
        run(Command::new("go").current_dir(&folder).args(["build", "-o"]).arg(dir.join("client")).arg("."), "go")
    })?;
    Ok(dir.join("client"))
}

/// A Python with the `rocketmq` package.
pub fn python() -> Result<PathBuf, Missing> {
    present("python3", "--version")?;
    let dir = once("python-0.4.4", |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir), "python3 venv")?;
        run(Command::new(dir.join("bin/pip")).args(["install", "-q", "rocketmq==0.4.4"]), "pip install rocketmq")?;
        run(Command::new(dir.join("bin/python")).args(["-c", "import rocketmq.client"]), "rocketmq for python")
    })?;
    Ok(dir.join("bin/python"))
}

/// The `seedmq` program, built by cargo in the profile of this program (or `SEEDMQ_BIN`).
pub fn seedmq() -> PathBuf {
    if let Some(path) = env::var_os("SEEDMQ_BIN") {
        return path.into();
    }
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT
        .get_or_init(|| {
            let folder = profile_folder().unwrap_or_else(|| "debug".into());
            let profile = if folder == "debug" { "dev" } else { &folder };
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.current_dir(repository()).args([
                "build",
                "-q",
                "--workspace",
                "--bin",
                "seedmq",
                "--profile",
                profile,
            ]);
            run(cargo.arg("--target-dir").arg(target()), "seedmq")
                .unwrap_or_else(|Missing(why)| panic!("cargo cannot build {why}"));
            target().join(folder).join("seedmq")
        })
        .clone()
}
