//! Ecash by encrypted message.

use axum::Json;
use axum::http::StatusCode;
use feria_paywall::amount::Sat;
use nostr::key::PublicKey;
use nostr::nips::nip19::FromBech32;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::http::Problem;
use crate::http::admin::extract::Input;
use crate::http::admin::guard::{About, Caller};
use crate::transfer::{SendTransfer, Transfer, TransferError};

#[derive(Serialize)]
pub(in crate::http::admin) struct TransferList {
    items: Vec<Transfer>,
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<TransferList> {
    let node = caller.admit(About::default()).await?;
    let items = node.transfers.list().await?;
    Ok(Json(TransferList { items }))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct NewTransfer {
    /// The wallet that pays: its id, or the name of its agent.
    wallet: String,
    /// The payee's key: npub or hexadecimal.
    payee: String,
    amount_sat: u64,
    #[serde(default)]
    memo: String,
}

pub(in crate::http::admin) async fn send(
    caller: Caller,
    Input(new): Input<NewTransfer>,
) -> Answer<Transfer> {
    let payee = PublicKey::from_bech32(&new.payee)
        .or_else(|_| PublicKey::from_hex(&new.payee))
        .map_err(|_| Problem::bad_request("`payee` is neither an npub nor a key in hexadecimal"))?;
    let amount = Sat::new(new.amount_sat);
    let about = About {
        // A message goes through relays; the payee is whom a host restriction must name.
        host: Some(&new.payee),
        rail: Some("cashu"),
        amount: Some(amount.to_msat()),
        ..About::default()
    };
    let (node, wallet) = caller.admit_to_wallet(&new.wallet, about).await?;
    let sent = node
        .transfers
        .send(SendTransfer {
            from_keys: node.seed.nostr_keys(&wallet.agent),
            from_agent: wallet.agent,
            wallet_id: wallet.id,
            payee,
            amount,
            memo: new.memo,
            lookup_relays: node.relay_urls(|relay| relay.read),
            reply_relays: node.relay_urls(|relay| relay.inbox),
        })
        .await?;
    caller.settle(amount.to_msat()).await;
    Ok(Json(sent))
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        let detail = error.to_string();
        match error {
            TransferError::NotReachable { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "payee_not_reachable",
                detail,
            ),
            TransferError::NoCommonMint { .. } => {
                Self::new(StatusCode::CONFLICT, "no_rail", detail)
            }
            TransferError::Amount(_) => Self::bad_request(detail),
            TransferError::Wallet(source) => source.into(),
            TransferError::Store(source) => source.into(),
            TransferError::Message(_) => Self::internal(&error),
        }
    }
}
