//! Decides whether a verified L402 macaroon pays for a call.
//!
//! An unknown caveat fails closed: we write none that we do not know, so it is a
//! restriction that a holder added for somebody else, and it must hold.

use super::caveat::UNLIMITED;
use super::issuer::VerifiedMacaroon;
use super::limit::{Limit, LimitUnit};
use crate::amount::Msat;
use crate::payment::{PaymentHash, Preimage};

/// The call that is to be paid for.
#[derive(Debug, Clone, Copy)]
pub struct CallContext<'a> {
    /// The service, for a node the agent's name.
    pub service: &'a str,
    /// The capability; empty when the route has none.
    pub capability: &'a str,
    /// The path below the service, from its `/`.
    pub path: &'a str,
    /// Unix seconds.
    pub now: u64,
}

/// What a credential is worth for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Good, within these limits. Whether anything is left is for the caller to claim.
    Accepted {
        /// Each must have room. One use when no caveat says otherwise; none at all
        /// when time was bought and no holder narrowed it.
        limits: Vec<Limit>,
        /// What the payer was told; `None` when no caveat says so.
        price: Option<Msat>,
        /// The payment.
        payment_hash: PaymentHash,
        /// Tells apart two tokens for one payment.
        token_id: [u8; 32],
    },
    /// The preimage does not belong to the payment: never paid, or mixed up.
    WrongPreimage,
    /// Good once, until `valid_until` (Unix seconds).
    Expired {
        /// The earliest end that a caveat sets.
        valid_until: u64,
    },
    /// Bought for another service.
    WrongService,
    /// Bought for another capability.
    WrongCapability,
    /// The path is outside of what was bought.
    WrongPath,
    /// A condition that this version does not know.
    UnknownCaveat(String),
    /// A known condition whose value cannot be read.
    MalformedCaveat(String),
}

/// Returns what `macaroon` with `preimage` is worth for `call`.
#[must_use]
pub fn check(macaroon: &VerifiedMacaroon, preimage: &Preimage, call: &CallContext<'_>) -> Verdict {
    if !preimage.opens(&macaroon.identifier.payment_hash) {
        return Verdict::WrongPreimage;
    }
    match gather(macaroon, call) {
        Err(refusal) => refusal,
        Ok(found) if !found.names_service => Verdict::WrongService,
        Ok(found) => match found.valid_until {
            Some(valid_until) if call.now > valid_until => Verdict::Expired { valid_until },
            _ => Verdict::Accepted {
                limits: found.limits,
                price: found.price,
                payment_hash: macaroon.identifier.payment_hash,
                token_id: macaroon.identifier.token_id,
            },
        },
    }
}

#[derive(Default)]
struct Gathered {
    names_service: bool,
    valid_until: Option<u64>,
    price: Option<Msat>,
    limits: Vec<Limit>,
    /// Whether the issuer's own limit was seen; later ones are the holders'.
    is_bought_known: bool,
}

impl Gathered {
    /// Adds a limit: the issuer's own under the payment, a holder's under `name`.
    fn count(&mut self, unit: LimitUnit, max: u64, payment: &PaymentHash, name: [u8; 32]) {
        let key = if self.is_bought_known {
            name
        } else {
            *payment.as_bytes()
        };
        self.is_bought_known = true;
        self.limits.push(Limit { key, unit, max });
    }
}

/// Checks the conditions that hold or not, and gathers those that count or expire.
fn gather(macaroon: &VerifiedMacaroon, call: &CallContext<'_>) -> Result<Gathered, Verdict> {
    let capabilities = format!("{}_capabilities", call.service);
    let valid_until = format!("{}_valid_until", call.service);
    let payment = &macaroon.identifier.payment_hash;
    let mut found = Gathered::default();
    for (caveat, name) in macaroon.caveats.iter().zip(&macaroon.names) {
        let (condition, value) = (caveat.condition(), caveat.value());
        let malformed = || Verdict::MalformedCaveat(condition.to_owned());
        if condition == "services" {
            if !lists_service(value, call.service) {
                return Err(Verdict::WrongService);
            }
            found.names_service = true;
        } else if condition == capabilities {
            if !value.split(',').any(|name| name.trim() == call.capability) {
                return Err(Verdict::WrongCapability);
            }
        } else if condition == valid_until {
            let end = parse_digits::<u64>(value).ok_or_else(malformed)?;
            found.valid_until = Some(found.valid_until.map_or(end, |old| old.min(end)));
        } else if condition == "uses" && value == UNLIMITED && !found.is_bought_known {
            // Only the issuer's own: a holder's would come after it and widen nothing.
            found.is_bought_known = true;
        } else if condition == "uses" {
            let uses = parse_digits::<u32>(value).ok_or_else(malformed)?;
            found.count(LimitUnit::Uses, uses.into(), payment, *name);
        } else if condition == "price_msat" {
            let price = parse_digits(value).map(Msat::new).ok_or_else(malformed)?;
            // The issuer's caveats come first: a holder cannot make it cheaper afterwards.
            if *found.price.get_or_insert(price) != price {
                return Err(malformed());
            }
        } else if condition == "balance_msat" {
            let balance = parse_digits::<u64>(value).ok_or_else(malformed)?;
            found.count(LimitUnit::Msat, balance, payment, *name);
        } else if condition == "sats" {
            let sats = parse_digits::<u64>(value).ok_or_else(malformed)?;
            let msat = sats.saturating_mul(1_000);
            found.count(LimitUnit::Msat, msat, payment, *name);
        } else if condition == "note" {
            // Only tells copies apart.
        } else if condition == "path_prefix" {
            if !is_below(call.path, value) {
                return Err(Verdict::WrongPath);
            }
        } else {
            return Err(Verdict::UnknownCaveat(condition.to_owned()));
        }
    }
    if !found.is_bought_known {
        found.count(LimitUnit::Uses, 1, payment, [0; 32]);
    }
    Ok(found)
}

fn lists_service(value: &str, service: &str) -> bool {
    value
        .split(',')
        .any(|entry| entry.trim().split(':').next() == Some(service))
}

/// Reads plain digits; `parse` alone would take a sign.
fn parse_digits<T: std::str::FromStr>(value: &str) -> Option<T> {
    value
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| value.parse().ok())
        .flatten()
}

/// Returns whether `path` is `prefix` or below it. A path that could climb out
/// once the upstream normalises it is below nothing.
fn is_below(path: &str, prefix: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let lower = path.to_ascii_lowercase();
    if lower.contains("..")
        || lower.contains("%2e")
        || lower.contains("%2f")
        || lower.contains('\\')
    {
        return false;
    }
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
