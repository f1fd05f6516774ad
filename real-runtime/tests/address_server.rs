//! Name servers from an HTTP endpoint.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seedmq::config::broker::BrokerSettings;
use seedmq::{AddressServer, Message, Producer, PushConsumer, Standalone};
use seedmq_core::node::Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one question with `answer`; returns what came of it and what was asked.
async fn ask(answer: &str) -> (std::io::Result<Vec<Addr>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = AddressServer::new(listener.local_addr().unwrap().to_string());
    let answered = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).await.unwrap();
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    tokio::join!(server.fetch(), answered)
}

#[tokio::test]
async fn a_list_comes_over_plain_http() {
    let (addrs, request) =
        ask("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n10.0.0.1:9876;10.0.0.2:9876\n").await;
    assert_eq!(addrs.unwrap(), [Addr::from("10.0.0.1:9876"), Addr::from("10.0.0.2:9876")]);
    assert!(request.starts_with("GET /rocketmq/nsaddr HTTP/1.0\r\nHost: 127.0.0.1:"), "{request}");
}

#[tokio::test]
async fn anything_else_is_an_error() {
    for answer in ["HTTP/1.0 404 Not Found\r\n\r\na:1", "HTTP/1.0 200 OK\r\n\r\n \n", "a:1", ""] {
        assert!(ask(answer).await.0.is_err(), "{answer:?}");
    }
}

/// An endpoint whose list can be changed; it counts the questions.
struct Endpoint {
    domain: String,
    list: Arc<Mutex<String>>,
    asked: tokio::sync::watch::Receiver<u64>,
}

impl Endpoint {
    async fn start(list: String) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let domain = listener.local_addr().unwrap().to_string();
        let list = Arc::new(Mutex::new(list));
        let (count, asked) = tokio::sync::watch::channel(0);
        let says = Arc::clone(&list);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!("HTTP/1.0 200 OK\r\n\r\n{}", says.lock().unwrap());
                let _ = stream.write_all(answer.as_bytes()).await;
                count.send_modify(|count| *count += 1);
            }
        });
        Endpoint { domain, list, asked }
    }

    fn server(&self) -> AddressServer {
        AddressServer { refresh: Duration::from_millis(50), ..AddressServer::new(&self.domain) }
    }
}

async fn within<T>(what: &str, task: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), task).await.unwrap_or_else(|_| panic!("{what}"))
}

/// A queue whose broker has this name.
async fn cluster(name: &str, dir: &tempfile::TempDir) -> Standalone {
    let mut settings = BrokerSettings::new(dir.path());
    settings.config.name = name.into();
    Standalone::start_with(settings).await.unwrap()
}

#[tokio::test]
async fn clients_follow_a_list_that_changes() {
    let (old_dir, new_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, new) = (cluster("old", &old_dir).await, cluster("new", &new_dir).await);
    let mut endpoint = Endpoint::start(old.name_server()).await;
    let producer = Producer::builder("P").address_server(endpoint.server()).start().unwrap();
    let consumer = PushConsumer::builder("C").address_server(endpoint.server()).from_first();
    let consumer = consumer.subscribe("First", "*").subscribe("Second", "*").start().await.unwrap();
    let at_old = producer.send("First", Message::new("at the old place")).await.unwrap();
    let delivery = within("the first message comes", consumer.next()).await.unwrap();
    assert_eq!((&*delivery.messages()[0].body, delivery.topic()), (&b"at the old place"[..], "First"));
    assert_eq!(delivery.messages()[0].store_host.to_string(), old.broker());
    delivery.ack().await;

    *endpoint.list.lock().unwrap() = new.name_server();
    // Each of the two clients has asked at least once since then.
    let before = *endpoint.asked.borrow();
    within("they go on asking", endpoint.asked.wait_for(|asked| *asked >= before + 6)).await.unwrap();
    let at_new = producer.send("Second", Message::new("at the new place")).await.unwrap();
    let delivery = within("the second message comes", consumer.next()).await.unwrap();
    assert_eq!((&*delivery.messages()[0].body, delivery.topic()), (&b"at the new place"[..], "Second"));
    assert_eq!(delivery.messages()[0].store_host.to_string(), new.broker());
    assert_eq!((&*at_old.queue.broker, &*at_new.queue.broker), ("old", "new"));
    delivery.ack().await;

    // An endpoint that says nonsense changes nothing.
    *endpoint.list.lock().unwrap() = " ; ".into();
    let before = *endpoint.asked.borrow();
    within("they go on asking", endpoint.asked.wait_for(|asked| *asked >= before + 6)).await.unwrap();
    producer.send("Second", Message::new("still there")).await.unwrap();
    let delivery = within("the third message comes", consumer.next()).await.unwrap();
    assert_eq!(delivery.messages()[0].store_host.to_string(), new.broker());
    delivery.ack().await;
    producer.shutdown().await;
    consumer.shutdown().await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn a_client_that_starts_before_its_endpoint_finds_it_later() {
    let queue = Standalone::start_temporary().await.unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = AddressServer::new(format!("127.0.0.1:{port}"));
    server.refresh = Duration::from_millis(600);
    let producer = Producer::builder("P").address_server(server).start().unwrap();
    let error = producer.send("T", Message::new("too early")).await.unwrap_err();
    assert_eq!(error.text, "No name server address, please set it.", "{error}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (mut stream, _) = within("it asks again", listener.accept()).await.unwrap();
    let _ = stream.read(&mut [0; 1024]).await;
    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{}", queue.name_server()).as_bytes()).await.unwrap();
    drop(stream);
    let found = async {
        while producer.send("T", Message::new("now")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("it uses what it was told", found).await;
    producer.shutdown().await;
    queue.stop().await;
}
