//! Name servers from an HTTP endpoint (Java `DefaultTopAddressing`): the body of a plain GET is `host:port;host:port`.
//!
//! Invariant: an answer that is not a plausible list changes nothing: the list in use stays.

use std::io;
use std::time::Duration;

use seedmq_core::node::Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::name_servers::split_addrs;

/// Java's default of `rmqAddressServerSubGroup` and `rocketmq.namesrv.domain.subgroup`.
pub const SUBGROUP: &str = "nsaddr";
/// How often the endpoint is asked (Java `updateNameServerAddr`, 120 s).
pub const REFRESH: Duration = Duration::from_secs(120);
/// How long a question may take (Java `TopAddressing.fetchNSAddr`, 3 s).
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer.
const ANSWER_BYTES: u64 = 64 << 10;

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressServer {
    /// `host` (then the port is 8080) or `host:port`: Java `rmqAddressServerDomain`, `rocketmq.namesrv.domain`.
    pub domain: String,
    /// Last part of the path: Java `rmqAddressServerSubGroup`, `rocketmq.namesrv.domain.subgroup`.
    pub subgroup: String,
    /// How often it is asked; as long as it has not answered, twelve times as often.
    pub refresh: Duration,
}

impl AddressServer {
    /// The one at `host` or `host:port`, with Java's path and period ([`REFRESH`]).
    pub fn new(domain: impl Into<String>) -> AddressServer {
        AddressServer { domain: domain.into(), subgroup: SUBGROUP.into(), refresh: REFRESH }
    }

    fn host_port(&self) -> String {
        if self.domain.contains(':') { self.domain.clone() } else { format!("{}:8080", self.domain) }
    }

    /// As Java puts it together: `http://domain:8080/rocketmq/nsaddr`.
    pub fn url(&self) -> String {
        format!("http://{}/rocketmq/{}", self.host_port(), self.subgroup)
    }

    /// Asks once.
    pub async fn fetch(&self) -> io::Result<Vec<Addr>> {
        let answer = tokio::time::timeout(PATIENCE, self.get()).await??;
        let addrs = split_addrs(body_of(&answer)?);
        if addrs.is_empty() {
            return Err(io::Error::other("the answer names no name server"));
        }
        Ok(addrs)
    }

    /// HTTP/1.0, so that the answer comes as it is and ends with the connection.
    async fn get(&self) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.host_port()).await?;
        let (host, subgroup) = (self.host_port(), &self.subgroup);
        let request = format!("GET /rocketmq/{subgroup} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        String::from_utf8(answer).map_err(io::Error::other)
    }
}

/// The body of a 200.
fn body_of(answer: &str) -> io::Result<&str> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("not an HTTP answer"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(body)
    } else {
        Err(io::Error::other(format!("answered {status:?}")))
    }
}

/// Asks every [`AddressServer::refresh`] and reports each list that differs from the one before, beginning with `known`: the
/// first question comes after a pause if `known` names any, else at once. Never ends.
pub async fn follow(server: AddressServer, mut known: Vec<Addr>, mut changed: impl AsyncFnMut(Vec<Addr>)) {
    if !known.is_empty() {
        tokio::time::sleep(server.refresh).await;
    }
    loop {
        match server.fetch().await {
            Ok(addrs) if addrs != known => {
                tracing::info!(url = server.url(), name_servers = addrs.join(";"), "name server address changed");
                known.clone_from(&addrs);
                changed(addrs).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(url = server.url(), %error, "name servers could not be fetched"),
        }
        // As long as nothing is known, sooner (Java `fetchNamesrvAddrInterval`, 10 s).
        tokio::time::sleep(if known.is_empty() { server.refresh / 12 } else { server.refresh }).await;
    }
}
