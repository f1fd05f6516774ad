//! The driver around an echo node, over real TCP on this machine.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use seedmq::driver::echo::{Echo, EchoCommand, EchoEvent};
use seedmq::driver::{Handle, Limits, Listener, Net, NoDisk, Setup, World, drive, mailbox};
use seedmq::real::RealWorld;
use seedmq_core::wire::{Frame, codec};
use tokio::sync::mpsc;

/// An echo node on a free port of this machine, on a thread of its own.
struct Server {
    at: SocketAddr,
    handle: Handle<EchoCommand>,
    events: std::sync::mpsc::Receiver<EchoEvent>,
    thread: Option<std::thread::JoinHandle<Echo>>,
}

impl Server {
    fn start(limits: Limits) -> Server {
        let (ready_tx, ready) = std::sync::mpsc::channel();
        let (events_tx, events) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            runtime.unwrap().block_on(async {
                let world = RealWorld::without_disk();
                let listener = world.net().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
                let (mailbox, handle) = mailbox();
                ready_tx.send((listener.local(), handle)).unwrap();
                let setup = Setup {
                    disk: Box::new(NoDisk),
                    seed: 1,
                    listeners: vec![listener],
                    tap: (),
                    events: Box::new(move |event| {
                        let _ = events_tx.send(event);
                    }),
                    limits,
                };
                drive(Echo::default(), world, mailbox, setup).await
            })
        });
        let (at, handle) = ready.recv().unwrap();
        Server { at, handle, events, thread: Some(thread) }
    }

    fn stop(mut self) -> Echo {
        futures_block(self.handle.stop()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode_head(frame, &mut out);
    out.extend_from_slice(&frame.body);
    out.to_vec()
}

fn request(opaque: i32, body: usize) -> Frame {
    Frame { opaque, ..Frame::request(1) }.with_body(vec![u8::try_from(opaque & 0xff).unwrap(); body])
}

fn connect(at: SocketAddr) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn read_frames(stream: &mut std::net::TcpStream, count: usize) -> Vec<Frame> {
    let (mut buffer, mut frames, mut chunk) = (BytesMut::new(), Vec::new(), vec![0; 1 << 16]);
    while frames.len() < count {
        let got = stream.read(&mut chunk).unwrap();
        assert!(got > 0, "the server closed after {} of {count} frames", frames.len());
        buffer.extend_from_slice(&chunk[..got]);
        while let Some(frame) = codec::decode(&mut buffer).unwrap() {
            frames.push(frame);
        }
    }
    frames
}

/// True when the server closes the connection without sending anything.
fn closes(stream: &mut std::net::TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 1]), Ok(n) if n > 0)
        && !matches!(stream.read(&mut [0; 1]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn requests_in_pieces_and_in_heaps_are_answered_in_order() {
    let server = Server::start(Limits::default());
    let mut stream = connect(server.at);
    let sizes = [0, 1, 100, 2048, 2049, 70_000, 3 << 20];
    let all: Vec<u8> = sizes.iter().zip(0..).flat_map(|(size, n)| bytes_of(&request(n, *size))).collect();
    let (head, tail) = all.split_at(50);
    for byte in head {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(tail).unwrap();
    let answers = read_frames(&mut stream, sizes.len());
    for ((answer, size), opaque) in answers.iter().zip(sizes).zip(0..) {
        assert_eq!((answer.opaque, answer.is_response()), (opaque, true));
        assert_eq!(answer.body, request(opaque, size).body);
    }
    drop(stream);
    assert!(matches!(server.events.recv_timeout(Duration::from_secs(10)), Ok(EchoEvent::Lost)));
    let node = server.stop();
    assert!(node.open.is_empty());
    assert!(node.settled > 0);
}

#[test]
fn bytes_that_are_no_frame_close_their_connection_and_no_other() {
    let server = Server::start(Limits::default());
    let (mut good, mut bad) = (connect(server.at), connect(server.at));
    bad.write_all(&bytes_of(&request(1, 10))).unwrap();
    assert_eq!(read_frames(&mut bad, 1)[0].opaque, 1);
    bad.write_all(&[0x7f, 0, 0, 0, 1, 2, 3]).unwrap();
    assert!(closes(&mut bad));
    good.write_all(&bytes_of(&request(2, 10))).unwrap();
    assert_eq!(read_frames(&mut good, 1)[0].opaque, 2);
    server.stop();
}

#[test]
fn a_silent_connection_is_closed_and_a_busy_one_is_not() {
    let server = Server::start(Limits { idle: Duration::from_millis(400), ..Limits::default() });
    let (mut silent, mut busy) = (connect(server.at), connect(server.at));
    for n in 0..20 {
        busy.write_all(&bytes_of(&request(n, 10))).unwrap();
        assert_eq!(read_frames(&mut busy, 1)[0].opaque, n);
        std::thread::sleep(Duration::from_millis(50));
    }
    silent.set_nonblocking(true).unwrap();
    assert!(closes(&mut silent));
    server.stop();
}

#[test]
fn a_peer_that_does_not_read_is_not_read_and_gets_everything_later() {
    let limits = Limits { unsent_high: 1 << 20, ..Limits::default() };
    let server = Server::start(limits);
    let mut stream = connect(server.at);
    let (count, size) = (400, 256 << 10);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..count {
            writer.write_all(&bytes_of(&request(n, size))).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!sender.is_finished(), "100 MB went in although nothing was taken out");
    let answers = read_frames(&mut stream, 400);
    assert!(answers.iter().zip(0..).all(|(frame, n)| frame.opaque == n));
    sender.join().unwrap();
    server.stop();
}

#[test]
fn a_peer_over_the_hard_limit_is_closed() {
    let limits = Limits { unsent_high: usize::MAX, unsent_max: 8 << 20, ..Limits::default() };
    let server = Server::start(limits);
    let mut stream = connect(server.at);
    let written = (0..400).try_for_each(|n| stream.write_all(&bytes_of(&request(n, 256 << 10))));
    assert!(written.is_err(), "the server took 100 MB whose answers nobody reads");
    assert!(server.stop().open.is_empty());
}

#[test]
fn one_connection_over_the_limit_is_refused() {
    let server = Server::start(Limits { connections: 1, ..Limits::default() });
    let mut first = connect(server.at);
    first.write_all(&bytes_of(&request(1, 1))).unwrap();
    read_frames(&mut first, 1);
    assert!(closes(&mut connect(server.at)));
    first.write_all(&bytes_of(&request(2, 1))).unwrap();
    assert_eq!(read_frames(&mut first, 1)[0].opaque, 2);
    server.stop();
}

#[tokio::test]
async fn a_node_dials_another_and_hears_when_nobody_is_there() {
    let (asked, asker) = (Server::start(Limits::default()), Server::start(Limits::default()));
    let frame = request(7, 5000);
    asker.handle.command(EchoCommand::Ask(asked.at.to_string().into(), frame.clone())).await.unwrap();
    match asker.events.recv_timeout(Duration::from_secs(10)).unwrap() {
        EchoEvent::Answered(answer) => assert_eq!((answer.opaque, answer.body), (7, frame.body.clone())),
        lost => panic!("{lost:?}"),
    }
    let nobody = asked.at.to_string().into();
    let thread = std::thread::spawn(move || asked.stop());
    assert!(matches!(asker.events.recv_timeout(Duration::from_secs(10)).unwrap(), EchoEvent::Lost));
    thread.join().unwrap();
    asker.handle.command(EchoCommand::Ask(nobody, frame)).await.unwrap();
    assert!(matches!(asker.events.recv_timeout(Duration::from_secs(10)).unwrap(), EchoEvent::Lost));
    std::thread::spawn(move || asker.stop()).join().unwrap();
}

/// Sees what a tap is promised: inputs up to a settle, then outputs.
#[derive(Clone, Default)]
struct Order(Rc<RefCell<Vec<char>>>);

impl seedmq::driver::Tap<Echo> for Order {
    fn input(&mut self, _: &seedmq_core::node::Now, input: &seedmq_core::node::Input<EchoCommand>) {
        use seedmq_core::node::Input;
        self.0.borrow_mut().push(match input {
            Input::Settle => 's',
            Input::Start => 'S',
            Input::Command(_) => 'c',
            Input::DialFailed { .. } => 'f',
            _ => 'i',
        });
    }
    fn output(&mut self, _: &seedmq_core::node::Output<EchoEvent>) {
        self.0.borrow_mut().push('o');
    }
    fn settled(&mut self, _: &Echo) {
        self.0.borrow_mut().push('.');
    }
}

/// What a tap sees of a node that nobody answers, asked so often before it starts and then once more.
fn order_of(limits: Limits, asked: usize) -> String {
    let order = Order::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let (mailbox, handle) = mailbox();
        let (sender, mut events) = mpsc::unbounded_channel();
        let setup = Setup {
            disk: Box::new(NoDisk),
            seed: 1,
            listeners: vec![],
            tap: order.clone(),
            events: Box::new(move |event| sender.send(event).unwrap()),
            limits,
        };
        let ask = EchoCommand::Ask("127.0.0.1:1".into(), request(1, 1));
        (0..asked).for_each(|_| handle.try_command(ask.clone()).unwrap());
        let node = tokio::task::spawn_local(drive(Echo::default(), RealWorld::without_disk(), mailbox, setup));
        handle.command(ask).await.unwrap();
        for _ in 0..=asked {
            assert!(matches!(events.recv().await, Some(EchoEvent::Lost)));
        }
        handle.stop().await.unwrap();
        node.await.unwrap();
    });
    order.0.borrow().iter().collect()
}

#[test]
fn a_tap_sees_every_batch_as_inputs_settle_outputs() {
    let seen = order_of(Limits::default(), 0);
    assert!(["Ss.cso.fso.iso.", "Scso.fso.iso."].contains(&&*seen), "{seen}");
}

#[test]
fn a_batch_ends_at_its_limit() {
    let seen = order_of(Limits { batch: 3, ..Limits::default() }, 8);
    assert!(seen.starts_with("Sccsoo.cccsooo.ccc"), "{seen}");
}

#[test]
fn bodies_are_not_copied_on_the_way_out() {
    // 64 MiB through 64 requests of one shared body: more than the sockets hold, less than the limit.
    let server = Server::start(Limits::default());
    let mut stream = connect(server.at);
    let body = Bytes::from(vec![7; 1 << 20]);
    let frame = Frame::request(1).with_body(body.clone());
    let bytes = bytes_of(&frame);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || (0..64).for_each(|_| writer.write_all(&bytes).unwrap()));
    assert!(read_frames(&mut stream, 64).iter().all(|frame| frame.body == body));
    sender.join().unwrap();
    server.stop();
}
