//! The owner's page: one sentence first, then the tables behind it.
//!
//! It only shows; everything that acts goes through the API or the commands.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use feria_paywall::amount::Msat;
use serde::Deserialize;

use crate::http::view::{self, sats};
use crate::http::{Node, Problem, assets};
use crate::spend::Purchase;
use crate::transfer::{Direction, TransferState};
use crate::wallet::WalletInfo;

/// Rows of the table of purchases.
const PURCHASES: u32 = 25;
/// Rows of the table of transfers.
const TRANSFERS: usize = 25;

#[derive(Deserialize)]
pub(super) struct Login {
    code: Option<String>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    network: &'static str,
    title: &'static str,
    text: &'static str,
}

/// Opens a session for the one who has the link.
pub(super) async fn login(State(node): State<Arc<Node>>, Query(login): Query<Login>) -> Response {
    let cookie = login.code.and_then(|code| node.pages.sessions.open(&code));
    match cookie {
        Some(cookie) => ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => locked(&node),
    }
}

fn locked(node: &Node) -> Response {
    assets::page_with_status(
        StatusCode::UNAUTHORIZED,
        &MessagePage {
            network: node.config.network.as_str(),
            title: "This dashboard is locked",
            text: "Open it with the link that `feria up` prints. A link works once and for an \
                   hour; start the node again for a new one.",
        },
    )
}

pub(super) async fn show(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    if !node.pages.sessions.is_open(&headers) {
        return locked(&node);
    }
    match page(&node).await {
        Ok(page) => assets::page(&page),
        Err(problem) => problem.into_response(),
    }
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard {
    network: &'static str,
    public_url: String,
    earned: String,
    spent: String,
    fees: String,
    held: String,
    in_flight: String,
    owed: String,
    unresolved: usize,
    faults: Vec<String>,
    listings_indexed: u64,
    agents: Vec<AgentRow>,
    purchases: Vec<PurchaseRow>,
    wallets: Vec<WalletRow>,
    mints: Vec<MintRow>,
    relays: Vec<RelayRow>,
    transfers: Vec<TransferRow>,
}

struct AgentRow {
    name: String,
    price: String,
    rails: String,
    earned: String,
    upstream: String,
}

struct PurchaseRow {
    when: String,
    what: String,
    rail: String,
    price: String,
    fee: String,
    outcome: String,
    class: &'static str,
    duration: String,
    decision: String,
}

struct WalletRow {
    agent: String,
    id: String,
    state: String,
    balance: String,
    limit: String,
    ends: String,
}

struct MintRow {
    url: String,
    held: String,
    cap: String,
}

struct RelayRow {
    url: String,
    state: String,
    class: &'static str,
    events: u64,
    duplicates: u64,
    invalid: u64,
    last_error: String,
}

struct TransferRow {
    direction: &'static str,
    peer: String,
    amount: String,
    state: String,
    when: String,
}

async fn page(node: &Node) -> Result<Dashboard, Problem> {
    let now = node.clock.now();
    let audit = node.ledger.audit().await?;
    let mut faults = node.wallets.verify_books().await?;
    if !audit.is_clean() {
        faults.push(format!(
            "the ledger is off by {} msat",
            audit.imbalance_msat
        ));
    }
    let balance = |prefix: &str| -> i64 {
        audit
            .balances
            .iter()
            .filter(|(account, _)| account.starts_with(prefix))
            .map(|(_, balance)| balance)
            .sum()
    };
    let purchases = node.spender.list_purchases(None, PURCHASES).await?;
    let unresolved = purchases
        .iter()
        .filter(|purchase| purchase.outcome == "unknown")
        .count();
    let holdings = node.wallets.holdings().await?;
    Ok(Dashboard {
        network: node.config.network.as_str(),
        public_url: node.config.public.url.clone(),
        earned: sats(-balance("income:")),
        spent: sats(balance("expense:")),
        fees: sats(balance("fees:")),
        held: sats(balance("assets:")),
        in_flight: sats(balance("assets:in-flight:")),
        owed: sats(-balance("owed:")),
        unresolved,
        faults,
        listings_indexed: node.index.count_listings(now).await?,
        agents: node
            .agents
            .list()
            .iter()
            .map(|agent| AgentRow {
                name: agent.name.clone(),
                price: agent.price.to_string(),
                rails: view::rails(&agent.rails),
                earned: sats(-balance(&format!("income:{}", agent.name))),
                upstream: agent.upstream.clone(),
            })
            .collect(),
        purchases: purchases
            .into_iter()
            .map(|purchase| purchase_row(purchase, now))
            .collect(),
        wallets: node
            .wallets
            .list_agent_wallets()
            .await?
            .into_iter()
            .map(|wallet| wallet_row(wallet, now))
            .collect(),
        mints: node
            .wallets
            .mints()
            .into_iter()
            .map(|mint| {
                let held: u64 = holdings
                    .iter()
                    .filter(|(_, url, _)| *url == mint.url)
                    .map(|(_, _, held)| held.as_u64())
                    .sum();
                MintRow {
                    held: format!("{held} sat"),
                    cap: mint.cap.to_string(),
                    url: mint.url,
                }
            })
            .collect(),
        relays: relay_rows(node),
        transfers: transfer_rows(node, now).await?,
    })
}

fn purchase_row(purchase: Purchase, now: u64) -> PurchaseRow {
    let class = match purchase.outcome.as_str() {
        "delivered" => "good",
        "unknown" | "paid" | "planned" => "warn",
        "failed" => "bad",
        _ => "muted",
    };
    PurchaseRow {
        when: view::age(purchase.created_at, now),
        what: purchase.endpoint,
        rail: purchase.rail,
        price: Msat::new(purchase.price_msat).to_string(),
        fee: Msat::new(purchase.fee_msat).to_string(),
        outcome: purchase.outcome,
        class,
        duration: format!("{} ms", purchase.duration_ms),
        decision: purchase.decision,
    }
}

fn wallet_row(wallet: WalletInfo, now: u64) -> WalletRow {
    WalletRow {
        ends: view::remaining(wallet.expires_at, now),
        agent: wallet.agent,
        id: view::short(&wallet.id),
        state: wallet.state,
        balance: format!("{} sat", wallet.balance_sat),
        limit: format!("{} sat", wallet.limit_sat),
    }
}

fn relay_rows(node: &Node) -> Vec<RelayRow> {
    node.relays
        .health()
        .into_iter()
        .map(|relay| RelayRow {
            class: if relay.state == "connected" {
                "good"
            } else {
                "warn"
            },
            last_error: relay.last_error.unwrap_or_default(),
            url: relay.url,
            state: relay.state,
            events: relay.events,
            duplicates: relay.duplicates,
            invalid: relay.invalid,
        })
        .collect()
}

async fn transfer_rows(node: &Node, now: u64) -> Result<Vec<TransferRow>, Problem> {
    let rows = node.transfers.list().await?;
    Ok(rows
        .into_iter()
        .take(TRANSFERS)
        .map(|transfer| TransferRow {
            direction: match transfer.direction {
                Direction::Out => "sent",
                Direction::In => "received",
            },
            peer: view::short(&transfer.peer),
            amount: format!("{} sat", transfer.amount_sat),
            state: state_word(transfer.state),
            when: view::age(transfer.created_at, now),
        })
        .collect())
}

fn state_word(state: TransferState) -> String {
    format!("{state:?}").to_lowercase()
}
