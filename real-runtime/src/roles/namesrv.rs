//! The name server of this process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use seedmq_core::namesrv::{Gone, NameServer, NameServerCommand, NameServerEvent};

use tokio::net::TcpListener;

use super::addresses::tell_addresses;
use super::{Boot, Role, Serve, StartError, listen, serve};
use crate::config::broker::own_ip;
use crate::config::namesrv::NamesrvSettings;
use crate::config::write_properties;
use crate::driver::{Limits, Listener};
use crate::real::RealWorld;
use crate::real::disk::{StoreDir, StorePaths};

/// What the place of the key-value configuration is chosen with.
const SETTING: &str = "kvConfigPath in the configuration file, or --store of standalone";

/// A running name server.
pub type NamesrvRole = Role<NameServerCommand>;

/// Starts a name server on this thread's runtime. With port 0 it takes a free one. It is not ready yet: see [`Role::ready`].
pub async fn start_namesrv(settings: NamesrvSettings) -> Result<NamesrvRole, StartError> {
    let mut config = settings.config;
    // Several name servers may keep their files in one directory.
    let lock = format!("{}.lock", config.kv_path);
    let (fast, slow) = StoreDir::take_with(StorePaths::below(settings.dir), &lock, SETTING)?.open();
    let world = RealWorld::new(slow);
    let listener = listen(&world, SocketAddr::new(settings.bind, config.port)).await?;
    let local = listener.local();
    config.port = local.port();
    let addresses = match settings.address_port {
        Some(port) => Some(bind_addresses(SocketAddr::new(settings.bind, port)).await?),
        None => None,
    };
    let limits = Limits {
        idle: Duration::from_secs(config.idle_close_secs),
        connections: config.connections_max,
        ..Limits::default()
    };
    let (mut boot, ready) = Boot::new();
    let file = settings.file;
    let parts = Serve { world, disk: Box::new(fast), listeners: vec![listener], limits };
    let (handle, ended) =
        serve(NameServer::new(config), parts, move |event| on_event(event, &mut boot, file.as_deref()));
    let told = addresses.as_ref().map(|(_, at)| *at);
    if let Some((listener, at)) = addresses {
        let own = if settings.bind.is_unspecified() { own_ip() } else { settings.bind };
        let list = settings.address_list.unwrap_or_else(|| SocketAddr::new(own, local.port()).to_string());
        tracing::info!("http://{at}/rocketmq/nsaddr answers {list}");
        let handle = handle.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                () = handle.ended() => {}
                () = tell_addresses(listener, list) => {}
            }
        });
    }
    Ok(Role { handle, local, addresses: told, ended, ready: Some(ready) })
}

async fn bind_addresses(at: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(at).await.map_err(|error| StartError::Listen { at, error })?;
    let local = listener.local_addr().map_err(|error| StartError::Listen { at, error })?;
    Ok((listener, local))
}

fn on_event(event: NameServerEvent, boot: &mut Boot, file: Option<&Path>) {
    match event {
        NameServerEvent::Ready => {
            let _ = boot.tell(Ok(()));
        }
        NameServerEvent::BrokerRegistered { cluster, name, id, addr, first: true, .. } => {
            tracing::info!("broker {name} ({id}, {cluster}) at {addr} registered");
        }
        NameServerEvent::BrokerRegistered { name, changed, .. } => {
            tracing::debug!("broker {name} registered again, {changed} topics changed");
        }
        NameServerEvent::BrokerRemoved { name, addr, reason, .. } => {
            let why = match reason {
                Gone::Unregistered => "it said goodbye",
                Gone::Expired => "it was silent for too long",
                Gone::Closed => "its connection closed",
                Gone::Replaced => "another one took its place",
            };
            tracing::info!("broker {name} at {addr} is gone: {why}");
        }
        NameServerEvent::TopicChanged { topic } => tracing::debug!(topic, "a topic was changed by hand"),
        NameServerEvent::ConfigChanged(changes) => keep_changes(&changes, file),
        NameServerEvent::Notice(text) => tracing::warn!("{text}"),
    }
}

/// Settings that a request changed go into the configuration file, at once: the answer to the request waits for it, which costs
/// the others some milliseconds. A file that cannot be written is said, and the request succeeds, as in Java.
fn keep_changes(changes: &[(String, String)], file: Option<&Path>) {
    let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let Some(file) = file else {
        tracing::warn!(
            "{names}: changed by a request until this process ends; started with -c FILE it would be kept there"
        );
        return;
    };
    let path = file.display();
    match write_properties(file, changes) {
        Ok(()) => tracing::info!("{names}: changed by a request, kept in {path}"),
        Err(error) => {
            tracing::error!("{names}: changed by a request until this process ends, {path} cannot be written: {error}");
        }
    }
}
