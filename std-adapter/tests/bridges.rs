//! What stands between a board and the gateway: servers that the gateway connects to, and clients that connect to it,
//! with the manners of OpenOCD's, probe-rs's and a pipe's.

mod devices;

use devices::{Device, device, tracer, wait_until, work};
use spanlet::drain::{Delivery, RecordSource};
use spanlet::frame::Hello;
use spanlet_std::receiver::{Gateway, GatewayLedger};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const ACKNOWLEDGED: Delivery = Delivery::Acknowledged {
    resend_after_ticks: 20_000,
};

fn settled(gateway: &Gateway) -> GatewayLedger {
    let ledger = gateway.shutdown(Duration::from_secs(1));
    assert!(ledger.is_balanced(), "{ledger:#?}");
    ledger
}

/// OpenOCD's server for an RTT channel: hands on what it reads from the board's buffer in pieces of its own,
/// has one client, keeps nothing for one that comes later, and is gone whenever it is started anew.
struct RttServer {
    listener: Option<TcpListener>,
    address: SocketAddr,
    client: Option<TcpStream>,
}

impl RttServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = RttServer {
            listener: None,
            address,
            client: None,
        };
        server.listen(listener);
        server
    }
    fn listen(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).unwrap();
        self.listener = Some(listener);
    }
    fn stop(&mut self) {
        (self.listener, self.client) = (None, None);
    }
    fn restart(&mut self) {
        // The client closes too, and the port may linger.
        let mut listener = None;
        wait_until("the port", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        self.listen(listener.unwrap());
    }
    fn accept(&mut self) {
        if let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            self.client = Some(stream);
        }
    }
    fn wait_for_client(&mut self) {
        wait_until("a client", || {
            self.accept();
            self.client.is_some()
        });
    }
    /// One poll of the board's buffers: all that is in the one goes up in two pieces, as around the buffer's end;
    /// what came for the other is returned.
    fn poll(&mut self, up: &[u8]) -> Vec<u8> {
        self.accept();
        let mut down = vec![0; 1024];
        let Some(client) = &mut self.client else {
            return vec![];
        };
        client.set_nonblocking(false).unwrap();
        let (head, tail) = up.split_at(up.len() / 3);
        let sent = client.write_all(head).and_then(|()| client.write_all(tail));
        client.set_nonblocking(true).unwrap();
        match client.read(&mut down) {
            Ok(n @ 1..) if sent.is_ok() => down.truncate(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock && sent.is_ok() => down.clear(),
            _ => {
                self.client = None;
                down.clear();
            }
        }
        down
    }
}

/// What the device has to send.
fn up<S: RecordSource>(device: &mut Device<S>) -> Vec<u8> {
    let mut bytes = Vec::new();
    device.drain.heartbeat();
    let done = device.drain.drain(
        &mut device.source,
        &mut devices::Io(&mut bytes),
        &devices::HostMicros,
        1000,
    );
    done.expect("there is room");
    bytes
}

#[test]
fn a_bridge_that_comes_and_goes_loses_nothing_acknowledged() {
    let gateway = Gateway::builder().start().unwrap();
    let tracer = tracer(31);
    let mut probe = device("probe", 1, ACKNOWLEDGED, tracer);
    probe.capabilities &= Hello::ACKNOWLEDGED;
    let mut server = RttServer::start();
    let connector = gateway.connect(&server.address.to_string()).unwrap();
    server.wait_for_client();
    probe.hello();
    for round in 0..90 {
        if round % 30 == 10 {
            server.stop();
        }
        if round % 30 == 20 {
            let tried = round as u64 / 30 + 1;
            wait_until("an attempt", || {
                gateway.ledger().intake.connects_failed >= tried
            });
            server.restart();
            server.wait_for_client();
        }
        work(tracer, round);
        let bytes = up(&mut probe);
        let (wants_hello, _) = probe.take(&server.poll(&bytes));
        if wants_hello {
            probe.hello();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_until("all of them", || {
        let bytes = up(&mut probe);
        let (wants_hello, _) = probe.take(&server.poll(&bytes));
        if wants_hello {
            probe.hello();
        }
        std::thread::sleep(Duration::from_millis(5));
        gateway.ledger().total().delivered == 180
    });
    assert!(connector.is_connected() && !connector.is_finished());
    connector.stop();
    let ledger = settled(&gateway);
    assert_eq!(
        ledger.total().to_string().split(';').next(),
        Some("180 started = 180 exported")
    );
    assert_eq!(
        ledger.intake.connections, 4,
        "once, and once for each return"
    );
    assert!(ledger.intake.connects_failed >= 3, "{:?}", ledger.intake);
}

#[test]
fn an_address_without_a_server_is_told_and_tried_again() {
    let gateway = Gateway::builder().start().unwrap();
    // Bound and dropped: nobody listens there.
    let address = RttServer::start().address.to_string();
    let connector = gateway.connect(&address).unwrap();
    let unnamed = gateway.connect("no port").unwrap();
    wait_until("three attempts", || {
        gateway.ledger().intake.connects_failed >= 6
    });
    assert!(!connector.is_connected());
    assert!(connector.last_error().unwrap().starts_with(&address));
    assert!(unnamed.last_error().unwrap().starts_with("no port: "));
    connector.stop();
    drop(unnamed);
    let intake = settled(&gateway).intake.to_string();
    assert!(intake.ends_with("attempts to connect failed"), "{intake}");
}

/// cargo-embed's publisher of an RTT channel: connects to the gateway when there is something to send, drops what it
/// cannot send, tries again with the next.
struct Publisher {
    address: SocketAddr,
    socket: Option<TcpStream>,
}
impl Publisher {
    fn send(&mut self, bytes: &[u8]) {
        if self.socket.is_none() {
            self.socket = TcpStream::connect(self.address).ok();
        }
        if let Some(socket) = &mut self.socket
            && socket.write_all(bytes).is_err()
        {
            self.socket = None;
        }
    }
}

#[test]
fn what_a_publisher_drops_is_counted() {
    let tracer = tracer(32);
    let mut probe = device("probe", 1, Delivery::OneWay, tracer);
    probe.hello();
    // Before the gateway is there.
    let address = RttServer::start().address;
    let mut publisher = Publisher {
        address,
        socket: None,
    };
    for n in 0..5 {
        work(tracer, n);
        publisher.send(&up(&mut probe));
    }
    assert!(publisher.socket.is_none());
    let receiver = Gateway::builder().bind(address).unwrap();
    for n in 5..25 {
        work(tracer, n);
        if n == 10 {
            // Nobody asks over this link: an uplink says it every now and then.
            probe.hello();
        }
        let bytes = up(&mut probe);
        // The probe's polls end where they end.
        for piece in bytes.chunks(17) {
            publisher.send(piece);
        }
    }
    wait_until("the rest", || receiver.ledger().total().delivered == 40);
    // Not before: it has not read what the gateway asks, and closing resets the connection then.
    drop(publisher);
    wait_until("the end", || receiver.connections() == 0);
    let ledger = receiver.shutdown(Duration::from_secs(1));
    assert!(ledger.is_balanced(), "{ledger:#?}");
    assert_eq!(
        ledger.total().to_string(),
        "50 started = 40 exported + 10 lost on the link"
    );
}

#[test]
fn an_input_is_read_to_its_end() {
    let gateway = Gateway::builder().start().unwrap();
    let tracer = tracer(33);
    let mut logger = device("logger", 1, Delivery::OneWay, tracer);
    let (input, mut pipe) = std::io::pipe().unwrap();
    let connector = gateway.read_from("pipe", input).unwrap();
    logger.hello();
    for n in 0..20 {
        work(tracer, n);
        for piece in up(&mut logger).chunks(13) {
            pipe.write_all(piece).unwrap();
        }
    }
    wait_until("20 readings", || gateway.ledger().total().delivered == 40);
    assert!(!connector.is_finished());
    drop(pipe);
    wait_until("the end", || connector.is_finished());
    assert_eq!(connector.last_error(), None);
    assert!(!connector.is_connected());
    drop(connector);
    assert_eq!(
        settled(&gateway).total().to_string(),
        "40 started = 40 exported"
    );
}

#[test]
fn an_input_that_never_ends_is_left() {
    let gateway = Gateway::builder().start().unwrap();
    let (input, _pipe) = std::io::pipe().unwrap();
    let connector = gateway.read_from("pipe", input).unwrap();
    wait_until("the start", || connector.is_connected());
    connector.stop();
    settled(&gateway);
}
