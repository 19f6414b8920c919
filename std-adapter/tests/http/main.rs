//! Servers and clients of HTTP and gRPC through the shipped layers, over sockets, up to the exporter.

#![allow(unreachable_pub, reason = "one binary of several modules")]

#[path = "../memory/mod.rs"]
mod memory;
mod peer;

mod client;
mod example;
mod grpc;
mod server;
mod w3c;
