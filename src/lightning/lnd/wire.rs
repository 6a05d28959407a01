//! What lnd says, as JSON: 64-bit numbers as text, bytes in base64.
//!
//! Only the fields that are used; a preimage stays out of `Debug`.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use feria_paywall::payment::PaymentHash;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, de::DeserializeOwned};

/// A payment, as `/v2/router/send` and `/v2/router/track` tell it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Payment {
    pub(super) payment_hash: String,
    pub(super) payment_preimage: String,
    pub(super) status: String,
    pub(super) failure_reason: String,
    #[serde(deserialize_with = "number")]
    pub(super) fee_msat: u64,
}

/// What `POST /v1/invoices` answers.
#[derive(Debug, Deserialize)]
pub(super) struct AddedInvoice {
    #[serde(deserialize_with = "hash")]
    pub(super) r_hash: PaymentHash,
    pub(super) payment_request: String,
}

/// An own invoice.
#[derive(Debug, Deserialize)]
pub(super) struct OwnInvoice {
    #[serde(deserialize_with = "hash")]
    pub(super) r_hash: PaymentHash,
    pub(super) state: String,
    #[serde(default, deserialize_with = "number")]
    pub(super) creation_date: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) expiry: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) amt_paid_msat: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) add_index: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) settle_index: u64,
}

/// A page of own invoices.
#[derive(Debug, Deserialize)]
pub(super) struct InvoicePage {
    pub(super) invoices: Vec<OwnInvoice>,
    #[serde(default, deserialize_with = "number")]
    pub(super) last_index_offset: u64,
}

/// What `/v1/getinfo` says of the chain.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chain {
    pub(super) network: String,
}

/// An error of lnd: alone, or under `error`.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    pub(super) code: i32,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
struct ErrorLine {
    error: Complaint,
}

#[derive(Deserialize)]
struct ResultLine<T> {
    result: T,
}

/// A line of a stream.
pub(super) enum Line<T> {
    Result(T),
    Error(Complaint),
}

/// Reads a line of a stream; `None` when it is neither a result nor an error.
pub(super) fn line<T: DeserializeOwned>(bytes: &[u8]) -> Option<Line<T>> {
    if let Ok(line) = serde_json::from_slice::<ResultLine<T>>(bytes) {
        return Some(Line::Result(line.result));
    }
    let line: ErrorLine = serde_json::from_slice(bytes).ok()?;
    Some(Line::Error(line.error))
}

/// Reads the body of an answer that is no success.
pub(super) fn complaint(bytes: &[u8]) -> Option<Complaint> {
    serde_json::from_slice(bytes).ok().or_else(|| {
        let line: ErrorLine = serde_json::from_slice(bytes).ok()?;
        Some(line.error)
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Number::deserialize(deserializer)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => u64::from_str(&text).map_err(D::Error::custom),
    }
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PaymentHash, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| D::Error::custom("a payment hash has 32 bytes"))?;
    Ok(PaymentHash::new(bytes))
}
