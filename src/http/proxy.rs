//! A paying proxy: any HTTP client sends its request through it and has what it asks
//! for paid by a node, under the budget of one wallet.
//!
//! | request | what happens |
//! |---|---|
//! | `GET http://host/path` (a client's `http_proxy`) | called over HTTP |
//! | `GET /https://host/path`, `GET /http://host/path` | called over HTTPS or HTTP |
//! | `CONNECT host:443` (a client's `https_proxy`) | 501: inside TLS there is nothing to see or pay; call with the form above |
//!
//! Bodies of answers stream. A request's body is kept until the call is over, since it
//! is sent again with the payment, and is therefore bounded.
//!
//! Whoever reaches the proxy spends the wallet's money. So it takes requests for
//! this machine's own names only, none that a page of another site makes, and, where
//! it is told to, only those with a token of the node's API in `Proxy-Authorization`
//! (`Bearer TOKEN`, or `Basic` with the token as the password); that token then
//! decides what may be paid.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Problem;
use crate::lifecycle::Lifecycle;
use crate::spend::{Client, ClientError, Reply};

/// The largest body of a request.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// Headers between two neighbours, which are not passed on.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HOST,
    CONTENT_LENGTH,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Names a purchase, as the node's API does.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says what a call cost; the node explains it by this id.
const PURCHASE: HeaderName = HeaderName::from_static("feria-purchase");
/// Says that the answer is not the seller's: the word of the problem.
const PROBLEM: HeaderName = HeaderName::from_static("feria-problem");
/// Sent by browsers: who made the request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a proxy pays.
#[derive(Debug)]
pub struct ProxyParts {
    /// The node that pays.
    pub client: Client,
    /// What every call says of wallet and limits, in the words of the API's `fetch`.
    pub terms: Value,
    /// Whether a request must bring a token of its own.
    pub needs_token: bool,
}

/// Serves the proxy on `listener` until shutdown.
pub fn serve(parts: ProxyParts, listener: TcpListener, lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    let router = Router::new().fallback(answer).with_state(Arc::new(parts));
    lifecycle.spawn_draining(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopping);
        if let Err(error) = served.await {
            tracing::error!(%error, "the proxy stopped serving: {error}");
        }
    });
}

async fn answer(State(parts): State<Arc<ProxyParts>>, request: Request) -> Response {
    match pass_on(&parts, request).await {
        Ok(response) => response,
        Err(problem) => {
            let code = HeaderValue::from_str(&problem.code);
            let mut response = problem.into_response();
            if let Ok(code) = code {
                response.headers_mut().insert(PROBLEM, code);
            }
            response
        }
    }
}

async fn pass_on(parts: &ProxyParts, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    if head.method == Method::CONNECT {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "connect_unsupported",
            "a tunnel would hide the 402 from the proxy",
        )
        .next("call through a path instead: http://PROXY/https://HOST/PATH"));
    }
    let url = target(&head.uri)?;
    refuse_pages(&head.headers, &head.uri)?;
    let client = match (token(&head.headers), parts.needs_token) {
        (Some(token), _) => parts.client.with_token(&token),
        (None, false) => parts.client.clone(),
        (None, true) => {
            return Err(Problem::new(
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                "token_missing",
                "this proxy needs a token: Proxy-Authorization: Bearer TOKEN",
            ));
        }
    };
    let body = Limited::new(body, MAX_BODY_BYTES)
        .collect()
        .await
        .map_err(|_| {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("a body has at most {MAX_BODY_BYTES} bytes, and must be complete"),
            )
        })?
        .to_bytes();
    let reply = client
        .fetch(order(
            &parts.terms,
            &head.method,
            &url,
            &head.headers,
            &body,
        ))
        .await
        .map_err(problem)?;
    Ok(streamed(reply))
}

/// Returns the URL that a request is for: its own, or the one in its path.
fn target(uri: &Uri) -> Result<String, Problem> {
    if uri.scheme().is_some() && uri.authority().is_some() {
        return Ok(uri.to_string());
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    for scheme in ["https", "http"] {
        let Some(rest) = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(scheme))
            .and_then(|rest| rest.strip_prefix(":/"))
        else {
            continue;
        };
        // Some clients take a double slash for a mistake.
        return Ok(format!("{scheme}://{}", rest.trim_start_matches('/')));
    }
    Err(
        Problem::not_found("this is a proxy: it has no pages of its own")
            .next("set http_proxy to it, or call http://PROXY/https://HOST/PATH"),
    )
}

/// Refuses what a page in a browser could make it do: another site's request, and a
/// name of another site that points here. A proxied request has its target's name.
fn refuse_pages(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "foreign_host", detail);
    let is_from_page = headers.contains_key(ORIGIN)
        || headers
            .get(FETCH_SITE)
            .is_some_and(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"));
    if is_from_page && token(headers).is_none() {
        return Err(refused(
            "a web page must not spend from here without a token",
        ));
    }
    if uri.scheme().is_some() {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let name = host.unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_own = name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if is_own || token(headers).is_some() {
        Ok(())
    } else {
        Err(refused(
            "the host name of a request must be this machine's own",
        ))
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(PROXY_AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = value.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    pair.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Returns the request of the API.
fn order(terms: &Value, method: &Method, url: &str, headers: &HeaderMap, body: &Bytes) -> Value {
    let mut order = terms.clone();
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .and_then(|key| key.to_str().ok());
    order["method"] = json!(method.as_str());
    order["url"] = json!(url);
    order["body_base64"] = json!(STANDARD.encode(body));
    order["idempotency_key"] = json!(key);
    let passed: serde_json::Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| !is_hop_by_hop(name) && **name != IDEMPOTENCY_KEY)
        .filter_map(|(name, value)| Some((name.to_string(), json!(value.to_str().ok()?))))
        .collect();
    order["headers"] = Value::Object(passed);
    order
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || [KEEP_ALIVE, PROXY_CONNECTION].contains(name)
}

fn streamed(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut headers = reply.headers.clone();
    for name in HOP_BY_HOP.iter().chain(&[KEEP_ALIVE, PROXY_CONNECTION]) {
        headers.remove(name);
    }
    if let Some(purchase) = &reply.purchase
        && let Ok(id) = HeaderValue::from_str(&purchase.id)
    {
        headers.insert(PURCHASE, id);
    }
    let parts = stream::try_unfold(reply, |mut reply| async move {
        Ok::<_, ClientError>(reply.chunk().await?.map(|part| (part, reply)))
    });
    let mut response = Response::new(Body::from_stream(parts));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// What the node said goes on as it is.
fn problem(error: ClientError) -> Problem {
    let ClientError::Problem(document) = &error else {
        return Problem::new(StatusCode::BAD_GATEWAY, error.code(), error.to_string()).retryable();
    };
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    let status = document["status"].as_u64().unwrap_or(502);
    let status = u16::try_from(status).unwrap_or(502);
    let mut problem = Problem::new(
        StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
        text("code"),
        text("detail"),
    );
    if let Ok(money) = serde_json::from_value(document["money"].clone()) {
        problem = problem.money(money);
    }
    let steps = document["next_steps"].as_array().into_iter().flatten();
    for step in steps.filter_map(Value::as_str) {
        problem = problem.next(step);
    }
    problem
}
