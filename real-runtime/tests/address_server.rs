//! Name servers from an HTTP endpoint.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used)]

use seedmq::config::AddressServer;
use seedmq_core::node::Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers one question with `answer`; returns what came of it and what was asked.
async fn ask(answer: &str) -> (std::io::Result<Vec<Addr>>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = AddressServer { domain: listener.local_addr().unwrap().to_string(), subgroup: "nsaddr".into() };
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
