//! The owner's page: one sentence first, then the tables behind it.
//!
//! It only shows; everything that acts goes through the API or the commands.

mod rows;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use self::rows::{
    AgentRow, Bar, CallRow, MintRow, PurchaseRow, RelayRow, TransferRow, WalletRow, bars,
};
use crate::http::view::sats;
use crate::http::{MessagePage, Node, Problem, assets};
use crate::store::ledger::Audit;

/// Rows of the tables of purchases and of paid calls.
const NEWEST: u32 = 20;
/// Rows of the table of transfers.
const TRANSFERS: usize = 20;

#[derive(Deserialize)]
pub(super) struct Login {
    code: Option<String>,
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
            text: "Open it with the link that the node prints when it starts. A link works once \
                   and for an hour; start the node again for a new one:",
            command: "feria up",
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
    purchase_bars: Vec<Bar>,
    calls: Vec<CallRow>,
    call_bars: Vec<Bar>,
    wallets: Vec<WalletRow>,
    mints: Vec<MintRow>,
    relays: Vec<RelayRow>,
    transfers: Vec<TransferRow>,
}

/// Returns the sum of the accounts whose names begin with `prefix`, in millisatoshi.
fn balance(audit: &Audit, prefix: &str) -> i64 {
    audit
        .balances
        .iter()
        .filter(|(account, _)| account.starts_with(prefix))
        .map(|(_, balance)| balance)
        .sum()
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
    let purchases = node.spender.list_purchases(None, NEWEST).await?;
    let calls = node.ledger.list_recent_calls(NEWEST).await?;
    let unresolved = purchases
        .iter()
        .filter(|purchase| purchase.outcome == "unknown")
        .count();
    let holdings = node.wallets.holdings().await?;
    Ok(Dashboard {
        network: node.config.network.as_str(),
        public_url: node.config.public.url.clone(),
        earned: sats(-balance(&audit, "income:")),
        spent: sats(balance(&audit, "expense:")),
        fees: sats(balance(&audit, "fees:")),
        held: sats(balance(&audit, "assets:")),
        in_flight: sats(balance(&audit, "assets:in-flight:")),
        owed: sats(-balance(&audit, "owed:")),
        unresolved,
        faults,
        listings_indexed: node.index.count_listings(now).await?,
        agents: node
            .agents
            .list()
            .iter()
            .map(|agent| AgentRow::new(node, agent, &audit))
            .collect(),
        purchase_bars: bars(purchases.iter().map(|purchase| {
            let class = rows::purchase_outcome(&purchase.outcome).class;
            (purchase.price_msat, class)
        })),
        purchases: purchases
            .into_iter()
            .map(|purchase| PurchaseRow::new(purchase, now))
            .collect(),
        call_bars: bars(calls.iter().map(|call| {
            let class = rows::call_outcome(&call.state).class;
            (rows::brought_msat(call), class)
        })),
        calls: calls
            .into_iter()
            .map(|call| CallRow::new(call, now))
            .collect(),
        wallets: node
            .wallets
            .list_agent_wallets()
            .await?
            .into_iter()
            .map(|wallet| WalletRow::new(wallet, now))
            .collect(),
        mints: node
            .wallets
            .mints()
            .into_iter()
            .map(|mint| {
                let held = holdings.iter().filter(|(_, url, _)| *url == mint.url);
                let held = held.map(|(_, _, held)| held.as_u64()).sum();
                MintRow::new(mint.url, held, mint.cap.as_u64())
            })
            .collect(),
        relays: node
            .relays
            .health()
            .into_iter()
            .map(RelayRow::new)
            .collect(),
        transfers: node
            .transfers
            .list()
            .await?
            .into_iter()
            .take(TRANSFERS)
            .map(|transfer| TransferRow::new(transfer, now))
            .collect(),
    })
}
