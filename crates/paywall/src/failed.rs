//! The answer to a paid call that was not delivered, and where its payment is.

use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::challenge::{X_CASHU, answer};
use crate::fault::ServiceFault;
use crate::journal::{CallId, JournalError, PayOut};
use crate::layer::Shared;
use crate::paid::{OpenCall, say_receipt, say_settlement};
use crate::service::Body;
use crate::verdict::Outcome;

/// Why a paid call was not delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    Upstream(Option<StatusCode>),
    /// The service said what went wrong.
    Fault(ServiceFault),
    Underpaid,
}

/// Returns why the head of a response says that nothing was delivered.
pub(crate) fn failure_of(response: &Response<Body>) -> Option<Failure> {
    let status = response.status();
    match response.extensions().get::<ServiceFault>() {
        Some(fault) => Some(Failure::Fault(*fault)),
        None => status
            .is_server_error()
            .then_some(Failure::Upstream(Some(status))),
    }
}

/// Where the payment of a failed call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// In the answer.
    Refunded,
    /// With the seller, who owes it.
    Owed,
    /// The same credential or token pays for the retry.
    GivenBack,
    /// Claimed as it was: the journal did not take the end of the call.
    Undecided,
}

/// Gives the payment of `call` back and says so.
pub(crate) async fn fail(shared: &Shared, call: &OpenCall, failure: Failure) -> Response<Body> {
    let (fate, refund) = match release(shared, call).await {
        Ok(None) => (Fate::GivenBack, None),
        Ok(Some(owed)) => match hand_out(shared, &call.id, &owed).await {
            Some(refund) => (Fate::Refunded, Some(refund)),
            None => (Fate::Owed, None),
        },
        Err(_) => (Fate::Undecided, None),
    };
    let is_refunded = fate == Fate::Refunded;
    let (status, document) = describe(call.rail, &call.id, failure, fate);
    let mut response = answer(status, "application/problem+json", document.to_string());
    // MPP has receipts for what was delivered only; the body names the call.
    if call.rail != "mpp" {
        say_receipt(response.headers_mut(), &call.receipt);
    }
    say_settlement(response.headers_mut(), call.rail);
    if let Some(refund) = refund {
        response.headers_mut().insert(X_CASHU, refund);
    }
    response.extensions_mut().insert(Outcome::Failed {
        call: call.id.clone(),
        is_refunded,
    });
    response
}

/// Answers a call that failed within time that was bought and claimed by `opened`.
pub(crate) fn nothing_taken(opened: CallId, failure: Failure) -> Response<Body> {
    let (status, document) = describe("l402", &opened, failure, Fate::GivenBack);
    let mut response = answer(status, "application/problem+json", document.to_string());
    say_receipt(response.headers_mut(), &opened.0);
    response.extensions_mut().insert(Outcome::Failed {
        call: opened,
        is_refunded: false,
    });
    response
}

/// Gives the payment of `call` back. Returns what is to be handed out for it.
pub(crate) async fn release(
    shared: &Shared,
    call: &OpenCall,
) -> Result<Option<PayOut>, JournalError> {
    let released = shared.journal.release(&call.id).await;
    if let Err(error) = &released {
        tracing::error!(call.id = %call.id, %error, "A failed call was not released");
    }
    released
}

pub(crate) async fn hand_out(
    shared: &Shared,
    call: &CallId,
    value: &PayOut,
) -> Option<HeaderValue> {
    let redeemer = shared.redeemer.as_ref()?;
    match redeemer.pay_out(call, value).await {
        Ok(token) => HeaderValue::try_from(token).ok(),
        Err(reason) => {
            tracing::warn!(call.id = %call, reason, "Value stays owed to a payer");
            None
        }
    }
}

fn describe(
    rail: &str,
    call: &CallId,
    failure: Failure,
    fate: Fate,
) -> (StatusCode, serde_json::Value) {
    let (status, code, detail) = match failure {
        Failure::Upstream(Some(StatusCode::GATEWAY_TIMEOUT)) => (
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The service did not answer in time.",
        ),
        Failure::Upstream(_) => (
            StatusCode::BAD_GATEWAY,
            "upstream_failed",
            "The service failed after the payment.",
        ),
        Failure::Fault(fault) => (fault.status, fault.code, fault.detail),
        Failure::Underpaid => (
            StatusCode::BAD_REQUEST,
            "amount_too_low",
            "After the mint's fee the token is worth less than the price.",
        ),
    };
    let (money, step) = match (fate, rail) {
        (Fate::Refunded, _) => ("none", "The refund is the token in X-Cashu"),
        (Fate::Owed, _) => (
            "held",
            "Ask for the refund: POST /v1/refund with the original token",
        ),
        (Fate::GivenBack, "l402" | "mpp") => (
            "held",
            "Repeat with the same credential: nothing was taken from it",
        ),
        (Fate::GivenBack, _) => (
            "held",
            "Repeat with the same token, or POST /v1/refund to get its value back",
        ),
        (Fate::Undecided, _) => (
            "held",
            "Repeat the same request in a moment: the payment is being given back",
        ),
    };
    let upstream = match failure {
        Failure::Upstream(status) => status.map(|status| status.as_u16()),
        Failure::Fault(_) | Failure::Underpaid => None,
    };
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
        "retryable": matches!(fate, Fate::GivenBack | Fate::Undecided),
        "money": money,
        "next_steps": [step],
        "call": call.0,
        "upstream_status": upstream,
    });
    (status, document)
}
