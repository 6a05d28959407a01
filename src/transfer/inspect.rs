//! What is checked before anything of a payment message is used.
//!
//! In this order, and none of it asks a stranger's server: size, mint, unit,
//! amount, lock, the mint's signatures (DLEQ). Ecash without a lock is taken,
//! since the swap that follows decides who has it; ecash locked to somebody else
//! is not.

use std::str::FromStr;

use feria_paywall::amount::Sat;
use feria_paywall::xcashu::cashu::nuts::nut18::PaymentRequestPayload;
use feria_paywall::xcashu::cashu::nuts::{CurrencyUnit, PublicKey, Token};
use feria_paywall::xcashu::strict::{self, KeysetInfo, MintInfo, OfflineVerdict, Policy};
use feria_paywall::xcashu::token::{self, ParsedToken};

use crate::wallet::MintKeys;

/// Most proofs in one message, as DESIGN and the size of events ask.
pub(super) const MAX_PROOFS: usize = 32;
/// Longest token that a message can hold, in bytes.
const MAX_TOKEN_BYTES: usize = 128 * 1_024;
/// Longest mint URL, in bytes.
const MAX_MINT_BYTES: usize = 300;

/// A payload that could be read. Nothing of it is verified.
pub(super) struct Readable {
    /// As a token.
    pub(super) token: ParsedToken,
    /// The identity of each proof at the mint.
    pub(super) ys: Vec<[u8; 33]>,
}

/// Reads `payload`, or says in a sentence why not.
pub(super) fn read(payload: &PaymentRequestPayload) -> Result<Readable, String> {
    if payload.proofs.is_empty() || payload.proofs.len() > MAX_PROOFS {
        return Err(format!("a message holds 1 to {MAX_PROOFS} proofs"));
    }
    if payload.mint.to_string().len() > MAX_MINT_BYTES {
        return Err("the mint's address is too long".to_owned());
    }
    if payload.unit != CurrencyUnit::Sat {
        return Err("only satoshi are taken".to_owned());
    }
    let ys = payload
        .proofs
        .iter()
        .map(|proof| proof.y().map(|y| y.to_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| "a proof cannot be read".to_owned())?;
    let mint = payload.mint.clone();
    let text = Token::new(mint, payload.proofs.clone(), None, CurrencyUnit::Sat).to_string();
    let token = token::parse(&text, MAX_TOKEN_BYTES).map_err(|error| error.to_string())?;
    Ok(Readable { token, ys })
}

/// Returns why `token` is not taken, `None` if it may be redeemed. `keys` are
/// those of its mint, `lock_key` ours.
pub(super) fn refusal(
    token: &ParsedToken,
    keys: &MintKeys,
    lock_key: &str,
    now: u64,
) -> Option<String> {
    let Ok(lock_key) = PublicKey::from_hex(lock_key) else {
        return Some("the agent has no key to unlock with".to_owned());
    };
    match check(token, keys, &lock_key, now) {
        OfflineVerdict::Accept(_) | OfflineVerdict::NeedsSwap(_) => None,
        OfflineVerdict::Refuse(reason) => Some(format!("{}: {reason}", reason.code())),
    }
}

/// Applies the rules of offline payments to a token of the mint of `keys`.
pub(super) fn check(
    token: &ParsedToken,
    keys: &MintKeys,
    lock_key: &PublicKey,
    now: u64,
) -> OfflineVerdict {
    let keysets = keys
        .keysets
        .values()
        .filter_map(|keyset| {
            Some(KeysetInfo {
                id: keyset.id,
                unit: CurrencyUnit::from_str(&keyset.unit).ok()?,
                active: keyset.active,
                input_fee_ppk: keyset.input_fee_ppk,
                final_expiry: keyset.final_expiry,
                keys: keyset.keys.clone(),
            })
        })
        .collect();
    let mints = [MintInfo {
        url: keys.mint.clone(),
        enforces_p2pk: keys.enforces_p2pk,
        keysets,
    }];
    let policy = Policy {
        mints: &mints,
        lock_key,
        price: Sat::new(1),
        now,
        redeem_window_secs: 0,
    };
    strict::check(token, &policy)
}
