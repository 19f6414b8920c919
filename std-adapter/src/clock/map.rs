//! The clock of one device and boot.
//!
//! Input: sendings, answers to pings, the first arrival of the next boot. Output: anchors with their errors. Bound:
//! [`FIXES`] fixes, whatever the time and the traffic.

use super::bounds::{Fix, Offset, Oscillator, Rate, drift, to_ppb};
use super::pings::Pings;
use super::skew::Skew;
use super::{Arrival, ClockConfig, ClockError};
use spanlet::frame::{ClockPing, ClockPong};
use spanlet::{TickRate, Ticks, UnixAnchor};
use std::time::{Duration, Instant};

/// Fixes that are kept, the closer together the newer they are.
const FIXES: usize = 64;
/// The least time between two, unless a ping was answered.
const BETWEEN_FIXES_NS: i128 = 1_000_000_000;
/// What the wall clock's readings are off each other without its having moved.
const WALL_NOISE_NS: i128 = 20_000;
/// What counts as a step of the wall clock; a thousandth of the time since the last arrival is added.
const STEP_NS: i128 = 1_000_000;
/// How much worse than the best the line in use may be, besides an eighth of the bounds' distance.
const TOLERANCE_NS: i128 = 20_000;
/// The same where there are no bounds.
const TOLERANCE_UNKNOWN_NS: i128 = 250_000;
/// Frames in a row from before the newest, each after the one before, that say that the clock was set back.
const BEHIND: u32 = 8;
/// How long spans wait for the first answer to a ping.
const SETTLE: Duration = Duration::from_secs(1);

/// Where the ticks are on the host's clock: a straight line.
#[derive(Clone, Copy, Debug)]
struct Line {
    ticks: Ticks,
    at: i128,
    offset: i128,
    rate: i64,
}

impl Line {
    fn offset_at(&self, at: i128) -> i128 {
        self.offset + drift(self.rate, at - self.at)
    }
    /// The same on the wall clock.
    fn anchor(&self, wall: i128, tick_rate: TickRate) -> UnixAnchor {
        let unix = (wall + self.at + self.offset).max(0);
        let unix = u64::try_from(unix).unwrap_or(u64::MAX);
        UnixAnchor::new(self.ticks, unix, tick_rate).with_drift_ppb(to_ppb(self.rate))
    }
}

/// A place for spans: the mapping, and how far it may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) anchor: UnixAnchor,
    pub(crate) error: ClockError,
}

#[derive(Debug)]
pub(crate) struct ClockMap {
    oscillator: Oscillator,
    max_link_delay_ns: Option<i128>,
    tick_rate: TickRate,
    /// A tick in nanoseconds, where that is a whole number.
    whole_tick_ns: Option<u64>,
    /// How long a tick may last: what a time of the device is off by itself.
    tick_slack: i128,
    /// Unix time of tick 0, where it is given and not found out.
    fixed: Option<u64>,
    opened: Instant,
    /// Wall minus monotonic clock as it is in use, and as it was at the last arrival.
    wall: Option<(i128, i128)>,
    last_arrival: Option<Instant>,
    newest: Option<Fix>,
    fixes: Vec<Fix>,
    skew: Skew,
    /// The line in use, and its anchor at some offset of the wall clock.
    line: Option<(Line, i128, UnixAnchor)>,
    /// Half of the closest bounds.
    best_half: Option<i128>,
    pings: Pings,
    has_answered: bool,
    /// The last frame from before the newest, and how many in a row.
    behind: (i128, u32),
    /// When the next boot was first heard, and the newest time of this one that had been seen by then.
    ended: Option<(i128, i128)>,
    /// The device's rate, from before the bounds began anew.
    known_rate: Option<(i128, Rate)>,
}

impl ClockMap {
    pub(crate) fn new(tick_rate: TickRate, config: ClockConfig, fixed: Option<u64>) -> Self {
        let oscillator = Oscillator::new(&config);
        let hz = tick_rate.as_hz();
        let tick_ns = 1_000_000_000 / hz;
        let tick = i128::from(tick_ns) + 1;
        let delay = config.max_link_delay;
        ClockMap {
            max_link_delay_ns: delay
                .map(|d| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX >> 8)),
            tick_rate,
            whole_tick_ns: (tick_ns * hz == 1_000_000_000).then_some(tick_ns),
            tick_slack: tick + drift(oscillator.max_rate(), tick) + 1,
            oscillator,
            fixed,
            opened: Instant::now(),
            wall: None,
            last_arrival: None,
            newest: None,
            fixes: Vec::new(),
            skew: Skew::default(),
            line: None,
            best_half: None,
            pings: Pings::default(),
            has_answered: false,
            behind: (0, 0),
            ended: None,
            known_rate: None,
        }
    }
    fn device_ns(&self, ticks: Ticks) -> i128 {
        // 64 bits times 1e9 stay below 2^94.
        match self.whole_tick_ns {
            Some(ns) => i128::from(ticks.0) * i128::from(ns),
            None => i128::from(ticks.0) * 1_000_000_000 / i128::from(self.tick_rate.as_hz()),
        }
    }
    /// On the host's monotonic clock, from when this map was made.
    fn host_ns(&self, at: Instant) -> i128 {
        let signed = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
        match at.checked_duration_since(self.opened) {
            Some(after) => signed(after),
            None => -signed(self.opened.saturating_duration_since(at)),
        }
    }

    /// A frame that was sent at `sent_at` has arrived.
    pub(crate) fn sent(&mut self, sent_at: Ticks, arrival: Arrival) {
        self.turn(arrival);
        let (at, host) = (self.device_ns(sent_at), self.host_ns(arrival.at));
        let high = host - at;
        let low = (self.max_link_delay_ns).map(|delay| high - delay - self.tick_slack);
        let is_late = self.newest.is_some_and(|newest| at < newest.at);
        if is_late {
            let (last, count) = self.behind;
            self.behind = (at, if at > last { count + 1 } else { 1 });
            if self.behind.1 >= BEHIND {
                self.restart(true);
            }
        } else {
            self.behind = (0, 0);
        }
        self.measured(
            sent_at,
            Offset {
                low,
                high: Some(high),
            },
        );
        if self.ended.is_none() {
            self.skew.push(at, high);
        }
        self.keep(false);
        self.settle();
    }
    /// A ping to send; the next is due after [`ping_pause`](Self::ping_pause).
    pub(crate) fn ping(&mut self, now: Arrival) -> ClockPing {
        self.pings.ask(now.at, now.unix_ns)
    }
    pub(crate) fn ping_pause(&self, period: Duration) -> Duration {
        self.pings.pause(period)
    }
    /// The answer to a ping, sent at `sent_at`. An answer to nothing that was asked is passed over.
    pub(crate) fn answered(&mut self, pong: &ClockPong, sent_at: Ticks, arrival: Arrival) {
        // First of all, for it may void what was asked.
        self.turn(arrival);
        let Some(asked) = self.pings.answered(pong.id) else {
            return;
        };
        if pong.received_at() > sent_at {
            return;
        }
        // Whoever answers is alive, whatever other boot was heard.
        self.ended = None;
        self.has_answered = true;
        self.sent(sent_at, arrival);
        let heard = self.device_ns(pong.received_at());
        let low = Some(self.host_ns(asked) - heard - self.tick_slack);
        self.measured(pong.received_at(), Offset { low, high: None });
        self.keep(true);
        self.settle();
    }
    /// The device has booted anew: nothing of this boot happened after `first_arrival`.
    pub(crate) fn ended(&mut self, first_arrival: Arrival) {
        if self.ended.is_none() {
            self.ended = Some((self.host_ns(first_arrival.at), i128::MIN));
        }
    }
    /// Whether spans had better wait for an answer to the first pings.
    pub(crate) fn is_settling(&self, now: Instant) -> bool {
        self.fixed.is_none()
            && !self.has_answered
            && now.saturating_duration_since(self.opened) < SETTLE
    }

    /// Follows the wall clock, and begins anew when it was set or the host asleep.
    fn turn(&mut self, arrival: Arrival) {
        let now = i128::from(arrival.unix_ns) - self.host_ns(arrival.at);
        let since = match self.last_arrival {
            Some(last) => arrival.at.saturating_duration_since(last),
            None => Duration::ZERO,
        };
        self.last_arrival = Some(arrival.at);
        self.wall = Some(match self.wall {
            None => (now, now),
            Some((used, last)) => {
                let slewed = i128::try_from(since.as_nanos() / 1000).unwrap_or(0);
                if (now - last).abs() > STEP_NS + slewed {
                    self.restart(true);
                    (now, now)
                } else if (now - used).abs() > WALL_NOISE_NS {
                    (now, now)
                } else {
                    (used, now)
                }
            }
        });
    }
    /// What was known of the offset is void. The device's rate is its own, and stays if that was not in doubt.
    fn restart(&mut self, keep_rate: bool) {
        let newest = self.newest.take().filter(|_| keep_rate);
        self.known_rate = newest.map(|newest| (newest.at, newest.rate));
        self.fixes.clear();
        self.skew = Skew::default();
        self.line = None;
        self.best_half = None;
        self.behind = (0, 0);
        self.pings.restart();
    }
    /// Takes bounds of the offset at a moment of the device.
    fn measured(&mut self, ticks: Ticks, offset: Offset) {
        let at = self.device_ns(ticks);
        let oscillator = self.oscillator;
        let mut fix = match self.newest {
            None => {
                let known = self.known_rate;
                let known = known.map(|(then, rate)| rate.loosened(at - then, &oscillator));
                Fix {
                    ticks,
                    at,
                    offset: Offset::default(),
                    rate: known.unwrap_or(Rate::unknown(&oscillator)),
                }
            }
            Some(newest) if at > newest.at => newest.moved(ticks, at, &oscillator),
            Some(newest) => newest,
        };
        let there = match at < fix.at {
            true => fix.from_earlier(at, offset, &oscillator),
            false => offset,
        };
        fix.offset = fix.offset.within(there);
        if fix.offset.is_possible() {
            self.newest = Some(fix);
            return;
        }
        // One of the assumptions does not hold, or the device's timer has stopped for a while.
        self.restart(false);
        self.newest = Some(Fix {
            ticks,
            at,
            offset,
            rate: Rate::unknown(&oscillator),
        });
    }
    /// Learns the rate and keeps a fix, now and then.
    fn keep(&mut self, is_answer: bool) {
        let Some(mut fix) = self.newest else { return };
        let is_due = self.max_link_delay_ns.is_some()
            && (self.fixes.last()).is_none_or(|last| fix.at - last.at >= BETWEEN_FIXES_NS);
        let Some(half) = fix.offset.half().filter(|_| is_answer || is_due) else {
            return;
        };
        for earlier in &self.fixes {
            let learnt = fix.rate_since(earlier, &self.oscillator);
            fix.rate = fix.rate.within(learnt);
        }
        if fix.rate.low > fix.rate.high {
            self.restart(false);
            fix.rate = Rate::unknown(&self.oscillator);
        }
        self.newest = Some(fix);
        self.best_half = Some(self.best_half.map_or(half, |best| best.min(half)));
        if self.fixes.last().is_some_and(|last| last.at >= fix.at) {
            self.fixes.pop();
        }
        if self.fixes.len() >= FIXES {
            self.thin(fix.at);
        }
        self.fixes.push(fix);
    }
    /// Leaves out the fix that is missed least: in the smallest gap for its age.
    fn thin(&mut self, now: i128) {
        let gap_for_age = |i: &usize| {
            let near = |i: usize| self.fixes.get(i).map_or(0, |fix| fix.at);
            let gap = near(i + 1) - near(i - 1);
            gap.saturating_mul(1000) / (now - near(*i)).max(1)
        };
        let least = (1..self.fixes.len().saturating_sub(1)).min_by_key(gap_for_age);
        self.fixes.remove(least.unwrap_or(0));
    }
    /// Draws the line anew if it is much worse than the best.
    fn settle(&mut self) {
        let Some(newest) = self.newest else { return };
        let (offset, rate, tolerance) = match (newest.offset.low, newest.offset.high) {
            (Some(low), Some(high)) => {
                let eighth = (high - low) / 8;
                let eighth = self.best_half.map_or(eighth, |best| eighth.min(best));
                let offset = self.estimate(low, high);
                (offset, newest.rate.middle(), eighth + TOLERANCE_NS)
            }
            (None, Some(high)) => {
                let guess = self.skew.guess(newest.at, self.oscillator.max_rate());
                let (offset, rate) = guess.map_or((high, 0), |guess| (guess.offset, guess.rate));
                (offset, rate, TOLERANCE_UNKNOWN_NS)
            }
            (Some(low), None) => (low, newest.rate.middle(), TOLERANCE_UNKNOWN_NS),
            (None, None) => return,
        };
        let (wall, _) = self.wall.unwrap_or_default();
        let line = match self.line {
            Some((line, ..)) if (line.offset_at(newest.at) - offset).abs() > tolerance => None,
            Some((_, drawn_at, _)) if drawn_at == wall => return,
            line => line.map(|(line, ..)| line),
        };
        let line = line.unwrap_or(Line {
            ticks: newest.ticks,
            at: newest.at,
            offset,
            rate,
        });
        self.line = Some((line, wall, line.anchor(wall, self.tick_rate)));
    }
    /// The middle of the bounds. Where the lower has fallen far behind, because no ping was answered for long: as far
    /// below the upper as in better times, since frames still arrive.
    fn estimate(&self, low: i128, high: i128) -> i128 {
        let middle = low.midpoint(high);
        match self.best_half {
            Some(best) if high - low > 8 * best + STEP_NS => middle.max(high - 2 * best),
            _ => middle,
        }
    }
    /// The fixes before and after a moment.
    fn around(&self, at: i128) -> (Option<&Fix>, Option<&Fix>) {
        let after = self.fixes.partition_point(|fix| fix.at <= at);
        let before = after.checked_sub(1).and_then(|i| self.fixes.get(i));
        let newest = self.newest.as_ref().filter(|newest| newest.at > at);
        (before, self.fixes.get(after).or(newest))
    }
    /// Everything that bounds the offset at a moment.
    fn bounds(&self, at: i128) -> Offset {
        let Some(newest) = &self.newest else {
            return Offset::default();
        };
        let mut all = newest.offset_at(at, &self.oscillator);
        let (before, after) = self.around(at);
        for fix in before.into_iter().chain(after) {
            // What is known of the rate by now.
            let since = newest.rate.loosened(newest.at - fix.at, &self.oscillator);
            let fix = Fix {
                rate: fix.rate.within(since),
                ..*fix
            };
            all = all.within(fix.offset_at(at, &self.oscillator));
        }
        all
    }
    /// How far a place at a moment of the device may be off.
    fn error(&self, bounds: Offset, offset: i128) -> Option<i128> {
        // The tick began there; what happened in it did so up to a tick later.
        let above = bounds.high? + self.tick_slack - offset;
        Some(above.max(offset - bounds.low?) + WALL_NOISE_NS + 1)
    }
    /// Where a span from `start` to `end` is.
    pub(crate) fn map(&mut self, start: Ticks, end: Ticks) -> Mapped {
        if let Some(unix_ns) = self.fixed {
            return Mapped {
                anchor: UnixAnchor::new(Ticks(0), unix_ns, self.tick_rate),
                error: ClockError::Stated,
            };
        }
        let (from, to) = (self.device_ns(start), self.device_ns(end));
        if let Some((ended, newest)) = self.ended
            && to > newest
        {
            self.ended = Some((ended, to));
            let high = Some(ended - to);
            self.measured(end, Offset { low: None, high });
            // Its frames say less: they were sent by the next boot.
            self.skew = Skew::default();
            self.skew.push(to, ended - to);
            self.settle();
        }
        let (wall, _) = self.wall.unwrap_or_default();
        let Some((_, _, anchor)) = self.line else {
            // Nothing has arrived, so there is nothing to place.
            return Mapped {
                anchor: UnixAnchor::new(start, 0, self.tick_rate),
                error: ClockError::Unknown,
            };
        };
        let (first, last) = (self.bounds(from), self.bounds(to));
        let worst = |anchor: &UnixAnchor| {
            let offset = |ticks: Ticks, at: i128| i128::from(anchor.unix_nanos(ticks)) - wall - at;
            let start_error = self.error(first, offset(start, from))?;
            Some(start_error.max(self.error(last, offset(end, to))?))
        };
        let (mut anchor, mut error) = (anchor, worst(&anchor));
        if let (Some(ns), Some(half)) = (error, first.half())
            && ns > 2 * (half + TOLERANCE_NS + WALL_NOISE_NS + self.tick_slack)
            && let Some(line) = self.between(from)
        {
            let between = line.anchor(wall, self.tick_rate);
            let better = worst(&between).filter(|better| *better < ns);
            if better.is_some() {
                (anchor, error) = (between, better);
            }
        }
        let error = match error {
            Some(ns) => ClockError::Within(u64::try_from(ns.max(0)).unwrap_or(u64::MAX)),
            None => ClockError::Unknown,
        };
        Mapped { anchor, error }
    }
    /// The line through the fixes around a moment; before the first, through the first.
    fn between(&self, at: i128) -> Option<Line> {
        let middle = |fix: &Fix| Some(fix.offset.low?.midpoint(fix.offset.high?));
        let (fix, rate) = match self.around(at) {
            (Some(before), Some(after)) => {
                let grown = (middle(after)? - middle(before)?).checked_mul(1 << 32)?;
                let rate = i64::try_from(grown / (after.at - before.at).max(1)).ok()?;
                (before, rate)
            }
            (before, after) => (before.or(after)?, self.newest?.rate.middle()),
        };
        let limit = self.oscillator.max_rate();
        Some(Line {
            ticks: fix.ticks,
            at: fix.at,
            offset: middle(fix)?,
            rate: rate.clamp(-limit, limit),
        })
    }
}
