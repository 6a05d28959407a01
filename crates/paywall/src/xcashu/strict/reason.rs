//! Why a token is not accepted offline: codes for machines, sentences for payers.

use std::fmt;

use crate::amount::Sat;

/// Why the mint has to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwapReason {
    /// A proof that whoever saw it can spend.
    Unlocked,
    /// The mint does not enforce locks.
    LocksNotEnforced,
    /// The lock ends before we would have redeemed it, or has ended.
    LocktimeTooNear,
    /// A refund path without a locktime: mints disagree on when it opens.
    RefundWithoutLocktime,
    /// Others may sign in our place.
    ExtraKeys,
    /// A tag that may mean something at the mint.
    UnknownTag,
    /// No proof that the mint signed it.
    DleqMissing,
    /// Of a keyset that we have not seen; the mint may have rotated.
    UnknownKeyset,
    /// Of a keyset that ends before we would have redeemed it.
    KeysetExpiring,
    /// More than [`MAX_OFFLINE_PROOFS`](super::MAX_OFFLINE_PROOFS).
    TooManyProofs,
}

impl SwapReason {
    /// Returns the code for a machine, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::LocksNotEnforced => "locks_not_enforced",
            Self::LocktimeTooNear => "locktime_too_near",
            Self::RefundWithoutLocktime => "refund_without_locktime",
            Self::ExtraKeys => "extra_keys",
            Self::UnknownTag => "unknown_tag",
            Self::DleqMissing => "dleq_missing",
            Self::UnknownKeyset => "unknown_keyset",
            Self::KeysetExpiring => "keyset_expiring",
            Self::TooManyProofs => "too_many_proofs",
        }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// Not a mint of the policy.
    ForeignMint,
    /// Not in satoshi, by the token or by its keyset.
    WrongUnit,
    /// Less than the price after the mint's fee.
    TooLittle {
        /// What would be left.
        net: Sat,
        /// What is asked.
        price: Sat,
    },
    /// The same secret twice.
    DuplicateProof,
    /// Locked to another key, or to a blinded one.
    LockedToAnother,
    /// HTLC or another condition that we cannot meet.
    NotP2pk,
    /// `SIG_ALL`, which cannot be redeemed in a batch.
    SigAll,
    /// More signatures than ours.
    SeveralSignatures,
    /// A tag is there twice.
    DuplicateTag,
    /// A condition that cannot be read, or in two ways.
    BadLock,
    /// The proof of the mint's signature is false.
    DleqForged,
    /// The keyset has ended.
    KeysetExpired,
    /// An amount that the keyset does not have.
    UnknownAmount,
}

impl RefuseReason {
    /// Returns the code for a machine, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ForeignMint => "foreign_mint",
            Self::WrongUnit => "wrong_unit",
            Self::TooLittle { .. } => "amount_too_low",
            Self::DuplicateProof => "duplicate_proof",
            Self::LockedToAnother => "locked_to_another_key",
            Self::NotP2pk => "unsupported_condition",
            Self::SigAll => "sig_all_unsupported",
            Self::SeveralSignatures => "multisig_unsupported",
            Self::DuplicateTag => "duplicate_tag",
            Self::BadLock => "unreadable_lock",
            Self::DleqForged => "dleq_invalid",
            Self::KeysetExpired => "keyset_expired",
            Self::UnknownAmount => "unknown_amount",
        }
    }
}

/// Says in a sentence what the payer can do.
impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::ForeignMint => "pay with a token of one of the mints in the payment request",
            Self::WrongUnit => "pay with a token in satoshi",
            Self::TooLittle { net, price } => {
                return write!(
                    f,
                    "the token leaves {net} after the mint's fee, {price} are asked"
                );
            }
            Self::DuplicateProof => "the token holds a proof twice",
            Self::LockedToAnother => "lock the token to the key in the payment request",
            Self::NotP2pk => "lock the token with P2PK; other conditions are not taken",
            Self::SigAll => "lock the token with SIG_INPUTS; SIG_ALL is not taken",
            Self::SeveralSignatures => "lock the token to one signature",
            Self::DuplicateTag => "the lock of the token holds a tag twice",
            Self::BadLock => "the lock of the token cannot be read",
            Self::DleqForged => "the mint never signed this token",
            Self::KeysetExpired => "the keyset of the token has ended; swap it at its mint first",
            Self::UnknownAmount => "the token holds an amount that its keyset does not have",
        };
        f.write_str(sentence)
    }
}
