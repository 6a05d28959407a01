//! Reads a 402 and keeps what is safe to pay.
//!
//! A challenge is dropped, with the reason, when
//! 1. its invoice names no amount, does not decode or has expired;
//! 2. its token is a macaroon for another payment hash than the invoice's;
//! 3. its token cannot be sent back in a header;
//! 4. its Cashu request is not in satoshi or does not decode.
//!
//! A token that is not a macaroon says nothing about its payment: rule 2 cannot
//! apply to it, and the decision says so. Several challenges in one answer are
//! all read; of the invoices the cheapest is kept. Whether the price is right is
//! [`super::price`]'s business.

use std::fmt;

use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::l402::{Challenge, CheckedInvoice, Macaroon, check_invoice};
use feria_paywall::mpp;
use feria_paywall::payment::PaymentHash;
use feria_paywall::xcashu::request::{self, CashuTerms};
use http::HeaderMap;
use secrecy::SecretString;

use super::call::X_CASHU;
use super::credential::{Scheme, fits_header};
use super::fault::ChallengeFault;
use crate::protocol::text::clean;

/// The longest Cashu request read, in bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// The longest token the journal keeps, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Most Cashu requests read of one answer.
const MAX_REQUESTS: usize = 8;
/// Dropped challenges that are told of.
const MAX_FAULTS: usize = 8;
/// The longest foreign words in a fault.
const MAX_FAULT_CHARS: usize = 200;

/// The ways to pay that a 402 offers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The cheapest invoice.
    pub(super) invoice: Option<Invoiced>,
    /// In the order of the answer.
    pub(super) requests: Vec<CashuTerms>,
    /// Why the other challenges were dropped.
    pub(super) faults: Vec<ChallengeFault>,
}

/// What ties a token to its invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// The token names the invoice's payment hash.
    Checked,
    /// The token does not say what it is for.
    Opaque,
}

/// A challenge whose invoice was checked.
#[derive(Clone)]
pub(super) struct Invoiced {
    /// How the payment is shown.
    pub(super) scheme: Scheme,
    /// `None`: the payment buys no credential.
    pub(super) token: Option<SecretString>,
    pub(super) binding: Binding,
    pub(super) bolt11: String,
    pub(super) invoice: CheckedInvoice,
}

impl fmt::Debug for Invoiced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoiced")
            .field("scheme", &self.scheme)
            .field("invoice", &self.invoice)
            .finish_non_exhaustive()
    }
}

impl Asked {
    /// Reads the headers of a 402 received at `now`.
    pub(super) fn read(headers: &HeaderMap, now: u64) -> Self {
        let mut asked = Self::default();
        for challenge in Challenge::parse_all(headers) {
            asked.take_invoice(read_l402(challenge, now));
        }
        // The same invoice twice is the common case: L402 stays, because its
        // credential may be good for more than one call.
        for challenge in mpp::Challenge::parse_all(headers) {
            asked.take_invoice(read_mpp(&challenge, now));
        }
        for value in headers.get_all(X_CASHU).iter().take(MAX_REQUESTS) {
            match read_cashu(value.as_bytes()) {
                Ok(terms) if asked.requests.contains(&terms) => {}
                Ok(terms) => asked.requests.push(terms),
                Err(fault) => asked.complain(fault),
            }
        }
        if asked.is_empty() && asked.faults.is_empty() {
            asked.faults.push(ChallengeFault::Nothing);
        }
        asked
    }

    /// Keeps the cheapest invoice, the first of several at one price.
    fn take_invoice(&mut self, read: Result<Invoiced, ChallengeFault>) {
        match read {
            Ok(found) => {
                let is_cheaper = self
                    .invoice
                    .as_ref()
                    .is_none_or(|kept| found.invoice.amount < kept.invoice.amount);
                if is_cheaper {
                    self.invoice = Some(found);
                }
            }
            Err(fault) => self.complain(fault),
        }
    }

    fn complain(&mut self, fault: ChallengeFault) {
        if self.faults.len() < MAX_FAULTS && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Returns whether nothing payable is left.
    pub(super) fn is_empty(&self) -> bool {
        self.invoice.is_none() && self.requests.is_empty()
    }

    /// Returns the highest of the prices left.
    pub(super) fn price(&self) -> Msat {
        let invoice = self.invoice.as_ref().map(|asked| asked.invoice.amount);
        let requests = self.requests.iter().map(|terms| terms.amount.to_msat());
        requests.chain(invoice).max().unwrap_or_default()
    }
}

fn read_l402(challenge: Challenge, now: u64) -> Result<Invoiced, ChallengeFault> {
    let invoice = check_invoice(&challenge.invoice, Msat::new(MAX_MSAT), now)?;
    let binding = match committed_hash(&challenge) {
        Committed::To(hash) if hash == invoice.payment_hash => Binding::Checked,
        Committed::To(_) => return Err(ChallengeFault::ForeignMacaroon),
        Committed::Perhaps(hash) if hash == invoice.payment_hash => Binding::Checked,
        Committed::Perhaps(_) | Committed::Silent => Binding::Opaque,
    };
    if challenge.token.len() > MAX_TOKEN_BYTES || !fits_header(&challenge.token) {
        return Err(ChallengeFault::Token);
    }
    Ok(Invoiced {
        scheme: Scheme::L402,
        token: Some(challenge.token.into()),
        binding,
        bolt11: challenge.invoice,
        invoice,
    })
}

/// What a token says about the payment it is for.
enum Committed {
    /// An L402 identifier names the hash.
    To(PaymentHash),
    /// An identifier of 32 bytes is the hash at some servers and random at others.
    Perhaps(PaymentHash),
    Silent,
}

fn committed_hash(challenge: &Challenge) -> Committed {
    if let Some(hash) = challenge.token_payment_hash() {
        return Committed::To(hash);
    }
    Macaroon::parse(&challenge.token)
        .ok()
        .and_then(|macaroon| <[u8; 32]>::try_from(macaroon.identifier()).ok())
        .map_or(Committed::Silent, |bytes| {
            Committed::Perhaps(PaymentHash::new(bytes))
        })
}

/// Reads a `Payment` challenge: one Lightning charge for this call.
///
/// <https://github.com/tempoxyz/mpp-specs>
fn read_mpp(challenge: &mpp::Challenge, now: u64) -> Result<Invoiced, ChallengeFault> {
    let unusable = ChallengeFault::Payment;
    if challenge.method != "lightning" || challenge.intent != "charge" {
        return Err(unusable("not a charge over Lightning"));
    }
    let charge = mpp::Asked::read(&challenge.request).ok_or(unusable("cannot read the charge"))?;
    let invoice = check_invoice(&charge.invoice, Msat::new(MAX_MSAT), now)?;
    let hash = charge.payment_hash;
    if hash.is_some_and(|hash| hash != invoice.payment_hash) {
        return Err(unusable(
            "the charge names another payment than its invoice",
        ));
    }
    if charge.amount.to_msat() != invoice.amount.ceil_sat().to_msat() {
        return Err(unusable("the charge names another amount than its invoice"));
    }
    let token = serde_json::to_string(challenge).map_err(|_| ChallengeFault::Token)?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(ChallengeFault::Token);
    }
    Ok(Invoiced {
        scheme: Scheme::Mpp,
        token: Some(token.into()),
        // The echo is compared by the seller; the hash in it was compared here.
        binding: hash.map_or(Binding::Opaque, |_| Binding::Checked),
        bolt11: charge.invoice,
        invoice,
    })
}

/// The words may be the seller's, and they are kept, shown and logged.
fn read_cashu(value: &[u8]) -> Result<CashuTerms, ChallengeFault> {
    let request = |words: &str| ChallengeFault::Request(clean(words, MAX_FAULT_CHARS));
    if value.len() > MAX_REQUEST_BYTES {
        return Err(request("the payment request is too long"));
    }
    let text =
        std::str::from_utf8(value).map_err(|_| request("the payment request is not text"))?;
    let terms = request::parse(text.trim()).map_err(|error| request(&error.to_string()))?;
    if terms.unit != "sat" {
        return Err(ChallengeFault::Unit(clean(&terms.unit, MAX_FAULT_CHARS)));
    }
    if terms.amount.as_u64() == 0 || terms.amount.to_msat().as_u64() > MAX_MSAT {
        return Err(request("the payment request names no payable amount"));
    }
    Ok(terms)
}

#[cfg(test)]
mod tests;
