//! `spanlet gateway --control`: commands to devices, by HTTP.
//!
//! Input: `POST /devices/{device_id}/commands` with a `traceparent` and the device's bytes as the body. Output: the
//! command on the device's link; 202, or why not. Bound: one request at a time.

use crate::intake::Intake;
use crate::output::CliError;
use spanlet::ParentContext;
use spanlet_std::propagation::{Context, TinyHttpFields};
use spanlet_std::receiver::{CommandError, Gateway, MAX_PAYLOAD_BYTES};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use tiny_http::{Method, Request, Response, Server};

/// Refuses an address that others reach, unless that is meant.
pub(crate) fn check(address: SocketAddr, allow_remote: bool) -> Result<(), CliError> {
    if address.ip().is_loopback() || allow_remote {
        return Ok(());
    }
    Err(CliError::Other(format!(
        "{address} can be reached from other machines, and nobody asks them who they are: add --allow-remote if that \
         is meant"
    )))
}

/// Serves until the process ends.
pub(crate) fn serve(address: SocketAddr, intake: &Arc<Intake>) -> Result<(), CliError> {
    let error = |cause: &dyn core::fmt::Display| {
        CliError::Other(format!("cannot take commands at {address}: {cause}"))
    };
    let server = Server::http(address).map_err(|cause| error(&cause))?;
    eprintln!("commands to devices at http://{}", server.server_addr());
    let intake = Arc::downgrade(intake);
    std::thread::Builder::new()
        .name("spanlet-control".into())
        .spawn(move || {
            for mut request in server.incoming_requests() {
                let Some(intake) = intake.upgrade() else {
                    return;
                };
                let (status, text) = match answer(&mut request, intake.gateway()) {
                    Ok(()) => (202, String::new()),
                    Err((status, text)) => (status, text + "\n"),
                };
                // A caller that went away is its own affair.
                let _ = request.respond(Response::from_string(text).with_status_code(status));
            }
        })
        .map_err(|cause| error(&cause))?;
    Ok(())
}

fn answer(request: &mut Request, gateway: &Gateway) -> Result<(), (u16, String)> {
    let path = request.url().split('?').next().unwrap_or_default();
    let device_id = path
        .strip_prefix("/devices/")
        .and_then(|rest| rest.strip_suffix("/commands"))
        .filter(|id| !id.contains('/'))
        .and_then(percent_decoded)
        .ok_or((404, "there is only /devices/{device_id}/commands".into()))?;
    if *request.method() != Method::Post {
        return Err((405, "a command is a POST".into()));
    }
    let caller = Context::extract(&TinyHttpFields(request.headers()))
        .span_context()
        .ok_or((
            400,
            "no traceparent that can be read: whose command is it?".into(),
        ))?;
    let mut payload = Vec::new();
    let limit = MAX_PAYLOAD_BYTES as u64 + 1;
    (request.as_reader().take(limit).read_to_end(&mut payload))
        .map_err(|error| (400, error.to_string()))?;
    let sent = gateway.command(&device_id, &caller, &payload);
    sent.map_err(|error| {
        let status = match error {
            CommandError::UnknownDevice => 404,
            CommandError::NotSupported => 405,
            CommandError::TooLarge => 413,
            _ => 503,
        };
        (status, error.to_string())
    })
}

/// SPEC: RFC 3986, 2.1. `None` for what is no UTF-8 then, or was not encoded by the rules.
fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)? * 16 + digit(low)?;
                (after, bytes.push(u8::try_from(byte).ok()?))
            }
            (b'%', _) => return None,
            (byte, after) => (after, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn device_names_in_paths() {
        for (text, decoded) in [
            ("fan-0001", Some("fan-0001")),
            ("a%2Fb%20c", Some("a/b c")),
            ("gr%C3%BCn", Some("grün")),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), decoded, "{text}");
        }
    }
}
