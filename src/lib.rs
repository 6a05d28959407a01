//! Feria: a Nostr-native, decentralized marketplace node for agents.

pub mod clock;
mod crash;
pub mod lifecycle;
