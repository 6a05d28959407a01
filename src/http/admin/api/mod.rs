//! The handlers of `/api/v1`: each reads the request, calls one part, renders the answer.

pub(super) mod access;
pub(super) mod agents;
pub(super) mod approvals;
pub(super) mod budgets;
pub(super) mod credentials;
pub(super) mod ledger;
pub(super) mod lightning;
pub(super) mod listings;
pub(super) mod mints;
pub(super) mod payments;
pub(super) mod purchases;
pub(super) mod status;
pub(super) mod transfers;
pub(super) mod wallets;

use axum::Json;

use crate::http::Problem;
use crate::protocol::text::clean;

/// What a handler answers.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// The longest name that is repeated to whoever gave it.
const MAX_SHOWN_CHARS: usize = 80;
/// Rows of a list when the request does not say.
const DEFAULT_LIMIT: u32 = 50;
/// The most rows of a list.
const MAX_LIMIT: u32 = 500;

/// Returns how many rows to answer with.
fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

/// Returns a name that a caller gave as it can be repeated to him: short, and without
/// what could steer a terminal.
pub(super) fn shown(name: &str) -> String {
    clean(name, MAX_SHOWN_CHARS)
}

/// Returns `text` as an amount, or says which field is wrong.
fn required<T>(value: Option<T>, field: &str) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::bad_request(format!("`{field}` is missing")))
}
