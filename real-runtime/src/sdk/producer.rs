//! The producer.
//!
//! Invariant: a send that returns an error saying [`Stored::No`](crate::Stored::No) was stored by nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seedmq_core::client::Queue;
use seedmq_core::producer::{
    Mode, OutMessage, Pick, Producer as Machine, ProducerCommand, ProducerConfig, ProducerEvent, Receipt, SendError,
    SendErrorKind, SendRequest, Stored,
};
use tokio::sync::oneshot;

use super::hosted::Hosted;
use super::{ClientError, Told, identity};
use crate::config::AddressServer;
use crate::config::name_servers::NameServers;

/// Sends messages. Cheap to share: all methods take `&self`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = seedmq::Standalone::start_temporary().await?;
/// let producer = seedmq::Producer::builder("my-group").name_servers(queue.name_server()).start()?;
///
/// // One message, on any queue of the topic; another broker is tried when one fails.
/// let receipt = producer.send("Greetings", seedmq::Message::new("hello").with_tag("en")).await?;
/// println!("{} is message {} of {}", receipt.msg_id, receipt.queue_offset, receipt.queue);
///
/// // Messages of one order go to one queue, so that they stay in order.
/// for step in ["created", "paid", "shipped"] {
///     producer.send_by_key("Orders", seedmq::Message::new(step), "order-7").await?;
/// }
///
/// // A batch is stored as a whole or not at all.
/// producer.send_batch("Greetings", vec![seedmq::Message::new("a"), seedmq::Message::new("b")]).await?;
/// producer.shutdown().await;
/// # queue.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Producer {
    machine: Hosted<ProducerCommand>,
    waiting: Arc<Waiting>,
    tickets: AtomicU64,
}

/// Calls that have no outcome yet.
#[derive(Debug, Default)]
struct Waiting(Mutex<WaitingState>);

type Tell<T> = oneshot::Sender<Result<T, SendError>>;

#[derive(Debug, Default)]
struct WaitingState {
    sends: HashMap<u64, Tell<Receipt>>,
    routes: HashMap<Arc<str>, Vec<Tell<Vec<Queue>>>>,
}

/// Settings of a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    config: ProducerConfig,
    told: Told,
}

impl ProducerBuilder {
    /// `host:port`, more than one with `;` between. Without it the environment variable `NAMESRV_ADDR` says it.
    #[must_use]
    pub fn name_servers(mut self, addrs: impl Into<String>) -> Self {
        self.told.addrs = Some(addrs.into());
        self
    }
    /// When neither [`name_servers`](Self::name_servers) nor `NAMESRV_ADDR` says them: an HTTP endpoint that is asked for the
    /// list at the start, and again and again while this client runs; changes are followed.
    #[must_use]
    pub fn address_server(mut self, server: AddressServer) -> Self {
        self.told.endpoint = Some(server);
        self
    }
    /// As one of [`NameServers::Known`] and [`NameServers::Ask`], already chosen.
    #[must_use]
    pub fn find_name_servers(mut self, found: NameServers) -> Self {
        self.told.take(found);
        self
    }
    /// Time for a send with all its attempts; 3 s unless said otherwise.
    #[must_use]
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.config.send_timeout = timeout;
        self
    }
    /// Further attempts after the first one failed; 2 unless said otherwise.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        (self.config.retries, self.config.retries_async) = (retries, retries);
        self
    }
    /// Everything else.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ProducerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts it. Nothing is sent before the first message.
    pub fn start(self) -> Result<Producer, ClientError> {
        let found = self.told.choose()?;
        seedmq_core::client::names::check_producer_group(&self.config.group)
            .map_err(|why| ClientError::Invalid(why.to_string()))?;
        let config = ProducerConfig { identity: identity(), ..self.config };
        let waiting = Arc::new(Waiting::default());
        let hears = Arc::clone(&waiting);
        let build = move |name_servers| Machine::new(ProducerConfig { name_servers, ..config });
        let told = ProducerCommand::NameServers;
        let machine = Hosted::start("seedmq-producer", found, build, told, move |event| hears.hear(event));
        Ok(Producer { machine, waiting, tickets: AtomicU64::new(0) })
    }
}

impl Producer {
    /// A producer of this group.
    pub fn builder(group: impl Into<Arc<str>>) -> ProducerBuilder {
        ProducerBuilder {
            config: ProducerConfig { group: group.into(), ..ProducerConfig::default() },
            told: Told::default(),
        }
    }

    /// Sends a message to any queue of the topic, and waits until a broker has stored it.
    pub async fn send(&self, topic: impl Into<Arc<str>>, message: OutMessage) -> Result<Receipt, SendError> {
        self.ask(topic.into(), vec![message], Pick::RoundRobin, Mode::Sync).await
    }

    /// Sends a message and does not wait for a broker's answer: it may be lost without notice.
    pub async fn send_oneway(&self, topic: impl Into<Arc<str>>, message: OutMessage) -> Result<(), SendError> {
        self.ask(topic.into(), vec![message], Pick::RoundRobin, Mode::Oneway).await.map(|_| ())
    }

    /// Sends messages that are stored as a whole or not at all, one behind the other in one queue.
    pub async fn send_batch(
        &self,
        topic: impl Into<Arc<str>>,
        messages: Vec<OutMessage>,
    ) -> Result<Receipt, SendError> {
        self.ask(topic.into(), messages, Pick::RoundRobin, Mode::Sync).await
    }

    /// Sends a message to this queue (see [`Producer::queues`]).
    pub async fn send_to(
        &self,
        topic: impl Into<Arc<str>>,
        message: OutMessage,
        queue: Queue,
    ) -> Result<Receipt, SendError> {
        self.ask(topic.into(), vec![message], Pick::Queue(queue), Mode::Sync).await
    }

    /// Sends a message to the queue that `key` decides: messages of one key stay in order as long as the number of queues
    /// stays (Java `SelectMessageQueueByHash` with a string).
    pub async fn send_by_key(
        &self,
        topic: impl Into<Arc<str>>,
        message: OutMessage,
        key: &str,
    ) -> Result<Receipt, SendError> {
        let hash = seedmq_core::message::properties::tag_hash(key);
        self.ask(topic.into(), vec![message], Pick::Hash(hash), Mode::Sync).await
    }

    /// The queues of a topic that can be written to now.
    pub async fn queues(&self, topic: impl Into<Arc<str>>) -> Result<Vec<Queue>, SendError> {
        let topic = topic.into();
        let (tell, told) = oneshot::channel();
        self.waiting.0.lock().expect(UNPOISONED).routes.entry(Arc::clone(&topic)).or_default().push(tell);
        self.machine.command(ProducerCommand::FetchRoute(topic)).await.map_err(|_| stopped(Stored::No))?;
        self.outcome(told).await.unwrap_or_else(|| Err(stopped(Stored::No)))
    }

    /// Ends gracefully: what is under way gets its outcome, and the brokers are told.
    pub async fn shutdown(&self) {
        self.machine.stop().await;
    }

    /// Sends.
    pub async fn ask(
        &self,
        topic: Arc<str>,
        messages: Vec<OutMessage>,
        queue: Pick,
        mode: Mode,
    ) -> Result<Receipt, SendError> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.waiting.0.lock().expect(UNPOISONED).sends.insert(ticket, tell);
        let request = SendRequest { ticket, topic, messages, queue, mode, timeout: None };
        if self.machine.command(ProducerCommand::Send(request)).await.is_err() {
            self.waiting.0.lock().expect(UNPOISONED).sends.remove(&ticket);
            return Err(stopped(Stored::No));
        }
        self.outcome(told).await.unwrap_or_else(|| Err(stopped(Stored::Unknown)))
    }

    /// What was told, or nothing when the machine ended without a word.
    async fn outcome<T>(&self, told: oneshot::Receiver<T>) -> Option<T> {
        tokio::select! {
            biased;
            told = told => told.ok(),
            () = self.machine.handle().ended() => None,
        }
    }
}

const UNPOISONED: &str = "nobody panics while holding the table";

fn stopped(stored: Stored) -> SendError {
    let text = "the producer was shut down".to_owned();
    SendError { kind: SendErrorKind::Stopped, stored, code: -1, text, attempts: 0 }
}

impl Waiting {
    fn hear(&self, event: ProducerEvent) {
        let mut state = self.0.lock().expect(UNPOISONED);
        match event {
            ProducerEvent::Sent { ticket, result } => {
                // Nobody listens when the caller gave up waiting.
                let _ = state.sends.remove(&ticket).map(|tell| tell.send(result));
            }
            ProducerEvent::Retrying { broker, why, .. } => tracing::debug!(%broker, why, "sending again"),
            ProducerEvent::Route { topic, queues } => {
                for tell in state.routes.remove(&topic).unwrap_or_default() {
                    let _ = tell.send(Ok(queues.clone()));
                }
            }
            ProducerEvent::NoRoute { topic, why } => {
                for tell in state.routes.remove(&topic).unwrap_or_default() {
                    let error = SendErrorKind::NoRoute;
                    let text = why.clone();
                    let _ = tell.send(Err(SendError { kind: error, stored: Stored::No, code: -1, text, attempts: 0 }));
                }
            }
            ProducerEvent::Refused(why) => tracing::error!("{why}"),
        }
    }
}
