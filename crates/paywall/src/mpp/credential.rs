//! `Authorization: Payment …`: the echo of a challenge, and the preimage.
//!
//! Nothing is verified here; that is [`Issuer::verify`](super::Issuer::verify).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use super::challenge::Challenge;
use super::{decode, encode, is_payment};
use crate::payment::Preimage;

/// Longest credential that is read, in bytes. One with an invoice takes about 1,500.
pub const MAX_CREDENTIAL_BYTES: usize = 32 * 1_024;
/// Most `Authorization` values that are looked at.
const MAX_VALUES: usize = 8;

/// A payment presented by this scheme; not verified.
#[derive(Clone)]
pub struct Credential {
    /// The challenge as the payer got it.
    pub challenge: Challenge,
    /// What was received for the payment.
    pub preimage: Preimage,
}

/// Why a credential cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Longer than [`MAX_CREDENTIAL_BYTES`].
    #[error("read a Payment credential of more than {MAX_CREDENTIAL_BYTES} bytes")]
    TooLong,
    /// Not base64url without stray bits; the older dialect is among these.
    #[error("read the Payment credential as base64url")]
    Base64,
    /// Not JSON, or without a field that it must have.
    #[error("read the Payment credential as JSON with challenge and payload.preimage")]
    Json,
    /// Not 64 hexadecimal characters.
    #[error("read the preimage as 64 hexadecimal characters")]
    Preimage,
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    challenge: std::borrow::Cow<'a, Challenge>,
    payload: Payload,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    preimage: String,
}

impl Credential {
    /// Reads what follows the scheme.
    ///
    /// # Errors
    /// When it is not a credential; nothing in it was verified.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        if text.len() > MAX_CREDENTIAL_BYTES {
            return Err(CredentialError::TooLong);
        }
        let bytes = decode(text).ok_or(CredentialError::Base64)?;
        let document: Document<'_> =
            serde_json::from_slice(&bytes).map_err(|_| CredentialError::Json)?;
        let preimage = document.payload.preimage.parse();
        Ok(Self {
            challenge: document.challenge.into_owned(),
            preimage: preimage.map_err(|_| CredentialError::Preimage)?,
        })
    }

    /// Returns the value of `Authorization`. It is money until it was used.
    ///
    /// # Errors
    /// [`CredentialError::Json`] if it could not be written.
    pub fn expose_value(&self) -> Result<String, CredentialError> {
        let document = Document {
            challenge: std::borrow::Cow::Borrowed(&self.challenge),
            payload: Payload {
                preimage: self.preimage.expose_hex(),
            },
        };
        let json = serde_json::to_vec(&document).map_err(|_| CredentialError::Json)?;
        Ok(format!("Payment {}", encode(json)))
    }
}

/// Returns the first credential of this scheme in `headers`, `None` if there is none.
#[must_use]
pub fn credential_of(headers: &HeaderMap) -> Option<Result<Credential, CredentialError>> {
    let values = headers.get_all(AUTHORIZATION).iter().take(MAX_VALUES);
    let mut found = values.filter_map(|value| {
        let value = value.as_bytes().trim_ascii();
        let end = value
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(value.len());
        is_payment(&value[..end]).then(|| value[end..].trim_ascii())
    });
    let rest = found.next()?;
    // Some stacks join several Authorization lines with a comma.
    let first = rest.split(|byte| *byte == b',').next().unwrap_or_default();
    Some(
        std::str::from_utf8(first)
            .map_err(|_| CredentialError::Base64)
            .and_then(|text| Credential::parse(text.trim())),
    )
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}
