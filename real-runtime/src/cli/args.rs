//! The command line of `seedmq`.
//!
//! Invariant: what a user of RocketMQ's scripts types (`-c`, `-n`, `-p`) means the same here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A message queue that RocketMQ clients, tools and disk files work with.
#[derive(Debug, Parser)]
#[command(name = "seedmq", version, long_about = LONG, after_long_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log: error, warn, info, debug, trace, or a filter such as `seedmq=debug`. `RUST_LOG` says the same.
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    pub log: Option<String>,
}

const LONG: &str = "A message queue that unmodified RocketMQ clients (4.9 and 5.x, remoting protocol), mqadmin and RocketMQ's \
disk files work with.\n\nThe quickest way to a running queue is `seedmq standalone`: name server and broker in one process, \
no configuration.";

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  seedmq standalone                                 a name server on 9876 and a broker on 10911, store in ./seedmq-store
  seedmq produce --topic Hello \"my first message\"  send it
  seedmq consume --topic Hello --group me           read it (Ctrl-C ends)

  seedmq namesrv                                    a name server alone
  seedmq broker -c broker.conf -n 10.0.0.1:9876     a broker with RocketMQ's configuration file

Exit status: 0 success, 1 failure, 2 wrong usage or configuration.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a name server and a broker in this process, without any configuration.
    Standalone(Standalone),
    /// Run a name server.
    Namesrv(Namesrv),
    /// Run a broker.
    Broker(BrokerArgs),
    /// Send messages.
    Produce(Produce),
    /// Receive messages.
    Consume(Consume),
}

/// `seedmq standalone`.
#[derive(Debug, Args)]
#[command(after_long_help = "\x1b[1mExamples:\x1b[0m
  seedmq standalone                                     for this machine only: clients use 127.0.0.1:9876
  seedmq standalone --listen 10.0.0.7                   for others too: clients use 10.0.0.7:9876
  seedmq standalone --store /var/lib/seedmq --sync      acknowledge a message only once it is safe from a power cut")]
pub struct Standalone {
    /// Directory of the store; made when it is not there. A RocketMQ store directory works as it is.
    #[arg(long, value_name = "DIR", default_value = "seedmq-store")]
    pub store: PathBuf,
    /// Address to listen on and to tell clients.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port of the name server.
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub namesrv_port: u16,
    /// Port of the broker; it also listens two below.
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    pub broker_port: u16,
    /// Acknowledge a message only once it survives a power cut (`flushDiskType=SYNC_FLUSH`).
    #[arg(long)]
    pub sync: bool,
}

/// `seedmq namesrv`.
#[derive(Debug, Args)]
#[command(after_long_help = "\x1b[1mExamples:\x1b[0m
  seedmq namesrv
  seedmq namesrv -p 9877
  seedmq namesrv -c namesrv.conf
  seedmq namesrv --address-port 8080

What mqadmin updateNamesrvConfig changes is written into the file given with -c; without one it holds until the end.

With a port for it (--address-port, or addressServerPort in the file) it also answers GET /rocketmq/nsaddr with the list of
name servers: addressServerList=host:port;host:port in the file, or itself. Java clients that are told
-Drocketmq.namesrv.domain=HOST, and brokers with fetchNamesrvAddrByAddressServer=true, ask there; port 8080 unless HOST names one.")]
pub struct Namesrv {
    /// Configuration file (Java properties, `namesrv.conf`).
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Port; wins over the file.
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Address to listen on; wins over the file.
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,
    /// Also tell the addresses of name servers over HTTP, on this port; wins over the file.
    #[arg(long, value_name = "PORT")]
    pub address_port: Option<u16>,
}

/// `seedmq broker`.
#[derive(Debug, Args)]
#[command(after_long_help = "\x1b[1mExamples:\x1b[0m
  seedmq broker -n 127.0.0.1:9876
  seedmq broker -c /etc/rocketmq/broker.conf -n '10.0.0.1:9876;10.0.0.2:9876'

The name servers are, in this order: -n, namesrvAddr in the file, -D rocketmq.namesrv.addr, $NAMESRV_ADDR, and, with
fetchNamesrvAddrByAddressServer=true in the file or -D rocketmq.namesrv.domain, the answer of
http://<rmqAddressServerDomain>:8080/rocketmq/nsaddr, asked again every two minutes.")]
pub struct BrokerArgs {
    /// Configuration file (Java properties, `broker.conf`).
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub name_servers: NameServerArgs,
    /// Directory of the store; wins over `storePathRootDir`. Without either it is ~/store, as in RocketMQ.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Address to listen on and to tell clients (`brokerIP1` in the file wins for the latter).
    #[arg(long, value_name = "IP")]
    pub listen: Option<IpAddr>,
}

/// Where the name servers are.
#[derive(Debug, Args)]
pub struct NameServerArgs {
    /// Name servers: `host:port`, more than one with `;` between.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRS")]
    pub namesrv: Option<String>,
    /// A system property as in Java, such as `rocketmq.namesrv.addr=host:port`.
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub define: Vec<String>,
}

/// `seedmq produce`.
#[derive(Debug, Args)]
#[command(after_long_help = "\x1b[1mExamples:\x1b[0m
  seedmq produce --topic Hello \"my first message\"
  seedmq produce --topic Orders --tag created --key order-7 '{\"id\":7}'
  cat lines.txt | seedmq produce --topic Lines           one message a line
  seedmq produce --topic Load --count 1000000 --size 1024

The name servers are, in this order: -n, -D rocketmq.namesrv.addr, $NAMESRV_ADDR, and the answer of
http://<domain>:8080/rocketmq/nsaddr with -D rocketmq.namesrv.domain=<domain> (or <domain>:<port>), asked again every two
minutes. Without any of them 127.0.0.1:9876.")]
pub struct Produce {
    /// Topic; made when it is not there and the broker allows it.
    #[arg(short, long)]
    pub topic: String,
    /// Messages, one each. Without any, every line of the standard input is one.
    #[arg(value_name = "MESSAGE", conflicts_with = "size")]
    pub messages: Vec<String>,
    #[command(flatten)]
    pub name_servers: NameServerArgs,
    /// Tag that consumers can filter by.
    #[arg(long)]
    pub tag: Option<String>,
    /// Keys that the message can be found by, separated by spaces.
    #[arg(long, value_name = "KEYS")]
    pub key: Option<String>,
    /// Producer group.
    #[arg(short, long, default_value = "seedmq-cli")]
    pub group: String,
    /// Send everything so many times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// Send messages of so many bytes instead of texts.
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// Sends under way at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub in_flight: usize,
}

/// `seedmq consume`.
#[derive(Debug, Args)]
#[command(after_long_help = "\x1b[1mExamples:\x1b[0m
  seedmq consume --topic Hello --group me                 go on where the group left off; Ctrl-C ends
  seedmq consume --topic Orders --group audit --tags 'created||paid' --count 10

The name servers are, in this order: -n, -D rocketmq.namesrv.addr, $NAMESRV_ADDR, and the answer of
http://<domain>:8080/rocketmq/nsaddr with -D rocketmq.namesrv.domain=<domain> (or <domain>:<port>), asked again every two
minutes. Without any of them 127.0.0.1:9876.")]
pub struct Consume {
    /// Topic.
    #[arg(short, long)]
    pub topic: String,
    /// Consumer group: its members share the messages, and it remembers how far it got.
    #[arg(short, long)]
    pub group: String,
    #[command(flatten)]
    pub name_servers: NameServerArgs,
    /// Tags to receive: `*`, or `a||b`.
    #[arg(long, default_value = "*")]
    pub tags: String,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Where a new group begins.
    #[arg(long, value_enum, default_value_t = From::First)]
    pub from: From,
    /// Print ids, queue and offset before every message.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print nothing but the number of messages at the end.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum From {
    /// At the oldest message that is kept.
    First,
    /// With what comes from now on.
    Last,
}

impl NameServerArgs {
    /// A property given with `-D`.
    pub fn defined(&self, name: &str) -> Option<&str> {
        self.define
            .iter()
            .rev()
            .find_map(|text| text.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn properties_are_taken_as_java_takes_them() {
        let cli =
            Cli::try_parse_from(["seedmq", "broker", "-D", "rocketmq.namesrv.addr=a:1", "-Dx=y=z"]).expect("sound");
        let Command::Broker(broker) = cli.command else { panic!("a broker") };
        assert_eq!(broker.name_servers.defined("rocketmq.namesrv.addr"), Some("a:1"));
        assert_eq!(broker.name_servers.defined("x"), Some("y=z"));
        assert_eq!(broker.name_servers.defined("y"), None);
    }
}
