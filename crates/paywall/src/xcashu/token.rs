//! A token as text: which mint, how much, locked or not. Nothing is verified.
//!
//! <https://github.com/cashubtc/nuts/blob/main/00.md>

use std::fmt;
use std::str::FromStr;

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
    pub(super) token: Token,
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
    let is_locked = secrets
        .iter()
        .any(|secret| !matches!(Lock::of(secret), Lock::None));
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
