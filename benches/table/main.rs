//! The table: spanlet, the least that can be, and the peers, measured in one process and in turns.
//!
//! `table [ROW or NAME…] [--rounds N] [--no-count] [--json] [--svg FILE]` prints it; `count` is what `table` runs
//! under callgrind for the column of instructions. What the columns mean is in `benches/README.md`.
//!
//! `cost`, `rate` and `stalled` measure whole processes beside a collector: see the modules of these names.
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

mod collector;
mod cost;
mod stalled;

use case::Case;
use measure::Measured;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: meter::Counting = meter::Counting;

/// What the command line asks for.
struct Arguments {
    command: String,
    rounds: Option<usize>,
    spans: u64,
    rate: u64,
    with_instructions: bool,
    json: bool,
    svg: Option<String>,
    wanted: Vec<String>,
}

const USAGE: &str = "usage: spanlet-benches COMMAND
  table [ROW or NAME…] [--rounds N] [--no-count] [--json] [--svg FILE]
  count [ROW or NAME…]
  cost [NAME…] [--spans N] [--rate N] [--rounds N] [--json]
  rate [NAME]
  stalled [--rounds N] [--no-count]";

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut parsed = Arguments {
        command: given.next()?,
        rounds: None,
        spans: 1_000_000,
        rate: 100_000,
        with_instructions: true,
        json: false,
        svg: None,
        wanted: Vec::new(),
    };
    while let Some(argument) = given.next() {
        let mut number = || given.next()?.parse().ok().filter(|n| *n > 0u64);
        match argument.as_str() {
            "--rounds" => parsed.rounds = Some(usize::try_from(number()?).ok()?),
            "--spans" => parsed.spans = number()?,
            "--rate" => parsed.rate = number()?,
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
    let done = arguments().and_then(|arguments| command(&arguments));
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::FAILURE
    })
}

/// `None` for a command that is none.
fn command(arguments: &Arguments) -> Option<ExitCode> {
    let wanted: Vec<&str> = arguments.wanted.iter().map(String::as_str).collect();
    let rounds = arguments.rounds;
    match (arguments.command.as_str(), wanted.as_slice()) {
        ("table" | "count", _) => return Some(table(arguments)),
        ("cost", _) => cost::table(
            &arguments.wanted,
            arguments.spans,
            arguments.rate,
            rounds.unwrap_or(3),
            arguments.json,
        ),
        ("rate", []) => cost::rate("spanlet-std"),
        ("rate", [name]) => cost::rate(name),
        ("stalled", []) if stalled::compare(rounds.unwrap_or(10), arguments.with_instructions) => {}
        ("stalled", []) => return Some(ExitCode::FAILURE),
        // The processes that these start.
        ("collector", [mood]) => collector::run(*mood == "deaf").ok()?,
        ("cost-run", [name, url, spans, rate]) => {
            cost::run(name, url, spans.parse().ok()?, rate.parse().ok()?)?;
        }
        ("stalled-run", [url]) => stalled::run(url),
        ("stalled-count", [state]) => stalled::count(state)?,
        _ => return None,
    }
    Some(ExitCode::SUCCESS)
}

fn table(arguments: &Arguments) -> ExitCode {
    let count_only = arguments.command == "count";
    // Threads that peers start stay where they are started.
    meter::pin(meter::ELSEWHERE);
    let mut early = Vec::new();
    floor::register_no_tracer(&mut early);
    spans::register_no_tracer(&mut early);
    let mut measured = run(arguments, early);

    let mut cases = Vec::new();
    floor::register(&mut cases);
    spans::register(&mut cases);
    text::register(&mut cases);
    #[cfg(feature = "peers")]
    peers::register(&mut cases);
    spans::register_std(&mut cases);
    measured.extend(run(arguments, cases));
    if count_only {
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
    let measured = if arguments.command == "count" {
        measure::count(&mut cases);
        Vec::new()
    } else {
        measure::time(&mut cases, arguments.rounds.unwrap_or(61))
    };
    meter::pin(meter::ELSEWHERE);
    measured
}
