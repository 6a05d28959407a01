//! Tokens for this API.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use feria_paywall::amount::Msat;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, MAX_LIMIT, shown};
use crate::access::{AccessError, IssueRequest, Tier, Window};
use crate::http::Problem;
use crate::http::admin::extract::Input;
use crate::http::admin::guard::{About, Caller};

#[derive(Deserialize)]
pub(in crate::http::admin) struct NewToken {
    tier: Tier,
    #[serde(default)]
    label: String,
    agent: Option<String>,
    /// Seconds from now; absent for never.
    ttl_secs: Option<u64>,
    max_amount_msat: Option<u64>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    rails: Vec<String>,
    window: Option<NewWindow>,
    #[serde(default)]
    methods: Vec<String>,
}

#[derive(Deserialize)]
struct NewWindow {
    amount_msat: u64,
    secs: u64,
}

pub(in crate::http::admin) async fn issue(
    caller: Caller,
    Input(new): Input<NewToken>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let expires_at = new
        .ttl_secs
        .map(|secs| node.clock.now().saturating_add(secs));
    let issued = node
        .access
        .issue(IssueRequest {
            tier: new.tier,
            label: new.label,
            agent: new.agent,
            expires_at,
            max_amount: new.max_amount_msat.map(Msat::new),
            hosts: new.hosts,
            rails: new.rails,
            window: new.window.map(|window| Window {
                amount: Msat::new(window.amount_msat),
                secs: window.secs,
            }),
            methods: new.methods,
        })
        .await?;
    Ok(Json(json!({
        "id": issued.id,
        "tier": new.tier,
        "expires_at": expires_at,
        "token": issued.text,
    })))
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let items: Vec<Value> = node
        .access
        .list(MAX_LIMIT)
        .await?
        .into_iter()
        .map(|token| {
            json!({
                "id": token.id,
                "tier": token.tier,
                "agent": token.agent,
                "label": token.label,
                "created_at": token.created_at,
                "expires_at": token.expires_at,
                "revoked_at": token.revoked_at,
            })
        })
        .collect();
    Ok(Json(json!({"items": items})))
}

/// Revokes a token, and with it all copies narrowed from it.
pub(in crate::http::admin) async fn revoke(
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    if !node.access.revoke(&id).await? {
        return Err(
            Problem::not_found(format!("there is no token {}", shown(&id)))
                .next("see which there are: feria access list"),
        );
    }
    Ok(Json(json!({"id": id, "revoked": true})))
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Restriction(reason) => Self::bad_request(reason.to_string()),
            AccessError::TooLong => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "token_too_long",
                error.to_string(),
            ),
            AccessError::Store(source) => source.into(),
        }
    }
}
