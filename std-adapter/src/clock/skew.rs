//! The best guess where nothing bounds the link's delay.
//!
//! Input: sendings with the most that the offset can be. Output: a line below all of them. Bound: [`BUCKETS`] points.
//!
//! Of each second the frame with the least delay counts. The line is the edge of the points' lower hull below their
//! middle, which no other line below them comes closer to on the whole: frames that waited do not move it, and it
//! follows the device's drift. Times by it are late by the least delay.

use super::bounds::drift;

const BUCKETS: usize = 64;
const BUCKET_NS: i128 = 1_000_000_000;
/// A slope needs points this far apart.
const BASELINE_NS: i128 = 4_000_000_000;

/// Offset and rate (parts per 2^32) at the newest point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guess {
    pub(super) offset: i128,
    pub(super) rate: i64,
}

/// By time on the device's clock.
#[derive(Debug, Default)]
pub(super) struct Skew {
    points: Vec<(i128, i128)>,
}

impl Skew {
    pub(super) fn push(&mut self, at: i128, high: i128) {
        match self.points.last_mut() {
            Some((newest, _)) if at < *newest => return,
            Some(last) if last.0.div_euclid(BUCKET_NS) == at.div_euclid(BUCKET_NS) => {
                if high < last.1 {
                    *last = (at, high);
                }
                return;
            }
            _ => {}
        }
        if self.points.len() == BUCKETS {
            self.points.remove(0);
        }
        self.points.push((at, high));
    }
    /// The line at `at`; rates are at most `limit`.
    pub(super) fn guess(&self, at: i128, limit: i64) -> Option<Guess> {
        let rate = self.slope().clamp(-limit, limit);
        let at_there = |(x, high): &(i128, i128)| high + drift(rate, at - x);
        let offset = self.points.iter().map(at_there).min()?;
        Some(Guess { offset, rate })
    }
    fn slope(&self) -> i64 {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return 0;
        };
        if last.0 - first.0 < BASELINE_NS {
            return 0;
        }
        // Andrew's monotone chain, the lower half.
        let mut hull: Vec<(i128, i128)> = Vec::with_capacity(self.points.len());
        for &point in &self.points {
            while let [.., a, b] = hull[..]
                && !turns_left(a, b, point)
            {
                hull.pop();
            }
            hull.push(point);
        }
        let count = i128::try_from(self.points.len()).unwrap_or(1);
        let middle = (self.points.iter()).map(|(x, _)| x - first.0).sum::<i128>() / count + first.0;
        let edge = hull.windows(2).find(|edge| edge[1].0 >= middle);
        let Some([(x0, y0), (x1, y1)]) = edge else {
            return 0;
        };
        let slope = (y1 - y0).saturating_mul(1 << 32) / (x1 - x0).max(1);
        i64::try_from(slope).unwrap_or(0)
    }
}

/// Whether `c` lies above the line from `a` through `b`.
fn turns_left(a: (i128, i128), b: (i128, i128), c: (i128, i128)) -> bool {
    let rise = |dx: i128, dy: i128| dx.saturating_mul(dy);
    rise(b.0 - a.0, c.1 - a.1) > rise(c.0 - a.0, b.1 - a.1)
}
