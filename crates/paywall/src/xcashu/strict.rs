//! Decides whether a token can be taken without asking its mint.
//!
//! Every proof must be locked to our key alone for longer than we need to redeem
//! it, and carry a valid DLEQ proof of the mint's signature. Then nobody but us
//! can spend it in time, and the only double spend left is at ourselves: the
//! caller records each of [`OfflineProofs::ys`] under a UNIQUE constraint.
//!
//! 1. What we could never redeem, or what is worth too little, is refused.
//! 2. What our key can redeem, but somebody else perhaps too, is swapped first.
//! 3. The rest is accepted.
//!
//! It never sees whether a proof is already spent, whether the mint is solvent,
//! or whether the lock held at the mint: exposure is the caller's to bound.
//!
//! <https://github.com/cashubtc/nuts/blob/main/12.md>

mod reason;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use cashu::MintUrl;
use cashu::nuts::nut02::{KeySetVersion, ShortKeysetId};
use cashu::nuts::{CurrencyUnit, Id, Keys, Proof, Proofs, PublicKey, Token};

pub use self::reason::{RefuseReason, SwapReason};
use super::lock::{Lock, P2pk, Unusual};
use super::token::ParsedToken;
use crate::amount::Sat;

/// Most proofs that are verified here; each takes about 0.2 ms.
pub const MAX_OFFLINE_PROOFS: usize = 64;

/// A keyset of a mint, as its wallet has verified it.
#[derive(Debug, Clone)]
pub struct KeysetInfo {
    /// The full id.
    pub id: Id,
    /// The unit of its proofs.
    pub unit: CurrencyUnit,
    /// Whether the mint still signs with it; proofs of inactive ones stay valid.
    pub active: bool,
    /// Fee per spent proof, in thousandths of the unit.
    pub input_fee_ppk: u64,
    /// Unix seconds after which the mint may forget it.
    pub final_expiry: Option<u64>,
    /// The mint's public key for each amount.
    pub keys: Keys,
}

/// A mint that we accept tokens of.
#[derive(Debug, Clone)]
pub struct MintInfo {
    /// Its URL.
    pub url: String,
    /// Whether it announces NUT-11; without it a lock binds nobody.
    pub enforces_p2pk: bool,
    /// All keysets known of it.
    pub keysets: Vec<KeysetInfo>,
}

/// What we accept.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The mints we trust.
    pub mints: &'a [MintInfo],
    /// The key that payers lock to.
    pub lock_key: &'a PublicKey,
    /// What must be left after the mint's fee.
    pub price: Sat,
    /// Unix seconds.
    pub now: u64,
    /// How long we may take to redeem, clock skew included.
    pub redeem_window_secs: u64,
}

/// What to do with a token.
#[derive(Debug, Clone)]
pub enum OfflineVerdict {
    /// Claim every `ys`, then serve.
    Accept(OfflineProofs),
    /// Serve only after a swap at the mint.
    NeedsSwap(SwapReason),
    /// Leave it to the payer.
    Refuse(RefuseReason),
}

/// Proofs that only we can spend until the lock ends.
#[derive(Clone)]
pub struct OfflineProofs {
    /// The URL of the mint, as the policy spells it.
    pub mint: String,
    /// `hash_to_curve(secret)` of each proof: its identity at the mint.
    pub ys: Vec<[u8; 33]>,
    /// The sum of the proofs.
    pub amount: Sat,
    /// What the mint takes when they are redeemed by themselves.
    pub fee: Sat,
    /// The same in thousandths of a satoshi, before rounding: proofs that are
    /// redeemed together round up once.
    pub fee_ppk: u64,
    /// Unix seconds when the first lock or keyset ends; `None` when none does.
    pub redeem_by: Option<u64>,
    /// The proofs, with full keyset ids.
    pub proofs: Proofs,
}

impl fmt::Debug for OfflineProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfflineProofs")
            .field("mint", &self.mint)
            .field("amount", &self.amount)
            .field("fee", &self.fee)
            .field("proofs", &self.ys.len())
            .finish_non_exhaustive()
    }
}

/// Returns what to do with `token` under `policy`.
#[must_use]
pub fn check(token: &ParsedToken, policy: &Policy<'_>) -> OfflineVerdict {
    match examine(token, policy) {
        Ok(proofs) => OfflineVerdict::Accept(proofs),
        Err(Finding::Swap(reason)) => OfflineVerdict::NeedsSwap(reason),
        Err(Finding::Refuse(reason)) => OfflineVerdict::Refuse(reason),
    }
}

/// Returns whether two spellings name one mint.
#[must_use]
pub fn is_same_mint(one: &str, other: &str) -> bool {
    match (MintUrl::from_str(one), MintUrl::from_str(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

enum Finding {
    Swap(SwapReason),
    Refuse(RefuseReason),
}

impl From<SwapReason> for Finding {
    fn from(reason: SwapReason) -> Self {
        Self::Swap(reason)
    }
}

impl From<RefuseReason> for Finding {
    fn from(reason: RefuseReason) -> Self {
        Self::Refuse(reason)
    }
}

fn examine(token: &ParsedToken, policy: &Policy<'_>) -> Result<OfflineProofs, Finding> {
    let mint = policy
        .mints
        .iter()
        .find(|mint| is_same_mint(&mint.url, &token.mint))
        .ok_or(RefuseReason::ForeignMint)?;
    if token.unit != CurrencyUnit::Sat.to_string() {
        return Err(RefuseReason::WrongUnit.into());
    }
    refuse_below(token.amount, policy.price)?;
    // A refusal counts more than a reason to swap, whichever proof it is about.
    let mut swap = None;
    for lock in &token.locks {
        match examine_lock(lock, policy) {
            Err(Finding::Swap(reason)) => swap = swap.or(Some(reason)),
            other => other?,
        }
    }
    let resolved = resolve_keysets(token, mint, policy)?;
    let fee_ppk = fee_ppk_of(&resolved);
    let fee = Sat::new(fee_ppk.div_ceil(1_000));
    refuse_below(token.amount.saturating_sub(fee), policy.price)?;
    if let Some(reason) = swap {
        return Err(reason.into());
    }
    if !mint.enforces_p2pk {
        return Err(SwapReason::LocksNotEnforced.into());
    }
    accept(token, mint, &resolved, fee_ppk)
}

fn refuse_below(net: Sat, price: Sat) -> Result<(), RefuseReason> {
    if net < price {
        return Err(RefuseReason::TooLittle { net, price });
    }
    Ok(())
}

fn examine_lock(lock: &Lock, policy: &Policy<'_>) -> Result<(), Finding> {
    let lock = match lock {
        Lock::None => return Err(SwapReason::Unlocked.into()),
        Lock::Other(Unusual::Kind) => return Err(RefuseReason::NotP2pk.into()),
        Lock::Other(Unusual::Unreadable) => return Err(RefuseReason::BadLock.into()),
        Lock::Other(Unusual::DuplicateTag) => return Err(RefuseReason::DuplicateTag.into()),
        Lock::P2pk(lock) => lock,
    };
    refuse_what_we_cannot_sign(lock, policy)?;
    let is_held_long_enough = lock
        .locktime
        .is_none_or(|end| end >= policy.now.saturating_add(policy.redeem_window_secs));
    if lock.extra_keys.is_some() {
        Err(SwapReason::ExtraKeys.into())
    } else if !is_held_long_enough {
        Err(SwapReason::LocktimeTooNear.into())
    } else if lock.locktime.is_none() && lock.refund_keys.is_some() {
        Err(SwapReason::RefundWithoutLocktime.into())
    } else if lock.has_unknown_tag {
        Err(SwapReason::UnknownTag.into())
    } else {
        Ok(())
    }
}

fn refuse_what_we_cannot_sign(lock: &P2pk, policy: &Policy<'_>) -> Result<(), RefuseReason> {
    // NUT-11 compares keys by their x coordinate.
    let ours = policy.lock_key.x_only_public_key();
    if lock.key.is_none_or(|key| key.x_only_public_key() != ours) {
        Err(RefuseReason::LockedToAnother)
    } else if lock.signs_outputs {
        Err(RefuseReason::SigAll)
    } else if lock.n_sigs.is_some_and(|needed| needed > 1) {
        Err(RefuseReason::SeveralSignatures)
    } else {
        Ok(())
    }
}

/// Returns each proof with its keyset.
fn resolve_keysets<'a>(
    token: &ParsedToken,
    mint: &'a MintInfo,
    policy: &Policy<'_>,
) -> Result<Vec<(Proof, &'a KeysetInfo)>, Finding> {
    let mut resolved = Vec::with_capacity(token.proofs_len);
    let mut unusable = None;
    let mut add = |short: &ShortKeysetId, into_proof: &dyn Fn(&Id) -> Proof| {
        let Some(keyset) = find_keyset(short, mint) else {
            unusable = unusable.or(Some(SwapReason::UnknownKeyset));
            return Ok(());
        };
        match examine_keyset(keyset, policy) {
            Err(Finding::Swap(reason)) => unusable = unusable.or(Some(reason)),
            other => other?,
        }
        resolved.push((into_proof(&keyset.id), keyset));
        Ok::<(), Finding>(())
    };
    match &token.token {
        Token::TokenV3(token) => {
            for proof in token.token.iter().flat_map(|part| &part.proofs) {
                add(&proof.keyset_id, &|id| proof.into_proof(id))?;
            }
        }
        Token::TokenV4(token) => {
            for part in &token.token {
                for proof in &part.proofs {
                    add(&part.keyset_id, &|id| proof.into_proof(id))?;
                }
            }
        }
    }
    match unusable {
        Some(reason) => Err(reason.into()),
        None => Ok(resolved),
    }
}

/// Finds the one keyset that a full or short id names. A short id that fits two
/// names neither: whoever grinds keyset ids must not choose our keys.
fn find_keyset<'a>(short: &ShortKeysetId, mint: &'a MintInfo) -> Option<&'a KeysetInfo> {
    let wanted = short.to_bytes();
    let mut found = mint.keysets.iter().filter(|keyset| {
        let id = keyset.id.to_bytes();
        match keyset.id.get_version() {
            KeySetVersion::Version00 => id == wanted,
            // NUT-02: a short id is the first 8 bytes of the 33.
            KeySetVersion::Version01 => wanted.len() >= 8 && id.starts_with(&wanted),
        }
    });
    let first = found.next()?;
    found.all(|other| other.id == first.id).then_some(first)
}

fn examine_keyset(keyset: &KeysetInfo, policy: &Policy<'_>) -> Result<(), Finding> {
    if keyset.unit != CurrencyUnit::Sat {
        return Err(RefuseReason::WrongUnit.into());
    }
    match keyset.final_expiry {
        Some(end) if end <= policy.now => Err(RefuseReason::KeysetExpired.into()),
        Some(end) if end < policy.now.saturating_add(policy.redeem_window_secs) => {
            Err(SwapReason::KeysetExpiring.into())
        }
        _ => Ok(()),
    }
}

/// NUT-02: the fees of all inputs together, in thousandths of the unit.
fn fee_ppk_of(resolved: &[(Proof, &KeysetInfo)]) -> u64 {
    resolved.iter().fold(0, |sum, (_, keyset)| {
        sum.saturating_add(keyset.input_fee_ppk)
    })
}

/// Verifies the mint's signatures, the costly part, and gathers the result.
fn accept(
    token: &ParsedToken,
    mint: &MintInfo,
    resolved: &[(Proof, &KeysetInfo)],
    fee_ppk: u64,
) -> Result<OfflineProofs, Finding> {
    if resolved.len() > MAX_OFFLINE_PROOFS {
        return Err(SwapReason::TooManyProofs.into());
    }
    let ys = token.ys().ok_or(RefuseReason::BadLock)?;
    let mut seen = HashSet::new();
    let mut redeem_by: Option<u64> = None;
    // All three are in the order of the token.
    for (((proof, keyset), lock), y) in resolved.iter().zip(&token.locks).zip(ys) {
        let key = keyset
            .keys
            .amount_key(proof.amount)
            .ok_or(RefuseReason::UnknownAmount)?;
        if proof.p2pk_e.is_some() {
            return Err(RefuseReason::LockedToAnother.into());
        }
        if proof.dleq.is_none() {
            return Err(SwapReason::DleqMissing.into());
        }
        proof
            .verify_dleq(key)
            .map_err(|_| RefuseReason::DleqForged)?;
        if !seen.insert(y) {
            return Err(RefuseReason::DuplicateProof.into());
        }
        let locktime = match lock {
            Lock::P2pk(P2pk { locktime, .. }) => *locktime,
            Lock::None | Lock::Other(_) => None,
        };
        for end in locktime.into_iter().chain(keyset.final_expiry) {
            redeem_by = Some(redeem_by.map_or(end, |first| first.min(end)));
        }
    }
    Ok(OfflineProofs {
        mint: mint.url.clone(),
        ys: ys.to_vec(),
        amount: token.amount,
        fee: Sat::new(fee_ppk.div_ceil(1_000)),
        fee_ppk,
        redeem_by,
        proofs: resolved.iter().map(|(proof, _)| proof.clone()).collect(),
    })
}

#[cfg(test)]
mod tests;
