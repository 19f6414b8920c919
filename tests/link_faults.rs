//! A proxy that spoils the link between a device and its gateway, for tests that are not written in Rust.
//!
//!     link-faults LISTEN GATEWAY [SEED] [COMMAND...]
//!
//! LISTEN and GATEWAY are addresses (`127.0.0.1:0` picks a port); COMMANDs are done first, then those that come by
//! standard input, one a line or several:
//!
//!     pass | cut | stall            the link works, loses all, holds all back
//!     HARM=RATE                     corrupt (of bytes), drop, duplicate, reorder, truncate, garbage (of frames);
//!                                   RATE is 1% or a number of a million; both directions
//!     up.HARM=RATE, down.HARM=RATE  one direction
//!     heal                          no faults, and pass
//!     report                        prints what was done, a line each direction
//!     wait=SECONDS                  takes the next command so much later
//!     quit                          reports and ends
//!
//! The first line that it prints is `listening on ADDRESS`. The end of standard input ends nothing.

use spanlet_tests::faults::{Faults, PerMillion};
use spanlet_tests::proxy::{Mode, Proxy};
use std::io::{BufRead, Write};
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "link-faults LISTEN GATEWAY [SEED] [COMMAND...]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("link-faults: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1).peekable();
    let (Some(listen), Some(gateway)) = (arguments.next(), arguments.next()) else {
        return Err(format!("usage: {USAGE}"));
    };
    let seed = arguments.peek().and_then(|text| text.parse().ok());
    if seed.is_some() {
        arguments.next();
    }
    let gateway = gateway
        .to_socket_addrs()
        .map_err(|error| format!("{gateway}: {error}"))?
        .next()
        .ok_or_else(|| format!("{gateway} is no address"))?;
    let proxy = Proxy::start(
        &*listen,
        gateway,
        seed.unwrap_or(1),
        Faults::NONE,
        Faults::NONE,
    )
    .map_err(|error| format!("{listen}: {error}"))?;
    say(&format!("listening on {}", proxy.address()));
    let mut link = Control {
        proxy,
        up: Faults::NONE,
        down: Faults::NONE,
    };
    for command in arguments {
        if link.command(&command)? {
            return Ok(());
        }
    }
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        for command in line.split_whitespace() {
            if link.command(command)? {
                return Ok(());
            }
        }
    }
    loop {
        std::thread::park();
    }
}

fn say(line: &str) {
    // Whoever started it may have stopped reading.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

struct Control {
    proxy: Proxy,
    up: Faults,
    down: Faults,
}

impl Control {
    /// Whether it was the last.
    fn command(&mut self, command: &str) -> Result<bool, String> {
        match command {
            "pass" => self.proxy.set_mode(Mode::Pass),
            "cut" => self.proxy.set_mode(Mode::Cut),
            "stall" => self.proxy.set_mode(Mode::Stall),
            "heal" => {
                (self.up, self.down) = (Faults::NONE, Faults::NONE);
                self.proxy.heal();
            }
            "report" => self.report(),
            "quit" => {
                self.report();
                return Ok(true);
            }
            _ => self.setting(command)?,
        }
        Ok(false)
    }
    fn setting(&mut self, command: &str) -> Result<(), String> {
        let unknown = || format!("no command {command:?}; {USAGE}");
        let (name, value) = command.split_once('=').ok_or_else(unknown)?;
        if name == "wait" {
            let seconds = value.parse().map_err(|_| unknown())?;
            let time = Duration::try_from_secs_f64(seconds).map_err(|_| unknown())?;
            std::thread::sleep(time);
            return Ok(());
        }
        let PerMillion(rate) = value
            .parse()
            .map_err(|error| format!("{command}: {error}"))?;
        let is_known = match name.split_once('.') {
            Some(("up", name)) => self.up.set(name, rate),
            Some(("down", name)) => self.down.set(name, rate),
            Some(_) => false,
            None => self.up.set(name, rate) && self.down.set(name, rate),
        };
        if !is_known {
            return Err(unknown());
        }
        self.proxy.set_faults(self.up, self.down);
        Ok(())
    }
    fn report(&self) {
        let (up, down) = self.proxy.harm();
        say(&format!("up {up}"));
        say(&format!("down {down}"));
    }
}
