//! Runs cases in turns.
//!
//! Input: cases. Output: medians. Bound: two milliseconds, or nine chunks, a case and round.

use crate::case::{Case, FLOOR, Row, Target};
use crate::meter::{self, Meter, Mode};
use std::time::{Duration, Instant};

/// What a case took, an operation each.
pub(crate) struct Measured {
    pub(crate) row: Row,
    pub(crate) name: String,
    pub(crate) is_ours: bool,
    pub(crate) targets: Vec<Target>,
    /// Nanoseconds.
    pub(crate) ns: f64,
    /// Nanoseconds over the floor's, if the row has one.
    pub(crate) times_floor: Option<f64>,
    pub(crate) allocs: f64,
    pub(crate) instructions: Option<f64>,
}

impl Measured {
    pub(crate) fn is_floor(&self) -> bool {
        self.name == FLOOR
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Times every case `rounds` times, all of them in each round.
pub(crate) fn time(cases: &mut [Case], rounds: usize) -> Vec<Measured> {
    for case in &mut *cases {
        (case.run)(&mut Meter::new(Mode::Time));
    }
    let mut times = vec![Vec::new(); cases.len()];
    let mut allocs = vec![(0.0, 0.0); cases.len()];
    for _ in 0..rounds {
        for (i, case) in cases.iter_mut().enumerate() {
            let from = Instant::now();
            let mut chunks = Vec::new();
            while chunks.len() < 9 || from.elapsed() < Duration::from_millis(2) {
                let mut m = Meter::new(Mode::Time);
                (case.run)(&mut m);
                chunks.push(m.ns / case.ops);
                allocs[i].0 += m.allocs as f64;
                allocs[i].1 += case.ops;
            }
            times[i].push(median(&mut chunks));
        }
    }
    let floor_of = |row| cases.iter().position(|c| c.is_floor() && c.row == row);
    cases
        .iter()
        .enumerate()
        .map(|(i, case)| Measured {
            row: case.row,
            name: case.name.clone(),
            is_ours: case.is_ours(),
            targets: case.targets.clone(),
            ns: median(&mut times[i].clone()),
            times_floor: floor_of(case.row).filter(|floor| *floor != i).map(|floor| {
                let ratios = times[i].iter().zip(&times[floor]).map(|(a, b)| a / b);
                median(&mut ratios.collect::<Vec<_>>())
            }),
            allocs: allocs[i].0 / allocs[i].1,
            instructions: None,
        })
        .collect()
}

/// Runs a chunk of each case that callgrind can count, which writes one file for each.
pub(crate) fn count(cases: &mut [Case]) {
    for case in cases.iter_mut().filter(|case| case.is_countable) {
        // The first chunk meets cold paths: a thread's first span, growing buffers.
        (case.run)(&mut Meter::new(Mode::Time));
        meter::zero();
        (case.run)(&mut Meter::new(Mode::Count));
        meter::dump(&format!("{}|{}|{}", case.row.id, case.name, case.ops));
    }
}
