//! RTT through `rtt-target` itself, and a probe that reads and writes the control block from another thread as
//! probes do from outside: the read offset up, the write offset down, nothing else.
//!
//! One test, since a program has one control block.

mod devices;

use core::convert::Infallible;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use devices::{Device, device, tracer, work};
use embassy_futures::block_on;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorType, Read as _, Write as _};
use rtt_target::{ChannelMode, DownChannel, UpChannel};
use spanlet::drain::{Delivery, RecordSource};
use spanlet::frame::Hello;
use spanlet_std::receiver::{Arrival, Gateway, GatewayLedger, LinkReceiver};
use spanlet_transports::{RttDown, RttReader, RttUp, RttWriter};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const UP_BYTES: usize = 600;
const DOWN_BYTES: usize = 128;

/// The part of a control block that a probe looks at.
#[repr(C)]
struct Channel {
    name: *const u8,
    buffer: *mut u8,
    size: usize,
    write: AtomicUsize,
    read: AtomicUsize,
    flags: AtomicUsize,
}

/// A debug probe at one channel.
#[derive(Clone, Copy)]
struct Probe(*const Channel);
// SAFETY: the offsets are atomics, the bytes between them belong to the side that the protocol says, and the
// block is a static.
unsafe impl Send for Probe {}
// SAFETY: as above; no two threads read the same channel.
unsafe impl Sync for Probe {}

impl Probe {
    /// The `n`th channel, counted over the up channels and then the down channels.
    fn find(n: usize) -> Self {
        unsafe extern "C" {
            #[link_name = "_SEGGER_RTT"]
            static BLOCK: [usize; 4];
        }
        // SAFETY: `rtt_init!` has initialised the block, whose header is 16 bytes of name and two counts.
        let (name, counts, channels) = unsafe {
            let block = ptr::addr_of!(BLOCK);
            let name: [u8; 16] = ptr::read_volatile(block.cast());
            let counts: [usize; 2] = ptr::read_volatile(block.cast::<u8>().add(16).cast());
            (
                name,
                counts,
                block.cast::<u8>().add(16 + size_of::<[usize; 2]>()),
            )
        };
        assert_eq!(&name, b"SEGGER RTT\0\0\0\0\0\0");
        assert_eq!(counts, [2, 2]);
        // SAFETY: there are four of them.
        Probe(unsafe { channels.cast::<Channel>().add(n) })
    }
    fn channel(&self) -> &Channel {
        // SAFETY: see `find`.
        unsafe { &*self.0 }
    }
    /// Reads up to `max` bytes of an up channel.
    fn read(&self, max: usize) -> Vec<u8> {
        let channel = self.channel();
        let (write, mut read) = (channel.write.load(SeqCst), channel.read.load(SeqCst));
        let mut bytes = Vec::new();
        while read != write && bytes.len() < max {
            // SAFETY: between read and write offset the bytes are the probe's.
            bytes.push(unsafe { channel.buffer.add(read).read_volatile() });
            read = (read + 1) % channel.size;
        }
        channel.read.store(read, SeqCst);
        bytes
    }
    /// Writes what fits into a down channel, and returns how many bytes that was.
    fn write(&self, bytes: &[u8]) -> usize {
        let channel = self.channel();
        let (mut write, read) = (channel.write.load(SeqCst), channel.read.load(SeqCst));
        let mut n = 0;
        while n < bytes.len() && (write + 1) % channel.size != read {
            // SAFETY: between write and read offset the bytes are the probe's.
            unsafe { channel.buffer.add(write).write_volatile(bytes[n]) };
            (write, n) = ((write + 1) % channel.size, n + 1);
        }
        channel.write.store(write, SeqCst);
        n
    }
    fn set_mode(&self, mode: ChannelMode) {
        self.channel().flags.store(mode as usize, SeqCst);
    }
}

struct Up<'a>(&'a mut UpChannel);
impl RttUp for Up<'_> {
    fn capacity(&self) -> usize {
        UP_BYTES
    }
    fn write_all_or_nothing(&mut self, bytes: &[u8]) -> bool {
        self.0.set_mode(ChannelMode::NoBlockSkip);
        self.0.write(bytes) == bytes.len()
    }
}
struct Down<'a>(&'a mut DownChannel);
impl RttDown for Down<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> usize {
        self.0.read(bytes)
    }
}

/// What people write first: bytes go to `write`, and what it returns is believed.
struct Naive<'a>(&'a mut UpChannel);
impl ErrorType for Naive<'_> {
    type Error = Infallible;
}
impl embedded_io_async::Write for Naive<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.write(bytes);
        Ok(bytes.len())
    }
    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

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

async fn send<S: RecordSource, W: embedded_io_async::Write>(device: &mut Device<S>, link: &mut W) {
    device.drain.heartbeat();
    let clock = &devices::HostMicros;
    let done = device
        .drain
        .drain_async(&mut device.source, link, clock, 1000);
    assert!(done.await.is_ok());
}

/// A probe that polls until told to stop, then reads what is left. `down` goes to the device.
fn poll(up: Probe, down: Probe, mut link: LinkReceiver, stop: &AtomicBool) {
    let mut replies: Vec<u8> = Vec::new();
    let mut random = fastrand::Rng::with_seed(5);
    loop {
        let is_last = stop.load(SeqCst);
        // Less than a frame at times, more than one at others.
        let bytes = up.read(random.usize(1..400));
        if bytes.is_empty() && is_last {
            return;
        }
        link.feed(&bytes, Arrival::now());
        link.poll(Arrival::now());
        replies.extend(link.take_replies().unwrap_or_default());
        let n = down.write(&replies);
        replies.drain(..n);
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn settled(gateway: &Gateway) -> GatewayLedger {
    let ledger = gateway.shutdown(Duration::from_secs(1));
    assert!(ledger.is_balanced(), "{ledger:#?}");
    ledger
}

#[test]
fn frames_over_rtt() {
    let mut channels = rtt_target::rtt_init! {
        up: {
            0: { size: 64, name: "defmt" }
            1: { size: UP_BYTES, mode: ChannelMode::NoBlockSkip, name: "spanlet" }
        }
        down: {
            0: { size: 16, name: "Terminal" }
            1: { size: DOWN_BYTES, name: "spanlet" }
        }
    };
    let (up, down) = (Probe::find(1), Probe::find(3));
    what_is_skipped_is_not_what_write_returns(&mut channels.up.1, up);
    no_host_can_make_the_writer_block(&mut channels.up.1, up);
    everything_arrives(&mut channels.up.1, &mut channels.down.1, up, down);
    trimmed_frames_are_lost_and_counted(&mut channels.up.1, up);
}

fn what_is_skipped_is_not_what_write_returns(channel: &mut UpChannel, probe: Probe) {
    channel.set_mode(ChannelMode::NoBlockSkip);
    // Room at the end and none at the start: the offsets stand at 590 and 4.
    assert_eq!(channel.write(&[1; 590]), 590);
    assert_eq!(probe.read(4).len(), 4);
    let returned = channel.write(&[2; 50]);
    assert_eq!(
        probe.channel().write.load(SeqCst),
        590,
        "nothing was written"
    );
    assert_ne!(
        returned, 0,
        "and yet it says so: whoever goes on behind it sends half a frame"
    );
    assert_ne!(
        returned, 50,
        "the whole length is the only answer that means something"
    );
    assert_eq!(probe.read(UP_BYTES), [1; 586]);
}

/// What the future gives at once.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    match core::pin::pin!(future).poll(&mut cx) {
        core::task::Poll::Ready(output) => Some(output),
        core::task::Poll::Pending => None,
    }
}

fn no_host_can_make_the_writer_block(channel: &mut UpChannel, probe: Probe) {
    let mut writer = RttWriter::new(Up(channel), HostDelay);
    assert_eq!(block_on(writer.write(&[7; 500])), Ok(500));
    probe.set_mode(ChannelMode::BlockIfFull);
    assert_eq!(
        poll_once(writer.write(&[8; 500])),
        None,
        "it waits in its task"
    );
    // Given up, it has written nothing.
    assert_eq!(probe.read(UP_BYTES), [7; 500]);
    // More than the buffer holds goes in pieces.
    assert_eq!(block_on(writer.write(&[9; 1000])), Ok(UP_BYTES - 1));
    assert_eq!(probe.read(UP_BYTES), [9; UP_BYTES - 1]);
}

fn everything_arrives(channel: &mut UpChannel, back: &mut DownChannel, up: Probe, down: Probe) {
    let gateway = Gateway::builder().start().unwrap();
    let (link, stop) = (gateway.link("rtt"), AtomicBool::new(false));
    let tracer = tracer(41);
    let delivery = Delivery::Acknowledged {
        resend_after_ticks: 1_000_000,
    };
    let mut board = device("board", 1, delivery, tracer);
    board.capabilities &= Hello::ACKNOWLEDGED;
    let mut writer = RttWriter::new(Up(channel), HostDelay);
    let mut reader = RttReader::new(Down(back), HostDelay);
    std::thread::scope(|scope| {
        scope.spawn(|| poll(up, down, link, &stop));
        board.hello();
        for n in 0..150 {
            work(tracer, n);
            // Now and then much at once: more than the channel's buffer holds.
            if n % 10 == 9 {
                (0..9).for_each(|_| work(tracer, n));
            }
            block_on(send(&mut board, &mut writer));
            let mut bytes = [0; 64];
            if let Some(read) = poll_once(reader.read(&mut bytes)) {
                board.take(&bytes[..read.unwrap()]);
            }
        }
        stop.store(true, SeqCst);
    });
    let ledger = settled(&gateway);
    let total = ledger.total();
    assert_eq!(total.to_string(), "570 started = 570 exported");
    assert_eq!((ledger.intake.damaged, ledger.intake.garbage), (0, 0));
    assert!(board.acks > 0, "the way down works");
}

fn trimmed_frames_are_lost_and_counted(channel: &mut UpChannel, up: Probe) {
    let gateway = Gateway::builder().start().unwrap();
    let mut link = gateway.link("rtt");
    let tracer = tracer(42);
    let mut board = device("board", 1, Delivery::OneWay, tracer);
    board.hello();
    channel.set_mode(ChannelMode::NoBlockTrim);
    for n in 0..100 {
        work(tracer, n);
        if n % 7 == 0 {
            (0..20).for_each(|_| work(tracer, n));
        }
        block_on(send(&mut board, &mut Naive(channel)));
        link.feed(&up.read(UP_BYTES), Arrival::now());
    }
    // What came last was whole.
    link.feed(&[0], Arrival::now());
    block_on(send(&mut board, &mut Naive(channel)));
    link.feed(&up.read(UP_BYTES), Arrival::now());
    drop(link);
    let ledger = settled(&gateway);
    let total = ledger.total();
    assert!(
        ledger.intake.damaged + ledger.intake.garbage > 0,
        "half frames"
    );
    assert!(total.link.link_lost > 0, "{total}");
    assert_eq!(total.delivered + total.link.link_lost, total.link.started);
}
