//! The listener of the owner: the API, the dashboard and the health checks.
//!
//! Two ways in: a token for each call of the API, a session for the pages. The
//! host name of every request must be this machine's own, so that a page on
//! another site cannot reach the listener by pointing its name here.

mod api;
mod dashboard;
mod extract;
mod faults;
mod guard;
mod host;
mod reference;
mod routes;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

pub use reference::markdown;
pub use routes::{Route, table};
pub(crate) use sessions::Sessions;

use super::{Node, Problem, assets};

/// The largest body that the API takes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The label of the operator's key, see [`crate::config::NodeSeed::secret`].
pub const OPERATOR_LABEL: &str = "feria/operator";

/// Returns the routes of the admin listener.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/", get(dashboard::show))
        .route("/login", get(dashboard::login))
        .route("/style.css", get(assets::style))
        .route("/icon.svg", get(assets::icon))
        .route("/healthz", get(api::status::healthz))
        .route("/readyz", get(api::status::readyz))
        .merge(routes::router())
        .fallback(|| async { Problem::not_found("there is no such route") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&node), host::check))
        .with_state(node)
}
