//! The one table of the API: each route and the permission it needs.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};

use super::api::{
    access, agents, approvals, budgets, credentials, ledger, lightning, listings, mints, payments,
    purchases, status, transfers, wallets,
};
use super::guard::Needed;
use crate::access::Permission;
use crate::http::Node;

/// One route of the API.
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with `{names}` for its variable parts.
    pub path: &'static str,
    /// What a token must permit.
    pub permission: Permission,
    handler: MethodRouter<Arc<Node>>,
}

/// Returns every route of the API.
#[must_use]
pub fn table() -> Vec<Route> {
    use Permission::{Browse, Invoice, Listing, NodeAdmin, Pay, Transfer, WalletAdmin};

    let read = |path, permission, handler| Route {
        method: Method::GET,
        path,
        permission,
        handler,
    };
    let act = |path, permission, handler| Route {
        method: Method::POST,
        path,
        permission,
        handler,
    };
    vec![
        read("/api/v1/status", Browse, get(status::status)),
        read("/api/v1/search", Browse, get(listings::search)),
        read("/api/v1/listings", Browse, get(listings::search)),
        read("/api/v1/listings/{coordinate}", Browse, get(listings::find)),
        read("/api/v1/agents", Browse, get(agents::list)),
        act("/api/v1/agents/reload", Listing, post(agents::reload)),
        act(
            "/api/v1/agents/{name}/publish",
            Listing,
            post(agents::publish),
        ),
        read("/api/v1/agents/{name}/check", Browse, get(agents::check)),
        read("/api/v1/wallets", Browse, get(wallets::list)),
        act("/api/v1/wallets", WalletAdmin, post(wallets::create)),
        read("/api/v1/wallets/{id}", Browse, get(wallets::show)),
        act(
            "/api/v1/wallets/{id}/fund",
            WalletAdmin,
            post(wallets::fund),
        ),
        act(
            "/api/v1/wallets/{id}/sweep",
            WalletAdmin,
            post(wallets::sweep),
        ),
        act(
            "/api/v1/wallets/{id}/close",
            WalletAdmin,
            post(wallets::close),
        ),
        act(
            "/api/v1/wallets/{id}/freeze",
            WalletAdmin,
            post(wallets::freeze),
        ),
        read("/api/v1/wallets/{id}/audit", Browse, get(wallets::audit)),
        read("/api/v1/mints", Browse, get(mints::list)),
        act("/api/v1/fetch", Pay, post(purchases::fetch)),
        act("/api/v1/quote", Pay, post(purchases::quote)),
        read("/api/v1/purchases", Browse, get(purchases::list)),
        read("/api/v1/purchases/{id}", Browse, get(purchases::why)),
        read("/api/v1/approvals", Browse, get(approvals::list)),
        act(
            "/api/v1/approvals/{id}/approve",
            NodeAdmin,
            post(approvals::approve),
        ),
        act(
            "/api/v1/approvals/{id}/deny",
            NodeAdmin,
            post(approvals::deny),
        ),
        read("/api/v1/budget", Browse, get(budgets::show)),
        act("/api/v1/budget/simulate", Browse, post(budgets::simulate)),
        act("/api/v1/budget/reload", NodeAdmin, post(budgets::reload)),
        act("/api/v1/pay", Pay, post(payments::pay)),
        act("/api/v1/invoices", Invoice, post(payments::invoice)),
        read("/api/v1/transfers", Browse, get(transfers::list)),
        act("/api/v1/transfers", Transfer, post(transfers::send)),
        read("/api/v1/credentials", Browse, get(credentials::list)),
        act(
            "/api/v1/credentials/{token_id}/revoke",
            Listing,
            post(credentials::revoke),
        ),
        read("/api/v1/lightning", Browse, get(lightning::list)),
        read("/api/v1/lightning/{name}", NodeAdmin, get(lightning::show)),
        act(
            "/api/v1/lightning/{name}/address",
            NodeAdmin,
            post(lightning::address),
        ),
        act(
            "/api/v1/lightning/{name}/channels",
            NodeAdmin,
            post(lightning::open),
        ),
        act(
            "/api/v1/lightning/{name}/channels/{id}/close",
            NodeAdmin,
            post(lightning::close),
        ),
        read("/api/v1/ledger/audit", Browse, get(ledger::audit)),
        read("/api/v1/access/tokens", NodeAdmin, get(access::list)),
        act("/api/v1/access/tokens", NodeAdmin, post(access::issue)),
        act(
            "/api/v1/access/tokens/{id}/revoke",
            NodeAdmin,
            post(access::revoke),
        ),
    ]
}

/// Returns the router of the table.
pub(super) fn router() -> Router<Arc<Node>> {
    table().into_iter().fold(Router::new(), |router, route| {
        let needed = Extension(Needed(route.permission));
        router.route(route.path, route.handler.layer(needed))
    })
}
