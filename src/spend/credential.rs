//! How a paid invoice is shown to its seller.

use feria_paywall::l402::Macaroon;
use feria_paywall::mpp;
use feria_paywall::payment::Preimage;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::store::ledger::credentials::NewCredential;
pub(super) use crate::store::ledger::credentials::Scheme;
use crate::store::ledger::intents::Intent;

/// Macaroons with more caveats are treated as opaque.
const MAX_CAVEATS: usize = 64;

/// Returns the `Authorization` of a credential; an L402 token goes back byte for byte.
pub(super) fn header(
    scheme: Scheme,
    token: &str,
    preimage: &Preimage,
) -> Option<(HeaderName, HeaderValue)> {
    let value = match scheme {
        Scheme::L402 => format!("L402 {token}:{}", preimage.expose_hex()),
        Scheme::Mpp => mpp::Credential {
            challenge: serde_json::from_str(token).ok()?,
            preimage: preimage.clone(),
        }
        .expose_value()
        .ok()?,
    };
    Some((AUTHORIZATION, HeaderValue::from_str(&value).ok()?))
}

/// Returns whether an L402 token can stand in a header.
pub(super) fn fits_header(token: &str) -> bool {
    header(Scheme::L402, token, &Preimage::new([0; 32])).is_some()
}

/// Reads from the token, when it is a macaroon, how often and how long it is
/// good for. What does not say is good until the seller's 402; a charge is for
/// one call.
pub(super) fn new_credential(
    intent: &Intent,
    token: SecretString,
    preimage: Preimage,
) -> NewCredential {
    let caveats = Macaroon::parse(token.expose_secret())
        .and_then(|macaroon| macaroon.caveats())
        .unwrap_or_default();
    let mut uses: Option<u32> = (intent.scheme == Scheme::Mpp).then_some(1);
    let mut expires_at: Option<u64> = None;
    for caveat in caveats.iter().take(MAX_CAVEATS) {
        if caveat.condition() == "uses" {
            uses = tighter(uses, caveat.value().parse().ok());
        } else if caveat.condition().ends_with("_valid_until") {
            expires_at = tighter(expires_at, caveat.value().parse().ok());
        }
    }
    NewCredential {
        wallet_id: intent.wallet_id.clone(),
        origin: intent.origin.clone(),
        path: intent.path.clone(),
        is_prefix: false,
        scheme: intent.scheme,
        token,
        preimage,
        uses,
        expires_at,
    }
}

fn tighter<T: Ord>(known: Option<T>, found: Option<T>) -> Option<T> {
    match (known, found) {
        (Some(known), Some(found)) => Some(known.min(found)),
        (known, found) => known.or(found),
    }
}
