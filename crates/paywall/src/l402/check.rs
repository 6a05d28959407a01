//! Decides whether a verified L402 macaroon pays for a call.
//!
//! An unknown caveat fails closed: we write none that we do not know, so it is a
//! restriction that a holder added for somebody else, and it must hold.

use super::issuer::VerifiedMacaroon;
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
    /// Good. Whether a use is left is for the caller to claim.
    Accepted {
        /// Calls that the payment buys in all; 1 when no caveat says so.
        uses: u32,
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
    match limits(macaroon, call) {
        Err(refusal) => refusal,
        Ok(limits) if !limits.names_service => Verdict::WrongService,
        Ok(limits) => match limits.valid_until {
            Some(valid_until) if call.now > valid_until => Verdict::Expired { valid_until },
            _ => Verdict::Accepted {
                uses: limits.uses.unwrap_or(1),
                payment_hash: macaroon.identifier.payment_hash,
                token_id: macaroon.identifier.token_id,
            },
        },
    }
}

#[derive(Default)]
struct Limits {
    names_service: bool,
    valid_until: Option<u64>,
    uses: Option<u32>,
}

/// Checks the conditions that hold or not, and gathers those that count or expire.
fn limits(macaroon: &VerifiedMacaroon, call: &CallContext<'_>) -> Result<Limits, Verdict> {
    let capabilities = format!("{}_capabilities", call.service);
    let valid_until = format!("{}_valid_until", call.service);
    let mut limits = Limits::default();
    for caveat in &macaroon.caveats {
        let (condition, value) = (caveat.condition(), caveat.value());
        let malformed = || Verdict::MalformedCaveat(condition.to_owned());
        if condition == "services" {
            if !lists_service(value, call.service) {
                return Err(Verdict::WrongService);
            }
            limits.names_service = true;
        } else if condition == capabilities {
            if !value.split(',').any(|name| name.trim() == call.capability) {
                return Err(Verdict::WrongCapability);
            }
        } else if condition == valid_until {
            let end = parse_digits::<u64>(value).ok_or_else(malformed)?;
            limits.valid_until = Some(limits.valid_until.map_or(end, |old| old.min(end)));
        } else if condition == "uses" {
            let uses = parse_digits::<u32>(value).ok_or_else(malformed)?;
            limits.uses = Some(limits.uses.map_or(uses, |old| old.min(uses)));
        } else if condition == "path_prefix" {
            if !is_below(call.path, value) {
                return Err(Verdict::WrongPath);
            }
        } else {
            return Err(Verdict::UnknownCaveat(condition.to_owned()));
        }
    }
    Ok(limits)
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
