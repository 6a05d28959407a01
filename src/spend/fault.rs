//! What is wrong with a challenge: one variant for each reason not to pay it.

use feria_paywall::l402::InvoiceRefusal;

/// A challenge that is not paid. Nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// There is none that we can read.
    #[error("the 402 holds neither an L402 challenge nor a Cashu request")]
    Nothing,
    /// The invoice is amountless, over every cap, undecodable or expired.
    #[error("l402: refused to {0}")]
    Invoice(#[from] InvoiceRefusal),
    /// The macaroon commits to another payment hash than the invoice's: the
    /// preimage that is paid for would not open it.
    #[error("l402: the macaroon is for another payment than the invoice")]
    ForeignMacaroon,
    /// The token is too long, or holds what no header may.
    #[error("l402: the token cannot be sent back")]
    Token,
    /// The `Payment` challenge asks for another amount, hash or method than its invoice.
    #[error("mpp: {0}")]
    Payment(&'static str),
    /// The payment request cannot be read, or asks for what we do not do.
    #[error("nut24: {0}")]
    Request(String),
    /// The payment request is not in satoshi.
    #[error("nut24: cannot pay in {0:?}")]
    Unit(String),
}

impl ChallengeFault {
    /// Returns the word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nothing => "no_usable_challenge",
            Self::Invoice(InvoiceRefusal::Undecodable) => "invoice_undecodable",
            Self::Invoice(InvoiceRefusal::Amountless) => "invoice_without_amount",
            Self::Invoice(InvoiceRefusal::OverCap { .. }) => "invoice_over_all_bitcoin",
            Self::Invoice(InvoiceRefusal::Expired { .. }) => "invoice_expired",
            Self::ForeignMacaroon => "invoice_of_another_payment",
            Self::Token => "token_unfit",
            Self::Payment(_) => "payment_challenge_unusable",
            Self::Request(_) => "payment_request_unusable",
            Self::Unit(_) => "payment_request_unit",
        }
    }
}
