//! The relay information document of NIP-11.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/11.md>

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use nostr::key::PublicKey;
use serde_json::{Value, json};

use super::policy::RelayPolicy;

const MEDIA_TYPE: &str = "application/nostr+json";
/// Longest subscription id, in characters; the limit is the one of NIP-01.
pub(super) const MAX_SUBSCRIPTION_ID: usize = 64;

/// How the relay introduces itself.
#[derive(Debug, Clone, Default)]
pub struct RelayInfo {
    /// Short name.
    pub name: String,
    /// What the relay is for.
    pub description: String,
    /// Key of the node's operator.
    pub pubkey: Option<PublicKey>,
}

/// Returns whether the client asks for the document rather than for a page.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(MEDIA_TYPE))
}

/// Answers with the document.
pub(super) fn respond(info: &RelayInfo, policy: &RelayPolicy) -> Response {
    let headers = [
        (CONTENT_TYPE, MEDIA_TYPE),
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, document(info, policy).to_string()).into_response()
}

fn document(info: &RelayInfo, policy: &RelayPolicy) -> Value {
    let mut document = json!({
        "name": info.name,
        "description": info.description,
        "supported_nips": [1, 9, 11, 40, 42, 70],
        "software": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "limitation": {
            "max_message_length": policy.max_frame_bytes,
            "max_subscriptions": policy.max_subscriptions,
            "max_filters": policy.max_filters,
            "max_limit": policy.max_limit,
            "default_limit": policy.max_limit,
            "max_subid_length": MAX_SUBSCRIPTION_ID,
            "max_content_length": policy.max_event_bytes,
            "min_pow_difficulty": 0,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": true,
        },
    });
    if let Some(pubkey) = info.pubkey {
        document["pubkey"] = Value::String(pubkey.to_hex());
    }
    document
}
