//! What a `Payment` challenge asks for, as a payer reads it.

use serde::Deserialize;

use super::decode;
use crate::amount::Sat;
use crate::payment::PaymentHash;

/// Longest `request` that is read, in bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1_024;

/// A charge over Lightning, read from the `request` of a challenge; nothing in it
/// was compared with its invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The amount beside the invoice's own.
    pub amount: Sat,
    /// BOLT11.
    pub invoice: String,
    /// What the preimage must hash to, if the challenge says so.
    pub payment_hash: Option<PaymentHash>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    amount: String,
    currency: String,
    method_details: MethodDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MethodDetails {
    invoice: String,
    payment_hash: Option<String>,
}

impl Asked {
    /// Reads the parameter `request`: JSON in base64url. `None` if it is not a
    /// charge in satoshi with an invoice.
    #[must_use]
    pub fn read(request: &str) -> Option<Self> {
        if request.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let request: Request = serde_json::from_slice(&decode(request)?).ok()?;
        let is_satoshi = ["sat", "sats"]
            .iter()
            .any(|unit| request.currency.eq_ignore_ascii_case(unit));
        if !is_satoshi {
            return None;
        }
        Some(Self {
            amount: Sat::new(request.amount.parse().ok()?),
            payment_hash: match request.method_details.payment_hash {
                Some(hash) => Some(hash.parse().ok()?),
                None => None,
            },
            invoice: request.method_details.invoice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpp::encode;

    #[test]
    fn a_charge_is_read_and_all_else_is_not() {
        let hash = "11".repeat(32);
        let charge = |currency: &str| {
            format!(
                r#"{{"amount":"21","currency":"{currency}","methodDetails":{{"invoice":"lnbc1","paymentHash":"{hash}"}}}}"#
            )
        };

        let read = Asked::read(&encode(charge("sat"))).unwrap();

        assert_eq!(
            (read.amount, read.invoice.as_str()),
            (Sat::new(21), "lnbc1")
        );
        assert_eq!(read.payment_hash, Some(PaymentHash::new([0x11; 32])));
        assert_eq!(Asked::read(&encode(charge("usd"))), None);
        assert_eq!(Asked::read(&encode("{}")), None);
        assert_eq!(Asked::read("!"), None);
        assert_eq!(Asked::read(&"A".repeat(MAX_REQUEST_BYTES + 1)), None);
    }
}
