//! Servers and clients of HTTP and gRPC through the shipped layers, over sockets, up to the exporter.

#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(unreachable_pub, reason = "one binary of several modules")]

#[path = "../memory/mod.rs"]
mod memory;
mod peer;

mod allocations;
mod client;
#[cfg(feature = "metrics")]
mod counted;
mod example;
mod grpc;
mod server;
mod w3c;
