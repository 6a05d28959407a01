//! `Payment-Receipt` of a call that was paid by this scheme.
//!
//! Names the payment by its hash, never by its preimage: a receipt may be shown around.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{decode, encode};
use crate::journal::CallId;
use crate::payment::PaymentHash;

/// What a payer is told about his payment. Fields are in the order of their names,
/// so that it serialises canonically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Names the call at this server; our own addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The challenge that was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_id: Option<String>,
    /// How it was paid.
    pub method: String,
    /// The payment hash.
    pub reference: String,
    /// Always `success`.
    pub status: String,
    /// When, by RFC 3339.
    pub timestamp: String,
}

impl Receipt {
    /// Returns the receipt for a call that was paid at `now` (Unix seconds); `None`
    /// beyond the year 9999.
    #[must_use]
    pub fn new(
        call: &CallId,
        challenge_id: &[u8; 32],
        payment_hash: &PaymentHash,
        now: u64,
    ) -> Option<Self> {
        let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(now).ok()?).ok()?;
        Some(Self {
            call: Some(call.0.clone()),
            challenge_id: Some(encode(challenge_id)),
            method: "lightning".to_owned(),
            reference: payment_hash.to_string(),
            status: "success".to_owned(),
            timestamp: moment.format(&Rfc3339).ok()?,
        })
    }

    /// Returns the value of `Payment-Receipt`; `None` if it could not be written.
    #[must_use]
    pub fn header_value(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(encode)
    }

    /// Reads the value of `Payment-Receipt`; `None` if it is something else, such as
    /// the plain name of a call.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_slice(&decode(text.trim())?).ok()
    }
}
