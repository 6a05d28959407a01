//! Reads `Authorization` on the server.
//!
//! 1. `L402` and `LSAT` in any case; `<macaroon>[,<macaroon>…]:<preimage>`, with
//!    any base64 and hex of either case.
//! 2. Of several values the first usable L402 counts, then the first `Cashu`.
//! 3. Other schemes are the upstream's business and are ignored.
//! 4. A value that says L402 and cannot be read is malformed, unless another can.
//!
//! <https://github.com/lightninglabs/L402/blob/master/protocol-specification.md>

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::macaroon::{Macaroon, MacaroonError};
use crate::payment::Preimage;

/// Longest header value that is read, in bytes; tokens of ecash are the longest.
pub const MAX_HEADER_BYTES: usize = 64 * 1_024;
/// Most macaroons in one credential.
const MAX_MACAROONS: usize = 4;
/// Most `Authorization` values that are looked at.
const MAX_VALUES: usize = 8;

/// What a request carries to pay with.
#[derive(Clone)]
pub enum Authorization {
    /// Nothing that concerns payment.
    None,
    /// An L402 credential; not verified.
    L402 {
        /// At least one.
        macaroons: Vec<Macaroon>,
        /// What was received for the payment.
        preimage: Preimage,
    },
    /// The ecash token of `Authorization: Cashu …`, not parsed.
    Cashu(String),
    /// A payment credential that cannot be read.
    Malformed(MalformedAuthorization),
}

/// Why a credential cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAuthorization {
    /// Longer than [`MAX_HEADER_BYTES`].
    #[error("read an Authorization value of more than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// There is no colon between macaroon and preimage, or text that is not ASCII.
    #[error("read the credential as <macaroon>:<preimage>")]
    Form,
    /// No macaroon, too many of them, or one that cannot be read.
    #[error("read the macaroon of the credential")]
    Macaroon(#[source] MacaroonError),
    /// Not 64 hexadecimal characters.
    #[error("read the preimage as 64 hexadecimal characters")]
    Preimage,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::L402 { .. } => f.write_str("L402(..)"),
            Self::Cashu(_) => f.write_str("Cashu(..)"),
            Self::Malformed(reason) => f.debug_tuple("Malformed").field(reason).finish(),
        }
    }
}

/// Returns the payment that `headers` authorise with. `X-Cashu` is not looked at.
#[must_use]
pub fn parse_authorization(headers: &HeaderMap) -> Authorization {
    let mut cashu = None;
    let mut malformed = None;
    for value in headers.get_all(AUTHORIZATION).iter().take(MAX_VALUES) {
        let Some((scheme, rest)) = split_scheme(value.as_bytes()) else {
            continue;
        };
        if is_l402(scheme) {
            match parse_credential(rest) {
                Ok((macaroons, preimage)) => {
                    return Authorization::L402 {
                        macaroons,
                        preimage,
                    };
                }
                Err(reason) => malformed = malformed.or(Some(reason)),
            }
        } else if scheme.eq_ignore_ascii_case(b"cashu") && cashu.is_none() {
            match std::str::from_utf8(rest) {
                Ok(token) if rest.len() <= MAX_HEADER_BYTES => cashu = Some(token.to_owned()),
                Ok(_) => malformed = malformed.or(Some(MalformedAuthorization::TooLong)),
                Err(_) => malformed = malformed.or(Some(MalformedAuthorization::Form)),
            }
        }
    }
    match (cashu, malformed) {
        (Some(token), _) => Authorization::Cashu(token),
        (None, Some(reason)) => Authorization::Malformed(reason),
        (None, None) => Authorization::None,
    }
}

/// Returns the value of `Authorization` that carries `macaroon` and `preimage`.
#[must_use]
pub fn credential_value(macaroon: &str, preimage: &Preimage) -> String {
    format!("L402 {macaroon}:{}", preimage.expose_hex())
}

pub(super) fn is_l402(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"l402") || scheme.eq_ignore_ascii_case(b"lsat")
}

fn split_scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace)?;
    Some((&value[..end], value[end..].trim_ascii()))
}

fn parse_credential(rest: &[u8]) -> Result<(Vec<Macaroon>, Preimage), MalformedAuthorization> {
    if rest.len() > MAX_HEADER_BYTES {
        return Err(MalformedAuthorization::TooLong);
    }
    let text = std::str::from_utf8(rest).map_err(|_| MalformedAuthorization::Form)?;
    let (macaroons, preimage) = text.split_once(':').ok_or(MalformedAuthorization::Form)?;
    // Some stacks join several Authorization lines with a comma.
    let preimage = preimage.split(',').next().unwrap_or_default().trim();
    let preimage = preimage
        .parse()
        .map_err(|_| MalformedAuthorization::Preimage)?;
    let mut found = Vec::new();
    for text in macaroons.split(',').map(str::trim) {
        if found.len() == MAX_MACAROONS {
            return Err(MalformedAuthorization::Macaroon(MacaroonError::TooLong));
        }
        found.push(Macaroon::parse(text).map_err(MalformedAuthorization::Macaroon)?);
    }
    Ok((found, preimage))
}

#[cfg(test)]
mod tests;
