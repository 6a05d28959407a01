//! Wallets of own agents, and the treasury behind them.

use axum::Json;
use axum::extract::Path;
use feria_paywall::amount::Sat;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, required};
use crate::http::admin::extract::Input;
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::wallet::{AuditLog, NewAgentWallet, TREASURY, WalletInfo};

/// Limits and lifetimes of a wallet when the request does not say.
const DEFAULT_LIMIT_SAT: u64 = 10_000;
const DEFAULT_TTL_SECS: u64 = 3_600;

#[derive(Serialize)]
pub(in crate::http::admin) struct WalletList {
    items: Vec<WalletInfo>,
    /// Ecash at each mint, the treasury included.
    holdings: Vec<Holding>,
}

#[derive(Serialize)]
struct Holding {
    wallet: String,
    mint: String,
    balance_sat: u64,
}

pub(in crate::http::admin) async fn list(caller: Caller) -> Answer<WalletList> {
    let node = caller.admit(About::default()).await?;
    let holdings = node.wallets.holdings().await?;
    Ok(Json(WalletList {
        items: node.wallets.list_agent_wallets().await?,
        holdings: holdings
            .into_iter()
            .map(|(wallet, mint, balance)| Holding {
                wallet,
                mint,
                balance_sat: balance.as_u64(),
            })
            .collect(),
    }))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct NewWallet {
    agent: String,
    limit_sat: Option<u64>,
    ttl_secs: Option<u64>,
    mint: Option<String>,
    /// Moved in from the treasury at once.
    fund_sat: Option<u64>,
}

pub(in crate::http::admin) async fn create(
    caller: Caller,
    Input(new): Input<NewWallet>,
) -> Answer<WalletInfo> {
    let about = About {
        agent: Some(&new.agent),
        ..About::default()
    };
    let node = caller.admit(about).await?;
    let wallet = node
        .wallets
        .create_agent_wallet(NewAgentWallet {
            agent: new.agent,
            limit: Sat::new(new.limit_sat.unwrap_or(DEFAULT_LIMIT_SAT)),
            ttl_secs: new.ttl_secs.unwrap_or(DEFAULT_TTL_SECS),
            mint: mint_or_richest(&node, new.mint).await?,
        })
        .await?;
    if let Some(amount) = new.fund_sat.filter(|amount| *amount > 0) {
        node.wallets
            .fund_agent_wallet(&wallet.id, Sat::new(amount))
            .await
            .map_err(|error| {
                Problem::from(error).next(format!("the wallet {} is there, empty", wallet.id))
            })?;
    }
    Ok(Json(reread(&node, &wallet.id).await?))
}

/// Returns `mint`, or the first trusted one.
pub(super) fn mint_or_first(node: &Node, mint: Option<String>) -> Result<String, Problem> {
    mint.or_else(|| node.wallets.mints().into_iter().next().map(|mint| mint.url))
        .ok_or_else(|| {
            Problem::new(
                axum::http::StatusCode::CONFLICT,
                "no_mint",
                "this node trusts no mint with money yet",
            )
            .next("add one: feria mint add URL --cap 10000sat")
            .next("then restart the node: it reads its mints at start")
        })
}

/// Returns `mint`, or the one where the treasury holds most: a wallet is filled from
/// there. Without any ecash it is the first trusted one.
async fn mint_or_richest(node: &Node, mint: Option<String>) -> Result<String, Problem> {
    if mint.is_some() {
        return mint_or_first(node, mint);
    }
    let trusted: Vec<String> = node
        .wallets
        .mints()
        .into_iter()
        .map(|one| one.url)
        .collect();
    let richest = node
        .wallets
        .holdings()
        .await?
        .into_iter()
        .filter(|(wallet, url, held)| {
            wallet == TREASURY && *held > Sat::ZERO && trusted.contains(url)
        })
        .max_by_key(|(_, _, held)| *held)
        .map(|(_, url, _)| url);
    mint_or_first(node, richest)
}

async fn reread(node: &Node, id: &str) -> Result<WalletInfo, Problem> {
    node.wallets
        .find_agent_wallet(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("wallet {id} was closed meanwhile")))
}

pub(in crate::http::admin) async fn show(
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<WalletInfo> {
    let (_, wallet) = caller.admit_to_wallet(&id, About::default()).await?;
    Ok(Json(wallet))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct Funding {
    amount_sat: Option<u64>,
    /// Claims the invoice of an earlier request instead.
    quote_id: Option<String>,
    mint: Option<String>,
}

/// Fills an agent wallet from the treasury. The treasury itself is filled by
/// paying the invoice that this answers with, and asking again with its `quote_id`.
pub(in crate::http::admin) async fn fund(
    caller: Caller,
    Path(id): Path<String>,
    Input(funding): Input<Funding>,
) -> Answer<Value> {
    if id != TREASURY {
        let (node, wallet) = caller.admit_to_wallet(&id, About::default()).await?;
        let amount = Sat::new(required(funding.amount_sat, "amount_sat")?);
        let received = node.wallets.fund_agent_wallet(&wallet.id, amount).await?;
        return Ok(Json(json!({
            "wallet": wallet.id,
            "amount_sat": received.amount.as_u64(),
            "fee_sat": received.fee.as_u64(),
        })));
    }
    let node = caller.admit(About::default()).await?;
    if let Some(quote_id) = funding.quote_id {
        let claimed = node.wallets.claim_funding(&quote_id).await?;
        return Ok(Json(json!({
            "quote_id": quote_id,
            "paid": claimed.is_some(),
            "amount_sat": claimed.map(|received| received.amount.as_u64()),
        })));
    }
    let amount = Sat::new(required(funding.amount_sat, "amount_sat")?);
    let mint = mint_or_first(&node, funding.mint)?;
    let quote = node.wallets.request_funding(&id, &mint, amount).await?;
    Ok(Json(json!({
        "quote_id": quote.quote_id,
        "invoice": quote.bolt11,
        "mint": mint,
        "amount_sat": quote.amount.as_u64(),
        "expires_at": quote.expires_at,
    })))
}

pub(in crate::http::admin) async fn close(caller: Caller, Path(id): Path<String>) -> Answer<Value> {
    let (node, wallet) = caller.admit_to_wallet(&id, About::default()).await?;
    let swept = node.wallets.close_agent_wallet(&wallet.id).await?;
    Ok(Json(json!({
        "wallet": wallet.id,
        "swept_sat": swept.amount.as_u64(),
        "fee_sat": swept.fee.as_u64(),
    })))
}

/// Empties the wallet into the treasury and leaves it open.
pub(in crate::http::admin) async fn sweep(caller: Caller, Path(id): Path<String>) -> Answer<Value> {
    let (node, wallet) = caller.admit_to_wallet(&id, About::default()).await?;
    let swept = node.wallets.sweep_agent_wallet(&wallet.id).await?;
    Ok(Json(json!({
        "wallet": wallet.id,
        "swept_sat": swept.amount.as_u64(),
        "fee_sat": swept.fee.as_u64(),
    })))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct Freeze {
    frozen: bool,
}

pub(in crate::http::admin) async fn freeze(
    caller: Caller,
    Path(id): Path<String>,
    Input(freeze): Input<Freeze>,
) -> Answer<WalletInfo> {
    let (node, wallet) = caller.admit_to_wallet(&id, About::default()).await?;
    node.wallets.set_frozen(&wallet.id, freeze.frozen).await?;
    Ok(Json(reread(&node, &wallet.id).await?))
}

pub(in crate::http::admin) async fn audit(
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<AuditLog> {
    let node = caller.admit(About::default()).await?;
    let id = match node.wallets.find_agent_wallet(&id).await? {
        Some(wallet) => wallet.id,
        None => id,
    };
    Ok(Json(node.wallets.audit_log(&id).await?))
}
