//! The `WWW-Authenticate` challenge: written in one form, read in all.
//!
//! Every known client parses the form we write. The reader takes what the
//! field's servers write: `L402` or `LSAT` in any case, `macaroon=` or `token=`,
//! any order, missing commas, unquoted values, several lines, or other schemes
//! merged into the same line. The token is opaque and kept byte for byte, since
//! not every server's is a macaroon.

use std::fmt;

use http::header::{InvalidHeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use super::header::{MAX_HEADER_BYTES, is_l402};
use super::identifier::Identifier;
use super::macaroon::Macaroon;
use crate::payment::PaymentHash;

/// Most header lines that are looked at.
const MAX_LINES: usize = 16;
/// Most challenges that are returned.
const MAX_CHALLENGES: usize = 16;

/// A token and the invoice whose preimage makes it valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// What the server wants to see again: a macaroon in base64, or anything else.
    pub token: String,
    /// The BOLT11 invoice; not checked.
    pub invoice: String,
}

impl Challenge {
    /// Returns the challenge for `macaroon`.
    #[must_use]
    pub fn new(macaroon: &Macaroon, invoice: impl Into<String>) -> Self {
        Self {
            token: macaroon.to_base64(),
            invoice: invoice.into(),
        }
    }

    /// Returns the value of `WWW-Authenticate`. Scheme, order and spaces are
    /// what all known clients parse; send it before any other scheme's line.
    ///
    /// # Errors
    /// When token or invoice hold a character that cannot stand in a header.
    pub fn header_value(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let Self { token, invoice } = self;
        HeaderValue::from_str(&format!(
            r#"L402 macaroon="{token}", invoice="{invoice}", version="0", token="{token}""#
        ))
    }

    /// Returns the challenges in `headers`, in their order and without repeats.
    #[must_use]
    pub fn parse_all(headers: &HeaderMap) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let lines = headers.get_all(WWW_AUTHENTICATE).iter().take(MAX_LINES);
        for line in lines.filter_map(|value| value.to_str().ok()) {
            for challenge in parse_line(line) {
                if found.len() < MAX_CHALLENGES && !found.contains(&challenge) {
                    found.push(challenge);
                }
            }
        }
        found
    }

    /// Returns the payment hash that the token names, when it is an L402
    /// macaroon. A payer compares it with the invoice's before paying.
    #[must_use]
    pub fn token_payment_hash(&self) -> Option<PaymentHash> {
        let macaroon = Macaroon::parse(&self.token).ok()?;
        let identifier = Identifier::decode(&macaroon.identifier()).ok()?;
        Some(identifier.payment_hash)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("invoice", &self.invoice)
            .finish_non_exhaustive()
    }
}

/// The parameters of one scheme, as far as they matter.
#[derive(Default)]
struct Gathered<'a> {
    is_l402: bool,
    macaroon: Option<&'a str>,
    token: Option<&'a str>,
    invoice: Option<&'a str>,
}

impl<'a> Gathered<'a> {
    fn set(&mut self, name: &str, value: &'a str) {
        let slot = match name.to_ascii_lowercase().as_str() {
            "macaroon" => &mut self.macaroon,
            "token" => &mut self.token,
            "invoice" => &mut self.invoice,
            _ => return,
        };
        *slot = slot.or(Some(value));
    }

    fn into_challenge(self) -> Option<Challenge> {
        let token = self.macaroon.or(self.token)?;
        let invoice = self.invoice?;
        (self.is_l402 && !token.is_empty() && !invoice.is_empty()).then(|| Challenge {
            token: token.to_owned(),
            invoice: invoice.to_owned(),
        })
    }
}

/// Reads one line: words followed by `=` are parameters, all others schemes.
fn parse_line(line: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    if line.len() > MAX_HEADER_BYTES {
        return found;
    }
    let mut current = Gathered::default();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let end = rest
            .find([' ', '\t', ',', '=', '"'])
            .unwrap_or(rest.len())
            // A stray quote or equals sign is one unreadable word.
            .max(1);
        let (word, after) = rest.split_at(end);
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(after) => {
                let (value, after) = split_value(after.trim_start_matches([' ', '\t']));
                current.set(word, value);
                rest = after;
            }
            None => {
                found.extend(std::mem::take(&mut current).into_challenge());
                current.is_l402 = is_l402(word.as_bytes());
                rest = after;
            }
        }
    }
    found.extend(current.into_challenge());
    found
}

/// Splits a quoted or bare value from what follows it.
fn split_value(text: &str) -> (&str, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').unwrap_or((quoted, ""));
    }
    text.split_at(text.find([' ', '\t', ',']).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests;
