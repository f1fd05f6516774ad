//! The list of name servers over plain HTTP, so that clients and brokers find them by a name and not by addresses
//! (`http://<domain>:8080/rocketmq/nsaddr`, what Java's `DefaultTopAddressing` asks).
//!
//! Invariant: a caller costs at most [`HEAD_BYTES`] and [`PATIENCE`], and at most [`CALLERS_MAX`] are served at once.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What is answered to; a query behind it (Java adds `?nofix=1` for units) says nothing here.
const PATH: &str = "/rocketmq/nsaddr";
/// Longest request.
const HEAD_BYTES: usize = 4096;
/// How long a caller may take (a Java client gives up after 3 s).
const PATIENCE: Duration = Duration::from_secs(3);
/// Callers at once; more wait in the system's queue.
const CALLERS_MAX: usize = 64;
/// Pause when the system cannot give us a connection, for instance because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers whoever asks with `list` (`host:port;host:port`). Never ends.
pub(super) async fn tell_addresses(listener: TcpListener, list: String) {
    let (callers, list): (_, Rc<str>) = (Arc::new(Semaphore::new(CALLERS_MAX)), list.into());
    loop {
        let place = Arc::clone(&callers).acquire_owned().await.expect("the places are never taken away");
        match listener.accept().await {
            Ok((stream, _)) => {
                let list = Rc::clone(&list);
                tokio::task::spawn_local(async move {
                    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, serve(stream, &list)).await {
                        tracing::debug!(%error, "a question for the name servers was not answered");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a question for the name servers cannot be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, list: &str) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while head.len() < HEAD_BYTES && !is_whole(&head) {
        if (&mut stream).take((HEAD_BYTES - head.len()) as u64).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(answer(&head, list).as_bytes()).await?;
    stream.shutdown().await
}

fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

/// The answer to a request; the connection ends behind it.
fn answer(head: &[u8], list: &str) -> String {
    let line = head.split(|byte| *byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or("");
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next();
    let (status, body) = match method {
        _ if !is_whole(head) => ("431 Request Header Fields Too Large", ""),
        _ if !version.starts_with("HTTP/1.") => ("400 Bad Request", ""),
        Some("GET" | "HEAD") if path == Some(PATH) => ("200 OK", list),
        Some("GET" | "HEAD") => ("404 Not Found", ""),
        _ => ("405 Method Not Allowed\r\nAllow: GET, HEAD", ""),
    };
    let length = body.len();
    let body = if method == Some("HEAD") { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, status: &str, body: &str) {
        let text = answer(head.as_bytes(), "a:1;b:2");
        let (start, rest) = text.split_once("\r\n\r\n").expect("an end of the head");
        assert_eq!((&start[9..12], rest), (status, body), "{head:?}: {text}");
    }

    #[test]
    fn only_the_list_is_there_and_only_to_be_read() {
        check("GET /rocketmq/nsaddr HTTP/1.1\r\nHost: x\r\n\r\n", "200", "a:1;b:2");
        check("GET /rocketmq/nsaddr?nofix=1 HTTP/1.0\r\n\r\n", "200", "a:1;b:2");
        check("HEAD /rocketmq/nsaddr HTTP/1.1\r\n\r\n", "200", "");
        check("GET /rocketmq/other HTTP/1.1\r\n\r\n", "404", "");
        check("GET / HTTP/1.1\r\n\r\n", "404", "");
        check("POST /rocketmq/nsaddr HTTP/1.1\r\n\r\n", "405", "");
        for broken in ["GET /rocketmq/nsaddr\r\n\r\n", "\r\n\r\n", "GET  /rocketmq/nsaddr HTTP/1.1\r\n\r\n"] {
            check(broken, "400", "");
        }
        check("GET /rocketmq/nsaddr HTTP/1.1\r\nX: and so on", "431", "");
        assert_eq!(&answer(b"\xff\r\n\r\n", "")[9..12], "400");
    }
}
