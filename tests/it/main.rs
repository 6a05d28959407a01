//! The integration tests, in one binary: one link step, shared support code.
//!
//! Real parts throughout: a Cashu mint over HTTP, a simulated Lightning network
//! with true preimages, relays that are our own endpoint, real sockets on
//! loopback with ports the system picks. Time is moved by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod bad_input;
mod cli;
mod config;
mod demo;
mod gateway;
mod layering;
#[cfg(feature = "ldk")]
mod ldk;
mod lightning;
mod lnd;
mod market;
mod node;
mod pages;
mod pair;
mod readme;
mod relay;
mod schemas;
mod spend;
mod transfer;
mod wallet;
