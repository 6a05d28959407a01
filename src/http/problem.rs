//! What the node's API answers when it cannot do as asked (RFC 9457).
//!
//! Beside the members of the standard: `code`, one word for programs;
//! `retryable`; `money`, what became of any money; `next_steps`, what to do now.
//!
//! <https://www.rfc-editor.org/rfc/rfc9457>

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What became of the money of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Money {
    /// None moved.
    None,
    /// It is reserved and will come back or be spent.
    Held,
    /// It is gone.
    Spent,
    /// Nobody knows yet: do not try again.
    Unknown,
}

/// A request that failed. `type` and `title` are made of the code when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// One word for programs, such as `over_budget`.
    pub code: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// What became of the money.
    pub money: Money,
    /// What to do now; may be empty.
    pub next_steps: Vec<String>,
}

impl Problem {
    /// Returns a problem that moved no money and will happen again.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            retryable: false,
            money: Money::None,
            next_steps: Vec::new(),
        }
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Says what became of the money.
    #[must_use]
    pub fn money(mut self, money: Money) -> Self {
        self.money = money;
        self
    }

    /// Adds what to do now.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    /// Returns the problem of a request that makes no sense.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// Returns the problem of something that is not there.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Logs `error`, which is the node's own fault, and returns a problem that does not repeat it.
    #[must_use]
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            reason = format!("{reason}: {next}");
            cause = next.source();
        }
        tracing::error!(error = %reason, "a request failed by a fault of the node: {reason}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a fault of the node; its log says more",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({
            "type": format!("urn:feria:problem:{}", self.code),
            "title": self.code.replace('_', " "),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "money": self.money,
            "next_steps": self.next_steps,
        })
        .to_string();
        let headers = [
            (CONTENT_TYPE, "application/problem+json"),
            (CACHE_CONTROL, "no-store"),
        ];
        (status, headers, body).into_response()
    }
}
