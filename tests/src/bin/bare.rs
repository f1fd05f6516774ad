//! The least that a server of this protocol can do, as a yardstick for benchmarks: parse the JSON header, check-sum the body,
//! copy it into warm memory, answer.
//!
//! Invariant: it keeps nothing, so no useful server is faster.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Memory that bodies are copied into, over and over.
const WARM: usize = 64 << 20;

#[derive(Deserialize)]
struct Header<'a> {
    opaque: u32,
    #[serde(rename = "extFields", borrow)]
    fields: Fields<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    b: Cow<'a, str>,
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(borrow)]
    i: Cow<'a, str>,
}

thread_local! {
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:10911".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(addr).await?;
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                let warm = std::rc::Rc::new(std::cell::RefCell::new(vec![1_u8; WARM]));
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::task::spawn_local(serve(stream, warm.clone()));
                }
            })
            .await
    })
}

async fn serve(mut stream: TcpStream, warm: std::rc::Rc<std::cell::RefCell<Vec<u8>>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut out) = (Vec::with_capacity(1 << 20), Vec::with_capacity(1 << 16));
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let mut at = 0;
        while let Some(end) = whole_frame(&bytes[at..]) {
            answer(&bytes[at..at + end], &mut warm.borrow_mut(), &mut out)?;
            at += end;
        }
        bytes.drain(..at);
        bytes.reserve(256 << 10);
        stream.write_all(&out).await?;
        out.clear();
    }
}

fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize + 4;
    (bytes.len() >= length).then_some(length)
}

fn answer(frame: &[u8], warm: &mut [u8], out: &mut Vec<u8>) -> io::Result<()> {
    let header = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
    let (head, body) = frame[8..].split_at(header);
    let Ok(parsed) = serde_json::from_slice::<Header<'_>>(head) else { return refuse(head, out) };
    let sum = crc32fast::hash(body);
    let at = WRITTEN.get();
    let place = at as usize % (WARM - (1 << 20));
    warm[place..place + body.len()].copy_from_slice(body);
    WRITTEN.set(at + (body.len() + parsed.fields.i.len() + parsed.fields.b.len()) as u64);
    let text = format!(
        "{{\"code\":0,\"extFields\":{{\"msgId\":\"7F00000100002A9F{at:016X}\",\"queueId\":\"{}\",\"queueOffset\":\"{sum}\"}},\
         \"flag\":1,\"language\":\"JAVA\",\"opaque\":{},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}}",
        parsed.fields.e, parsed.opaque
    );
    out.extend_from_slice(&seedmq_tests::raw::framed(text.as_bytes(), &[]));
    Ok(())
}

/// Any other request, such as the creation of a topic, is a success without content.
fn refuse(head: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let header: serde_json::Value = serde_json::from_slice(head)?;
    let text =
        format!("{{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"opaque\":{},\"version\":513}}", header["opaque"]);
    out.extend_from_slice(&seedmq_tests::raw::framed(text.as_bytes(), &[]));
    Ok(())
}
