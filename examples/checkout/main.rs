//! The demo's services, on their own: `cargo run -p spanlet-examples --example checkout -- fraud-check`.
//!
//! Each listens at `LISTEN` (an address; a free port of loopback without) until its standard input ends, finds the
//! others at `ORDER_SERVICE_URL` and so on, and sends its spans where the `OTEL_*` variables say. `DEMO_INCIDENT`
//! and `DEMO_SEED` choose what happens. The device is `device`: it sends frames to `FRAME_GATEWAY`.

mod services;

fn main() -> Result<(), services::shop::Failure> {
    let name = std::env::args().nth(1).unwrap_or_default();
    services::run(&name)
}
