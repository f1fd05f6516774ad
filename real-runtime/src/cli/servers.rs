//! `seedmq standalone`, `seedmq namesrv`, `seedmq broker`: from arguments to running roles, until a signal ends them.
//!
//! Invariant: the boot lines are Java's, byte for byte, and come only once requests are taken.

use std::future::poll_fn;
use std::net::IpAddr;
use std::path::PathBuf;
use std::task::Poll;
use std::time::{Duration, Instant};

use seedmq::config::broker::{BrokerSettings, own_ip};
use seedmq::config::name_servers::NameServers;
use seedmq::config::namesrv::NamesrvSettings;
use seedmq::roles::{BrokerRole, NamesrvRole, Role, start_broker, start_namesrv};
use seedmq_core::store::Flush;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{BrokerArgs, Namesrv, Standalone};
use super::{Failure, name_servers};

/// Signals that come within this time of each other are one.
const ECHO: Duration = Duration::from_millis(500);

/// Runs a name server until a signal.
pub async fn namesrv(args: Namesrv) -> Result<(), Failure> {
    let mut signals = Signals::take();
    let mut settings = NamesrvSettings::new(home().join("namesrv"));
    if let Some(path) = &args.config {
        settings.read(path)?.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    if let Some(port) = args.port {
        settings.use_port(port);
    }
    settings.bind = args.listen.unwrap_or(settings.bind);
    settings.address_port = args.address_port.or(settings.address_port);
    let namesrv = boot(start_namesrv(settings).await?, &mut signals).await?;
    let running = Running { namesrv, broker: None };
    running.print_namesrv();
    running.until(&mut signals).await
}

/// Runs a broker until a signal.
pub async fn broker(args: BrokerArgs) -> Result<(), Failure> {
    let mut signals = Signals::take();
    let mut settings = BrokerSettings::new(home().join("store"));
    if let Some(path) = &args.config {
        settings.read(path)?.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    if let Some(store) = args.store {
        settings.paths.root = store;
    }
    settings.bind = args.listen.unwrap_or(settings.bind);
    if !settings.ip_given {
        settings.config.ip = told_ip(args.listen).to_string();
    }
    let file = settings.config.name_servers.join(";");
    match name_servers(&args.name_servers, Some(&file), settings.address_server.take()) {
        NameServers::Known(addrs) => settings.config.name_servers = addrs,
        NameServers::Ask(server) => settings.address_server = Some(server),
        NameServers::Unknown => {
            tracing::warn!("no name server is known: clients will not find this broker (-n host:port)")
        }
    }
    let mut running = Running::default();
    running.boot_broker(settings, &mut signals).await?;
    running.until(&mut signals).await
}

/// Runs both until a signal.
pub async fn standalone(args: Standalone) -> Result<(), Failure> {
    let mut signals = Signals::take();
    let mut namesrv = NamesrvSettings::new(args.store.join("namesrv"));
    (namesrv.bind, namesrv.config.port) = (args.listen, args.namesrv_port);
    let namesrv = boot(start_namesrv(namesrv).await?, &mut signals).await?;
    let mut running = Running { namesrv, broker: None };
    running.print_namesrv();
    let told = told_ip(Some(args.listen));
    let mut broker = BrokerSettings::new(args.store);
    (broker.bind, broker.config.port) = (args.listen, args.broker_port);
    broker.config.ip = told.to_string();
    broker.config.name_servers = vec![format!("{told}:{}", args.namesrv_port).into()];
    if args.sync {
        broker.config.store.flush = Flush::Sync;
    }
    running.boot_broker(broker, &mut signals).await?;
    running.until(&mut signals).await
}

/// The address that clients are told.
fn told_ip(listen: Option<IpAddr>) -> IpAddr {
    listen.filter(|ip| !ip.is_unspecified()).unwrap_or_else(own_ip)
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Waits until a role takes requests; nothing when a signal came first.
async fn boot<C>(mut role: Role<C>, signals: &mut Signals) -> Result<Option<Role<C>>, Failure> {
    tokio::select! {
        biased;
        ready = role.ready() => {
            ready?;
            Ok(Some(role))
        }
        () = signals.next() => {
            role.stop().await;
            Ok(None)
        }
    }
}

/// The roles of this process.
#[derive(Default)]
struct Running {
    namesrv: Option<NamesrvRole>,
    broker: Option<BrokerRole>,
}

impl Running {
    fn print_namesrv(&self) {
        if let Some(role) = &self.namesrv {
            println!("The Name Server boot success. serializeType=JSON, address {}", role.local);
        }
    }

    async fn boot_broker(&mut self, settings: BrokerSettings, signals: &mut Signals) -> Result<(), Failure> {
        let config = &settings.config;
        let (name, ip, name_servers) = (config.name.clone(), config.ip.clone(), config.name_servers.join(";"));
        self.broker = boot(start_broker(settings).await?, signals).await?;
        let Some(broker) = &self.broker else { return Ok(()) };
        let asked = if name_servers.is_empty() { String::new() } else { format!(" and name server is {name_servers}") };
        let port = broker.local.port();
        println!("The broker[{name}, {ip}:{port}] boot success. serializeType=JSON{asked}");
        Ok(())
    }

    /// Waits for a signal, then ends gracefully, the broker first. A second signal, if it is one of its own, ends at once.
    async fn until(mut self, signals: &mut Signals) -> Result<(), Failure> {
        if self.namesrv.is_none() && self.broker.is_none() {
            return Ok(());
        }
        let dead = tokio::select! {
            biased;
            () = signals.next() => None,
            who = self.death() => Some(who),
        };
        if let Some(who) = dead {
            return Err(Failure::Failed(format!("the {who} ended by itself")));
        }
        tracing::info!("ending: finishing what is under way");
        tokio::select! {
            biased;
            () = self.stop() => Ok(()),
            () = signals.again() => Err(Failure::Failed("ended at once by a second signal".into())),
        }
    }

    async fn death(&mut self) -> &'static str {
        tokio::select! {
            biased;
            () = end_of(&mut self.broker) => "broker",
            () = end_of(&mut self.namesrv) => "name server",
        }
    }

    async fn stop(self) {
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        if let Some(namesrv) = self.namesrv {
            namesrv.stop().await;
        }
    }
}

/// The end of a role; never for one that is not there.
async fn end_of<C>(role: &mut Option<Role<C>>) {
    match role {
        Some(role) => role.ended().await,
        None => std::future::pending().await,
    }
}

/// SIGTERM and SIGINT.
pub struct Signals(Signal, Signal);

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub fn take() -> Signals {
        let take = |kind| signal(kind).expect("the system takes a handler");
        Signals(take(SignalKind::terminate()), take(SignalKind::interrupt()))
    }
    /// Waits for one that is no echo: `timeout` and some shells send a signal to a process and to its group.
    async fn again(&mut self) {
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() > ECHO {
                return;
            }
        }
    }
    /// Waits for the next one.
    pub async fn next(&mut self) {
        poll_fn(|cx| match self.0.poll_recv(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.1.poll_recv(cx).map(|_| ()),
        })
        .await;
    }
}
