//! Paid calls, passed to the gateway as they stream in and out.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use super::client_addr::client_addr;
use super::pages;
use crate::gateway::{ClientAddr, RefundOutcome, TrustedProxy};
use crate::http::{Node, Problem};

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

pub(super) async fn call_root(
    state: State<Arc<Node>>,
    Path(agent): Path<String>,
    client: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    call(state, Path((agent, String::new())), client, request).await
}

pub(super) async fn call(
    State(node): State<Arc<Node>>,
    Path((agent, _path)): Path<(String, String)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    if let Some(page) = page_for_a_person(&node, &agent, &request) {
        return page;
    }
    let limit = node.config.public.max_body_bytes;
    if declared_length(request.headers()).is_some_and(|length| length > limit) {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("a request body may have at most {limit} bytes"),
        )
        .into_response();
    }
    let proxies = &node.config.public.trusted_proxies;
    let client = client_addr(peer.ip(), request.headers(), proxies);
    request.extensions_mut().insert(ClientAddr(client));
    if proxies.contains(peer.ip().to_canonical()) {
        request.extensions_mut().insert(TrustedProxy(peer.ip()));
    }
    let request = request.map(|body| Limited::new(body, limit).boxed_unsync());
    node.gateway.handle(&agent, request).await.map(Body::new)
}

/// Returns a page for a browser that opened an address which sells nothing that way.
fn page_for_a_person(node: &Node, agent: &str, request: &Request) -> Option<Response> {
    if request.method() != Method::GET || !pages::is_browser(request.headers()) {
        return None;
    }
    match node.agents.find(agent) {
        None => Some(pages::no_page(node)),
        Some(_) if node.gateway.sells(agent, request.method(), request.uri()) => None,
        Some(agent) if agent.method.eq_ignore_ascii_case("GET") => None,
        Some(agent) => Some(pages::how_to_call(node, &agent)),
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Gives back what a failed call was paid with: the token that paid for it is the key.
pub(super) async fn refund(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(token) = refund_token(&headers, &body) else {
        return Problem::bad_request("send the token that paid for the call")
            .next("put it in the body, or in the X-Cashu header")
            .into_response();
    };
    match node.gateway.refund(&token).await {
        RefundOutcome::Token {
            token,
            mint,
            amount,
        } => (
            [(CACHE_CONTROL, "no-store")],
            Json(json!({"token": token, "mint": mint, "amount_sat": amount.as_u64()})),
        )
            .into_response(),
        RefundOutcome::NotFound => {
            Problem::not_found("this token never paid for a call here").into_response()
        }
        RefundOutcome::NothingOwed => Problem::new(
            StatusCode::GONE,
            "nothing_owed",
            "the call that this token paid for was delivered",
        )
        .into_response(),
        RefundOutcome::InProgress => Problem::new(
            StatusCode::TOO_EARLY,
            "in_progress",
            "the call is still running",
        )
        .retryable()
        .into_response(),
        RefundOutcome::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "mint_unavailable",
            "the refund is owed and kept; the mint does not answer now",
        )
        .retryable()
        .into_response(),
        RefundOutcome::Malformed => {
            Problem::bad_request("this is not a Cashu token").into_response()
        }
    }
}

/// Takes the token from the header, from `{"token": …}`, or the body as it is.
fn refund_token(headers: &HeaderMap, body: &str) -> Option<String> {
    let token = headers
        .get("x-cashu")
        .and_then(|value| value.to_str().ok().map(str::to_owned))
        .or_else(|| {
            let document: serde_json::Value = serde_json::from_str(body).ok()?;
            Some(document.get("token")?.as_str()?.to_owned())
        })
        .unwrap_or_else(|| body.trim().to_owned());
    (!token.is_empty() && token.len() <= MAX_TOKEN_BYTES).then_some(token)
}
