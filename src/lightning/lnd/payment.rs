//! Paying through lnd, and what its words mean for the money.
//!
//! ```text
//! (nothing) ──POST /v2/router/send──► handed over ──► in flight ──► succeeded
//!                                        │                 └──────► failed
//!                                        └─ the answer is lost: /v2/router/track
//! ```
//!
//! | what happens | answer |
//! |---|---|
//! | no connection: nothing was handed over | failed |
//! | lnd refuses and, asked again, does not know the payment | failed |
//! | lnd refuses because it knows the payment (in transition, already paid) | what tracking says |
//! | `SUCCEEDED` and a preimage that opens the hash | succeeded |
//! | `SUCCEEDED` without one, or with another | unknown |
//! | `FAILED` | failed: lnd says so only when no part is on its way |
//! | `IN_FLIGHT`, `INITIATED`, until patience is over | pending |
//! | cut, garbage, silence | what tracking says; unknown if it says nothing |
//!
//! A payment that lnd does not know was never made, and one that it calls failed
//! has failed, except for a minute after a request without an answer: that one may
//! still be on its way to lnd.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::rest::{Fault, NOT_FOUND, Rest};
use super::wire::Payment;
use crate::lightning::PaymentState;

/// How long a request without an answer may still arrive at lnd.
const DOUBT_MILLIS: u64 = 60_000;
/// How long tracking may take to say how a payment stands.
const TRACK_PATIENCE: Duration = Duration::from_secs(5);
/// How long before our own patience lnd stops trying further routes.
const HEAD_START: Duration = Duration::from_secs(1);
/// Into how many parts lnd may split a payment.
const MAX_PARTS: u32 = 16;

/// Requests whose answer is not in; pruned by age, so as many as can be made in a minute.
#[derive(Debug, Default)]
pub(super) struct HandedOver(Mutex<HashMap<PaymentHash, u64>>);

/// How a payment stands, as far as one answer tells.
enum Told {
    Final(PaymentState),
    OnItsWay,
}

/// What tracking says.
enum Tracked {
    Final(PaymentState),
    OnItsWay,
    NotKnown,
}

impl HandedOver {
    fn note(&self, hash: PaymentHash, now_millis: u64) {
        let mut requests = self.0.lock();
        requests.retain(|_, at| now_millis.saturating_sub(*at) < DOUBT_MILLIS);
        requests.insert(hash, now_millis);
    }

    fn forget(&self, hash: &PaymentHash) {
        self.0.lock().remove(hash);
    }

    fn is_in_doubt(&self, hash: &PaymentHash, now_millis: u64) -> bool {
        let requests = self.0.lock();
        requests
            .get(hash)
            .is_some_and(|at| now_millis.saturating_sub(*at) < DOUBT_MILLIS)
    }
}

/// What to pay, and how far to go for it.
pub(super) struct Order<'a> {
    pub(super) bolt11: &'a str,
    pub(super) hash: PaymentHash,
    pub(super) fee_limit: Msat,
    pub(super) patience: Duration,
}

/// One payment while it is made.
struct Paying<'a> {
    rest: &'a Rest,
    handed_over: &'a HandedOver,
    hash: PaymentHash,
    /// lnd has shown that it is at work on it.
    is_on_its_way: bool,
}

/// Carries out `order` and waits for the outcome, at most its patience.
pub(super) async fn pay(
    rest: &Rest,
    handed_over: &HandedOver,
    now_millis: u64,
    order: &Order<'_>,
) -> PaymentState {
    // Noted first: this future may be dropped at any await below.
    handed_over.note(order.hash, now_millis);
    let mut paying = Paying {
        rest,
        handed_over,
        hash: order.hash,
        is_on_its_way: false,
    };
    let told = tokio::time::timeout(order.patience, paying.carry_out(order)).await;
    match told.unwrap_or_else(|_| Err("lnd did not answer in time".to_owned())) {
        Ok(state) => state,
        // It is in lnd's books, whatever was lost afterwards.
        Err(_) if paying.is_on_its_way => PaymentState::Pending,
        Err(reason) => PaymentState::Unknown { reason },
    }
}

/// Returns how the payment `hash` stands.
pub(super) async fn state(
    rest: &Rest,
    handed_over: &HandedOver,
    now_millis: u64,
    hash: &PaymentHash,
) -> PaymentState {
    let is_in_doubt = handed_over.is_in_doubt(hash, now_millis);
    match track(rest, hash).await {
        Ok(Tracked::NotKnown | Tracked::Final(PaymentState::Failed { .. })) if is_in_doubt => {
            unknown("a request to pay may still arrive at lnd")
        }
        Ok(Tracked::Final(state)) => state,
        Ok(Tracked::OnItsWay) => PaymentState::Pending,
        Ok(Tracked::NotKnown) => PaymentState::Failed {
            reason: "lnd never began this payment".to_owned(),
        },
        Err(fault) => unknown(&fault.to_string()),
    }
}

impl Paying<'_> {
    /// `Err` says why nothing is known.
    async fn carry_out(&mut self, order: &Order<'_>) -> Result<PaymentState, String> {
        let lnd_patience = order.patience.saturating_sub(HEAD_START).as_secs().max(1);
        let body = json!({
            "payment_request": order.bolt11,
            "fee_limit_msat": order.fee_limit.as_u64().to_string(),
            "timeout_seconds": i32::try_from(lnd_patience).unwrap_or(i32::MAX),
            "max_parts": MAX_PARTS,
        });
        match self.follow("/v2/router/send", Some(&body)).await {
            Ok(state) => Ok(state),
            Err(Fault::NotSent(reason)) => {
                self.handed_over.forget(&self.hash);
                Ok(PaymentState::Failed {
                    reason: format!("lnd is not reached: {reason}"),
                })
            }
            Err(fault) => self.resolve(fault).await,
        }
    }

    /// Finds out what became of the payment after `fault`.
    async fn resolve(&mut self, fault: Fault) -> Result<PaymentState, String> {
        // It has answered this very request, so it will not begin it later.
        let is_refused = matches!(fault, Fault::Said { .. });
        if is_refused {
            self.handed_over.forget(&self.hash);
        }
        let has_arrived = is_refused || self.is_on_its_way;
        match track(self.rest, &self.hash).await {
            // What it knows may be an earlier try, and this one still on its way to it.
            Ok(Tracked::NotKnown | Tracked::Final(PaymentState::Failed { .. })) if !has_arrived => {
                Err(fault.to_string())
            }
            Ok(Tracked::Final(state)) => Ok(state),
            Ok(Tracked::OnItsWay) => {
                self.is_on_its_way = true;
                let path = track_path(&self.hash);
                let followed = self.follow(&path, None).await;
                followed.map_err(|fault| fault.to_string())
            }
            Ok(Tracked::NotKnown) if is_refused && !self.is_on_its_way => {
                Ok(PaymentState::Failed {
                    reason: fault.to_string(),
                })
            }
            Ok(Tracked::NotKnown) => Err(fault.to_string()),
            Err(second) => Err(format!("{fault}; then: {second}")),
        }
    }

    /// Reads updates until one is final.
    async fn follow(&mut self, path: &str, body: Option<&Value>) -> Result<PaymentState, Fault> {
        let mut lines = self.rest.open(path, body).await?;
        while let Some(payment) = lines.next::<Payment>().await? {
            self.handed_over.forget(&self.hash);
            match read(&payment, &self.hash) {
                Told::Final(state) => return Ok(state),
                Told::OnItsWay => self.is_on_its_way = true,
            }
        }
        Err(Fault::Lost(
            "the stream ended before the payment".to_owned(),
        ))
    }
}

/// Asks once how a payment stands. lnd says so in the first line.
async fn track(rest: &Rest, hash: &PaymentHash) -> Result<Tracked, Fault> {
    let path = track_path(hash);
    let asking = async {
        let mut lines = rest.open(&path, None).await?;
        lines.next::<Payment>().await
    };
    let answer = tokio::time::timeout(TRACK_PATIENCE, asking).await;
    match answer {
        Ok(Ok(Some(payment))) => Ok(match read(&payment, hash) {
            Told::Final(state) => Tracked::Final(state),
            Told::OnItsWay => Tracked::OnItsWay,
        }),
        Ok(Ok(None)) => Err(Fault::Lost("the stream was empty".to_owned())),
        Ok(Err(Fault::Said { code, .. })) if code == NOT_FOUND => Ok(Tracked::NotKnown),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(Fault::Lost("tracking was silent".to_owned())),
    }
}

fn track_path(hash: &PaymentHash) -> String {
    format!("/v2/router/track/{}", URL_SAFE.encode(hash.as_bytes()))
}

fn read(payment: &Payment, hash: &PaymentHash) -> Told {
    if payment.payment_hash != hash.to_string() {
        return Told::Final(unknown("lnd tells of another payment"));
    }
    match payment.status.as_str() {
        "SUCCEEDED" => Told::Final(succeeded(payment, hash)),
        "FAILED" => Told::Final(PaymentState::Failed {
            reason: why_failed(&payment.failure_reason).to_owned(),
        }),
        "IN_FLIGHT" | "INITIATED" => Told::OnItsWay,
        _ => Told::Final(unknown("lnd names a state that is not known here")),
    }
}

fn succeeded(payment: &Payment, hash: &PaymentHash) -> PaymentState {
    if payment.payment_preimage.is_empty() {
        return unknown("lnd says that it paid, and shows no preimage");
    }
    match payment.payment_preimage.parse::<Preimage>() {
        Ok(preimage) if preimage.opens(hash) => PaymentState::Succeeded {
            preimage,
            fee: Msat::new(payment.fee_msat),
        },
        _ => unknown("lnd says that it paid, and its preimage is not the invoice's"),
    }
}

fn why_failed(reason: &str) -> &'static str {
    match reason {
        "FAILURE_REASON_TIMEOUT" => "no route worked in time",
        "FAILURE_REASON_NO_ROUTE" => "there is no route within the fee limit",
        "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS" => "the payee does not take this payment",
        "FAILURE_REASON_INSUFFICIENT_BALANCE" => "the node's channels hold too little",
        "FAILURE_REASON_CANCELED" => "the payment was cancelled",
        _ => "lnd failed to pay",
    }
}

fn unknown(reason: &str) -> PaymentState {
    PaymentState::Unknown {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREIMAGE: [u8; 32] = [7; 32];

    fn payment(status: &str, preimage: &str) -> Payment {
        Payment {
            payment_hash: Preimage::new(PREIMAGE).payment_hash().to_string(),
            payment_preimage: preimage.to_owned(),
            status: status.to_owned(),
            fee_msat: 3,
            ..Payment::default()
        }
    }

    #[track_caller]
    fn check(payment: &Payment, expected: &str) {
        let hash = Preimage::new(PREIMAGE).payment_hash();
        let told = match read(payment, &hash) {
            Told::OnItsWay => "on its way".to_owned(),
            Told::Final(PaymentState::Succeeded { fee, .. }) => format!("succeeded, {fee}"),
            Told::Final(PaymentState::Failed { reason }) => format!("failed: {reason}"),
            Told::Final(PaymentState::Unknown { reason }) => format!("unknown: {reason}"),
            Told::Final(PaymentState::Pending) => "pending".to_owned(),
        };
        assert_eq!(told, expected, "{}", payment.status);
    }

    #[test]
    fn the_words_of_lnd_have_one_meaning_each() {
        let right = hex::encode(PREIMAGE);
        let zeros = "0".repeat(64);
        check(&payment("SUCCEEDED", &right), "succeeded, 3 msat");
        let without = "unknown: lnd says that it paid, and shows no preimage";
        check(&payment("SUCCEEDED", ""), without);
        let wrong = "unknown: lnd says that it paid, and its preimage is not the invoice's";
        check(&payment("SUCCEEDED", &zeros), wrong);
        check(&payment("SUCCEEDED", "not hexadecimal"), wrong);
        check(&payment("IN_FLIGHT", &zeros), "on its way");
        check(&payment("INITIATED", ""), "on its way");
        check(&payment("FAILED", ""), "failed: lnd failed to pay");
        let unheard = "unknown: lnd names a state that is not known here";
        check(&payment("", ""), unheard);
        check(&payment("UNKNOWN", &right), unheard);
        let mut foreign = payment("SUCCEEDED", &right);
        foreign.payment_hash = "00".repeat(32);
        check(&foreign, "unknown: lnd tells of another payment");
    }

    #[test]
    fn a_request_without_an_answer_is_in_doubt_for_a_minute() {
        let hash = Preimage::new(PREIMAGE).payment_hash();
        let handed_over = HandedOver::default();

        handed_over.note(hash, 1_000);

        assert!(handed_over.is_in_doubt(&hash, 60_999));
        assert!(!handed_over.is_in_doubt(&hash, 61_000));
        handed_over.note(PaymentHash::new([1; 32]), 61_000);
        assert_eq!(handed_over.0.lock().len(), 1);
    }
}
