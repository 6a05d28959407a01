//! Takes a token: offline when nobody else can spend it, else by a swap first.
//!
//! What is refused here is untouched: it never reached its mint.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use futures_channel::oneshot;
use http::request::Parts;

use crate::admit::{Admission, claimed, kept};
use crate::amount::{Msat, Sat};
use crate::ask;
use crate::journal::{Claim, PaidToken, Payment, RequestKey};
use crate::layer::Shared;
use crate::price::{EcashTerms, Terms};
use crate::scheme::{Redeemer, SwapFault, SwapOrder};
use crate::service::client_of;
use crate::verdict::{Refusal, Unavailable};
use crate::xcashu::cashu::MintUrl;
use crate::xcashu::cashu::nuts::{CurrencyUnit, Proofs, PublicKey, Token};
use crate::xcashu::strict::{OfflineVerdict, Policy, check, is_same_mint};
use crate::xcashu::{OfflineProofs, ParsedToken, TokenError};

pub use crate::xcashu::MintInfo;

/// Admits a request that pays with `token`.
pub(crate) async fn admit(
    shared: &Shared,
    terms: &mut Terms,
    request: RequestKey,
    token: Result<ParsedToken, TokenError>,
    parts: &Parts,
) -> Result<Admission, Refusal> {
    let mut token = token.map_err(|error| bad("malformed_token", error.to_string()))?;
    let (Some(ecash), Some(redeemer)) = (&terms.ecash, shared.redeemer.as_deref()) else {
        return Err(bad("ecash_not_taken", "This call is not sold for ecash."));
    };
    let mut paid = paid_token(&token)
        .ok_or_else(|| bad("malformed_token", "A secret of the token cannot be read."))?;
    let key = paid.key();
    if request.idempotency_key.is_some()
        && let Some(found) = kept(shared, key, &request, true, already_spent()).await?
    {
        return Ok(Admission::Replay(Box::new(found)));
    }
    let examined = examine(shared, redeemer, &mut token, ecash, terms, &request, parts).await;
    let offline = match examined {
        Ok((price, offline)) => {
            terms.price = price;
            offline
        }
        // The price, the mints or the time may have changed since it paid.
        Err(refusal) => {
            let found = kept(shared, key, &request, false, refusal.clone()).await?;
            return found
                .map(|found| Admission::Replay(Box::new(found)))
                .ok_or(refusal);
        }
    };
    paid.mint.clone_from(&token.mint);
    let mut claim = Claim {
        service: terms.service.clone(),
        price: terms.price,
        request,
        payment: Payment::Swapped(paid.clone()),
        now: shared.now(),
    };
    if let Some(proofs) = offline {
        claim.payment = offline_payment(&paid, &proofs)?;
        let answer = claimed(shared, terms, claim.clone(), already_spent()).await?;
        if let Some(admission) = answer {
            return Ok(admission);
        }
    }
    let swapped = swap(shared, redeemer, &claim, &paid, client_of(parts)).await?;
    let is_spent = matches!(swapped, Swapped::AlreadySpent);
    let admission = claim_swapped(shared, terms, claim, paid, swapped).await;
    // Who asks for his own answer again has sent no bad token.
    if is_spent && matches!(admission, Ok(Admission::Replay(_))) {
        shared.bad_tokens.give_back(client_of(parts));
    }
    admission
}

fn offline_payment(paid: &PaidToken, proofs: &OfflineProofs) -> Result<Payment, Refusal> {
    Ok(Payment::Offline(PaidToken {
        gross: proofs.amount,
        net: proofs.amount.saturating_sub(proofs.fee),
        proofs: serde_json::to_string(&proofs.proofs)
            .map_err(|_| bad("malformed_token", "A proof of the token cannot be read."))?,
        fee_ppk: proofs.fee_ppk,
        redeem_by: proofs.redeem_by,
        ..paid.clone()
    }))
}

/// Refuses what buys nothing here; else spells the token's mint as the terms do, and
/// returns the price that it is taken at, and the proofs if it can be taken without
/// its mint.
async fn examine(
    shared: &Shared,
    redeemer: &dyn Redeemer,
    token: &mut ParsedToken,
    ecash: &EcashTerms,
    terms: &Terms,
    request: &RequestKey,
    parts: &Parts,
) -> Result<(Msat, Option<OfflineProofs>), Refusal> {
    token.mint = precheck(token, ecash)?;
    let price = price_of(shared, terms, request, token, parts).await?;
    let sat = price.ceil_sat();
    if token.amount < sat {
        let detail = format!("The token holds {}, the price is {sat}.", token.amount);
        return Err(bad("amount_too_low", detail));
    }
    let offline = offline(shared, redeemer, token, ecash, sat).await?;
    Ok((price, offline))
}

/// Checks what needs no mint, and returns the mint as the terms spell it.
fn precheck(token: &ParsedToken, ecash: &EcashTerms) -> Result<String, Refusal> {
    let mint = ecash
        .mints
        .iter()
        .find(|mint| is_same_mint(mint, &token.mint))
        .ok_or_else(|| {
            bad(
                "foreign_mint",
                "The token is of a mint that is not taken here.",
            )
        })?;
    if token.unit != "sat" {
        return Err(bad("wrong_unit", "The token is not in satoshi."));
    }
    Ok(mint.clone())
}

/// Returns the price that `token` is taken at: what its payer was told if it covers
/// that, or today's if that is lower or nothing was told.
async fn price_of(
    shared: &Shared,
    terms: &Terms,
    request: &RequestKey,
    token: &ParsedToken,
    parts: &Parts,
) -> Result<Msat, Refusal> {
    let told = shared.quotes.covered(
        terms,
        client_of(parts),
        &request.digest,
        token.amount,
        shared.now(),
    );
    match told {
        Some(told) if terms.asks_pricer => Ok(told),
        Some(told) => Ok(told.min(terms.price)),
        None => ask::price(shared, terms, parts).await,
    }
}

/// Returns the proofs if the token can be taken without its mint.
async fn offline(
    shared: &Shared,
    redeemer: &dyn Redeemer,
    token: &ParsedToken,
    ecash: &EcashTerms,
    price: Sat,
) -> Result<Option<OfflineProofs>, Refusal> {
    let lock_key = ecash
        .lock_key
        .as_deref()
        .and_then(|key| PublicKey::from_hex(key).ok());
    let (Some(lock_key), Some(info)) = (lock_key, redeemer.offline_info(&token.mint).await) else {
        return Ok(None);
    };
    let (token, now, window) = (token.clone(), shared.now(), ecash.min_locktime_secs);
    let (answer, answered) = oneshot::channel();
    let work = move || {
        let policy = Policy {
            mints: std::slice::from_ref(info.as_ref()),
            lock_key: &lock_key,
            price,
            now,
            redeem_window_secs: window,
        };
        let _ = answer.send(check(&token, &policy));
    };
    shared.world.compute(Box::new(work)).await;
    // Cut off by a shutdown: nothing was claimed, and the token is untouched.
    let verdict = answered
        .await
        .map_err(|_| Refusal::Unavailable(Unavailable::Mint))?;
    match verdict {
        // Change needs the mint: an overpaid token is swapped.
        OfflineVerdict::Accept(proofs) if proofs.amount.saturating_sub(proofs.fee) > price => {
            Ok(None)
        }
        OfflineVerdict::Accept(proofs) => Ok(Some(proofs)),
        OfflineVerdict::NeedsSwap(_) => Ok(None),
        OfflineVerdict::Refuse(reason) => Err(bad(reason.code(), reason.to_string())),
    }
}

/// What came of asking the mint.
enum Swapped {
    /// The token is ours; so much is left of it.
    Net(Sat),
    /// It was spent before: by this payer, if its answer was kept.
    AlreadySpent,
}

/// Has the token swapped, as often as the client's bad tokens allow.
async fn swap(
    shared: &Shared,
    redeemer: &dyn Redeemer,
    claim: &Claim,
    paid: &PaidToken,
    client: Option<IpAddr>,
) -> Result<Swapped, Refusal> {
    // Taken before the mint is asked, so that a burst of requests counts too.
    shared
        .bad_tokens
        .take(client, shared.world.now_millis())
        .map_err(|retry_after| Refusal::TooMany { retry_after })?;
    let price = claim.price.ceil_sat();
    let order = SwapOrder {
        service: claim.service.clone(),
        token: paid.clone(),
        price,
        now: claim.now,
    };
    let swapped = redeemer.swap(order).await;
    if matches!(
        swapped,
        Ok(_) | Err(SwapFault::InProgress | SwapFault::MintUnavailable)
    ) {
        shared.bad_tokens.give_back(client);
    }
    match swapped {
        Ok(net) => Ok(Swapped::Net(net)),
        Err(SwapFault::AlreadySpent) => Ok(Swapped::AlreadySpent),
        Err(SwapFault::InProgress) => Err(Refusal::InProgress),
        Err(SwapFault::TooLittle { net }) => {
            let detail = format!("After the mint's fee {net} are left, the price is {price}.");
            Err(bad("amount_too_low", detail))
        }
        Err(SwapFault::Refused { reason }) => Err(bad("token_refused", reason)),
        Err(SwapFault::MintUnavailable) => Err(Refusal::Unavailable(Unavailable::Mint)),
        Err(SwapFault::Unknown) => Err(Refusal::Unavailable(Unavailable::MintUnknown)),
    }
}

/// Claims a call for a token that was swapped, now or before.
async fn claim_swapped(
    shared: &Shared,
    terms: &Terms,
    mut claim: Claim,
    paid: PaidToken,
    swapped: Swapped,
) -> Result<Admission, Refusal> {
    let Swapped::Net(net) = swapped else {
        let found = kept(shared, paid.key(), &claim.request, false, already_spent()).await?;
        return found
            .map(|found| Admission::Replay(Box::new(found)))
            .ok_or_else(already_spent);
    };
    let is_underpaid = net < claim.price.ceil_sat();
    claim.payment = Payment::Swapped(PaidToken { net, ..paid });
    match claimed(shared, terms, claim, already_spent())
        .await
        .map_err(after_swap)?
    {
        Some(Admission::Call(mut call)) => {
            call.is_underpaid = is_underpaid;
            Ok(Admission::Call(call))
        }
        Some(other) => Ok(other),
        None => Err(Refusal::Unavailable(Unavailable::MintUnknown)),
    }
}

/// Nobody may say "nothing was taken" any more.
fn after_swap(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unavailable(Unavailable::Journal) => {
            Refusal::Unavailable(Unavailable::JournalAfterSwap)
        }
        other => other,
    }
}

/// Returns the token as the journal knows it; `None` if a secret is not one.
#[must_use]
pub fn paid_token(token: &ParsedToken) -> Option<PaidToken> {
    let ys = token.ys()?.to_vec();
    let refund_keys: BTreeSet<_> = token.refund_keys().collect();
    // Proofs that name different keys name none for the whole.
    let refund_key = match refund_keys.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(key)] => Some(key.clone()),
        _ => None,
    };
    Some(PaidToken {
        text: token.text.clone(),
        mint: token.mint.clone(),
        gross: token.amount,
        net: token.amount,
        ys,
        refund_key,
        proofs: String::new(),
        fee_ppk: 0,
        redeem_by: None,
    })
}

/// Returns one token over all `proofs`, each the JSON text of a [`PaidToken::proofs`].
///
/// # Errors
/// When one of the texts, or `mint`, cannot be read.
pub fn join(mint: &str, proofs: &[String]) -> Result<String, JoinError> {
    let mut all = Proofs::new();
    for text in proofs {
        let some: Proofs = serde_json::from_str(text).map_err(|_| JoinError::Proofs)?;
        all.extend(some);
    }
    let mint = MintUrl::from_str(mint).map_err(|_| JoinError::Mint)?;
    Ok(Token::new(mint, all, None, CurrencyUnit::Sat).to_string())
}

/// Stored proofs that do not make a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Not the JSON text of proofs.
    #[error("read stored proofs")]
    Proofs,
    /// Not the address of a mint.
    #[error("read the mint of stored proofs")]
    Mint,
}

fn already_spent() -> Refusal {
    bad(
        "token_already_spent",
        "A proof of this token was spent before.",
    )
}

fn bad(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal::BadToken {
        code,
        detail: detail.into(),
    }
}
