//! Reads a 402 and keeps what is safe to pay.
//!
//! A challenge is dropped, with the reason, when
//! 1. its invoice names no amount, does not decode or has expired;
//! 2. its token is a macaroon for another payment hash than the invoice's;
//! 3. its token cannot be sent back in a header;
//! 4. its Cashu request is not in satoshi or does not decode.
//!
//! Whether the price is right is [`super::price`]'s business.

use std::fmt;

use feria_paywall::amount::{MAX_MSAT, Msat};
use feria_paywall::l402::{Challenge, CheckedInvoice, check_invoice};
use feria_paywall::xcashu::request::{self, CashuTerms};
use http::HeaderMap;
use secrecy::SecretString;

use super::call::{X_CASHU, l402_header};
use crate::protocol::text::clean;

/// The longest Cashu request read, in bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// The longest token the journal keeps, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Dropped challenges that are told of.
const MAX_PROBLEMS: usize = 8;
/// The longest reason told.
const MAX_PROBLEM_CHARS: usize = 200;

/// The ways to pay that a 402 offers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) l402: Option<L402>,
    pub(super) cashu: Option<CashuTerms>,
    /// Why the other challenges were dropped.
    pub(super) problems: Vec<String>,
}

/// A challenge whose invoice was checked.
#[derive(Clone)]
pub(super) struct L402 {
    pub(super) token: SecretString,
    pub(super) bolt11: String,
    pub(super) invoice: CheckedInvoice,
}

impl fmt::Debug for L402 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L402")
            .field("invoice", &self.invoice)
            .finish_non_exhaustive()
    }
}

impl Asked {
    /// Reads the headers of a 402 received at `now`.
    pub(super) fn read(headers: &HeaderMap, now: u64) -> Self {
        let mut asked = Self::default();
        for challenge in Challenge::parse_all(headers) {
            match read_l402(challenge, now) {
                Ok(l402) => {
                    asked.l402 = Some(l402);
                    break;
                }
                Err(problem) => asked.complain("l402", &problem),
            }
        }
        for value in headers.get_all(X_CASHU) {
            match read_cashu(value.as_bytes()) {
                Ok(terms) => {
                    asked.cashu = Some(terms);
                    break;
                }
                Err(problem) => asked.complain("nut24", &problem),
            }
        }
        if asked.l402.is_none() && asked.cashu.is_none() && asked.problems.is_empty() {
            asked
                .problems
                .push("the 402 holds neither an L402 challenge nor a Cashu request".to_owned());
        }
        asked
    }

    /// Notes why a challenge was dropped. The words may be the seller's, and they
    /// are kept, shown and logged.
    fn complain(&mut self, rail: &str, problem: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            let problem = clean(problem, MAX_PROBLEM_CHARS);
            self.problems.push(format!("{rail}: {problem}"));
        }
    }

    /// Returns whether nothing payable is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.l402.is_none() && self.cashu.is_none()
    }

    /// Returns the highest of the prices left.
    pub(super) fn price(&self) -> Msat {
        let l402 = self.l402.as_ref().map(|l402| l402.invoice.amount);
        let cashu = self.cashu.as_ref().map(|terms| terms.amount.to_msat());
        l402.max(cashu).unwrap_or_default()
    }
}

fn read_l402(challenge: Challenge, now: u64) -> Result<L402, String> {
    let invoice = check_invoice(&challenge.invoice, Msat::new(MAX_MSAT), now)
        .map_err(|refusal| format!("refused to {refusal}"))?;
    if let Some(hash) = challenge.token_payment_hash()
        && hash != invoice.payment_hash
    {
        return Err("the macaroon is for another payment than the invoice".to_owned());
    }
    let blank = feria_paywall::payment::Preimage::new([0; 32]);
    if challenge.token.len() > MAX_TOKEN_BYTES || l402_header(&challenge.token, &blank).is_none() {
        return Err("the token cannot be sent back".to_owned());
    }
    Ok(L402 {
        token: challenge.token.into(),
        bolt11: challenge.invoice,
        invoice,
    })
}

fn read_cashu(value: &[u8]) -> Result<CashuTerms, String> {
    if value.len() > MAX_REQUEST_BYTES {
        return Err("the payment request is too long".to_owned());
    }
    let text = std::str::from_utf8(value).map_err(|_| "the payment request is not text")?;
    let terms = request::parse(text.trim()).map_err(|error| error.to_string())?;
    if terms.unit != "sat" {
        return Err(format!("cannot pay in {:?}", terms.unit));
    }
    if terms.amount.as_u64() == 0 || terms.amount.to_msat().as_u64() > MAX_MSAT {
        return Err("the payment request names no payable amount".to_owned());
    }
    Ok(terms)
}
