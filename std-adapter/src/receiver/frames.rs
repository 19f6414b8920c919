//! Devices over TCP.
//!
//! Input: connections. Output: what the [`Gateway`] makes of their bytes; acknowledgements and questions go
//! back on the same connection. Bound: one thread a connection, a stated number of connections; a
//! device that does not read its answers is disconnected.

use super::gateway::{Gateway, GatewayBuilder, Shared, lock};
use super::ledger::GatewayLedger;
use crate::clock::Arrival;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use spanlet::frame::Link;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a silent connection is looked at.
const TURN: Duration = Duration::from_millis(50);
/// How long a device may take to read its answers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a device that does not fall silent is still listened to when the gateway stops.
const LAST_WORDS: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 16 << 10;

/// Why no port was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be resolved or listened at, or a thread cannot be started.
    Io(std::io::Error),
    /// Others could reach the address, and nobody said that they may.
    NotLoopback(SocketAddr),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Io(error) => error.fmt(f),
            BindError::NotLoopback(address) => write!(
                f,
                "{address} can be reached from other machines, and frames are neither encrypted nor \
                 authenticated: listen at 127.0.0.1, or allow it expressly"
            ),
        }
    }
}

impl core::error::Error for BindError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            BindError::Io(error) => Some(error),
            BindError::NotLoopback(_) => None,
        }
    }
}

impl From<std::io::Error> for BindError {
    fn from(error: std::io::Error) -> Self {
        BindError::Io(error)
    }
}

impl GatewayBuilder {
    /// Starts the gateway and listens for devices at `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// If the address cannot be listened at, or is not this machine's loopback and
    /// [`allow_remote`](GatewayBuilder::allow_remote) was not called.
    pub fn bind(self, address: impl ToSocketAddrs) -> Result<FrameReceiver, BindError> {
        for address in address.to_socket_addrs()? {
            if !address.ip().is_loopback() && !self.allow_remote {
                return Err(BindError::NotLoopback(address));
            }
        }
        let max_connections = self.max_connections;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let gateway = self.start()?;
        let state = Arc::new(State::default());
        let accepting = (state.clone(), gateway.shared.clone());
        let thread = std::thread::Builder::new()
            .name("spanlet-accept".into())
            .spawn(move || accept(&listener, &accepting.0, &accepting.1, max_connections))?;
        Ok(FrameReceiver {
            gateway,
            address,
            state,
            thread: Mutex::new(Some(thread)),
        })
    }
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    open: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A running gateway for devices that connect over TCP. Dropped, it shuts down within five seconds.
///
/// ```
/// use spanlet_std::receiver::Gateway;
/// use std::time::Duration;
///
/// let receiver = Gateway::builder()
///     .sink(|span| println!("{} {}", span.device.service(), span.view.name()))
///     .bind("127.0.0.1:0")?;
/// println!("devices connect to {}", receiver.local_addr());
/// let ledger = receiver.shutdown(Duration::from_secs(1));
/// assert!(ledger.is_balanced());
/// # Ok::<(), spanlet_std::receiver::BindError>(())
/// ```
pub struct FrameReceiver {
    gateway: Gateway,
    address: SocketAddr,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FrameReceiver {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
    /// The gateway behind it: its ledger, its errors, more links.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    /// What became of all spans so far.
    #[must_use]
    pub fn ledger(&self) -> GatewayLedger {
        self.gateway.ledger()
    }
    /// Devices connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        // ORDERING: a count.
        self.state.open.load(Ordering::Relaxed)
    }
    /// Sends what has come in so far. `false` if `timeout` ran out first.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.gateway.flush(timeout)
    }
    /// Closes the port, reads what the connections still hold, sends it, and stops. Returns the final ledger.
    pub fn shutdown(&self, timeout: Duration) -> GatewayLedger {
        let until = Instant::now() + timeout;
        // ORDERING: a flag without data; a connection that is just accepted sees it at its next turn.
        self.state.stopping.store(true, Ordering::Relaxed);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            while !thread.is_finished() {
                // Wakes the accepting thread; it finds the flag.
                drop(TcpStream::connect_timeout(&self.wake_address(), TURN));
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(thread.join());
        }
        for thread in core::mem::take(&mut *lock(&self.state.threads)) {
            // A sink that panicked has been reported by its thread.
            drop(thread.join());
        }
        let left = until.saturating_duration_since(Instant::now());
        self.gateway.shutdown(left)
    }
    /// An address that leads to the port from here.
    fn wake_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }
}

impl fmt::Debug for FrameReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReceiver")
            .field("address", &self.address)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(5));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>, shared: &Arc<Shared>, max: usize) {
    loop {
        let connection = listener.accept();
        // ORDERING: see `shutdown`.
        if state.stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok((stream, peer)) = connection else {
            // Out of descriptors, or a connection that went away at once: the next may be better.
            std::thread::sleep(TURN);
            continue;
        };
        lock(&state.threads).retain(|thread| !thread.is_finished());
        // ORDERING: a count; only this thread adds.
        if state.open.load(Ordering::Relaxed) >= max {
            lock(&shared.intake).connections_refused += 1;
            continue;
        }
        state.open.fetch_add(1, Ordering::Relaxed);
        let (open, shared_there) = (Open(state.clone()), shared.clone());
        let thread = std::thread::Builder::new()
            .name("spanlet-device".into())
            .spawn(move || serve(stream, peer, &open.0, &shared_there));
        match thread {
            Ok(thread) => {
                lock(&shared.intake).connections += 1;
                lock(&state.threads).push(thread);
            }
            Err(_) => lock(&shared.intake).connections_refused += 1,
        }
    }
}

/// Counts a connection down, however its thread ends.
struct Open(Arc<State>);
impl Drop for Open {
    fn drop(&mut self) {
        // ORDERING: a count.
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: TcpStream, peer: SocketAddr, state: &State, shared: &Arc<Shared>) {
    let link = super::LinkReceiver::new(shared.clone(), &peer.ip().to_string(), Link::stream());
    converse(stream, link, &state.stopping);
}

/// Takes what comes over `stream` and answers, until it ends or `stopping` is set. Whether anything came.
pub(super) fn converse(
    mut stream: TcpStream,
    mut link: super::LinkReceiver,
    stopping: &AtomicBool,
) -> bool {
    let settings = [
        stream.set_nodelay(true),
        stream.set_read_timeout(Some(TURN)),
        stream.set_write_timeout(Some(WRITE_TIMEOUT)),
    ];
    let Ok(writer) = stream.try_clone() else {
        return false;
    };
    if settings.iter().any(Result::is_err) {
        return false;
    }
    link.set_writer(writer);
    let mut buffer = vec![0; READ_BYTES];
    let (mut last_until, mut has_come) = (None, false);
    loop {
        // ORDERING: see `shutdown`.
        let is_last = stopping.load(Ordering::Relaxed);
        if is_last
            && *last_until.get_or_insert_with(|| Instant::now() + LAST_WORDS) < Instant::now()
        {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                has_come = true;
                link.feed(buffer.get(..n).unwrap_or_default(), Arrival::now());
            }
            Err(error) if is_wait(error.kind()) => {
                if is_last {
                    break;
                }
            }
            Err(_) => break,
        }
        link.poll(Arrival::now());
        if link.flush().is_err() {
            break;
        }
    }
    // The device may have gone already.
    let _ = stream.shutdown(Shutdown::Both);
    has_come
}

fn is_wait(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
