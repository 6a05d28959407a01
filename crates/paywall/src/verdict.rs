//! What the layer decided about a request: the typed outcome in the response's extensions.
//!
//! A refusal is a normal answer. Its status follows how clients react: they drop
//! a cached credential on 402 and stop on 401, so what a fresh payment mends is
//! a 402 and what it does not is a 401 or a 400.

use http::StatusCode;

use crate::amount::Msat;
use crate::journal::CallId;

/// The outcome of one request. Found in the extensions of every response of the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request costs nothing.
    Free,
    /// `HEAD` or `Prefer: price-only`: the price was told.
    PriceTold,
    /// Shadow mode: served for nothing.
    Shadow {
        /// What it would have cost; `None` when the pricer did not say.
        price: Option<Msat>,
    },
    /// One of the client's free calls.
    Trial {
        /// How many are left.
        remaining: u32,
        /// Whether the service answered below 500; otherwise it was given back.
        is_served: bool,
    },
    /// The call was paid for and answered.
    Paid {
        /// The call.
        call: CallId,
        /// `l402`, `mpp`, `nut24-offline` or `nut24-swap`.
        rail: &'static str,
    },
    /// The kept response of an earlier call was given again.
    Replayed {
        /// That call.
        call: CallId,
    },
    /// The call was paid for and the service failed: the payment is the payer's again.
    Failed {
        /// The call.
        call: CallId,
        /// Whether a refund went out with this response.
        is_refunded: bool,
    },
    /// The request was not let through.
    Refused(Refusal),
}

/// Why a request was not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 402: pay first.
    PaymentRequired(Reason),
    /// 401: this credential can never be accepted.
    BadCredential(&'static str),
    /// 400: this token is not taken. It is untouched unless it was spent before.
    BadToken {
        /// A word for programs, such as `foreign_mint`.
        code: &'static str,
        /// For a person.
        detail: String,
    },
    /// 409: the same call is being served right now.
    InProgress,
    /// 409: the `Idempotency-Key` was used for another request.
    KeyReused,
    /// 413: the body of a repeated request is too long to compare.
    BodyTooLong,
    /// 429: too many challenges without a payment, or too many bad tokens.
    TooMany {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// 503: what is needed to take a payment does not answer.
    Unavailable(Unavailable),
}

/// Why a payment is needed although the request may carry one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There was none.
    NoCredential,
    /// The credential is past its `valid_until`.
    Expired,
    /// All calls it bought were made.
    UsedUp,
    /// The seller withdrew it.
    Revoked,
    /// It was bought for something else.
    OtherService,
    /// Nothing but the price was asked for.
    PriceOnly,
}

/// What does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// No invoice can be made, and nothing else is taken. Nothing was paid.
    Lightning,
    /// The mint cannot be asked. The token is untouched.
    Mint,
    /// The mint may have taken the token: the same one again continues.
    MintUnknown,
    /// The journal. Nothing was paid.
    Journal,
    /// The journal, and the token was taken already: the same one again continues.
    JournalAfterSwap,
    /// No way to pay is set up.
    NoRail,
    /// The pricer does not say what it costs. Nothing was paid.
    Price,
}

impl Reason {
    /// Returns the word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "payment_required",
            Self::Expired => "credential_expired",
            Self::UsedUp => "credential_used_up",
            Self::Revoked => "credential_revoked",
            Self::OtherService => "credential_for_other_service",
            Self::PriceOnly => "price_only",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::NoCredential => "This call is paid for. Pay one of the offers and repeat it.",
            Self::Expired => "The credential has expired. Pay for a new one.",
            Self::UsedUp => "Every call this credential bought was made. Pay for a new one.",
            Self::Revoked => "The seller withdrew this credential. Pay for a new one.",
            Self::OtherService => {
                "The credential was bought for another service. Pay for this one."
            }
            Self::PriceOnly => "This is the price. Nothing was reserved for you.",
        }
    }
}

impl Refusal {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::PaymentRequired(_) => StatusCode::PAYMENT_REQUIRED,
            Self::BadCredential(_) => StatusCode::UNAUTHORIZED,
            Self::BadToken { .. } => StatusCode::BAD_REQUEST,
            Self::InProgress | Self::KeyReused => StatusCode::CONFLICT,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PaymentRequired(reason) => reason.code(),
            Self::BadCredential(_) => "bad_credential",
            Self::BadToken { code, .. } => code,
            Self::InProgress => "call_in_progress",
            Self::KeyReused => "idempotency_key_reused",
            Self::BodyTooLong => "body_too_long",
            Self::TooMany { .. } => "too_many_challenges",
            Self::Unavailable(Unavailable::Lightning) => "lightning_unavailable",
            Self::Unavailable(Unavailable::Mint) => "mint_unreachable",
            Self::Unavailable(Unavailable::MintUnknown) => "mint_outcome_unknown",
            Self::Unavailable(Unavailable::Journal | Unavailable::JournalAfterSwap) => {
                "journal_unavailable"
            }
            Self::Unavailable(Unavailable::NoRail) => "no_way_to_pay",
            Self::Unavailable(Unavailable::Price) => "price_unavailable",
        }
    }

    /// Returns a sentence for a person.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::PaymentRequired(reason) => reason.detail().to_owned(),
            Self::BadCredential(why) => (*why).to_owned(),
            Self::BadToken { detail, .. } => detail.clone(),
            Self::InProgress => "The same request with the same payment is being served.".into(),
            Self::KeyReused => "This Idempotency-Key was used for a different request.".into(),
            Self::BodyTooLong => "A repeated request must be short enough to compare.".into(),
            Self::TooMany { .. } => {
                "Too many challenges without a payment, or bad tokens, came from here.".into()
            }
            Self::Unavailable(what) => what.detail().to_owned(),
        }
    }

    /// Returns whether the same request may succeed later without a new payment being made.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::InProgress | Self::TooMany { .. } | Self::Unavailable(_)
        )
    }

    /// Returns what happened to money: `none`, `held`, `spent` or `unknown`.
    #[must_use]
    pub fn money(&self) -> &'static str {
        match self {
            Self::Unavailable(Unavailable::MintUnknown) => "unknown",
            Self::InProgress | Self::Unavailable(Unavailable::JournalAfterSwap) => "held",
            Self::BadToken { code, .. } if *code == "token_already_spent" => "spent",
            _ => "none",
        }
    }

    /// Returns what the client can do.
    #[must_use]
    pub fn next_steps(&self) -> Vec<&'static str> {
        match self {
            Self::PaymentRequired(Reason::PriceOnly) => {
                vec!["Repeat without Prefer: price-only to get an invoice"]
            }
            Self::PaymentRequired(_) => vec![
                "Pay the invoice of WWW-Authenticate and repeat with Authorization: L402 <macaroon>:<preimage>",
                "or repeat with X-Cashu: <token> that fulfils the payment request in X-Cashu",
            ],
            Self::BadCredential(_) => {
                vec!["Repeat without this credential to get a fresh challenge"]
            }
            Self::BadToken { code, .. } if *code == "token_already_spent" => vec![
                "If a call failed after this token paid for it, ask for a refund: POST /v1/refund",
            ],
            Self::BadToken { .. } => {
                vec!["The token is still yours: send one that fits the request"]
            }
            Self::InProgress => vec!["Repeat the same request in a moment; do not pay again"],
            Self::KeyReused => vec!["Use a fresh Idempotency-Key for a different request"],
            Self::BodyTooLong => vec!["Pay for a new call"],
            Self::TooMany { .. } => vec!["Wait as long as Retry-After says"],
            Self::Unavailable(Unavailable::MintUnknown | Unavailable::JournalAfterSwap) => {
                vec!["Repeat with the same token in a moment; do not pay again"]
            }
            Self::Unavailable(_) => vec!["Try again later; nothing was paid"],
        }
    }

    /// Returns the value of `Retry-After`, in seconds.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::InProgress => Some(1),
            Self::Unavailable(Unavailable::MintUnknown | Unavailable::JournalAfterSwap) => Some(2),
            Self::Unavailable(_) => Some(10),
            _ => None,
        }
    }
}

impl Unavailable {
    const fn detail(self) -> &'static str {
        match self {
            Self::Lightning => "The seller's Lightning node does not answer.",
            Self::Mint => "The mint of this token does not answer. The token is untouched.",
            Self::MintUnknown => "The mint did not say whether it took the token.",
            Self::Journal => "The seller's payment journal does not answer. Nothing was taken.",
            Self::JournalAfterSwap => {
                "The seller has taken the token, and its payment journal does not answer."
            }
            Self::NoRail => "The seller has not set up any way to be paid.",
            Self::Price => "The seller cannot say right now what this call costs.",
        }
    }
}
