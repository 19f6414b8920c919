//! A device, its link and its host under virtual time.

use super::super::{Arrival, ClockConfig, ClockError, ClockMap};
use spanlet::frame::ClockPong;
use spanlet::{TickRate, Ticks};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

pub(super) const MS: i64 = 1_000_000;
pub(super) const SECOND: i64 = 1_000_000_000;
/// Unix time of the simulation's beginning.
pub(super) const EPOCH_NS: i64 = 1_700_000_000 * SECOND;

/// A device's clock: off by a constant, and swinging about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Oscillator {
    pub(super) hz: u64,
    /// Real time of tick 0.
    pub(super) booted: i64,
    /// Real time per device time, less 1.
    pub(super) off: f64,
    pub(super) swing: f64,
    pub(super) period_ns: f64,
}

impl Oscillator {
    pub(super) fn steady(hz: u64, off_ppm: f64) -> Self {
        Oscillator {
            hz,
            booted: -7 * SECOND,
            off: off_ppm / 1e6,
            swing: 0.0,
            period_ns: 1e12,
        }
    }
    /// Real time of a device time.
    pub(super) fn real(&self, device: f64) -> f64 {
        let turn = core::f64::consts::TAU / self.period_ns;
        let swung = self.swing / turn * (1.0 - (turn * device).cos());
        self.booted as f64 + device * (1.0 + self.off) + swung
    }
    pub(super) fn device(&self, real: i64) -> f64 {
        let mut device = (real - self.booted) as f64;
        for _ in 0..30 {
            device -= self.real(device) - real as f64;
        }
        device
    }
    pub(super) fn ticks(&self, real: i64) -> Ticks {
        // A hair later, against the last bit of the inversion: the tick is the one that has begun.
        Ticks(((self.device(real) + 1e-3) * self.hz as f64 / 1e9) as u64)
    }
    /// The largest change of the rate in parts per 10^9 a second.
    pub(super) fn change(&self) -> u32 {
        (self.swing * core::f64::consts::TAU / self.period_ns * 1e18).ceil() as u32
    }
}

/// A way: each delay is at least the least, and some are much longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) least: i64,
    pub(super) jitter: i64,
    /// In 100 messages so many are late, by up to so much.
    pub(super) late: u64,
    pub(super) late_by: i64,
}

/// Numbers without a source of randomness.
struct Dice(u64);
impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % n.max(1) as u64) as i64
    }
    fn delay(&mut self, way: Way) -> i64 {
        let late = if (self.below(100) as u64) < way.late {
            self.below(way.late_by)
        } else {
            0
        };
        way.least + self.below(way.jitter + 1) + late
    }
}

/// What happens to the host at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host {
    /// Its wall clock is set.
    Step(i64),
    /// It sleeps: its monotonic clock stands, all arrivals wait.
    Sleep(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) oscillator: Oscillator,
    pub(super) config: ClockConfig,
    pub(super) up: Way,
    pub(super) down: Way,
    /// Of 100 pings so many are lost; 100 for a device that answers none.
    pub(super) lost: u64,
    /// How long an answer waits in the device behind other frames, at most.
    pub(super) queue: i64,
    pub(super) frames_every: i64,
    pub(super) reorders: bool,
    pub(super) seconds: i64,
    pub(super) host: Vec<(i64, Host)>,
    /// Spans are exported with the frame that comes so much later.
    pub(super) kept_back: i64,
    /// The longest span.
    pub(super) longest: i64,
    pub(super) seed: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy, Debug)]
enum Event {
    /// The device sends.
    Send,
    /// A frame that was sent then arrives.
    Frame(i64),
    Poll,
    /// A ping arrives at the device.
    Heard(u32),
    /// An answer is put on the wire.
    Answer(u32, Ticks),
    /// An answer arrives.
    Answered(u32, Ticks, Ticks),
    /// One of `host`.
    Host(usize),
}

/// Of the spans of a run: exported when, whether bounded and how far, and how far off in truth.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) spans: Vec<(i64, Option<i64>, i64)>,
}

impl Outcome {
    pub(super) fn bounded(&self) -> usize {
        self.spans
            .iter()
            .filter(|(_, bound, _)| bound.is_some())
            .count()
    }
    /// The widest bound of spans exported after a time.
    pub(super) fn widest_after(&self, real: i64) -> Option<i64> {
        let later = self.spans.iter().filter(|(at, ..)| *at >= real);
        later.filter_map(|(_, bound, _)| *bound).max()
    }
    pub(super) fn worst_after(&self, real: i64) -> i64 {
        let later = self.spans.iter().filter(|(at, ..)| *at >= real);
        later.map(|(.., off)| *off).max().unwrap_or(0)
    }
}

/// Runs it and checks each span.
pub(super) fn run(setup: &Setup) -> Outcome {
    let start = Instant::now();
    let oscillator = setup.oscillator;
    let rate = TickRate::hz(oscillator.hz).unwrap();
    let mut map = ClockMap::new(rate, setup.config, None);
    let mut dice = Dice(setup.seed);
    let mut events = BinaryHeap::new();
    let mut at = |time: i64, event| events.push(Reverse((time, event)));
    at(0, Event::Send);
    at(0, Event::Poll);
    for (i, (when, _)) in setup.host.iter().enumerate() {
        at(*when, Event::Host(i));
    }
    let (mut wall, mut slept, mut awake) = (EPOCH_NS, 0, 0);
    let mut last_ping: Option<Instant> = None;
    // Start and end in real time, in the order of their ends.
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut outcome = Outcome::default();
    let mut last_arrival = 0;
    let mut answers_until = 0;
    while let Some(Reverse((now, event))) = events.pop() {
        let mut at = |time: i64, event| events.push(Reverse((time, event)));
        let is_hosts = !matches!(event, Event::Send | Event::Heard(_) | Event::Answer(..));
        if is_hosts && now < awake {
            at(awake, event);
            continue;
        }
        let host = Arrival {
            at: start + Duration::from_nanos((now - slept) as u64),
            unix_ns: (now + wall) as u64,
        };
        match event {
            Event::Send => {
                if now < setup.seconds * SECOND {
                    at(now + 1 + dice.below(2 * setup.frames_every), Event::Send);
                }
                let length = dice.below(setup.longest) * dice.below(2);
                spans.push((now - length, now - dice.below(length + 1)));
                let arrival = now + dice.delay(setup.up);
                let arrival = if setup.reorders {
                    arrival
                } else {
                    arrival.max(last_arrival)
                };
                last_arrival = arrival;
                at(arrival, Event::Frame(now));
            }
            Event::Poll => {
                if now < setup.seconds * SECOND {
                    at(now + 50 * MS, Event::Poll);
                }
                let pause = map.ping_pause(Duration::from_secs(5));
                if setup.lost < 100
                    && last_ping.is_none_or(|last| host.at.duration_since(last) >= pause)
                {
                    last_ping = Some(host.at);
                    let ping = map.ping(host);
                    if dice.below(100) as u64 >= setup.lost {
                        at(now + dice.delay(setup.down), Event::Heard(ping.id));
                    }
                }
            }
            Event::Heard(id) => {
                at(
                    now + dice.below(setup.queue + 1),
                    Event::Answer(id, oscillator.ticks(now)),
                );
            }
            Event::Answer(id, heard) => {
                let arrival = now + dice.delay(setup.up);
                let arrival = if setup.reorders {
                    arrival
                } else {
                    arrival.max(answers_until)
                };
                answers_until = arrival;
                at(arrival, Event::Answered(id, heard, oscillator.ticks(now)));
            }
            Event::Answered(id, heard, sent) => {
                let pong = ClockPong {
                    id,
                    host_unix_nanos: 0,
                    received_at_ticks: heard.0,
                };
                map.answered(&pong, sent, host);
            }
            Event::Host(i) => match setup.host[i].1 {
                Host::Step(by) => wall += by,
                Host::Sleep(for_ns) => {
                    awake = now + for_ns;
                    slept += for_ns;
                }
            },
            Event::Frame(sent) => {
                map.sent(oscillator.ticks(sent), host);
                let ready = spans
                    .iter()
                    .take_while(|(_, end)| end + setup.kept_back <= sent)
                    .count();
                for (from, to) in spans.drain(..ready) {
                    if oscillator.device(from) < 0.0 {
                        continue;
                    }
                    let (first, last) = (oscillator.ticks(from), oscillator.ticks(to));
                    map.carried(last);
                    let place = map.map(first, last);
                    let placed = [(first, from), (last, to)]
                        .map(|(ticks, real)| (place.anchor.unix_nanos(ticks) as i64, real + wall));
                    assert!(placed[0].0 <= placed[1].0, "it ends before it starts");
                    let off = placed
                        .map(|(is, should)| (is - should).abs())
                        .into_iter()
                        .max()
                        .unwrap();
                    let bound = match place.error {
                        ClockError::Within(ns) => {
                            assert!(
                                off <= ns as i64,
                                "{off} ns off at {now}, stated were {ns}: {setup:?}"
                            );
                            Some(ns as i64)
                        }
                        ClockError::Unknown => None,
                        ClockError::Stated => panic!("nobody stated it"),
                    };
                    outcome.spans.push((now, bound, off));
                }
            }
        }
    }
    assert!(!outcome.spans.is_empty(), "{setup:?}");
    outcome
}

pub(super) const QUIET: Way = Way {
    least: 200_000,
    jitter: 0,
    late: 0,
    late_by: 1,
};

pub(super) fn setup(oscillator: Oscillator) -> Setup {
    Setup {
        oscillator,
        config: ClockConfig::default(),
        up: QUIET,
        down: QUIET,
        lost: 0,
        queue: 0,
        frames_every: 100 * MS,
        reorders: false,
        seconds: 120,
        host: Vec::new(),
        kept_back: 0,
        longest: 20 * MS,
        seed: 1,
    }
}
