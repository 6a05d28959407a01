//! The channels of a node that runs inside this one; other backends have their own tools.

use async_trait::async_trait;
use feria_paywall::amount::Sat;
use serde::Serialize;

use super::LightningError;

/// How the own node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnNode {
    /// Its public key, 66 hexadecimal characters.
    pub id: String,
    /// The highest block it knows.
    pub block_height: u32,
    /// What it holds on the chain.
    pub onchain_sat: u64,
    /// What of that can go into channels; the rest is kept to close them.
    pub spendable_onchain_sat: u64,
    /// What it holds in channels.
    pub lightning_sat: u64,
    /// Its channels.
    pub channels: Vec<OwnChannel>,
}

/// A channel of the own node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnChannel {
    /// Names it when it is closed.
    pub id: String,
    /// The other side's public key.
    pub peer: String,
    /// What both sides put in.
    pub capacity_sat: u64,
    /// What can be paid through it.
    pub can_send_msat: u64,
    /// What can be received through it.
    pub can_receive_msat: u64,
    /// Whether it is confirmed and its peer connected.
    pub is_usable: bool,
}

/// How a channel is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Together with the other side.
    Agreed,
    /// Alone: dearer, and the money comes after a delay.
    Forced,
}

/// A backend whose channels this node looks after.
#[async_trait]
pub trait ChannelControl: Send + Sync {
    /// Returns how the node stands.
    async fn status(&self) -> Result<OwnNode, LightningError>;

    /// Returns a fresh address on the chain; what arrives there can go into channels.
    async fn funding_address(&self) -> Result<String, LightningError>;

    /// Opens a channel of `amount` to `peer`, written `key@host:port`, and returns its id.
    async fn open_channel(&self, peer: &str, amount: Sat) -> Result<String, LightningError>;

    /// Closes the channel `id`.
    async fn close_channel(&self, id: &str, how: Closing) -> Result<(), LightningError>;
}
