//! Finds the ecash token of a request.
//!
//! `X-Cashu: cashuA…` or `cashuB…` by NUT-24; `Authorization: Cashu …` as
//! several clients send it. `X-Cashu` counts first.

use http::{HeaderMap, HeaderName};

use super::token::{ParsedToken, TokenError, parse};
use crate::l402::header::{Authorization, MAX_HEADER_BYTES, parse_authorization};

/// The header of payment requests, payments and change.
pub const X_CASHU: HeaderName = HeaderName::from_static("x-cashu");

/// Returns the token that `headers` pay with, `None` if there is none.
#[must_use]
pub fn token_of(headers: &HeaderMap) -> Option<Result<ParsedToken, TokenError>> {
    if let Some(value) = headers.get(X_CASHU) {
        return Some(
            value
                .to_str()
                .map_err(|_| TokenError::Undecodable)
                .and_then(|text| parse(text.trim(), MAX_HEADER_BYTES)),
        );
    }
    match parse_authorization(headers) {
        Authorization::Cashu(text) => Some(parse(&text, MAX_HEADER_BYTES)),
        _ => None,
    }
}
