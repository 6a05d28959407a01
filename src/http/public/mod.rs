//! The public listener: what buyers, Nostr clients, browsers and crawlers reach.

pub(crate) mod card;
mod client_addr;
mod documents;
mod gateway;
mod invoices;
mod market;
mod pages;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};

use super::{Node, assets};

/// Returns the routes of the public listener.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/", get(pages::root))
        .route("/l/{address}", get(pages::listing))
        .route("/card/{file}", get(pages::card))
        .route("/style.css", get(assets::style))
        .route("/pay.js", get(assets::pay_script))
        .route("/icon.svg", get(assets::icon))
        .route("/a/{agent}", any(gateway::call_root))
        .route("/a/{agent}/", any(gateway::call_root))
        .route("/a/{agent}/{*path}", any(gateway::call))
        .route("/v1/refund", post(gateway::refund))
        .route("/v1/invoices/{payment_hash}/events", get(invoices::events))
        .route("/openapi.json", get(documents::openapi))
        .route("/llms.txt", get(documents::llms))
        .route("/.well-known/l402.json", get(documents::l402))
        .route("/.well-known/l402-services", get(documents::l402_services))
        .route("/.well-known/nostr.json", get(documents::nostr))
        .route("/.well-known/agent-card.json", get(documents::agent_card))
        .fallback(pages::missing)
        .with_state(node)
}
