//! What an answer to a token means for the money. Pure.
//!
//! A seller shows that he took a token by `Feria-Settlement` or `Payment-Receipt`.
//!
//! | answer | receipt | meaning |
//! |---|---|---|
//! | below 400, or any below 500 | present | taken, and answered |
//! | below 400 | absent | taken, and answered |
//! | 400, 401, 402, 409, 429 | absent | refused, the token should be untouched |
//! | other 4xx | absent | unsure: the mint decides |
//! | 5xx | any | failed: the money should come back |

use http::{HeaderMap, HeaderName};

use super::call::X_CASHU;

/// Says that a token was taken, and how: `offline` or `swap`.
const SETTLEMENT: HeaderName = HeaderName::from_static("feria-settlement");
/// Names the paid call at the seller.
const RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
/// The longest token read from an answer, in bytes.
const MAX_TOKEN_BYTES: usize = 60 * 1024;

/// What an answer to a token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The seller has the money and answered.
    Taken,
    /// The seller says that he did not take the token.
    Refused,
    /// The service answered, perhaps without taking the token.
    Unsure,
    /// The seller failed and owes the money.
    Failed,
}

/// Reads the head of an answer to a request that carried a token.
pub(super) fn judge(status: u16, headers: &HeaderMap) -> Verdict {
    match status {
        500.. => Verdict::Failed,
        _ if headers.contains_key(SETTLEMENT) || headers.contains_key(RECEIPT) => Verdict::Taken,
        ..400 => Verdict::Taken,
        400 | 401 | 402 | 409 | 429 => Verdict::Refused,
        _ => Verdict::Unsure,
    }
}

/// Returns the rail that the seller says he took a token by; without a word, a
/// locked token was taken offline and a plain one was swapped.
pub(super) fn ecash_rail(headers: &HeaderMap, is_locked: bool) -> &'static str {
    let is_offline = match headers.get(SETTLEMENT).map(http::HeaderValue::as_bytes) {
        Some(b"offline") => true,
        Some(b"swap") => false,
        _ => is_locked,
    };
    if is_offline {
        "nut24-offline"
    } else {
        "nut24-swap"
    }
}

/// Returns the token that an answer carries: change, or a refund.
pub(super) fn token_in(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(X_CASHU)?.to_str().ok()?.trim();
    (text.starts_with("cashu") && text.len() <= MAX_TOKEN_BYTES).then(|| text.to_owned())
}

/// Returns the token in the body of an answered `POST /v1/refund`.
pub(super) fn token_in_body(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = answer.get("token")?.as_str()?.trim();
    (text.starts_with("cashu") && text.len() <= MAX_TOKEN_BYTES).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(status: u16, settlement: Option<&'static str>, expected: Verdict) {
        let mut headers = HeaderMap::new();
        if let Some(settlement) = settlement {
            headers.insert(SETTLEMENT, HeaderValue::from_static(settlement));
        }
        assert_eq!(judge(status, &headers), expected, "{status} {settlement:?}");
    }

    #[test]
    fn an_answer_says_where_the_money_is() {
        check(200, None, Verdict::Taken);
        check(302, None, Verdict::Taken);
        check(404, Some("swap"), Verdict::Taken);
        check(400, Some("offline"), Verdict::Taken);
        check(400, None, Verdict::Refused);
        check(402, None, Verdict::Refused);
        check(429, None, Verdict::Refused);
        check(404, None, Verdict::Unsure);
        check(500, Some("swap"), Verdict::Failed);
        check(503, None, Verdict::Failed);
    }

    #[test]
    fn the_seller_names_the_rail() {
        let mut headers = HeaderMap::new();
        assert_eq!(ecash_rail(&headers, true), "nut24-offline");
        assert_eq!(ecash_rail(&headers, false), "nut24-swap");
        headers.insert(SETTLEMENT, HeaderValue::from_static("swap"));
        assert_eq!(ecash_rail(&headers, true), "nut24-swap");
    }
}
