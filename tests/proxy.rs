//! [`FaultyLink`]s over TCP, between a device and its gateway.
//!
//! Input: connections of devices. Output: each continued to the gateway, with the faults of that direction. Bound:
//! a connection has two threads; while the link is stalled nothing is read, so that writers wait as at a
//! serial port that is held back.

use crate::faults::{Faults, FaultyLink, Harm};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const TURN: Duration = Duration::from_millis(1);

/// What the link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass, with the faults that are set.
    Pass,
    /// The cable is out: bytes vanish, both ways.
    Cut,
    /// The other end is busy: bytes wait, both ways.
    Stall,
}

struct Link {
    mode: Mode,
    up: FaultyLink,
    down: FaultyLink,
    /// Bytes that a cut left of a frame under way.
    up_rest: Vec<u8>,
    down_rest: Vec<u8>,
}

/// A running proxy. Its threads end with their connections; it ends with the process.
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Mutex<Link>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens at `at` and connects to `gateway` for each device. `up` is done to what devices send, `down` to
    /// what comes back.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(
        at: impl ToSocketAddrs,
        gateway: SocketAddr,
        seed: u64,
        up: Faults,
        down: Faults,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at)?;
        let address = listener.local_addr()?;
        let link = Arc::new(Mutex::new(Link {
            mode: Mode::Pass,
            up: FaultyLink::new(seed, up),
            down: FaultyLink::new(!seed, down),
            up_rest: Vec::new(),
            down_rest: Vec::new(),
        }));
        let there = link.clone();
        thread::spawn(move || {
            while let Ok((device, _)) = listener.accept() {
                let Ok(gateway) = TcpStream::connect(gateway) else {
                    // As a device finds it whose gateway is away.
                    continue;
                };
                let (Ok(from), Ok(to)) = (gateway.try_clone(), device.try_clone()) else {
                    continue;
                };
                let (up, down) = (there.clone(), there.clone());
                thread::spawn(move || pipe(device, gateway, &up, true));
                thread::spawn(move || pipe(from, to, &down, false));
            }
        });
        Ok(Proxy { address, link })
    }
    /// Where devices connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Passes, cuts or stalls from now on.
    pub fn set_mode(&self, mode: Mode) {
        let mut link = lock(&self.link);
        link.mode = mode;
        let Link {
            up,
            down,
            up_rest,
            down_rest,
            ..
        } = &mut *link;
        up.cut(mode == Mode::Cut, up_rest);
        down.cut(mode == Mode::Cut, down_rest);
    }
    /// From now on these.
    pub fn set_faults(&self, up: Faults, down: Faults) {
        let mut link = lock(&self.link);
        link.up.set_faults(up);
        link.down.set_faults(down);
    }
    /// No faults from now on, and what comes passes.
    pub fn heal(&self) {
        self.set_faults(Faults::NONE, Faults::NONE);
        self.set_mode(Mode::Pass);
    }
    /// What was done to what devices sent, and to what came back.
    pub fn harm(&self) -> (Harm, Harm) {
        let link = lock(&self.link);
        (link.up.harm(), link.down.harm())
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, link: &Mutex<Link>, is_up: bool) {
    let settings = [from.set_read_timeout(Some(TURN)), to.set_nodelay(true)];
    if settings.iter().all(Result::is_ok) {
        let mut buffer = [0; 1024];
        loop {
            if lock(link).mode == Mode::Stall {
                thread::sleep(TURN);
                continue;
            }
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                Err(_) => break,
            };
            let mut out = Vec::new();
            {
                let mut link = lock(link);
                let Link {
                    up,
                    down,
                    up_rest,
                    down_rest,
                    ..
                } = &mut *link;
                let (way, rest) = if is_up {
                    (up, up_rest)
                } else {
                    (down, down_rest)
                };
                out.append(rest);
                way.pass(buffer.get(..n).unwrap_or_default(), &mut out);
            }
            if !out.is_empty() && to.write_all(&out).is_err() {
                break;
            }
        }
    }
    // One end is gone: so is the other.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
