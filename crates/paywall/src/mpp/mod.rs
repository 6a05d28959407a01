//! MPP: the `Payment` scheme over HTTP 402, method `lightning`, intent `charge`.
//!
//! A second way to present the payment of the invoice that the L402 challenge of
//! the same 402 carries. Nothing is stored for a challenge: its id is an HMAC over
//! everything it says ([`Issuer`]), so that the echo in the [`Credential`] proves
//! itself. Whether the payment was used before is for the journal to say, under
//! the payment hash: what was used here cannot be used again as L402.
//!
//! Where this part goes its own way:
//!
//! - A payment opens one call, so nothing is offered where the same money buys
//!   several calls or a balance.
//! - A challenge opens the method and target that it was made for, at the price
//!   that it names; `externalId` in its `request` says so. Published clients do not
//!   echo `opaque` and `digest`, so neither is written, and a body is not bound.
//! - A call that failed gives the payment back, and [`GRACE_SECS`] after `expires`
//!   it can still be presented: otherwise a payer who paid in time and lost his
//!   answer would lose his money.
//! - A credential of the older dialect, `Payment method="lightning", preimage="…"`,
//!   is refused: nothing in it shows that an invoice of ours was paid, since any
//!   32 bytes are the preimage of something.
//! - A credential that cannot be read is answered 401 like any other, without a
//!   fresh challenge, so that nonsense never makes an invoice.
//!
//! <https://paymentauth.org/draft-httpauth-payment-00.html>
//! <https://paymentauth.org/draft-lightning-charge-00.html>

pub mod asked;
pub mod challenge;
pub mod credential;
pub mod issuer;
pub mod receipt;

pub use asked::Asked;
pub use challenge::Challenge;
pub use credential::{Credential, CredentialError, credential_of};
pub use issuer::{Charge, GRACE_SECS, Issuer, Verdict};
pub use receipt::Receipt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64url that takes padding, though nobody should write it.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    TOLERANT.decode(text).ok()
}

/// Returns whether `scheme` names this scheme.
pub(crate) fn is_payment(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"payment")
}

#[cfg(test)]
mod tests;
