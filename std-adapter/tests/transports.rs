//! The links that boards have, their far ends played here: what the writers of `spanlet-transports` send comes out
//! of the gateway, each span once or in the ledger. The devices answer no pings: their clocks have tests of their own.

mod devices;

use core::convert::Infallible;
use devices::{Device, device, tracer, work};
use embassy_futures::block_on;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::Write as _;
use spanlet::drain::{Delivery, Drain, RecordSource};
use spanlet::frame::{Epoch, Hello, Link};
use spanlet_std::receiver::{Arrival, Gateway, GatewayLedger, LinkReceiver};
use spanlet_transports::{
    DmaSender, DmaWriter, Notify, NotifyWriter, PacketError, PacketSink, PacketWriter,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

const ACKNOWLEDGED: Delivery = Delivery::Acknowledged {
    resend_after_ticks: 20_000,
};

/// A timer for `block_on`, which polls without end.
#[derive(Clone, Copy)]
struct HostDelay;
impl DelayNs for HostDelay {
    async fn delay_ns(&mut self, ns: u32) {
        let until = Instant::now() + Duration::from_nanos(ns.into());
        core::future::poll_fn(|_| {
            std::thread::yield_now();
            match Instant::now() < until {
                true => core::task::Poll::Pending,
                false => core::task::Poll::Ready(()),
            }
        })
        .await;
    }
}

/// Sends all that there is over `link`.
async fn send<S: RecordSource, W: embedded_io_async::Write>(
    device: &mut Device<S>,
    link: &mut W,
) -> Result<(), W::Error> {
    device.drain.heartbeat();
    let done = device
        .drain
        .drain_async(&mut device.source, link, &devices::HostMicros, 1000)
        .await;
    done.map(drop).map_err(|error| error.cause)
}

fn settled(gateway: &Gateway) -> GatewayLedger {
    let ledger = gateway.shutdown(Duration::from_secs(1));
    assert!(ledger.is_balanced(), "{ledger:#?}");
    ledger
}

/// A USB host: a read of several packets is handed on when it is full or a packet is short, as by Linux.
#[derive(Default)]
struct UsbHost {
    is_open: Cell<bool>,
    /// Packets that it still takes; then it is silent.
    takes: Cell<usize>,
    transfer: RefCell<Vec<u8>>,
    received: RefCell<Vec<u8>>,
    packets: RefCell<Vec<usize>>,
}
const USB_PACKET: usize = 64;
const USB_READ: usize = 4 * USB_PACKET;

#[derive(Clone)]
struct Usb(Rc<UsbHost>);
impl PacketSink for Usb {
    type Error = Infallible;
    fn max_packet_len(&self) -> usize {
        USB_PACKET
    }
    fn is_open(&self) -> bool {
        self.0.is_open.get()
    }
    async fn write_packet(&mut self, packet: &[u8]) -> Result<(), Infallible> {
        assert!(packet.len() <= USB_PACKET);
        while self.0.takes.get() == 0 {
            embassy_futures::yield_now().await;
        }
        self.0.takes.set(self.0.takes.get() - 1);
        self.0.packets.borrow_mut().push(packet.len());
        let mut transfer = self.0.transfer.borrow_mut();
        transfer.extend_from_slice(packet);
        if packet.len() < USB_PACKET || transfer.len() == USB_READ {
            self.0.received.borrow_mut().append(&mut transfer);
        }
        Ok(())
    }
}

#[test]
fn usb_hands_on_each_flushed_byte_whatever_the_length() {
    for len in 0..400 {
        let host = Rc::new(UsbHost::default());
        host.is_open.set(true);
        host.takes.set(usize::MAX);
        let mut writer = PacketWriter::new(Usb(host.clone()), HostDelay, 1000);
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        block_on(async {
            writer.write_all(&bytes).await.unwrap();
            writer.flush().await.unwrap();
            writer.flush().await.unwrap();
        });
        let received = host.received.take();
        let packets = host.packets.take();
        if len == 0 {
            assert_eq!((received, packets), (vec![], vec![]));
            continue;
        }
        assert_eq!(received[0], 0, "ends what was there before");
        assert_eq!(received[1..], bytes, "{len} bytes: {packets:?}");
        assert_eq!(host.transfer.borrow().len(), 0);
        // The zero byte, the packets, and an empty one only behind a full one.
        assert_eq!(
            packets.len(),
            1 + len / USB_PACKET + 1,
            "{len}: {packets:?}"
        );
    }
}

#[test]
fn usb_outlives_a_closed_port_and_a_silent_host() {
    let gateway = Gateway::builder().start().unwrap();
    let mut link = gateway.link("usb");
    let tracer = tracer(21);
    let mut dongle = device("dongle", 1, ACKNOWLEDGED, tracer);
    dongle.capabilities &= Hello::ACKNOWLEDGED;
    let host = Rc::new(UsbHost::default());
    let mut writer = PacketWriter::new(Usb(host.clone()), HostDelay, 20);
    dongle.hello();
    work(tracer, 0);
    let sent = block_on(send(&mut dongle, &mut writer));
    assert_eq!(sent, Err(PacketError::Closed));

    for n in 1..60 {
        host.is_open.set(n % 10 != 0);
        // Now and then the host falls silent in the middle of a frame.
        host.takes.set(if n % 7 == 0 { 1 } else { usize::MAX });
        work(tracer, n);
        let sent = block_on(send(&mut dongle, &mut writer));
        let expected = match (n % 10, n % 7) {
            (0, _) => Err(PacketError::Closed),
            (_, 0) => Err(PacketError::TimedOut),
            _ => Ok(()),
        };
        assert_eq!(sent, expected, "round {n}");
        if sent.is_err() {
            dongle.hello();
            host.transfer.take();
        }
        feed(&mut link, &host.received.take());
        dongle.take(&link.take_replies().unwrap_or_default());
    }
    drop(link);
    let ledger = settled(&gateway);
    let [dongle] = &ledger.devices[..] else {
        panic!("{ledger:?}")
    };
    assert_eq!(
        (dongle.link.started, dongle.delivered),
        (120, 120),
        "{dongle}"
    );
    assert_eq!(
        ledger.intake.damaged, 0,
        "a cut frame ends before the next begins"
    );
}

fn feed(link: &mut LinkReceiver, bytes: &[u8]) {
    link.feed(bytes, Arrival::now());
}

/// A UART's transmitter whose DMA counts to 255, with its line.
struct Dma {
    link: LinkReceiver,
    transfers: Rc<Cell<usize>>,
    is_busy: Rc<Cell<bool>>,
}
impl DmaSender for Dma {
    type Error = Infallible;
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!((1..=255).contains(&bytes.len()), "{}", bytes.len());
        self.is_busy.set(true);
        for byte in bytes {
            // A line is slower than its CPU.
            embassy_futures::yield_now().await;
            feed(&mut self.link, &[*byte]);
        }
        self.transfers.set(self.transfers.get() + 1);
        Ok(())
    }
    async fn idle(&mut self) -> Result<(), Infallible> {
        self.is_busy.set(false);
        Ok(())
    }
}

#[test]
fn uart_dma_sends_in_transfers() {
    let gateway = Gateway::builder().start().unwrap();
    let tracer = tracer(22);
    let mut pump = device("pump", 1, Delivery::OneWay, tracer);
    pump.hello();
    let (transfers, is_busy) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let mut writer: DmaWriter<_, 255> = DmaWriter::new(Dma {
        link: gateway.link("uart"),
        transfers: transfers.clone(),
        is_busy: is_busy.clone(),
    });
    for n in 0..40 {
        for _ in 0..12 {
            work(tracer, n);
        }
        block_on(send(&mut pump, &mut writer)).unwrap();
        assert!(!is_busy.get(), "flushed");
    }
    assert!(transfers.get() > 80, "frames of up to 400 bytes take two");
    drop(writer);
    let ledger = settled(&gateway);
    assert_eq!(ledger.total().to_string(), "960 started = 960 exported");
    assert_eq!((ledger.intake.damaged, ledger.intake.garbage), (0, 0));
}

/// A BLE connection: values of at most an MTU less 3, some of which the stack drops.
struct Ble {
    value_len: usize,
    loss_percent: u32,
    random: fastrand::Rng,
    sent: Rc<RefCell<VecDeque<Vec<u8>>>>,
}
impl Ble {
    fn new(value_len: usize, loss_percent: u32) -> (Self, Rc<RefCell<VecDeque<Vec<u8>>>>) {
        let sent = Rc::<RefCell<VecDeque<Vec<u8>>>>::default();
        let ble = Ble {
            value_len,
            loss_percent,
            random: fastrand::Rng::with_seed(value_len as u64),
            sent: sent.clone(),
        };
        (ble, sent)
    }
}
impl Notify for Ble {
    type Error = Infallible;
    fn max_value_len(&self) -> usize {
        self.value_len
    }
    async fn notify(&mut self, value: &[u8]) -> Result<(), Infallible> {
        assert!((1..=self.value_len).contains(&value.len()));
        if self.random.u32(..100) >= self.loss_percent {
            self.sent.borrow_mut().push_back(value.to_vec());
        }
        Ok(())
    }
}

/// What a run over BLE came to.
#[derive(Debug)]
struct BleRun {
    ledger: GatewayLedger,
    values: usize,
    bytes: usize,
}

/// 60 rounds of 2 spans, then quiet. The gateway's answers arrive as writes to another characteristic.
fn over_ble(value_len: usize, loss_percent: u32, delivery: Delivery, is_stream: bool) -> BleRun {
    let gateway = Gateway::builder().start().unwrap();
    let mut link = gateway.link("ble");
    let tracer = tracer(23);
    let mut tag = device("tag", 1, delivery, tracer);
    tag.capabilities &= Hello::ACKNOWLEDGED;
    *tag.drain = Drain::new(
        Epoch(1),
        match is_stream {
            // A lost value costs its whole frame: frames are short.
            true => Link::stream().with_mtu(128),
            false => Link::datagrams(value_len),
        },
        delivery,
    );
    let (ble, sent) = Ble::new(value_len, loss_percent);
    let (mut ble, mut writer) = match is_stream {
        true => (None, Some(NotifyWriter::new(ble))),
        false => (Some(ble), None),
    };
    let (mut values, mut bytes) = (0, 0);
    tag.hello();
    let waits = loss_percent != 0 && delivery != Delivery::OneWay;
    for n in 0..600u64 {
        let is_done = !waits || gateway.ledger().total().delivered == 120;
        if n >= 80 && is_done {
            break;
        }
        if n < 60 {
            work(tracer, n as i64);
        }
        if let Some(writer) = &mut writer {
            block_on(send(&mut tag, writer)).unwrap();
        }
        if let Some(ble) = &mut ble {
            tag.drain.heartbeat();
            while let Some(frame) = tag.drain.next_frame(&mut tag.source, &devices::HostMicros) {
                block_on(ble.notify(frame)).unwrap();
            }
        }
        for value in sent.take() {
            (values, bytes) = (values + 1, bytes + value.len());
            match is_stream {
                true => feed(&mut link, &value),
                false => link.datagram(&value, Arrival::now()),
            }
        }
        let (hello, _) = tag.take(&link.take_replies().unwrap_or_default());
        // As an uplink does: when asked, and every now and then.
        if hello || n % 16 == 15 {
            tag.hello();
        }
        if n >= 60 {
            std::thread::sleep(Duration::from_millis(3));
        }
        link.poll(Arrival::now());
    }
    drop(link);
    BleRun {
        ledger: settled(&gateway),
        values,
        bytes,
    }
}

#[test]
fn ble_round_trips_at_each_mtu() {
    for value_len in [20, 185, 244] {
        for delivery in [Delivery::OneWay, ACKNOWLEDGED] {
            let run = over_ble(value_len, 0, delivery, true);
            let total = run.ledger.total();
            assert_eq!(
                total.to_string(),
                "120 started = 120 exported",
                "{value_len}"
            );
            assert_eq!(run.ledger.intake.garbage + run.ledger.intake.damaged, 0);
            println!(
                "stream of {value_len}: {} values, {} bytes",
                run.values, run.bytes
            );
        }
    }
    for value_len in [48, 60, 185, 244] {
        for delivery in [Delivery::OneWay, ACKNOWLEDGED] {
            let run = over_ble(value_len, 0, delivery, false);
            let total = run.ledger.total();
            assert_eq!(
                total.to_string(),
                "120 started = 120 exported",
                "{value_len}"
            );
            assert_eq!(run.ledger.intake.incomplete_fragments, 0);
            println!(
                "datagrams of {value_len}: {} values, {} bytes",
                run.values, run.bytes
            );
        }
    }
}

#[test]
fn ble_counts_or_repeats_what_the_stack_drops() {
    for (value_len, is_stream) in [
        (20, true),
        (185, true),
        (60, false),
        (185, false),
        (244, false),
    ] {
        let run = over_ble(value_len, 4, Delivery::OneWay, is_stream);
        let total = run.ledger.total();
        assert!(total.link.link_lost > 0, "{value_len}: {total}");
        assert_eq!(total.link.started, 120, "{total}");
        assert_eq!(total.delivered + total.link.link_lost, 120, "{total}");

        let run = over_ble(value_len, 4, ACKNOWLEDGED, is_stream);
        let total = run.ledger.total();
        assert_eq!(
            (
                total.delivered,
                total.delivered_with_placeholders,
                total.link.link_lost
            ),
            (120, 0, 0),
            "{value_len}: {total}"
        );
    }
}
