//! Payment requests: what a 402 asks for in `X-Cashu`.
//!
//! Written as NUT-18 (`creqA`, CBOR) and NUT-26 (`creqb`, bech32m); both are
//! read, and so is the JSON that two servers of the field put behind `creqA`.
//!
//! <https://github.com/cashubtc/nuts/blob/main/18.md>
//! <https://github.com/cashubtc/nuts/blob/main/26.md>

use std::str::FromStr;

use base64::Engine as _;
use cashu::nuts::nut10::Kind;
use cashu::nuts::nut18::{Nut10SecretRequest, PaymentRequest, TransportType};
use cashu::nuts::{CurrencyUnit, PublicKey};
use cashu::{Amount, MintUrl};

use super::lock::MIN_LOCKTIME_TAG;
use crate::amount::{MAX_MSAT, Sat};

/// Longest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 16 * 1_024;
/// Most mints that are read.
const MAX_MINTS: usize = 64;
/// Most transports that are read.
const MAX_TRANSPORTS: usize = 8;

/// What a server wants to be paid in ecash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CashuTerms {
    /// What must be left after the mint's fee.
    pub amount: Sat,
    /// The unit, always `sat` in what we write.
    pub unit: String,
    /// The mints whose tokens are taken; empty means any.
    pub mints: Vec<String>,
    /// The key to lock to with P2PK, 66 hexadecimal characters.
    pub lock_key: Option<String>,
    /// How long a lock with a refund path must hold at least.
    pub min_locktime_secs: Option<u64>,
}

/// A request outside a 402: it says where the token is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentTerms {
    /// What is asked.
    pub terms: CashuTerms,
    /// What the payee calls it.
    pub id: Option<String>,
    /// Where to send the token, best first; none means that the payee takes it in
    /// some way of his own.
    pub transports: Vec<Transport>,
}

/// A way of the token to the payee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// An HTTP POST to this URL.
    Post(String),
    /// An encrypted Nostr message to this `nprofile`.
    Nostr(String),
}

/// Why a request cannot be written, read or met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("read a payment request of more than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// Not `creqA` or `creqb`, or not what follows them.
    #[error("decode the payment request")]
    Undecodable,
    /// The payer would have to choose the amount, or it is beyond all bitcoin.
    #[error("read the amount of the payment request")]
    Amount,
    /// A mint's URL cannot be read, or there are too many.
    #[error("read the mints of the payment request")]
    Mints,
    /// It asks for a lock that we do not build.
    #[error("meet the lock that the payment request asks for")]
    UnsupportedLock,
    /// It wants the token sent elsewhere, which a 402 cannot ask.
    #[error("pay a request that is not answered in the same exchange")]
    Transport,
}

/// Returns `terms` as `creqA…` with the id `id`.
///
/// # Errors
/// When a mint or the lock key cannot be read.
pub fn encode(terms: &CashuTerms, id: &str) -> Result<String, RequestError> {
    to_request(terms, id).map(|request| request.to_string())
}

/// Returns `terms` as `CREQB1…` with the id `id`.
///
/// # Errors
/// When a mint or the lock key cannot be read, or a field is too long.
pub fn to_creq_b(terms: &CashuTerms, id: &str) -> Result<String, RequestError> {
    to_request(terms, id)?
        .to_bech32_string()
        .map_err(|_| RequestError::Undecodable)
}

/// Reads `creqA…` in CBOR or JSON and `creqb1…` in either case.
///
/// # Errors
/// When it cannot be read, or asks for what we cannot do.
pub fn parse(text: &str) -> Result<CashuTerms, RequestError> {
    let request = decode(text)?;
    if !request.transports.is_empty() {
        return Err(RequestError::Transport);
    }
    from_request(&request, None)
}

/// As [`parse`], for a request that is paid outside a 402; `amount` is what the
/// payer gives where the request leaves it to him.
///
/// # Errors
/// When it cannot be read, asks for what we cannot do, or names another amount.
pub fn parse_payment(text: &str, amount: Option<Sat>) -> Result<PaymentTerms, RequestError> {
    let request = decode(text)?;
    let transports = request
        .transports
        .iter()
        .take(MAX_TRANSPORTS)
        .map(|transport| match transport._type {
            TransportType::Nostr => Transport::Nostr(transport.target.clone()),
            TransportType::HttpPost => Transport::Post(transport.target.clone()),
        })
        .collect();
    Ok(PaymentTerms {
        terms: from_request(&request, amount)?,
        id: request.payment_id,
        transports,
    })
}

fn decode(text: &str) -> Result<PaymentRequest, RequestError> {
    if text.len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLong);
    }
    let text = text.trim();
    PaymentRequest::from_str(text)
        .ok()
        .or_else(|| parse_json(text))
        .ok_or(RequestError::Undecodable)
}

fn parse_json(text: &str) -> Option<PaymentRequest> {
    let standard = text
        .strip_prefix("creqA")?
        .trim_end_matches('=')
        .replace('-', "+")
        .replace('_', "/");
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(standard)
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn to_request(terms: &CashuTerms, id: &str) -> Result<PaymentRequest, RequestError> {
    let mints = terms
        .mints
        .iter()
        .map(|mint| MintUrl::from_str(mint).map_err(|_| RequestError::Mints))
        .collect::<Result<_, _>>()?;
    let nut10 = terms
        .lock_key
        .as_ref()
        .map(|key| {
            PublicKey::from_hex(key).map_err(|_| RequestError::UnsupportedLock)?;
            let tags = terms
                .min_locktime_secs
                .map(|secs| vec![vec![MIN_LOCKTIME_TAG.to_owned(), secs.to_string()]]);
            Ok(Nut10SecretRequest::new(Kind::P2PK, key, tags))
        })
        .transpose()?;
    Ok(PaymentRequest {
        payment_id: Some(id.to_owned()),
        amount: Some(Amount::from(terms.amount.as_u64())),
        unit: Some(CurrencyUnit::from_str(&terms.unit).map_err(|_| RequestError::Amount)?),
        single_use: Some(true),
        mints,
        mint_preferred: None,
        supported_methods: Vec::new(),
        description: None,
        transports: Vec::new(),
        nut10,
    })
}

fn from_request(request: &PaymentRequest, given: Option<Sat>) -> Result<CashuTerms, RequestError> {
    let amount = request
        .amount
        .map(|amount| Sat::new(amount.to_u64()))
        .or(given)
        .filter(|amount| given.is_none_or(|given| given == *amount))
        .filter(|amount| *amount > Sat::ZERO && amount.as_u64() <= MAX_MSAT / 1_000)
        .ok_or(RequestError::Amount)?;
    if request.mints.len() > MAX_MINTS {
        return Err(RequestError::Mints);
    }
    let unit = request.unit.clone().unwrap_or(CurrencyUnit::Sat);
    let (lock_key, min_locktime_secs) = match &request.nut10 {
        Some(lock) => read_lock(lock)?,
        None => (None, None),
    };
    Ok(CashuTerms {
        amount,
        unit: unit.to_string(),
        mints: request.mints.iter().map(MintUrl::to_string).collect(),
        lock_key,
        min_locktime_secs,
    })
}

/// Reads a lock to one key. Tags of NUT-11 that ask for more are refused before
/// money is locked in a way that the server would not take.
fn read_lock(lock: &Nut10SecretRequest) -> Result<(Option<String>, Option<u64>), RequestError> {
    if lock.kind != Kind::P2PK || PublicKey::from_hex(&lock.data).is_err() {
        return Err(RequestError::UnsupportedLock);
    }
    let mut min_locktime_secs = None;
    for tag in lock.tags.iter().flatten() {
        let tag: Vec<&str> = tag.iter().map(String::as_str).collect();
        match tag.as_slice() {
            [MIN_LOCKTIME_TAG, secs] => {
                let secs = secs.parse().map_err(|_| RequestError::UnsupportedLock)?;
                min_locktime_secs = Some(secs);
            }
            ["sigflag", "SIG_INPUTS"] | ["n_sigs", "1"] => {}
            [
                "sigflag" | "n_sigs" | "pubkeys" | "locktime" | "refund" | "n_sigs_refund",
                ..,
            ] => {
                return Err(RequestError::UnsupportedLock);
            }
            _ => {}
        }
    }
    Ok((Some(lock.data.clone()), min_locktime_secs))
}

#[cfg(test)]
mod tests;
