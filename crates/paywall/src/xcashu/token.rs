//! A token as text: which mint, how much, locked or not. Nothing is verified.
//!
//! <https://github.com/cashubtc/nuts/blob/main/00.md>

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use cashu::dhke::hash_to_curve;
use cashu::nuts::{CurrencyUnit, Token};

use super::lock::Lock;
use crate::amount::{MAX_MSAT, Sat};

/// A token that could be read.
#[derive(Clone)]
pub struct ParsedToken {
    /// The mint's URL in canonical form.
    pub mint: String,
    /// The unit as the token claims it; the keysets tell the truth.
    pub unit: String,
    /// The sum of its proofs, in `unit`, before the mint's fee.
    pub amount: Sat,
    /// How many proofs it has.
    pub proofs_len: usize,
    /// Whether any proof carries a spending condition.
    pub is_locked: bool,
    /// The token as it was received. Whoever has it may spend it: never logged.
    pub text: String,
    pub(crate) token: Token,
    /// What each proof demands, in their order.
    pub(super) locks: Vec<Lock>,
    /// `Y` of each proof, in their order; hashed when first asked for.
    ys: OnceLock<Option<Vec<[u8; 33]>>>,
}

impl ParsedToken {
    /// Returns `Y` of each proof, in the order of the token; `None` if a secret has none.
    pub(crate) fn ys(&self) -> Option<&[[u8; 33]]> {
        let hash = || {
            let secrets = self.token.token_secrets();
            let ys = secrets
                .iter()
                .map(|secret| Some(hash_to_curve(secret.as_bytes()).ok()?.to_bytes()));
            ys.collect()
        };
        self.ys.get_or_init(hash).as_deref()
    }

    /// Returns the key that each proof's payer wants money back under, in their order.
    pub(crate) fn refund_keys(&self) -> impl Iterator<Item = Option<String>> {
        self.locks.iter().map(|lock| match lock {
            Lock::P2pk(lock) => Some(lock.refund_keys.as_ref()?.first()?.to_hex()),
            Lock::None | Lock::Other(_) => None,
        })
    }
}

/// Why a token cannot be read. It was not touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than the caller allows.
    #[error("read a token of {found} bytes: at most {max} are taken")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The caller's limit.
        max: usize,
    },
    /// Not `cashuA…` or `cashuB…`, or not what follows them.
    #[error("decode the token")]
    Undecodable,
    /// Proofs of several mints: none of them could be asked about the whole.
    #[error("read a token of more than one mint")]
    SeveralMints,
    /// No proof, or a sum beyond all bitcoin.
    #[error("add up the token's proofs")]
    Amount,
    /// The same secret twice.
    #[error("read a token that holds a proof twice")]
    DuplicateProof,
}

/// Reads `cashuA…` or `cashuB…` of at most `max_bytes`.
///
/// # Errors
/// When it cannot be read; the token is untouched.
pub fn parse(text: &str, max_bytes: usize) -> Result<ParsedToken, TokenError> {
    if text.len() > max_bytes {
        return Err(TokenError::TooLong {
            found: text.len(),
            max: max_bytes,
        });
    }
    let token = Token::from_str(text).map_err(|_| TokenError::Undecodable)?;
    let mint = token.mint_url().map_err(|_| TokenError::SeveralMints)?;
    let secrets = token.token_secrets();
    let proofs_len = secrets.len();
    let locks: Vec<Lock> = secrets.into_iter().map(Lock::of).collect();
    let is_locked = locks.iter().any(|lock| !matches!(lock, Lock::None));
    let amount = token.value().map_err(|error| match error {
        cashu::nuts::nut00::Error::DuplicateProofs => TokenError::DuplicateProof,
        _ => TokenError::Amount,
    })?;
    let amount = Sat::new(amount.to_u64());
    if proofs_len == 0 || amount.as_u64() > MAX_MSAT / 1_000 {
        return Err(TokenError::Amount);
    }
    Ok(ParsedToken {
        mint: mint.to_string(),
        // By NUT-00 an old token without a unit is in satoshi.
        unit: token.unit().unwrap_or(CurrencyUnit::Sat).to_string(),
        amount,
        proofs_len,
        is_locked,
        text: text.to_owned(),
        token,
        locks,
        ys: OnceLock::new(),
    })
}

impl fmt::Debug for ParsedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedToken")
            .field("mint", &self.mint)
            .field("unit", &self.unit)
            .field("amount", &self.amount)
            .field("proofs_len", &self.proofs_len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
