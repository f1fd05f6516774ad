//! From the command line to a running role or a finished job.
//!
//! Invariant: standard output carries what was asked for (boot lines, messages, receipts); everything else goes to standard
//! error.

mod args;
mod consume;

mod produce;
mod servers;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use seedmq::config::name_servers::{ENV, NameServers, PROPERTY, Said};
use seedmq::config::{AddressServer, ConfigError, SUBGROUP};
use seedmq::roles::StartError;

use args::{Cli, Command, NameServerArgs};

/// Why the process ends badly.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: 2.
    Usage(String),
    /// Anything else: 1.
    Failed(String),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(text) => Failure::Usage(text),
            other => Failure::Failed(other.to_string()),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    end_on_panic();
    if let Err(text) = start_log(&cli) {
        return exit(&Failure::Usage(text));
    }
    allow_many_files();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return exit(&Failure::Failed(format!("no event queue: {error}"))),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Standalone(args) => servers::standalone(args).await,
            Command::Namesrv(args) => servers::namesrv(args).await,
            Command::Broker(args) => servers::broker(args).await,
            Command::Produce(args) => produce::run(args).await,
            Command::Consume(args) => consume::run(args).await,
        }
    });
    done.map_or_else(|failure| exit(&failure), |()| ExitCode::SUCCESS)
}

fn exit(failure: &Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Usage(text) => (text, 2),
        Failure::Failed(text) => (text, 1),
    };
    eprintln!("seedmq: {text}");
    ExitCode::from(code)
}

/// A panic is a defect of ours: the process says so and ends, whichever thread it was on.
fn end_on_panic() {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !PANICKED.swap(true, Ordering::SeqCst) {
            print(panic);
            eprintln!(
                "seedmq: this is a defect of SeedMQ, not of your setup; the process ends now. What was acknowledged is in the store."
            );
        }
        std::process::exit(1);
    }));
}

fn start_log(cli: &Cli) -> Result<(), String> {
    let quiet = matches!(cli.command, Command::Produce(_) | Command::Consume(_));
    let filter = match (&cli.log, std::env::var("RUST_LOG")) {
        (Some(text), _) => text.clone(),
        (None, Ok(text)) => text,
        (None, Err(_)) => if quiet { "error" } else { "info" }.to_owned(),
    };
    let filter: tracing_subscriber::EnvFilter = filter
        .parse()
        .map_err(|error| format!("--log {filter}: {error}: expected error, warn, info, debug, trace or a filter"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

/// As many open files as the system allows us.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// The name servers, from the four ways; `file` is what the configuration file says.
fn name_servers(args: &NameServerArgs, file: Option<&str>, file_endpoint: Option<AddressServer>) -> NameServers {
    let environment = std::env::var(ENV).ok();
    let defined = args.defined("rocketmq.namesrv.domain").map(|domain| AddressServer {
        subgroup: args.defined("rocketmq.namesrv.domain.subgroup").unwrap_or(SUBGROUP).to_owned(),
        ..AddressServer::new(domain)
    });
    let said = Said {
        flag: args.namesrv.as_deref(),
        file,
        property: args.defined(PROPERTY),
        environment: environment.as_deref(),
        endpoint: file_endpoint.or(defined),
    };
    said.choose()
}

/// The name servers of a client: with nothing said, those of this machine. An endpoint has answered once when this returns.
async fn client_name_servers(args: &NameServerArgs) -> Result<NameServers, Failure> {
    match name_servers(args, None, None) {
        NameServers::Unknown => Ok(NameServers::Known(vec!["127.0.0.1:9876".into()])),
        NameServers::Ask(server) => match server.fetch().await {
            Ok(_) => Ok(NameServers::Ask(server)),
            Err(error) => {
                let (url, domain) = (server.url(), &server.domain);
                let cure = "is it running there? -D rocketmq.namesrv.domain says where to ask, -n goes without it";
                Err(Failure::Failed(format!("rocketmq.namesrv.domain={domain}: {url}: {error}: {cure}")))
            }
        },
        known => Ok(known),
    }
}
