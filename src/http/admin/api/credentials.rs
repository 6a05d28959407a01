//! Lightning credentials that paid for calls of own agents.

use axum::Json;
use axum::extract::Path;
use feria_paywall::l402::LimitUnit;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, limit};
use crate::gateway::GatewayError;
use crate::http::Problem;
use crate::http::admin::extract::Parameters;
use crate::http::admin::guard::{About, Caller};
use crate::store::ledger::limits::UsedCredential;

#[derive(Deserialize)]
pub(in crate::http::admin) struct ListQuery {
    agent: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    limit: Option<u32>,
}

pub(in crate::http::admin) async fn list(
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Answer<Value> {
    let about = About {
        agent: query.agent.as_deref(),
        ..About::default()
    };
    let node = caller.admit(about).await?;
    let before = query.cursor.as_deref().map(read_cursor).transpose()?;
    let limit = limit(query.limit);
    let found = node
        .gateway
        .list_credentials(query.agent.clone(), before, limit)
        .await?;
    let next = found
        .last()
        .filter(|_| found.len() == limit as usize)
        .map(|last| format!("{}.{}", last.first_used_at, hex::encode(last.token_id)));
    let items: Vec<Value> = found.iter().map(render).collect();
    Ok(Json(json!({"items": items, "next": next})))
}

/// Withdraws a credential, used or not. Its holder is asked to pay again.
pub(in crate::http::admin) async fn revoke(
    caller: Caller,
    Path(token_id): Path<String>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let id = read_id(&token_id).ok_or_else(|| {
        Problem::bad_request("a token id is 64 hexadecimal characters")
            .next("see those that were used: feria credential list")
    })?;
    let revoked_at = node.gateway.revoke_credential(id).await?;
    Ok(Json(
        json!({"token_id": hex::encode(id), "revoked_at": revoked_at}),
    ))
}

fn render(credential: &UsedCredential) -> Value {
    let left = credential.bought.saturating_sub(credential.used);
    let (uses, balance) = match credential.unit {
        LimitUnit::Uses if credential.bought == 0 => (None, None),
        LimitUnit::Uses => (Some((credential.bought, left)), None),
        LimitUnit::Msat => (None, Some((credential.bought, left))),
    };
    json!({
        "token_id": hex::encode(credential.token_id),
        "payment_hash": hex::encode(credential.payment_hash),
        "agent": credential.agent,
        "paid_msat": credential.paid.as_u64(),
        "uses_bought": uses.map(|(bought, _)| bought),
        "uses_left": uses.map(|(_, left)| left),
        "balance_bought_msat": balance.map(|(bought, _)| bought),
        "balance_left_msat": balance.map(|(_, left)| left),
        "first_used_at": credential.first_used_at,
        "revoked_at": credential.revoked_at,
    })
}

fn read_cursor(text: &str) -> Result<(u64, [u8; 32]), Problem> {
    text.split_once('.')
        .and_then(|(at, id)| Some((at.parse().ok()?, read_id(id)?)))
        .ok_or_else(|| Problem::bad_request("`cursor` is not the `next` of a page before"))
}

fn read_id(text: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(id)
}

impl From<GatewayError> for Problem {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Store(source) => source.into(),
            other => Self::internal(&other),
        }
    }
}
