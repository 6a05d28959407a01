//! What has become of an invoice, told once or while it changes.
//!
//! One address, three forms by `Accept`: an event stream for the script of the
//! page of a 402, a page that asks again by itself for a browser without script,
//! and JSON. It tells a state and an expiry, and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, REFRESH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use super::pages::is_browser;
use crate::gateway::{InvoiceNews, InvoiceWatch, NoNews};
use crate::http::{MessagePage, Node, Problem, assets};

/// When a browser comes back after its stream ended.
const RECONNECT: Duration = Duration::from_secs(3);
/// How often a silent stream says that it is alive; proxies cut silent ones.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a page without script asks again, in seconds.
const REFRESH_SECS: HeaderValue = HeaderValue::from_static("5");

/// Tells the state of the invoice with this payment hash.
pub(super) async fn events(
    State(node): State<Arc<Node>>,
    Path(hash): Path<String>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let Ok(hash) = hash.parse() else {
        return refused(NoNews::Unknown);
    };
    let client = client.ip();
    if accepts_events(&headers) {
        return match node.gateway.watch_invoice(hash, client).await {
            Ok(watch) => stream_of(watch),
            Err(no_news) => refused(no_news),
        };
    }
    match node.gateway.invoice_news(&hash, client).await {
        Ok(news) if is_browser(&headers) => page(&node, news),
        Ok(news) => ([(CACHE_CONTROL, "no-store")], Json(document(news))).into_response(),
        Err(no_news) => refused(no_news),
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"))
}

fn document(news: InvoiceNews) -> Value {
    let mut document = json!({"state": news.code()});
    if let InvoiceNews::Waiting { expires_at } = news {
        document["expires_at"] = json!(expires_at);
    }
    document
}

fn stream_of(watch: InvoiceWatch) -> Response {
    let events = stream::unfold(watch, |mut watch| async move {
        let news = watch.next().await?;
        let event = Event::default()
            .event("state")
            .retry(RECONNECT)
            .data(document(news).to_string());
        Some((Ok::<_, Infallible>(event), watch))
    });
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Tells a person whose browser runs no script.
fn page(node: &Node, news: InvoiceNews) -> Response {
    let (title, text) = match news {
        InvoiceNews::Waiting { .. } => (
            "Waiting for the payment",
            "This page asks again every few seconds. Keep the page with the invoice open: it \
             holds the command that your payment is for.",
        ),
        InvoiceNews::Paid => (
            "Paid",
            "Go back to the page with the invoice and repeat the call with the preimage, which \
             your wallet shows beside the payment.",
        ),
        InvoiceNews::Expired => (
            "The invoice has expired",
            "It was not paid in time. Open the address of the call again: it asks with a fresh \
             invoice.",
        ),
    };
    let mut response = assets::page(&MessagePage {
        network: node.config.network.as_str(),
        title,
        text,
        command: "",
    });
    if !news.is_final() {
        response.headers_mut().insert(REFRESH, REFRESH_SECS);
    }
    response
}

fn refused(no_news: NoNews) -> Response {
    match no_news {
        NoNews::Unknown => {
            Problem::not_found("this node made no invoice with this payment hash").into_response()
        }
        NoNews::TooMany { retry_after } => {
            let mut response = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_questions",
                "the state of invoices was asked for too often, or is watched too much",
            )
            .retryable()
            .into_response();
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
            response
        }
        NoNews::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "lightning_unavailable",
            "the Lightning backend does not say now",
        )
        .retryable()
        .into_response(),
    }
}
