//! Devices behind something that the gateway has to go to: a bridge that listens, an input of this process.
//!
//! Input: a TCP server that hands on a device's bytes (OpenOCD's RTT server, `ser2net`, QEMU), or a
//! stream (standard input). Output: what the [`Gateway`] makes of them; answers go back over TCP. Bound:
//! one thread a connection, two an input. A bridge that is not there is tried again for as long as the
//! [`Connector`] lives, and each attempt that fails is counted.

use super::Arrival;
use super::frames::converse;
use super::gateway::{Gateway, Shared, lock};
use super::link::LinkReceiver;
use core::sync::atomic::{AtomicBool, Ordering};
use spanlet::frame::Link;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an address has to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts: this, then twice as long each time, to a limit; from the start again when bytes have come.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often a silent input is looked at.
const TURN: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 16 << 10;
/// Reads of an input that wait for the gateway.
const READS_WAITING: usize = 4;

impl Gateway {
    /// Connects to `address` (`host:port`), takes a device's stream from there, and connects again whenever the
    /// connection ends, for as long as the result lives.
    ///
    /// Bytes that the bridge had no client for are gone, unless the device keeps its records until they are
    /// acknowledged.
    ///
    /// ```
    /// use spanlet_std::receiver::Gateway;
    ///
    /// let gateway = Gateway::builder().start()?;
    /// let bridge = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let connector = gateway.connect(&bridge.local_addr()?.to_string())?;
    /// let (_stream, _) = bridge.accept()?;
    /// connector.stop();
    /// assert_eq!(gateway.ledger().intake.connections, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a thread cannot be started. An address that does not answer, or is none, is tried again and told by
    /// [`last_error`](Connector::last_error).
    pub fn connect(&self, address: &str) -> std::io::Result<Connector> {
        let (shared, address) = (self.shared.clone(), address.to_owned());
        Connector::start(move |state| keep_connected(&address, state, &shared))
    }
    /// Takes a device's stream from `input` until it ends. `name` is the link's, as with
    /// [`link`](Self::link). There is no way back: the device's delivery must be one-way.
    ///
    /// ```
    /// use spanlet_std::receiver::Gateway;
    ///
    /// let gateway = Gateway::builder().start()?;
    /// let connector = gateway.read_from("capture", &b"no frame\0"[..])?;
    /// while !connector.is_finished() {
    ///     std::thread::yield_now();
    /// }
    /// connector.stop();
    /// assert_eq!(gateway.ledger().intake.garbage, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn read_from(
        &self,
        name: &str,
        input: impl Read + Send + 'static,
    ) -> std::io::Result<Connector> {
        let link = self.link(name);
        let (to_gateway, chunks) = sync_channel(READS_WAITING);
        let connector = Connector::start(move |state| take_chunks(link, &chunks, state))?;
        let state = connector.state.clone();
        // Left to itself: nothing ends a read of an input that is silent.
        std::thread::Builder::new()
            .name("spanlet-input".into())
            .spawn(move || {
                let failed = read_chunks(input, |chunk| to_gateway.send(chunk).is_ok());
                if let Err(error) = failed {
                    *lock(&state.last_error) = Some(error.to_string());
                }
            })?;
        Ok(connector)
    }
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    connected: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl State {
    fn is_stopping(&self) -> bool {
        // ORDERING: a flag without data, looked at each turn.
        self.stopping.load(Ordering::Relaxed)
    }
}

/// A link that the gateway keeps up; see [`Gateway::connect`] and [`Gateway::read_from`]. Dropped, it ends; to be
/// dropped before its gateway is shut down, or what comes after is not exported.
#[must_use = "dropped, it ends"]
pub struct Connector {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Connector {
    fn start(work: impl FnOnce(&State) + Send + 'static) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let there = state.clone();
        let thread = std::thread::Builder::new()
            .name("spanlet-device".into())
            .spawn(move || work(&there))?;
        Ok(Connector {
            state,
            thread: Some(thread),
        })
    }
    /// Whether the far end is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        // ORDERING: a snapshot.
        self.state.connected.load(Ordering::Relaxed)
    }
    /// Whether nothing more will come: the input has ended. Never so with [`Gateway::connect`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
    /// Why the last attempt or the input failed, if it did.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        lock(&self.state.last_error).clone()
    }
    /// Ends it, within two seconds or the time of a name's resolution. What has come in is delivered.
    pub fn stop(mut self) {
        self.end();
    }
    fn end(&mut self) {
        // ORDERING: see `is_stopping`.
        self.state.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A sink that panicked has been reported by its thread.
            drop(thread.join());
        }
    }
}

impl core::fmt::Debug for Connector {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connector")
            .field("connected", &self.is_connected())
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep_connected(address: &str, state: &State, shared: &Arc<Shared>) {
    let mut pause = BACKOFF;
    while !state.is_stopping() {
        match connect(address) {
            Ok(stream) => {
                lock(&shared.intake).connections += 1;
                // ORDERING: a snapshot for others.
                state.connected.store(true, Ordering::Relaxed);
                let link = LinkReceiver::new(shared.clone(), address, Link::stream());
                if converse(stream, link, &state.stopping) {
                    pause = BACKOFF;
                }
                state.connected.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                lock(&shared.intake).connects_failed += 1;
                *lock(&state.last_error) = Some(format!("{address}: {error}"));
            }
        }
        if !state.is_stopping() {
            // Several gateways that lost one bridge come back apart from each other.
            std::thread::park_timeout(pause.mul_f32(0.75 + 0.5 * fastrand::f32()));
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }
}

/// The first of the name's addresses that answers.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_chunks(
    mut input: impl Read,
    mut send: impl FnMut((Vec<u8>, Arrival)) -> bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                if !send((bytes, Arrival::now())) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn take_chunks(mut link: LinkReceiver, chunks: &Receiver<(Vec<u8>, Arrival)>, state: &State) {
    link.set_writer(NoWayBack);
    // ORDERING: a snapshot for others.
    state.connected.store(true, Ordering::Relaxed);
    while !state.is_stopping() {
        match chunks.recv_timeout(TURN) {
            Ok((bytes, arrival)) => link.feed(&bytes, arrival),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        link.poll(Arrival::now());
        // Nobody hears them.
        let _ = link.flush();
    }
    state.connected.store(false, Ordering::Relaxed);
}

/// Refuses, so that whoever sends a command over an input is told.
struct NoWayBack;

impl Write for NoWayBack {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        let text = "an input has no way back";
        Err(std::io::Error::new(ErrorKind::Unsupported, text))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
