//! Calls that are served without a payment: in shadow mode, or free to try.
//!
//! Nothing is claimed or written down for them. A payment that comes along with a
//! shadow call is neither touched nor passed on; one that comes along with what
//! could be a trial is a paid call instead, see `service.rs`.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::json;

use crate::ask;
use crate::challenge::{EXPOSED, SHADOW, TRIAL_REMAINING, answer, remove_own};
use crate::layer::Shared;
use crate::price::Terms;
use crate::service::{Body, Forward, strip_payment};
use crate::trial::Taken;
use crate::verdict::Outcome;

/// Serves a call for nothing and says what it would have cost.
pub(crate) async fn shadow(
    shared: &Shared,
    forward: Forward,
    terms: &Terms,
    request: Request<Body>,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let price = ask::price(shared, terms, &parts).await.ok();
    strip_payment(&mut parts.headers);
    let (mut response, _) = served(forward, Request::from_parts(parts, body)).await;
    let text = price.map_or_else(|| "unknown".to_owned(), |price| price.to_string());
    if let Ok(text) = HeaderValue::try_from(text) {
        response.headers_mut().insert(SHADOW, text);
    }
    response.extensions_mut().insert(Outcome::Shadow { price });
    response
}

/// Serves a call that `taken` makes free, and gives it back if the service fails.
/// A client that hangs up has used its call: the service has worked for it.
pub(crate) async fn trial(
    shared: &Shared,
    forward: Forward,
    taken: Taken,
    request: Request<Body>,
) -> Response<Body> {
    let (mut response, is_served) = served(forward, request).await;
    let mut remaining = taken.remaining;
    if !is_served {
        shared.trials.give_back(&taken);
        remaining += 1;
    }
    let headers = response.headers_mut();
    headers.insert(TRIAL_REMAINING, HeaderValue::from(remaining));
    response.extensions_mut().insert(Outcome::Trial {
        remaining,
        is_served,
    });
    response
}

/// Calls the service; returns its answer and whether that is below 500.
async fn served(forward: Forward, request: Request<Body>) -> (Response<Body>, bool) {
    let mut response = match AssertUnwindSafe(forward(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => failed(),
    };
    let is_served = !response.status().is_server_error();
    mark(response.headers_mut());
    (response, is_served)
}

fn mark(headers: &mut HeaderMap) {
    remove_own(headers);
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private"));
    headers
        .entry(ACCESS_CONTROL_EXPOSE_HEADERS)
        .or_insert(EXPOSED);
}

fn failed() -> Response<Body> {
    let status = StatusCode::BAD_GATEWAY;
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": "The service failed. Nothing was paid.",
        "code": "upstream_failed",
        "retryable": true,
        "money": "none",
        "next_steps": ["Try again later"],
    });
    answer(status, "application/problem+json", document.to_string())
}
