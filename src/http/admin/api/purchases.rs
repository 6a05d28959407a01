//! Paid calls: quoted, made, listed and explained.
//!
//! An answer is one JSON document, or, where the request says `"stream": true`, the
//! same document without a body in the first line and then the body as it comes.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use feria_paywall::amount::Msat;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Answer, MAX_LIMIT, limit};
use crate::http::admin::extract::{Input, Parameters};
use crate::http::admin::guard::{About, Caller};
use crate::http::{Node, Problem};
use crate::spend::{FetchRequest, LockPolicy, OpenAnswer, Purchase, Quote, Rail, SpendError};

/// A head in JSON, a line break, and a body.
const STREAM_TYPE: &str = "application/x-feria-answer";
/// The largest body of an answer that goes into a JSON document.
const MAX_JSON_BODY_BYTES: usize = 32 * 1024 * 1024;

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
    /// A body that is not text.
    body_base64: Option<String>,
    max_cost_msat: Option<u64>,
    max_fee_msat: Option<u64>,
    #[serde(default)]
    rail: Rail,
    #[serde(default)]
    lock: LockPolicy,
    #[serde(default)]
    dry_run: bool,
    /// A 402 is an answer like any other.
    #[serde(default)]
    no_pay: bool,
    idempotency_key: Option<String>,
    /// The purchase to go on with; the call must be the same.
    resume: Option<String>,
    listing: Option<String>,
    /// Pass the body on as it comes.
    #[serde(default)]
    stream: bool,
}

/// Makes a call, and pays for it if it has to be.
pub(in crate::http::admin) async fn fetch(
    caller: Caller,
    Input(fetch): Input<Fetch>,
) -> Result<Response, Problem> {
    let (is_stream, resumed) = (fetch.stream, fetch.resume.clone());
    let (node, request) = admit(&caller, fetch).await?;
    let (began, max_fee) = (node.clock.now(), request.max_fee.unwrap_or_default());
    let outcome = match resumed {
        Some(id) => node.spender.resume(&id, request).await,
        None => node.spender.open(request).await,
    };
    // What a call costs is known before its body has come.
    let purchase = outcome.as_ref().map(|answer| answer.purchase.as_ref());
    settle(&caller, purchase, began, max_fee).await;
    let answer = outcome?;
    if is_stream {
        return Ok(streamed(answer));
    }
    let fetched = node.spender.collect(answer, MAX_JSON_BODY_BYTES).await?;
    let mut document = head(fetched.status, &fetched.headers, fetched.purchase.as_ref());
    match std::str::from_utf8(&fetched.body) {
        Ok(text) => document["body"] = json!(text),
        Err(_) => document["body_base64"] = json!(STANDARD.encode(&fetched.body)),
    }
    Ok(Json(document).into_response())
}

/// Says what a call would cost; pays and records nothing.
pub(in crate::http::admin) async fn quote(
    caller: Caller,
    Input(fetch): Input<Fetch>,
) -> Answer<Quote> {
    let (node, request) = admit(&caller, fetch).await?;
    caller.settle(Msat::ZERO).await;
    Ok(Json(node.spender.quote(request).await?))
}

/// Lets the caller make the call that it describes.
async fn admit(
    caller: &Caller,
    fetch: Fetch,
) -> Result<(std::sync::Arc<Node>, FetchRequest), Problem> {
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
    let body = match fetch.body_base64 {
        None => Bytes::from(fetch.body),
        Some(text) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Problem::bad_request("`body_base64` is not base64"))?,
    };
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
        body,
        max_cost: Some(max_cost),
        max_fee: Some(max_fee),
        rail: fetch.rail,
        lock: fetch.lock,
        dry_run: fetch.dry_run,
        no_pay: fetch.no_pay,
        idempotency_key: fetch.idempotency_key,
        listing: fetch.listing,
        ..FetchRequest::get(wallet.id, fetch.url)
    };
    Ok((node, request))
}

/// Tells the windows of the caller's token what a call that began at `began` did cost.
pub(super) async fn settle(
    caller: &Caller,
    outcome: Result<Option<&Purchase>, &SpendError>,
    began: u64,
    max_fee: Msat,
) {
    if let Some(cost) = cost(outcome, began, max_fee) {
        caller.settle(cost).await;
    }
}

/// Returns what a call that began at `began` did cost; `None` while nobody knows.
fn cost(
    outcome: Result<Option<&Purchase>, &SpendError>,
    began: u64,
    max_fee: Msat,
) -> Option<Msat> {
    match outcome {
        Ok(purchase) => Some(match purchase {
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

/// Everything of an answer but its body, which is `body` when it is text, else `body_base64`.
fn head(status: u16, headers: &HeaderMap, purchase: Option<&Purchase>) -> Value {
    let headers: Map<String, Value> = headers
        .keys()
        .map(|name| {
            let values = headers.get_all(name).iter();
            let mut texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
            let value = match texts.as_slice() {
                [_] => json!(texts.remove(0)),
                // Such as several cookies.
                _ => json!(texts),
            };
            (name.to_string(), value)
        })
        .collect();
    json!({
        "status": status,
        "headers": headers,
        "purchase": purchase,
    })
}

/// Passes an answer on. A body that breaks off ends the connection without its end.
fn streamed(answer: OpenAnswer) -> Response {
    let head = head(answer.status, &answer.headers, answer.purchase.as_ref());
    let first = stream::once(async move { Ok(Bytes::from(format!("{head}\n"))) });
    let body = Body::from_stream(first.chain(answer.body));
    ([(CONTENT_TYPE, STREAM_TYPE)], body).into_response()
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
