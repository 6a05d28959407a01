//! The one place where a fault of another part becomes an answer of the API.

use axum::http::StatusCode;
use feria_paywall::amount::Msat;

use crate::http::{Money, Problem};
use crate::spend::{Approval, Refusal, SpendError};
use crate::store::StoreError;
use crate::wallet::WalletError;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<WalletError> for Problem {
    fn from(error: WalletError) -> Self {
        let detail = error.to_string();
        match error {
            WalletError::UntrustedMint(mint) => {
                Self::new(StatusCode::CONFLICT, "untrusted_mint", detail).next(format!(
                    "if you trust it: feria mint add {mint} --cap 10000sat, and restart the node"
                ))
            }
            WalletError::Insufficient { .. } => {
                Self::new(StatusCode::CONFLICT, "insufficient_funds", detail)
                    .next("move some in: feria wallet fund WALLET --amount 100sat")
            }
            WalletError::MintUnavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "mint_unavailable", detail)
                    .retryable()
                    .next("see whether it is up, and try again later")
            }
            WalletError::Refused(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "token_refused", detail)
            }
            WalletError::Unknown(_) => unknown(detail),
            WalletError::NoWallet(_) => Self::not_found(detail).next("see which there are: feria wallet balance"),
            WalletError::Limit(_) => Self::new(StatusCode::FORBIDDEN, "over_limit", detail)
                .next("a mint's cap stands in feria.toml; a wallet's limit is set with --limit when it is created"),
            WalletError::Store(source) => source.into(),
        }
    }
}

impl From<SpendError> for Problem {
    fn from(error: SpendError) -> Self {
        let detail = error.to_string();
        match error {
            SpendError::BadRequest(_) => Self::bad_request(detail),
            SpendError::Network { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "seller_unreachable",
                format!("cannot {detail}"),
            )
            .retryable()
            .next("nothing was paid: try again later, or find another seller: feria search"),
            SpendError::Refused {
                refusal: Refusal::NeedsApproval(approval),
                ..
            } => needs_approval(&approval),
            SpendError::Refused { id, refusal } => {
                let detail = format!("did not {detail}");
                let problem = Self::new(StatusCode::FORBIDDEN, refusal.code(), detail);
                if id.is_empty() {
                    problem
                } else {
                    problem.next(format!("see why: feria ledger why {id}"))
                }
            }
            SpendError::PaymentFailed { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "payment_failed", detail).retryable()
            }
            SpendError::Unknown { id, .. } => {
                unknown(detail).next(format!("ask again later: feria ledger why {id}"))
            }
            SpendError::PaidNotDelivered { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "paid_not_delivered", detail)
                    .retryable()
                    .money(Money::Spent)
                    .next("repeat the request with the same idempotency key: it is not paid again")
            }
            SpendError::Wallet(source) => source.into(),
            SpendError::Store(source) => source.into(),
        }
    }
}

/// Returns the problem of a purchase that waits for a person.
fn needs_approval(approval: &Approval) -> Problem {
    let (id, key) = (&approval.id, &approval.idempotency_key);
    Problem::new(
        StatusCode::CONFLICT,
        "approval_required",
        format!(
            "{} is held by rule {} and waits for a person as purchase {id}",
            Msat::new(approval.price_msat),
            approval.rule
        ),
    )
    .retryable()
    .next(format!("the operator decides: feria approval approve {id}"))
    .next(format!(
        "then repeat the request with the idempotency key {key}"
    ))
}

/// Returns the problem of a payment that may or may not have happened.
pub(super) fn unknown(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "outcome_unknown", detail)
        .money(Money::Unknown)
        .next("do not pay again: the node finds out by itself")
}
