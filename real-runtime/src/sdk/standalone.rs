//! A whole queue in this process: for tests, examples and trying things out.
//!
//! Invariant: it listens on free ports of this machine's loopback, so that any number can run side by side.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tokio::sync::oneshot;

use crate::config::broker::BrokerSettings;
use crate::config::namesrv::NamesrvSettings;
use crate::roles::{BrokerRole, NamesrvRole, StartError, start_broker, start_namesrv};

/// A name server and a broker on a thread of their own, on free ports of 127.0.0.1. Dropping it ends them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = seedmq::Standalone::start_temporary().await?;
/// println!("clients connect to {}", queue.name_server());
/// queue.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Standalone {
    name_server: SocketAddr,
    broker: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    _dir: Option<tempfile::TempDir>,
}

impl Standalone {
    /// With a store in a temporary directory that goes with it.
    pub async fn start_temporary() -> Result<Standalone, StartError> {
        let dir = tempfile::Builder::new().prefix("seedmq-").tempdir();
        let dir = dir.map_err(|error| StartError::Config(format!("no temporary directory: {error}")))?;
        let mut queue = Standalone::start(dir.path()).await?;
        queue._dir = Some(dir);
        Ok(queue)
    }

    /// With a store in this directory.
    pub async fn start(store: impl Into<PathBuf>) -> Result<Standalone, StartError> {
        Standalone::start_with(BrokerSettings::new(store)).await
    }

    /// With these settings, but for addresses and ports.
    pub async fn start_with(broker: BrokerSettings) -> Result<Standalone, StartError> {
        let (tell, told) = oneshot::channel();
        let (end, asked) = oneshot::channel();
        let (tell_end, ended) = oneshot::channel();
        let body = move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
            runtime.expect("the system gives us an event queue").block_on(run(broker, tell, asked));
            let _ = tell_end.send(());
        };
        std::thread::Builder::new().name("seedmq".into()).spawn(body).expect("the system gives us a thread");
        let (name_server, broker) = told.await.map_err(|_| StartError::Ended)??;
        Ok(Standalone { name_server, broker, end: Some(end), ended: Some(ended), _dir: None })
    }

    /// `host:port` of the name server.
    pub fn name_server(&self) -> String {
        self.name_server.to_string()
    }

    /// `host:port` of the broker.
    pub fn broker(&self) -> String {
        self.broker.to_string()
    }

    /// Ends both gracefully and waits for it.
    pub async fn stop(mut self) {
        self.end.take();
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

/// Runs both until `asked` is dropped or answered.
async fn run(
    broker: BrokerSettings,
    tell: oneshot::Sender<Result<(SocketAddr, SocketAddr), StartError>>,
    asked: oneshot::Receiver<()>,
) {
    match start(broker).await {
        Err(error) => {
            let _ = tell.send(Err(error));
        }
        Ok((namesrv, broker)) => {
            let _ = tell.send(Ok((namesrv.local, broker.local)));
            let _ = asked.await;
            broker.stop().await;
            namesrv.stop().await;
        }
    }
}

async fn start(mut broker: BrokerSettings) -> Result<(NamesrvRole, BrokerRole), StartError> {
    let mut namesrv = NamesrvSettings::new(broker.paths.root.join("namesrv"));
    namesrv.bind = Ipv4Addr::LOCALHOST.into();
    namesrv.config.port = 0;
    let mut namesrv = start_namesrv(namesrv).await?;
    namesrv.ready().await?;
    broker.bind = Ipv4Addr::LOCALHOST.into();
    broker.config.ip = Ipv4Addr::LOCALHOST.to_string();
    broker.config.port = 0;
    broker.config.name_servers = vec![namesrv.local.to_string().into()];
    let mut broker = start_broker(broker).await?;
    broker.ready().await?;
    Ok((namesrv, broker))
}
