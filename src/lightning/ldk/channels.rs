//! The channels of the embedded node.

use async_trait::async_trait;
use feria_paywall::amount::Sat;
use ldk_node::bitcoin::secp256k1::PublicKey;
use ldk_node::lightning::ln::msgs::SocketAddress;
use ldk_node::{ChannelDetails, Node, NodeError, UserChannelId};

use super::LdkBackend;
use crate::lightning::LightningError;
use crate::lightning::control::{ChannelControl, Closing, OwnChannel, OwnNode};

#[async_trait]
impl ChannelControl for LdkBackend {
    async fn status(&self) -> Result<OwnNode, LightningError> {
        self.call(|node| {
            // Else it looks at the chain twice a minute, and a person would not wait.
            node.sync_wallets()?;
            let balances = node.list_balances();
            Ok(OwnNode {
                id: node.node_id().to_string(),
                block_height: node.status().current_best_block.height,
                onchain_sat: balances.total_onchain_balance_sats,
                spendable_onchain_sat: balances.spendable_onchain_balance_sats,
                lightning_sat: balances.total_lightning_balance_sats,
                channels: node.list_channels().iter().map(own_channel).collect(),
            })
        })
        .await
    }

    async fn funding_address(&self) -> Result<String, LightningError> {
        self.call(|node| Ok(node.onchain_payment().new_address()?.to_string()))
            .await
    }

    async fn open_channel(&self, peer: &str, amount: Sat) -> Result<String, LightningError> {
        let wrong = || self.refused("a peer is written key@host:port".to_owned());
        let (key, address) = peer.split_once('@').ok_or_else(wrong)?;
        let key: PublicKey = key.parse().map_err(|_| wrong())?;
        let address: SocketAddress = address.parse().map_err(|_| wrong())?;
        let opened = self
            .call(move |node| {
                // Others route through announced channels; this node only pays and is paid.
                node.open_channel(key, address, amount.as_u64(), None, None)
            })
            .await?;
        Ok(id_text(opened))
    }

    async fn close_channel(&self, id: &str, how: Closing) -> Result<(), LightningError> {
        let id = id.to_owned();
        let is_known = self.call(move |node| close(node, &id, how)).await?;
        if is_known {
            return Ok(());
        }
        Err(self.refused("there is no such channel".to_owned()))
    }
}

/// Returns whether there was such a channel.
fn close(node: &Node, id: &str, how: Closing) -> Result<bool, NodeError> {
    let channels = node.list_channels();
    let named = channels
        .iter()
        .find(|channel| id_text(channel.user_channel_id) == id);
    let Some(channel) = named else {
        return Ok(false);
    };
    let (id, peer) = (&channel.user_channel_id, channel.counterparty_node_id);
    match how {
        Closing::Agreed => node.close_channel(id, peer)?,
        Closing::Forced => node.force_close_channel(id, peer, None)?,
    }
    Ok(true)
}

fn own_channel(channel: &ChannelDetails) -> OwnChannel {
    OwnChannel {
        id: id_text(channel.user_channel_id),
        peer: channel.counterparty_node_id.to_string(),
        capacity_sat: channel.channel_value_sats,
        can_send_msat: channel.outbound_capacity_msat,
        can_receive_msat: channel.inbound_capacity_msat,
        is_usable: channel.is_usable,
    }
}

fn id_text(id: UserChannelId) -> String {
    format!("{:032x}", id.0)
}
