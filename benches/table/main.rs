//! The table: spanlet, the least that can be, and the peers, measured in one process and in turns.
//!
//! `table [ROW or NAME…] [--rounds N] [--no-count] [--json] [--svg FILE]` prints it; `count` is what `table` runs
//! under callgrind for the column of instructions. What the columns mean is in `benches/README.md`.
//!
//! A round runs every case for two milliseconds, in chunks small enough for any ring; what a chunk recorded is read
//! between the timed parts. A figure is the median over the rounds, a ratio the median of each round's ratio to the
//! floor.

mod case;
mod meter;

mod clocks;
mod inputs;
mod recorder;
mod threads;

mod floor;
mod spans;
mod text;

#[cfg(feature = "peers")]
mod peers;

mod count;
mod measure;
mod plot;
mod report;

use case::Case;
use measure::Measured;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: meter::Counting = meter::Counting;

/// What the command line asks for.
struct Arguments {
    count_only: bool,
    rounds: usize,
    with_instructions: bool,
    json: bool,
    svg: Option<String>,
    wanted: Vec<String>,
}

const USAGE: &str = "usage: spanlet-benches table|count [ROW or NAME…] [--rounds N] [--no-count] [--json] [--svg FILE]";

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut parsed = Arguments {
        count_only: match given.next()?.as_str() {
            "table" => false,
            "count" => true,
            _ => return None,
        },
        rounds: 61,
        with_instructions: true,
        json: false,
        svg: None,
        wanted: Vec::new(),
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--rounds" => parsed.rounds = given.next()?.parse().ok().filter(|n| *n > 0)?,
            "--no-count" => parsed.with_instructions = false,
            "--json" => parsed.json = true,
            "--svg" => parsed.svg = Some(given.next()?),
            // Cargo gives this one to benches.
            "--bench" => {}
            flag if flag.starts_with('-') => return None,
            wanted => parsed.wanted.push(wanted.into()),
        }
    }
    Some(parsed)
}

impl Arguments {
    /// Whether a case was asked for; floors are, wherever somebody is to be compared with them.
    fn wants(&self, case: &Case) -> bool {
        self.wanted.is_empty()
            || self
                .wanted
                .iter()
                .any(|wanted| case.row.id == wanted || case.name.contains(wanted.as_str()))
            || case.is_floor()
    }
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    // Threads that peers start stay where they are started.
    meter::pin(meter::ELSEWHERE);
    let mut early = Vec::new();
    floor::register_no_tracer(&mut early);
    spans::register_no_tracer(&mut early);
    let mut measured = run(&arguments, early);

    let mut cases = Vec::new();
    floor::register(&mut cases);
    spans::register(&mut cases);
    text::register(&mut cases);
    #[cfg(feature = "peers")]
    peers::register(&mut cases);
    spans::register_std(&mut cases);
    measured.extend(run(&arguments, cases));
    if arguments.count_only {
        return ExitCode::SUCCESS;
    }

    let rank = |m: &Measured| case::ROWS.iter().position(|row| *row == m.row);
    measured.sort_by_key(rank);
    if arguments.with_instructions {
        match count::instructions(&arguments.wanted) {
            Ok(counts) => count::fill(&mut measured, &counts),
            Err(error) => eprintln!("no instructions: {error}"),
        }
    }
    if let Some(path) = &arguments.svg
        && let Err(error) = std::fs::write(path, plot::svg(&measured))
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    if arguments.json {
        print!("{}", report::json(&measured));
    } else {
        print!("{}", report::table(&measured));
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments, mut cases: Vec<Case>) -> Vec<Measured> {
    cases.retain(|case| arguments.wants(case));
    meter::pin(meter::HERE);
    let measured = if arguments.count_only {
        measure::count(&mut cases);
        Vec::new()
    } else {
        measure::time(&mut cases, arguments.rounds)
    };
    meter::pin(meter::ELSEWHERE);
    measured
}
