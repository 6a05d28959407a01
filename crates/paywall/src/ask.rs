//! Asks the pricer, as often as the client may.
//!
//! Asked when a price is to be told, and for a token whose payer was told none.
//! Never for an L402 credential, which carries its price, and never more often than
//! the client may cause challenges: a stranger must not wear the pricer out.

use http::request::Parts;

use crate::amount::Msat;
use crate::layer::Shared;
use crate::price::{NoPrice, Terms};
use crate::service::client_of;
use crate::verdict::{Refusal, Unavailable};

/// Returns `terms` at the price of this moment.
///
/// # Errors
/// The refusal to answer instead: over the limit, or there is no price.
pub(crate) async fn priced(
    shared: &Shared,
    terms: &Terms,
    parts: &Parts,
) -> Result<Terms, Refusal> {
    Ok(Terms {
        price: price(shared, terms, parts).await?,
        ..terms.clone()
    })
}

/// Returns the price of this moment.
///
/// # Errors
/// As [`priced`].
pub(crate) async fn price(shared: &Shared, terms: &Terms, parts: &Parts) -> Result<Msat, Refusal> {
    if !terms.asks_pricer {
        return Ok(terms.price);
    }
    shared
        .price_asks
        .take(client_of(parts), shared.world.now_millis())
        .map_err(|retry_after| Refusal::TooMany { retry_after })?;
    let asked = match &shared.pricer {
        Some(pricer) => pricer.price(parts, terms).await,
        None => Err(NoPrice),
    };
    asked
        .ok()
        // An invoice over nothing is one over any amount.
        .filter(|price| *price > Msat::ZERO)
        .ok_or(Refusal::Unavailable(Unavailable::Price))
}
