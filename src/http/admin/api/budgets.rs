//! Limits of agents: how much of them is used, and what others would have done.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, shown};
use crate::config::PolicyConfig;
use crate::http::Problem;
use crate::http::admin::extract::{Input, Parameters};
use crate::http::admin::guard::{About, Caller};
use crate::protocol::text::clean;
use crate::spend::{Simulated, Standing};
use crate::wallet::TREASURY;

/// What is said of a policy that cannot be; the words in it may be the caller's.
const MAX_FAULT_CHARS: usize = 400;

#[derive(Deserialize)]
pub(in crate::http::admin) struct ShowQuery {
    /// A wallet's id, or the name of its agent; absent for all that are open.
    wallet: Option<String>,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct Standings {
    items: Vec<Standing>,
}

pub(in crate::http::admin) async fn show(
    caller: Caller,
    Parameters(query): Parameters<ShowQuery>,
) -> Answer<Standings> {
    let node = caller.admit(About::default()).await?;
    let wallets: Vec<String> = match query.wallet {
        Some(name) if name == TREASURY => vec![name],
        Some(name) => {
            let found = node.wallets.find_agent_wallet(&name).await?;
            let found = found.ok_or_else(|| {
                Problem::not_found(format!("there is no wallet {}", shown(&name)))
            })?;
            vec![found.id]
        }
        None => {
            let all = node.wallets.list_agent_wallets().await?.into_iter();
            all.filter(|wallet| wallet.state != "closed")
                .map(|wallet| wallet.id)
                .chain([TREASURY.to_owned()])
                .collect()
        }
    };
    let mut items = Vec::new();
    for wallet in wallets {
        items.push(node.spender.standing(&wallet).await?);
    }
    Ok(Json(Standings { items }))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct Simulation {
    /// The text of a policy's file.
    policy: String,
    /// Only the purchases of this agent.
    agent: Option<String>,
    /// Only those of so many seconds; absent for all.
    last_secs: Option<u64>,
}

pub(in crate::http::admin) async fn simulate(
    caller: Caller,
    Input(simulation): Input<Simulation>,
) -> Answer<Simulated> {
    let node = caller.admit(About::default()).await?;
    let policy = PolicyConfig::parse(&simulation.policy, "policy")
        .map_err(|error| Problem::bad_request(clean(&error.to_string(), MAX_FAULT_CHARS)))?;
    let since = simulation
        .last_secs
        .map_or(0, |secs| node.clock.now().saturating_sub(secs));
    let simulated = node
        .spender
        .simulate(policy, simulation.agent.as_deref(), since)
        .await?;
    Ok(Json(simulated))
}

/// Reads `policies/*.toml` again; nothing changes when one of them is wrong.
pub(in crate::http::admin) async fn reload(caller: Caller) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let names = node.reload_policies().map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_policy_file",
            error.to_string(),
        )
    })?;
    Ok(Json(json!({"policies": names})))
}
