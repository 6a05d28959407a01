//! The tier table: one macaroon per tier, tried on every action over the node's API.
//!
//! An action is *allowed* when the API lets it through to the part behind it, and
//! *denied* when it answers 403. What the part then says does not matter here: a
//! payment of an invoice that nobody made is refused later and costs nothing.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Narrator;
use super::report::TierLine;
use super::world::World;
use crate::access::{IssueRequest, Tier};
use crate::client::http_client;

/// Action, method, path below `/api/v1` and body.
fn actions() -> [(&'static str, &'static str, &'static str, Value); 6] {
    [
        ("browse listings", "GET", "/search?q=data", Value::Null),
        ("see wallets", "GET", "/wallets", Value::Null),
        (
            "make an invoice",
            "POST",
            "/invoices",
            json!({"amount_sat": 21, "memo": "tier table"}),
        ),
        (
            "pay an invoice",
            "POST",
            "/pay",
            json!({"bolt11": "lnsb1nobody", "max_amount_sat": 1}),
        ),
        (
            "buy a call",
            "POST",
            "/fetch",
            json!({"wallet_id": "nobody", "url": "http://127.0.0.1:1/", "max_cost_sat": 1}),
        ),
        (
            "send ecash by message",
            "POST",
            "/transfers",
            json!({"wallet_id": "nobody", "from_agent": "nobody", "payee": "nobody", "amount_sat": 1}),
        ),
    ]
}

/// Tries every action with a macaroon of every tier.
pub(super) async fn try_all(world: &World, say: &Narrator) -> anyhow::Result<Vec<TierLine>> {
    let client = http_client(std::time::Duration::from_secs(10))?;
    let base = format!("http://{}/api/v1", world.buyer.addresses.admin);
    let mut lines = Vec::new();
    for tier in Tier::ALL {
        let token = world
            .buyer
            .app
            .access
            .issue(IssueRequest {
                label: "tier table".to_owned(),
                ..IssueRequest::new(tier)
            })
            .await?;
        let mut line = TierLine {
            tier: tier.as_str().to_owned(),
            allowed: Vec::new(),
            denied: Vec::new(),
        };
        for (action, method, path, body) in actions() {
            let url = format!("{base}{path}");
            let request = match method {
                "GET" => client.get(url),
                _ => client.post(url).json(&body),
            };
            let response = request
                .bearer_auth(&token.text)
                .send()
                .await
                .with_context(|| format!("try {action}"))?;
            match response.status().as_u16() {
                401 => bail!("{action}: the macaroon itself was refused"),
                403 => line.denied.push(action.to_owned()),
                _ => line.allowed.push(action.to_owned()),
            }
        }
        world.buyer.app.access.revoke(&token.id).await?;
        say.line(&format!(
            "{}: {} of {} actions allowed",
            line.tier,
            line.allowed.len(),
            line.allowed.len() + line.denied.len()
        ));
        lines.push(line);
    }
    Ok(lines)
}
