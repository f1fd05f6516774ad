//! The push consumer.
//!
//! Invariant: a delivery that was not acknowledged is delivered again: the machine hears one outcome for each, and a delivery
//! that is dropped without one counts as not consumed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use seedmq_core::client::Queue;
use seedmq_core::consumer::{
    ConsumerCommand, ConsumerConfig, ConsumerEvent, FromWhere, Message, Outcome, PushConsumer as Machine,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::hosted::Hosted;
use super::{ClientError, Told, identity};
use crate::config::AddressServer;
use crate::config::name_servers::NameServers;
use crate::driver::Handle;

/// Receives messages as a member of a group: the members share the queues, and the group remembers how far it got.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let queue = seedmq::Standalone::start_temporary().await?;
/// let producer = seedmq::Producer::builder("my-producers").name_servers(queue.name_server()).start()?;
/// producer.send("Greetings", seedmq::Message::new("hello")).await?;
///
/// let consumer = seedmq::PushConsumer::builder("my-group")
///     .name_servers(queue.name_server())
///     .subscribe("Greetings", "*")
///     .from_first()
///     .start()
///     .await?;
/// let delivery = consumer.next().await.expect("the consumer runs");
/// assert_eq!(delivery.messages()[0].body, "hello");
/// delivery.ack().await;
/// consumer.shutdown().await;
/// # producer.shutdown().await;
/// # queue.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PushConsumer {
    machine: Hosted<ConsumerCommand>,
    deliveries: tokio::sync::Mutex<mpsc::UnboundedReceiver<Delivery>>,
    assigned: Assigned,
}

type Assigned = Arc<Mutex<BTreeMap<Arc<str>, Vec<Queue>>>>;

/// Settings of a [`PushConsumer`].
#[derive(Clone, Debug)]
pub struct PushConsumerBuilder {
    config: ConsumerConfig,
    told: Told,
    subscriptions: Vec<(Arc<str>, String)>,
}

impl PushConsumerBuilder {
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
    /// Reads a topic: `*` for all messages, or tags with `||` between them. All members of a group must subscribe alike.
    #[must_use]
    pub fn subscribe(mut self, topic: impl Into<Arc<str>>, tags: impl Into<String>) -> Self {
        self.subscriptions.push((topic.into(), tags.into()));
        self
    }
    /// A group that is new begins with the oldest message; without this, with what comes from now on.
    #[must_use]
    pub fn from_first(mut self) -> Self {
        self.config.from = FromWhere::First;
        self
    }
    /// One delivery at a time for each queue, in order.
    #[must_use]
    pub fn orderly(mut self) -> Self {
        self.config.orderly = true;
        self
    }
    /// Messages of one delivery at most; 1 unless said otherwise.
    #[must_use]
    pub fn delivery_messages(mut self, most: usize) -> Self {
        self.config.delivery_messages = most;
        self
    }
    /// Everything else.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Joins the group.
    pub async fn start(self) -> Result<PushConsumer, ClientError> {
        let found = self.told.choose()?;
        let config = ConsumerConfig { identity: identity(), ..self.config };
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let (started, starting) = oneshot::channel();
        let assigned = Assigned::default();
        let mut hears = Hears { deliver, started: Some(started), assigned: Arc::clone(&assigned), handle: None };
        let (tell_handle, handle) = std::sync::mpsc::channel();
        let build = move |name_servers| Machine::new(ConsumerConfig { name_servers, ..config });
        let told = ConsumerCommand::NameServers;
        let machine = Hosted::start("seedmq-consumer", found, build, told, move |event| {
            let handle = hears.handle.get_or_insert_with(|| handle.recv().expect("the handle is told")).clone();
            hears.hear(event, &handle);
        });
        tell_handle.send(machine.handle().clone()).map_err(|_| ClientError::Stopped)?;
        starting.await.map_err(|_| ClientError::Stopped)?.map_err(ClientError::Invalid)?;
        let consumer = PushConsumer { machine, deliveries: tokio::sync::Mutex::new(deliveries), assigned };
        for (topic, tags) in self.subscriptions {
            consumer.subscribe(topic, tags).await?;
        }
        Ok(consumer)
    }
}

impl PushConsumer {
    /// A member of this group.
    pub fn builder(group: impl Into<Arc<str>>) -> PushConsumerBuilder {
        let config = ConsumerConfig { group: group.into(), ..ConsumerConfig::default() };
        PushConsumerBuilder { config, told: Told::default(), subscriptions: Vec::new() }
    }

    /// The next delivery; `None` after [`PushConsumer::shutdown`]. At most [`ConsumerConfig::deliveries_max`] are handed out
    /// without an outcome.
    pub async fn next(&self) -> Option<Delivery> {
        self.deliveries.lock().await.recv().await
    }

    /// Gives every delivery to `handler`, each in a task of its own, until the consumer is shut down.
    pub async fn for_each<F>(&self, handler: impl Fn(Vec<Message>) -> F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut running = JoinSet::new();
        while let Some(mut delivery) = self.next().await {
            let handled = handler(std::mem::take(&mut delivery.messages));
            running.spawn(async move {
                match handled.await {
                    Outcome::Success => delivery.ack().await,
                    Outcome::Later => delivery.later().await,
                }
            });
            while running.try_join_next().is_some() {}
        }
        running.join_all().await;
    }

    /// Reads one more topic, or one with another expression.
    pub async fn subscribe(&self, topic: impl Into<Arc<str>>, tags: impl Into<String>) -> Result<(), ClientError> {
        let command = ConsumerCommand::Subscribe { topic: topic.into(), tags: tags.into() };
        self.machine.command(command).await.map_err(|_| ClientError::Stopped)
    }

    /// Reads a topic no longer.
    pub async fn unsubscribe(&self, topic: impl Into<Arc<str>>) -> Result<(), ClientError> {
        self.machine.command(ConsumerCommand::Unsubscribe(topic.into())).await.map_err(|_| ClientError::Stopped)
    }

    /// The queues of a topic that this member reads now.
    pub fn queues(&self, topic: &str) -> Vec<Queue> {
        self.assigned.lock().expect(UNPOISONED).get(topic).cloned().unwrap_or_default()
    }

    /// Leaves the group: waits a little for the outcomes of what was delivered, commits, and says goodbye.
    pub async fn shutdown(&self) {
        self.machine.stop().await;
    }
}

const UNPOISONED: &str = "nobody panics while holding the table";

/// Messages to be consumed. Dropped without [`Delivery::ack`], they come again.
#[derive(Debug)]
pub struct Delivery {
    topic: Arc<str>,
    queue: Queue,
    messages: Vec<Message>,
    answer: Option<(u64, Handle<ConsumerCommand>)>,
}

impl Delivery {
    /// The messages, ascending by offset.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }
    /// The topic they were read from.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The queue they were read from.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }
    /// They are consumed.
    pub async fn ack(self) {
        self.answer(Outcome::Success).await;
    }
    /// They could not be consumed and are to come again later.
    pub async fn later(self) {
        self.answer(Outcome::Later).await;
    }
    async fn answer(mut self, outcome: Outcome) {
        if let Some((delivery, handle)) = self.answer.take() {
            // A consumer that has left the group needs no outcome.
            let _ = handle.command(ConsumerCommand::Consumed { delivery, outcome }).await;
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some((delivery, handle)) = self.answer.take() else { return };
        let outcome = ConsumerCommand::Consumed { delivery, outcome: Outcome::Later };
        if let Err(outcome) = handle.try_command(outcome) {
            std::thread::spawn(move || handle.blocking_command(outcome));
        }
    }
}

/// What becomes of the machine's events.
struct Hears {
    deliver: mpsc::UnboundedSender<Delivery>,
    started: Option<oneshot::Sender<Result<(), String>>>,
    assigned: Assigned,
    handle: Option<Handle<ConsumerCommand>>,
}

impl Hears {
    fn hear(&mut self, event: ConsumerEvent, handle: &Handle<ConsumerCommand>) {
        match event {
            ConsumerEvent::Started { .. } => self.begin(Ok(())),
            ConsumerEvent::Refused(why) => {
                tracing::error!("{why}");
                self.begin(Err(why));
            }
            ConsumerEvent::Deliver { delivery, topic, queue, messages } => {
                // Nobody listens after a shutdown; then the delivery is dropped, which is an outcome as well.
                let _ =
                    self.deliver.send(Delivery { topic, queue, messages, answer: Some((delivery, handle.clone())) });
            }
            ConsumerEvent::Assigned { topic, queues } => {
                self.assigned.lock().expect(UNPOISONED).insert(topic, queues);
            }
            ConsumerEvent::Subscribed { topic, tags, .. } => tracing::debug!(%topic, ?tags, "subscribed"),
            ConsumerEvent::Committed { topic, queue, offset } => tracing::trace!(%topic, %queue, offset, "committed"),
            ConsumerEvent::Corrected { topic, queue, from, to } => {
                tracing::info!(%topic, %queue, from, to, "the broker corrected the position");
            }
            ConsumerEvent::Malformed { topic, queue, offset, why } => {
                tracing::warn!(%topic, %queue, ?offset, why, "passed over a message that does not decode");
            }
            ConsumerEvent::Notice(text) => tracing::info!("{text}"),
        }
    }

    fn begin(&mut self, how: Result<(), String>) {
        if let Some(started) = self.started.take() {
            let _ = started.send(how);
        }
    }
}
