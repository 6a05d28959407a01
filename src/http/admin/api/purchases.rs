//! Paid calls: made, listed and explained.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use feria_paywall::amount::Msat;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Answer, MAX_LIMIT, limit};
use crate::http::admin::extract::{Input, Parameters};
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::spend::{FetchRequest, Fetched, LockPolicy, Purchase, Rail, SpendError};

/// A call to make. Amounts are in millisatoshi, as their names say.
#[derive(Deserialize)]
pub(in crate::http::admin) struct Fetch {
    /// The wallet that pays: its id, or the name of its agent.
    wallet: String,
    url: String,
    /// Absent: the one in the listing of this URL, else GET.
    method: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    max_cost_msat: Option<u64>,
    max_fee_msat: Option<u64>,
    #[serde(default)]
    rail: Rail,
    #[serde(default)]
    lock: LockPolicy,
    #[serde(default)]
    dry_run: bool,
    idempotency_key: Option<String>,
    listing: Option<String>,
}

pub(in crate::http::admin) async fn fetch(
    caller: Caller,
    Input(fetch): Input<Fetch>,
) -> Answer<Value> {
    let (default_cost, default_fee) = caller.spend_limits();
    let max_cost = fetch.max_cost_msat.map_or(default_cost, Msat::new);
    let max_fee = fetch.max_fee_msat.map_or(default_fee, Msat::new);
    let url = url::Url::parse(&fetch.url)
        .map_err(|error| Problem::bad_request(format!("`url` cannot be read: {error}")))?;
    let method = fetch
        .method
        .map(|method| Method::from_bytes(method.as_bytes()))
        .transpose()
        .map_err(|_| Problem::bad_request("`method` is no HTTP method"))?;
    let headers = headers(&fetch.headers)?;
    let about = About {
        host: url.host_str(),
        method: method.as_ref().map(Method::as_str),
        rail: match fetch.rail {
            Rail::Auto => None,
            Rail::Cashu => Some("cashu"),
            Rail::Lightning => Some("lightning"),
        },
        amount: Some(max_cost.saturating_add(max_fee)),
        ..About::default()
    };
    let (node, wallet) = caller.admit_to_wallet(&fetch.wallet, about).await?;
    let method = match method {
        Some(method) => method,
        None => listed_method(&node, url).await?,
    };
    let request = FetchRequest {
        method,
        headers,
        body: Bytes::from(fetch.body),
        max_cost: Some(max_cost),
        max_fee: Some(max_fee),
        rail: fetch.rail,
        lock: fetch.lock,
        dry_run: fetch.dry_run,
        idempotency_key: fetch.idempotency_key,
        listing: fetch.listing,
        ..FetchRequest::get(wallet.id, fetch.url)
    };
    let began = node.clock.now();
    let outcome = node.spender.fetch(request).await;
    if let Some(cost) = cost(&outcome, began, max_fee) {
        caller.settle(cost).await;
    }
    Ok(Json(answer(outcome?)))
}

/// Returns what a call that began at `began` did cost; `None` while nobody knows.
fn cost(outcome: &Result<Fetched, SpendError>, began: u64, max_fee: Msat) -> Option<Msat> {
    match outcome {
        Ok(fetched) => Some(match &fetched.purchase {
            // Paid for by an earlier call with the same key.
            Some(purchase) if purchase.created_at < began => Msat::ZERO,
            Some(purchase) if purchase.outcome == "planned" => Msat::ZERO,
            Some(purchase) if purchase.outcome == "refunded" => Msat::new(purchase.fee_msat),
            Some(purchase) => Msat::new(purchase.price_msat.saturating_add(purchase.fee_msat)),
            None => Msat::ZERO,
        }),
        Err(
            SpendError::BadRequest(_) | SpendError::Network { .. } | SpendError::Refused { .. },
        ) => Some(Msat::ZERO),
        // Nothing but fees is gone.
        Err(SpendError::PaymentFailed { .. }) => Some(max_fee),
        Err(_) => None,
    }
}

/// Returns the method of the one priced call at `url`, GET when none or several are known.
async fn listed_method(node: &Node, mut url: url::Url) -> Result<Method, Problem> {
    url.set_query(None);
    let rows = node
        .index
        .list_offers_at(url.as_str(), node.clock.now())
        .await?;
    let mut methods: Vec<String> = rows.into_iter().map(|row| row.method).collect();
    methods.dedup();
    let method = match methods.as_slice() {
        [method] if !method.is_empty() => Method::from_bytes(method.as_bytes()),
        _ => Ok(Method::GET),
    };
    method.map_err(|_| Problem::bad_request("the listing of this URL names no HTTP method"))
}

fn headers(named: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, Problem> {
    named
        .iter()
        .map(|(name, value)| {
            let bad = || Problem::bad_request(format!("header {name:?} cannot be sent"));
            Ok((
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?,
                HeaderValue::from_str(value).map_err(|_| bad())?,
            ))
        })
        .collect()
}

/// The body is text when it is text, else `body_base64`.
fn answer(fetched: Fetched) -> Value {
    let headers: Map<String, Value> = fetched
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), json!(value.to_str().ok()?))))
        .collect();
    let mut answer = json!({
        "status": fetched.status,
        "headers": headers,
        "purchase": fetched.purchase,
    });
    match std::str::from_utf8(&fetched.body) {
        Ok(text) => answer["body"] = json!(text),
        Err(_) => answer["body_base64"] = json!(STANDARD.encode(&fetched.body)),
    }
    answer
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct ListQuery {
    wallet: Option<String>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct Purchases {
    items: Vec<Purchase>,
}

pub(in crate::http::admin) async fn list(
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Answer<Purchases> {
    let node = caller.admit(About::default()).await?;
    let items = node
        .spender
        .list_purchases(query.wallet.as_deref(), limit(query.limit))
        .await?;
    Ok(Json(Purchases { items }))
}

/// Explains one purchase; `last` is the newest.
pub(in crate::http::admin) async fn why(caller: Caller, Path(id): Path<String>) -> Answer<Value> {
    let node = caller.admit(About::default()).await?;
    let recent = node.spender.list_purchases(None, MAX_LIMIT).await?;
    let purchase = if id == "last" {
        recent.into_iter().next()
    } else {
        recent.into_iter().find(|purchase| purchase.id == id)
    };
    let id = purchase.as_ref().map_or(id, |found| found.id.clone());
    let why = node.spender.why(&id).await?;
    match (purchase, why) {
        (None, None) => Err(Problem::not_found(format!("there is no purchase {id}"))),
        (purchase, why) => {
            let policy = node.spender.judgement(&id).await?;
            Ok(Json(
                json!({"purchase": purchase, "why": why, "policy": policy}),
            ))
        }
    }
}
