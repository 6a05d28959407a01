//! Feria: a Nostr-native, decentralized marketplace node for agents.

pub mod access;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod crash;
pub mod gateway;
pub mod http;
pub mod lifecycle;
pub mod lightning;
pub mod market;
pub mod protocol;
pub mod relay;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod spend;
pub mod store;
pub mod telemetry;
pub mod transfer;
pub mod wallet;
