//! `spanlet decode`: a capture → spans.
//!
//! Input: bytes as they came over the link, from a file or standard input. Output: JSON lines or waterfalls on
//! standard output, what was lost on standard error. Bound: one frame, texts, and for waterfalls 50,000 spans.

use crate::output::{CliError, LookArgs, Printer};
use clap::Args;
use spanlet::TickRate;
use spanlet_std::receiver::{Arrival, Gateway};
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What to decode, and how to print it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  spanlet decode capture.bin                    spans as JSON lines
  spanlet decode --waterfall capture.bin        a picture of each trace
  cat /dev/ttyACM0 | spanlet decode             from a serial port, as they come
  spanlet decode capture.bin | jq .name         with other tools

A capture holds the bytes of the link: frames in COBS, a zero byte behind each. Garbage between them is
skipped and counted. What was lost is on standard error.

Times: without --boot-time spans are placed as if the device had booted in 1970.")]
pub(crate) struct DecodeArgs {
    /// The capture, or - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Draws each trace instead of printing JSON lines
    #[arg(long)]
    waterfall: bool,
    /// When the device booted (its tick 0), in Unix seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    boot_time: u64,
    /// Ticks per second of devices whose hello is not in the capture
    #[arg(long, value_name = "HZ", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    tick_hz: u64,
    /// Leaves out the summary
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    look: LookArgs,
}

pub(crate) fn run(args: DecodeArgs) -> Result<(), CliError> {
    let is_stdin = args.file == Path::new("-");
    let failed = |verb: &str, cause| match is_stdin {
        true => CliError::file(verb, Path::new("standard input"), cause),
        false => CliError::file(verb, &args.file, cause),
    };
    let mut input: Box<dyn Read> = if !is_stdin {
        Box::new(File::open(&args.file).map_err(|cause| failed("open", cause))?)
    } else if io::stdin().is_terminal() {
        let text =
            "nothing to decode: name a capture file, or pipe one in (see spanlet decode --help)";
        return Err(CliError::Other(text.to_owned()));
    } else {
        Box::new(io::stdin())
    };
    let waterfall = args.waterfall.then(|| args.look.waterfall());
    let json = (!args.waterfall).then_some(Path::new("-"));
    let printer = Arc::new(Mutex::new(Printer::new(json, waterfall)?));
    let lock = || printer.lock().unwrap_or_else(PoisonError::into_inner);
    let to = printer.clone();
    let mut gateway = Gateway::builder()
        .sink(move |span| {
            let mut printer = to.lock().unwrap_or_else(PoisonError::into_inner);
            printer.span(span.to_trace_span());
        })
        .boot_time(args.boot_time.saturating_mul(1_000_000_000))
        // The hello may come late in a capture, and texts too: nothing is given up before the end.
        .hold_bytes(usize::MAX)
        .unresolved(Duration::MAX, usize::MAX);
    if let Some(rate) = TickRate::hz(args.tick_hz) {
        gateway = gateway.assume_tick_rate(rate);
    }
    let gateway = gateway
        .start()
        .map_err(|cause| CliError::Other(format!("no thread can be started: {cause}")))?;
    let mut link = gateway.link("capture");
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(failed("read", cause)),
        };
        link.feed(buffer.get(..n).unwrap_or_default(), Arrival::now());
        // Nobody hears them.
        drop(link.take_replies());
        // A file has no pauses at which a trace could be seen to be finished.
        if is_stdin {
            lock().turn()?;
        }
    }
    drop(link);
    let ledger = gateway.shutdown(Duration::from_secs(1));
    lock().finish()?;
    if ledger.intake.frames == 0 && ledger.intake.bytes != 0 {
        let bytes = ledger.intake.bytes;
        let text = format!(
            "no frame in these {bytes} bytes: is this a capture of a spanlet link (COBS frames, a zero byte \
             behind each)?"
        );
        return Err(CliError::Other(text));
    }
    if !args.quiet {
        for device in &ledger.devices {
            eprintln!("{}: {device}", device.device_id);
        }
        eprintln!("{}", ledger.intake);
    }
    Ok(())
}
