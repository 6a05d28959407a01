//! The ways to pay that a 402 offers. Keeps no row: the macaroon's root key is
//! derived from its identifier.

use std::net::IpAddr;

use http::request::Parts;

use crate::challenge::Offers;
use crate::l402::{Challenge, Identifier, Terms as MacaroonTerms};
use crate::layer::Shared;
use crate::mpp::Charge;
use crate::price::Terms;
use crate::reuse::{Remembered, ReuseKey};
use crate::scheme::{ChallengeInvoice, InvoiceMaker};
use crate::service::client_of;
use crate::verdict::{Refusal, Unavailable};

/// Makes the offers of a 402.
///
/// # Errors
/// The refusal to answer instead: over the limit, or no way to pay works.
pub(crate) async fn make(shared: &Shared, terms: &Terms, parts: &Parts) -> Result<Offers, Refusal> {
    let client = client_of(parts);
    let cashu = cashu(shared, terms);
    let mut offers = Offers {
        cashu,
        ..Offers::default()
    };
    if let Some(invoices) = shared.invoices.as_deref().filter(|_| terms.lightning) {
        match lightning(shared, terms, invoices, client).await? {
            Some(challenge) => {
                offers.mpp = mpp(shared, terms, parts, &challenge);
                offers.l402 = Some(challenge.l402);
                offers.invoice = Some(challenge.invoice);
            }
            // Ecash still works without Lightning.
            None if offers.cashu.is_some() => {}
            None => return Err(Refusal::Unavailable(Unavailable::Lightning)),
        }
    }
    if offers.l402.is_none() && offers.cashu.is_none() {
        return Err(Refusal::Unavailable(Unavailable::NoRail));
    }
    Ok(offers)
}

/// Returns the client's last unpaid challenge while its window is open, or a new one.
async fn lightning(
    shared: &Shared,
    terms: &Terms,
    invoices: &dyn InvoiceMaker,
    client: Option<IpAddr>,
) -> Result<Option<Remembered>, Refusal> {
    let amount = terms.invoice_amount();
    let key = ReuseKey::new(client, &terms.service, &terms.capability, amount);
    let now = shared.world.now_millis();
    if let Some(known) = key.as_ref().and_then(|key| shared.reuse.find(key, now)) {
        return Ok(Some(known));
    }
    shared
        .throttle
        .take(client, now)
        .map_err(|retry_after| Refusal::TooMany { retry_after })?;
    let challenge = l402(shared, terms, invoices).await;
    if let (Some(key), Some(challenge)) = (key, &challenge) {
        let expiry = terms.invoice_expiry_secs;
        shared.reuse.insert(key, challenge.clone(), expiry, now);
    }
    Ok(challenge)
}

async fn l402(shared: &Shared, terms: &Terms, invoices: &dyn InvoiceMaker) -> Option<Remembered> {
    let made = invoices
        .make_invoice(
            terms.invoice_amount(),
            &terms.description,
            terms.invoice_expiry_secs,
        )
        .await;
    let invoice = match made {
        Ok(invoice) => invoice,
        Err(error) => {
            tracing::warn!(service = %terms.service, %error, "No invoice for a challenge");
            return None;
        }
    };
    match issue(shared, terms, &invoice) {
        Ok(l402) => Some(Remembered {
            l402,
            invoice: invoice.bolt11,
            payment_hash: invoice.payment_hash,
            expires_at: shared
                .now()
                .saturating_add(terms.invoice_expiry_secs.min(terms.valid_secs)),
        }),
        Err(error) => {
            tracing::error!(service = %terms.service, error, "No macaroon for a challenge");
            None
        }
    }
}

/// Returns the challenge of the scheme `Payment` for the same invoice, if it is
/// offered: its payment opens one call, so it is not where the same money buys more.
fn mpp(shared: &Shared, terms: &Terms, parts: &Parts, challenge: &Remembered) -> Option<String> {
    let issuer = shared.mpp.as_ref()?;
    if terms.counted_uses() != Some(1) {
        return None;
    }
    let invoice = ChallengeInvoice {
        bolt11: challenge.invoice.clone(),
        payment_hash: challenge.payment_hash,
    };
    let challenge = issuer.challenge(
        &charge(terms, parts),
        &terms.description,
        &invoice,
        terms.invoice_amount().floor_sat(),
        challenge.expires_at,
    );
    let value = challenge.and_then(|challenge| challenge.header_value().ok());
    if value.is_none() {
        tracing::error!(service = %terms.service, "No Payment challenge beside the macaroon");
    }
    value?.to_str().ok().map(ToOwned::to_owned)
}

/// Returns what a payment by the scheme `Payment` opens: this very request.
pub(crate) fn charge<'a>(terms: &'a Terms, parts: &'a Parts) -> Charge<'a> {
    Charge {
        service: &terms.service,
        capability: &terms.capability,
        method: parts.method.as_str(),
        target: parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str()),
    }
}

fn issue(shared: &Shared, terms: &Terms, invoice: &ChallengeInvoice) -> Result<String, String> {
    let mut token_id = [0; 32];
    shared.world.fill_random(&mut token_id);
    let identifier = Identifier {
        payment_hash: invoice.payment_hash,
        token_id,
    };
    let caveats = MacaroonTerms {
        service: terms.service.clone(),
        capability: terms.capability.clone(),
        valid_until: Some(terms.valid_until(shared.now())),
        uses: terms.metered.is_none().then_some(terms.uses),
        price: Some(terms.price),
        balance: terms.metered.as_ref().map(|_| terms.invoice_amount()),
        path_prefix: None,
    }
    .to_caveats()
    .map_err(|error| error.to_string())?;
    let macaroon = shared
        .issuer
        .issue(&identifier, &caveats)
        .map_err(|error| error.to_string())?;
    let value = Challenge::new(&macaroon, invoice.bolt11.clone())
        .header_value()
        .map_err(|error| error.to_string())?;
    value
        .to_str()
        .map(ToOwned::to_owned)
        .map_err(|error| error.to_string())
}

/// Returns the payment request for ecash, if it is taken.
#[cfg(feature = "cashu")]
pub(crate) fn cashu(shared: &Shared, terms: &Terms) -> Option<String> {
    use crate::xcashu::request::{CashuTerms, encode};

    shared.redeemer.as_ref()?;
    let ecash = terms.ecash.as_ref()?;
    let mut id = [0; 8];
    shared.world.fill_random(&mut id);
    let request = CashuTerms {
        amount: terms.price.ceil_sat(),
        unit: "sat".to_owned(),
        mints: ecash.mints.clone(),
        lock_key: ecash.lock_key.clone(),
        min_locktime_secs: ecash.lock_key.as_ref().map(|_| ecash.min_locktime_secs),
    };
    match encode(&request, &hex::encode(id)) {
        Ok(text) => Some(text),
        Err(error) => {
            tracing::error!(service = %terms.service, %error, "No payment request for a challenge");
            None
        }
    }
}

/// Returns `None`: this build takes no ecash.
#[cfg(not(feature = "cashu"))]
pub(crate) const fn cashu(_shared: &Shared, _terms: &Terms) -> Option<String> {
    None
}
