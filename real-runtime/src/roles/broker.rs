//! The broker of this process.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use seedmq_core::broker::{Broker, BrokerCommand, BrokerEvent};
use seedmq_core::node::Addr;

use super::{Boot, Role, Serve, StartError, listen, serve};
use crate::config::broker::BrokerSettings;
use crate::config::{AddressServer, follow};
use crate::driver::{Limits, Listener};
use crate::real::disk::StoreDir;
use crate::real::{RealWorld, TcpAcceptor, now, utc_offset_s};

/// A running broker.
pub type BrokerRole = Role<BrokerCommand>;

/// Share of the memory that counts as holding the newest part of the log (Java `accessMessageInMemoryMaxRatio`, 40 %).
const MEMORY_PERCENT: u64 = 40;
/// How long a name server may take before that is said.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the broker hears whether summer time has begun or ended.
const ZONE_LOOK: Duration = Duration::from_secs(60);
/// How far below the main port the fast port is (Java `MixAll.brokerVIPChannel`).
const FAST_PORT_BELOW: u16 = 2;

/// Starts a broker on this thread's runtime. With port 0 it takes a free one. It is not ready yet: see [`Role::ready`].
pub async fn start_broker(mut settings: BrokerSettings) -> Result<BrokerRole, StartError> {
    let root = std::path::absolute(&settings.paths.root).unwrap_or_else(|_| settings.paths.root.clone());
    let (fast, slow) = StoreDir::take(settings.paths.clone())?.open();
    tracing::info!("the store is {}", root.display());
    let world = RealWorld::new(slow);
    let listeners = bind(&world, &settings).await?;
    let local = listeners[0].local();
    let config = &mut settings.config;
    config.port = local.port();
    config.store.memory_bytes = total_memory() / 100 * MEMORY_PERCENT;
    config.store.boot =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    config.store.utc_offset_s = utc_offset_s(now().wall_ms);
    config.check().map_err(StartError::Config)?;
    let limits = Limits {
        idle: Duration::from_secs(config.idle_close_secs),
        connections: config.connections_max,
        ..Limits::default()
    };
    let (mut boot, ready) = Boot::new();
    let mut progress = Progress::default();
    let registered = Registered::default();
    let parts = Serve { world, disk: Box::new(fast), listeners, limits };
    let known = config.name_servers.clone();
    let utc_offset_s = config.store.utc_offset_s;
    let taken = Rc::clone(&registered);
    let (handle, ended) = serve(Broker::new(settings.config), parts, move |event| match event {
        BrokerEvent::Registered { name_server } => _ = taken.borrow_mut().insert(name_server),
        event => on_event(event, &root, &mut boot, &mut progress),
    });
    tokio::task::spawn_local(tell_silent(known.clone(), registered, handle.clone()));
    tokio::task::spawn_local(tell_zone(utc_offset_s, handle.clone()));
    if let Some(server) = settings.address_server
        && known.is_empty()
    {
        tokio::task::spawn_local(follow_name_servers(server, handle.clone()));
    }
    Ok(Role { handle, local, addresses: None, ended, ready: Some(ready) })
}

async fn follow_name_servers(server: AddressServer, handle: crate::driver::Handle<BrokerCommand>) {
    let ended = handle.clone();
    let tell = async move |addrs| {
        let _ = handle.command(BrokerCommand::NameServers(addrs)).await;
    };
    tokio::select! {
        biased;
        () = ended.ended() => {}
        () = follow(server, Vec::new(), tell) => {}
    }
}

/// Tells the broker when the distance of local time from UTC changes.
async fn tell_zone(mut known: i32, handle: crate::driver::Handle<BrokerCommand>) {
    loop {
        tokio::select! {
            biased;
            () = handle.ended() => return,
            () = tokio::time::sleep(ZONE_LOOK) => {}
        }
        let seconds = utc_offset_s(now().wall_ms);
        if seconds != known {
            known = seconds;
            tracing::info!("local time is {seconds} s ahead of UTC from now on");
            let _ = handle.command(BrokerCommand::UtcOffset(seconds)).await;
        }
    }
}

/// Name servers that have taken the registration.
type Registered = Rc<RefCell<BTreeSet<Addr>>>;

/// Says which name servers do not know this broker some time after its start.
async fn tell_silent(name_servers: Vec<Addr>, registered: Registered, handle: crate::driver::Handle<BrokerCommand>) {
    tokio::select! {
        biased;
        () = handle.ended() => return,
        () = tokio::time::sleep(SILENCE) => {}
    }
    for addr in name_servers.iter().filter(|addr| !registered.borrow().contains(*addr)) {
        let cure = "is it running, and is this its address? Clients that ask it do not find this broker";
        tracing::warn!("name server {addr} does not answer: {cure}; it is tried again every 5 s");
    }
}

/// The main port, and the fast port below it. With a main port that the system chose, the fast one may be taken: then it is
/// left out.
async fn bind<S: crate::driver::SlowDisk>(
    world: &RealWorld<S>,
    settings: &BrokerSettings,
) -> Result<Vec<TcpAcceptor>, StartError> {
    let main = listen(world, SocketAddr::new(settings.bind, settings.config.port)).await?;
    let fast_port = main.local().port().saturating_sub(FAST_PORT_BELOW);
    let fast = listen(world, SocketAddr::new(settings.bind, fast_port)).await;
    match fast {
        Ok(fast) => Ok(vec![main, fast]),
        Err(_) if settings.config.port == 0 => Ok(vec![main]),
        Err(error) => Err(error),
    }
}

fn total_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

fn on_event(event: BrokerEvent, root: &Path, boot: &mut Boot, progress: &mut Progress) {
    match event {
        BrokerEvent::Recovering { done, total } => progress.log(done, total),
        BrokerEvent::Ready => {
            progress.end();
            let _ = boot.tell(Ok(()));
        }
        BrokerEvent::Refused(why) => {
            let why = format!("{}: {why}", root.display());
            if !boot.tell(Err(why.clone())) {
                tracing::error!("{why}");
            }
        }
        BrokerEvent::Registered { .. } => {}
        BrokerEvent::Expired(conn) => tracing::info!(conn = conn.0, "a silent client was disconnected"),
        BrokerEvent::Notice(text) => tracing::warn!("{text}"),
    }
}

/// Recovery as log lines: one a second.
#[derive(Debug, Default)]
struct Progress {
    began: Option<Instant>,
    last: Option<Instant>,
}

impl Progress {
    fn log(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        self.began.get_or_insert(now);
        if self.last.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            self.last = Some(now);
            let percent = (done.min(total) * 100).checked_div(total).unwrap_or(100);
            tracing::info!("recovering the store: {} of {} MiB ({percent} %)", done >> 20, total >> 20);
        }
    }
    fn end(&self) {
        if let Some(began) = self.began {
            tracing::info!("the store is recovered after {:.1} s", began.elapsed().as_secs_f64());
        }
    }
}
