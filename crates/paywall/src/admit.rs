//! Decides whether a request may pass, and claims its payment.
//!
//! L402 is checked first, then MPP, then ecash. A credential that is merely used up, expired or
//! for something else does not stand in the way of a token in the same request;
//! a forged one does.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use sha2::{Digest, Sha256};

use crate::amount::Msat;
use crate::journal::{CallId, Claim, Claimed, Payment, PaymentKey, RequestKey};
use crate::l402::header::parse_authorization;
use crate::l402::{Authorization, CallContext, Limit, LimitUnit, Macaroon, Verdict, check};
use crate::layer::Shared;
use crate::mpp;
use crate::offer::charge;
use crate::paid::OpenCall;
use crate::payment::{PaymentHash, Preimage};
use crate::price::Terms;
use crate::replay::Found;
use crate::verdict::{Reason, Refusal, Unavailable};

/// Longest `Idempotency-Key` that is looked at, in bytes.
const MAX_KEY_BYTES: usize = 255;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The Lightning credential that a request presents, checked but not claimed.
pub(crate) enum Presented {
    /// None of L402.
    None,
    Malformed,
    Lightning(Result<(Payment, Msat), Rejected>),
}

/// A request that is let through.
pub(crate) enum Admission {
    /// Serve this call.
    Call(Box<OpenCall>),
    /// Give the kept response again.
    Replay(Box<Found>),
}

/// Reads and checks the L402 credential of a request.
pub(crate) fn present(shared: &Shared, terms: &Terms, parts: &Parts) -> Presented {
    match parse_authorization(&parts.headers) {
        Authorization::Malformed(_) => Presented::Malformed,
        Authorization::L402 {
            macaroons,
            preimage,
        } => Presented::Lightning(verify(shared, terms, parts, &macaroons, &preimage)),
        Authorization::None | Authorization::Cashu(_) => Presented::None,
    }
}

/// Returns the call that the time a request's credential bought was claimed for, if
/// the journal knows it: nothing is left to claim then. Who names his request wants
/// it served once, and that takes a claim.
pub(crate) fn open_time(shared: &Shared, parts: &Parts, presented: &Presented) -> Option<CallId> {
    match presented {
        Presented::Lightning(Ok((payment @ Payment::L402 { limits, .. }, _)))
            if limits.is_empty() && !parts.headers.contains_key(IDEMPOTENCY_KEY) =>
        {
            shared.journal.find_open(payment)
        }
        _ => None,
    }
}

/// Checks the payment of a request and claims it. For ecash the price in `terms`
/// becomes the one that its payer was told.
pub(crate) async fn admit(
    shared: &Shared,
    terms: &mut Terms,
    parts: &Parts,
    presented: Presented,
) -> Result<Admission, Refusal> {
    let request = request_key(parts);
    let refusal = match presented {
        Presented::Malformed => {
            return Err(Refusal::BadCredential("The credential cannot be read."));
        }
        Presented::Lightning(verified) => {
            match lightning(shared, terms, &request, verified).await {
                Err(refusal @ Refusal::PaymentRequired(_)) => refusal,
                decided => return decided,
            }
        }
        Presented::None => Refusal::PaymentRequired(Reason::NoCredential),
    };
    let refusal = match payment(shared, terms, &request, parts).await {
        None => refusal,
        Some(Err(other @ Refusal::PaymentRequired(_))) => other,
        Some(decided) => return decided,
    };
    match token(&parts.headers) {
        #[cfg(feature = "cashu")]
        Some(token) => crate::ecash::admit(shared, terms, request, token, parts).await,
        _ => Err(refusal),
    }
}

#[cfg(feature = "cashu")]
fn token(
    headers: &HeaderMap,
) -> Option<Result<crate::xcashu::ParsedToken, crate::xcashu::TokenError>> {
    crate::xcashu::token_of(headers)
}

#[cfg(not(feature = "cashu"))]
const fn token(_headers: &HeaderMap) -> Option<()> {
    None
}

/// Claims one use of a verified credential.
async fn lightning(
    shared: &Shared,
    terms: &Terms,
    request: &RequestKey,
    verified: Result<(Payment, Msat), Rejected>,
) -> Result<Admission, Refusal> {
    let (payment, price) = match verified {
        Ok(found) => found,
        // What it bought in time is still its holder's.
        Err(Rejected {
            refusal,
            expired: Some(hash),
        }) => {
            let key = PaymentKey(*hash.as_bytes());
            let found = kept(shared, key, request, false, refusal.clone()).await?;
            return found
                .map(|found| Admission::Replay(Box::new(found)))
                .ok_or(refusal);
        }
        Err(Rejected { refusal, .. }) => return Err(refusal),
    };
    let used_up = Refusal::PaymentRequired(Reason::UsedUp);
    if request.idempotency_key.is_some()
        && let Some(found) = kept(shared, payment.key(), request, true, used_up.clone()).await?
    {
        return Ok(Admission::Replay(Box::new(found)));
    }
    let claim = Claim {
        service: terms.service.clone(),
        price,
        request: request.clone(),
        payment,
        now: shared.now(),
    };
    claimed(shared, terms, claim, used_up.clone())
        .await?
        .ok_or(used_up)
}

/// Takes a payment by the scheme `Payment`; `None` when there is none. It is claimed
/// at the price that its challenge named, whatever the price is now.
async fn payment(
    shared: &Shared,
    terms: &Terms,
    request: &RequestKey,
    parts: &Parts,
) -> Option<Result<Admission, Refusal>> {
    let issuer = shared.mpp.as_ref()?;
    let Ok(credential) = mpp::credential_of(&parts.headers)? else {
        return Some(Err(Refusal::BadCredential(
            "The Payment credential cannot be read.",
        )));
    };
    let refusal = match issuer.verify(&credential, &charge(terms, parts), shared.now()) {
        mpp::Verdict::Accepted {
            payment_hash,
            challenge_id,
            amount,
        } => {
            let price = if terms.price.ceil_sat() == amount {
                terms.price
            } else {
                amount.to_msat()
            };
            let payment = Payment::Mpp {
                payment_hash,
                token_id: challenge_id,
                paid: amount.to_msat(),
                cost: amount.to_msat(),
                limits: vec![Limit {
                    key: *payment_hash.as_bytes(),
                    unit: LimitUnit::Uses,
                    max: 1,
                }],
            };
            return Some(lightning(shared, terms, request, Ok((payment, price))).await);
        }
        mpp::Verdict::Unknown => {
            Refusal::BadCredential("The challenge was not made here, or was changed.")
        }
        mpp::Verdict::WrongPreimage => {
            Refusal::BadCredential("The preimage does not belong to this challenge's invoice.")
        }
        mpp::Verdict::Expired => Refusal::PaymentRequired(Reason::Expired),
        mpp::Verdict::OtherResource => Refusal::PaymentRequired(Reason::OtherService),
    };
    Some(Err(refusal))
}

/// A credential that pays for nothing now.
pub(crate) struct Rejected {
    refusal: Refusal,
    /// The payment of one that did, and is merely too old.
    expired: Option<PaymentHash>,
}

impl Rejected {
    const fn forged(why: &'static str) -> Self {
        Self {
            refusal: Refusal::BadCredential(why),
            expired: None,
        }
    }
}

/// Returns the payment that the first good macaroon stands for, and its price.
fn verify(
    shared: &Shared,
    terms: &Terms,
    parts: &Parts,
    macaroons: &[Macaroon],
    preimage: &Preimage,
) -> Result<(Payment, Msat), Rejected> {
    let call = CallContext {
        service: &terms.service,
        capability: &terms.capability,
        path: parts.uri.path(),
        now: shared.now(),
    };
    let mut first = None;
    for macaroon in macaroons {
        let rejected = match shared.issuer.verify(macaroon) {
            Err(_) => Rejected::forged("The macaroon was not issued here, or was changed."),
            Ok(verified) => match check(&verified, preimage, &call) {
                Verdict::Accepted {
                    limits,
                    price,
                    payment_hash,
                    token_id,
                } => {
                    let price = price.unwrap_or(terms.price);
                    let (paid, cost) = bought(price, &limits);
                    let payment = Payment::L402 {
                        payment_hash,
                        token_id,
                        paid,
                        cost,
                        limits,
                    };
                    return Ok((payment, price));
                }
                verdict => Rejected {
                    refusal: refusal_of(&verdict),
                    expired: matches!(verdict, Verdict::Expired { .. })
                        .then_some(verified.identifier.payment_hash),
                },
            },
        };
        first.get_or_insert(rejected);
    }
    Err(first.unwrap_or_else(|| Rejected::forged("The credential holds no macaroon.")))
}

/// Returns what was paid and what a call takes of limits in money, both by the
/// macaroon's own words: the terms may have changed since it was issued.
fn bought(price: Msat, limits: &[Limit]) -> (Msat, Msat) {
    let whole = price.ceil_sat().to_msat();
    match limits.first() {
        Some(limit) if limit.unit == LimitUnit::Msat => (Msat::new(limit.max), price),
        Some(limit) => {
            let cost = price.as_u64().div_ceil(limit.max.max(1));
            (whole, Msat::new(cost))
        }
        None => (whole, price),
    }
}

fn refusal_of(verdict: &Verdict) -> Refusal {
    match verdict {
        Verdict::Accepted { .. } | Verdict::WrongPreimage => {
            Refusal::BadCredential("The preimage does not belong to this macaroon's invoice.")
        }
        Verdict::Expired { .. } => Refusal::PaymentRequired(Reason::Expired),
        Verdict::WrongService | Verdict::WrongCapability | Verdict::WrongPath => {
            Refusal::PaymentRequired(Reason::OtherService)
        }
        Verdict::UnknownCaveat(_) => {
            Refusal::BadCredential("The macaroon carries a condition that is not known here.")
        }
        Verdict::MalformedCaveat(_) => {
            Refusal::BadCredential("A condition of the macaroon cannot be read.")
        }
    }
}

/// Claims, and looks for a kept response when the payment was used before.
/// `None` means that the token must be swapped first.
pub(crate) async fn claimed(
    shared: &Shared,
    terms: &Terms,
    claim: Claim,
    used: Refusal,
) -> Result<Option<Admission>, Refusal> {
    let (key, rail, price) = (claim.payment.key(), claim.payment.rail(), claim.price);
    let payment_hash = match &claim.payment {
        Payment::L402 { payment_hash, .. } | Payment::Mpp { payment_hash, .. } => {
            Some(*payment_hash)
        }
        Payment::Offline(_) | Payment::Swapped(_) => None,
    };
    let challenge_id = match &claim.payment {
        Payment::Mpp { token_id, .. } => Some(*token_id),
        _ => None,
    };
    let (request, now) = (claim.request.clone(), claim.now);
    let answer = shared.journal.claim(claim).await.map_err(unavailable)?;
    match answer {
        Claimed::New { call, remaining } => {
            if let Some(payment_hash) = payment_hash {
                shared.reuse.forget(&payment_hash);
            }
            Ok(Some(Admission::Call(Box::new(OpenCall {
                receipt: receipt(&call, challenge_id.zip(payment_hash), now),
                id: call,
                rail,
                remaining,
                price,
                cost_header: terms.metered.as_ref().map(|m| m.cost_header.clone()),
                commit: terms.commit,
                payment: key,
                request,
                is_underpaid: false,
            }))))
        }
        Claimed::UsedUp | Claimed::AlreadySpent => {
            let found = kept(shared, key, &request, false, used.clone()).await?;
            found
                .map(|found| Some(Admission::Replay(Box::new(found))))
                .ok_or(used)
        }
        Claimed::Revoked => Err(Refusal::PaymentRequired(Reason::Revoked)),
        Claimed::InProgress => Err(Refusal::InProgress),
        Claimed::NeedsSwap => Ok(None),
    }
}

/// Returns the value of `Payment-Receipt`: by MPP what that scheme says, otherwise
/// the call's name.
fn receipt(call: &CallId, mpp: Option<([u8; 32], PaymentHash)>, now: u64) -> String {
    mpp.and_then(|(challenge_id, payment_hash)| {
        mpp::Receipt::new(call, &challenge_id, &payment_hash, now)?.header_value()
    })
    .unwrap_or_else(|| call.0.clone())
}

/// Returns the response kept for this payment and request; one that will be kept
/// once it has ended is in progress.
pub(crate) async fn kept(
    shared: &Shared,
    payment: PaymentKey,
    request: &RequestKey,
    is_by_key: bool,
    otherwise: Refusal,
) -> Result<Option<Found>, Refusal> {
    let found = shared
        .journal
        .find_response(payment, request, shared.now())
        .await
        .map_err(unavailable)?;
    if found.is_none() && shared.streaming.contains(payment, request) {
        return Err(Refusal::InProgress);
    }
    Ok(found.map(|replay| Found {
        replay,
        payment,
        request: request.clone(),
        is_by_key,
        otherwise,
    }))
}

fn unavailable(error: crate::journal::JournalError) -> Refusal {
    tracing::error!(%error, source = %error.0, "The payment journal does not work");
    Refusal::Unavailable(Unavailable::Journal)
}

/// Returns the SHA-256 over method, target and content type.
pub(crate) fn request_digest(parts: &Parts) -> [u8; 32] {
    let mut digest = Sha256::new();
    let content_type = parts.headers.get(CONTENT_TYPE);
    for part in [
        parts.method.as_str().as_bytes(),
        parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .as_bytes(),
        content_type.map_or(&b""[..], |value| value.as_bytes()),
    ] {
        // The length keeps two parts from being read as one.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn request_key(parts: &Parts) -> RequestKey {
    let idempotency_key = parts
        .headers
        .get(IDEMPOTENCY_KEY)
        .filter(|key| key.len() <= MAX_KEY_BYTES)
        .and_then(|key| key.to_str().ok())
        .map(ToOwned::to_owned);
    RequestKey {
        digest: request_digest(parts),
        idempotency_key,
        body_hash: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: Option<(LimitUnit, u64)>, paid_msat: u64, cost_msat: u64) {
        let limits: Vec<Limit> = limit
            .into_iter()
            .map(|(unit, max)| Limit {
                key: [0; 32],
                unit,
                max,
            })
            .collect();
        assert_eq!(
            bought(Msat::new(1_500), &limits),
            (Msat::new(paid_msat), Msat::new(cost_msat)),
            "{limit:?}"
        );
    }

    #[test]
    fn the_macaroon_says_what_was_paid_whatever_is_sold_by_now() {
        check(Some((LimitUnit::Uses, 1)), 2_000, 1_500);
        check(Some((LimitUnit::Uses, 4)), 2_000, 375);
        check(Some((LimitUnit::Uses, 0)), 2_000, 1_500);
        check(Some((LimitUnit::Msat, 9_000)), 9_000, 1_500);
        check(None, 2_000, 1_500);
    }
}
