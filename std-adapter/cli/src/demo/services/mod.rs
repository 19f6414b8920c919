//! The checkout: its services, each a process of its own, and the device that begins it.
//!
//! Written as a user would: public interfaces only. `examples/checkout/` has the same files.

pub(crate) mod plan;
pub(crate) mod shop;

mod client;

mod api_gateway;
mod order_service;

mod inventory_service;

mod payment_service;

mod fraud_check;

mod card_processing;

mod rates_service;

mod notification_service;

mod queue;

mod outside;

mod board;
mod device;

/// Runs the service of this name until its standard input ends.
pub(crate) fn run(name: &str) -> Result<(), shop::Failure> {
    match name {
        "api-gateway" => api_gateway::main(),
        "order-service" => order_service::main(),
        "inventory-service" => inventory_service::main(),
        "payment-service" => payment_service::main(),
        "fraud-check" => fraud_check::main(),
        "card-processing" => card_processing::main(),
        "rates-service" => rates_service::main(),
        "notification-service" => notification_service::main(),
        "queue" => queue::main(),
        "outside" => outside::main(),
        "device" => board::main(),
        _ => Err(format!("no service is called {name}").into()),
    }
}
