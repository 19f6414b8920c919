//! Where the gateway's devices come in: a port of its own, bridges that it connects to, standard input.
//!
//! Input: arguments. Output: a running [`Gateway`], fed by all of them. Bound: the gateway's.

use crate::output::CliError;
use clap::Args;
use spanlet_std::receiver::{
    BindError, Connector, FrameReceiver, Gateway, GatewayBuilder, GatewayLedger,
};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where devices find a gateway that was told nothing else.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4319));

/// Where devices are.
#[derive(Args)]
pub(crate) struct IntakeArgs {
    /// Where devices connect to: 127.0.0.1:4319, unless --connect or --stdin says where they are
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Connects to a bridge that listens (OpenOCD's RTT server, ser2net, QEMU), and again when it goes; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    connect: Vec<String>,
    /// Takes a device's bytes from standard input, until it ends
    #[arg(long)]
    stdin: bool,
    /// Lets other machines connect: frames are neither encrypted nor authenticated
    #[arg(long)]
    pub(crate) allow_remote: bool,
}

pub(crate) struct Intake {
    gateway: Listening,
    connectors: Mutex<Vec<Connector>>,
    /// Whether standard input is all there is.
    ends_with_input: bool,
}

enum Listening {
    At(FrameReceiver),
    Nowhere(Gateway),
}

impl Intake {
    pub(crate) fn start(builder: GatewayBuilder, args: &IntakeArgs) -> Result<Self, CliError> {
        let has_others = args.stdin || !args.connect.is_empty();
        let default = (!has_others).then_some(DEFAULT_LISTEN);
        let no_thread =
            |cause: std::io::Error| CliError::Other(format!("no thread can be started: {cause}"));
        let gateway = match args.listen.or(default) {
            Some(address) => {
                let receiver = builder.bind(address).map_err(|error| match error {
                    BindError::NotLoopback(address) => CliError::Other(format!(
                        "{address} can be reached from other machines, and frames are neither encrypted nor \
                         authenticated: add --allow-remote if that is meant"
                    )),
                    error => CliError::Other(format!("cannot listen at {address}: {error}")),
                })?;
                eprintln!("listening at {}", receiver.local_addr());
                Listening::At(receiver)
            }
            None => Listening::Nowhere(builder.start().map_err(no_thread)?),
        };
        let intake = Intake {
            ends_with_input: args.stdin && args.connect.is_empty() && args.listen.is_none(),
            gateway,
            connectors: Mutex::default(),
        };
        let mut connectors = Vec::new();
        for address in &args.connect {
            eprintln!("connecting to {address}");
            connectors.push(intake.gateway().connect(address).map_err(no_thread)?);
        }
        if args.stdin {
            let input = std::io::stdin();
            let connector = intake.gateway().read_from("standard input", input);
            connectors.push(connector.map_err(no_thread)?);
        }
        *intake.connectors() = connectors;
        Ok(intake)
    }
    fn connectors(&self) -> std::sync::MutexGuard<'_, Vec<Connector>> {
        (self.connectors.lock()).unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn gateway(&self) -> &Gateway {
        match &self.gateway {
            Listening::At(receiver) => receiver.gateway(),
            Listening::Nowhere(gateway) => gateway,
        }
    }
    pub(crate) fn connections(&self) -> usize {
        let taken = match &self.gateway {
            Listening::At(receiver) => receiver.connections(),
            Listening::Nowhere(_) => 0,
        };
        taken + (self.connectors().iter().filter(|c| c.is_connected())).count()
    }
    /// Whether nothing more can come.
    pub(crate) fn is_finished(&self) -> bool {
        self.ends_with_input && self.connectors().iter().all(Connector::is_finished)
    }
    /// Ends it. The final ledger, and what went wrong last.
    pub(crate) fn shutdown(&self, timeout: Duration) -> (GatewayLedger, Vec<String>) {
        let mut errors = Vec::new();
        for connector in core::mem::take(&mut *self.connectors()) {
            errors.extend(connector.last_error());
            connector.stop();
        }
        let ledger = match &self.gateway {
            Listening::At(receiver) => receiver.shutdown(timeout),
            Listening::Nowhere(gateway) => gateway.shutdown(timeout),
        };
        let of_collector = |error| format!("last error of the collector: {error}");
        let of_exporters = self.gateway().last_errors();
        errors.extend(of_exporters.into_iter().map(of_collector));
        (ledger, errors)
    }
}
