//! A TCP link that drops, duplicates, reorders, truncates and damages frames, and adds garbage, until it heals.
//! What goes down passes unharmed.
#![allow(unreachable_pub, reason = "shared by tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was done to frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Harm {
    /// All that came, harmed or not.
    pub frames: u32,
    pub dropped: u32,
    pub duplicated: u32,
    pub reordered: u32,
    pub truncated: u32,
    pub damaged: u32,
    pub garbage: u32,
}

impl Harm {
    pub(crate) fn total(&self) -> u32 {
        self.dropped
            + self.duplicated
            + self.reordered
            + self.truncated
            + self.damaged
            + self.garbage
    }
}

pub(crate) struct Proxy {
    pub address: SocketAddr,
    healed: Arc<AtomicBool>,
    harm: Arc<Mutex<Harm>>,
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let healed = Arc::new(AtomicBool::new(false));
        let harm = Arc::new(Mutex::new(Harm::default()));
        let there = (healed.clone(), harm.clone());
        thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(seed);
            while let Ok((device, _)) = listener.accept() {
                let Ok(gateway) = TcpStream::connect(to) else {
                    return;
                };
                let (down, up) = (gateway.try_clone().unwrap(), device.try_clone().unwrap());
                thread::spawn(move || pipe(down, up));
                harmful(device, gateway, &mut random, &there.0, &there.1);
            }
        });
        Proxy {
            address,
            healed,
            harm,
        }
    }
    /// From now on frames pass as they are.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }
    pub(crate) fn harm(&self) -> Harm {
        *self.harm.lock().unwrap()
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn harmful(
    mut from: TcpStream,
    mut to: TcpStream,
    random: &mut fastrand::Rng,
    healed: &AtomicBool,
    harm: &Mutex<Harm>,
) {
    let mut pending = Vec::new();
    // Held back, to go behind the next.
    let mut late: Option<Vec<u8>> = None;
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        pending.extend_from_slice(&buffer[..n]);
        while let Some(end) = pending.iter().position(|byte| *byte == 0) {
            let mut frame: Vec<u8> = pending.drain(..=end).collect();
            let mut out = Vec::new();
            let mut harm = harm.lock().unwrap();
            harm.frames += u32::from(frame.len() > 1);
            let kind = if healed.load(Ordering::Relaxed) || frame.len() == 1 {
                99
            } else {
                random.u32(..30)
            };
            match kind {
                0 | 1 => {
                    harm.dropped += 1;
                    frame.clear();
                }
                2 => {
                    harm.duplicated += 1;
                    out.extend_from_slice(&frame);
                }
                3 => {
                    harm.reordered += 1;
                    if let Some(other) = late.replace(std::mem::take(&mut frame)) {
                        out.extend(other);
                    }
                }
                4 => {
                    harm.truncated += 1;
                    frame.truncate(random.usize(1..frame.len()));
                }
                5 => {
                    harm.truncated += 1;
                    frame.drain(..random.usize(1..frame.len()));
                }
                6 | 7 => {
                    harm.damaged += 1;
                    let at = random.usize(..frame.len());
                    frame[at] ^= random.u8(1..);
                }
                8 => {
                    harm.garbage += 1;
                    out.extend((0..random.usize(1..300)).map(|_| random.u8(..)));
                }
                _ => {}
            }
            out.extend_from_slice(&frame);
            if kind != 3 && !frame.is_empty() {
                out.extend(late.take().unwrap_or_default());
            }
            if to.write_all(&out).is_err() {
                return;
            }
        }
    }
}
