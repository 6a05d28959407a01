//! What goes over the wire of NIP-47: shapes, errors and encryption.
//!
//! Wallets differ in what they leave out, so every field of an answer that is not
//! needed may be missing. Nothing here is logged: answers hold preimages.

use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::{Keys, PublicKey};
use nostr::nips::{nip04, nip44};
use nostr::types::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::clock::{Entropy, random_bytes};

/// Largest encrypted text that is opened, in bytes: more than NIP-44 can carry.
const MAX_CONTENT_BYTES: usize = 100 * 1_024;
/// The longest words of a wallet that are shown.
const MAX_WORDS: usize = 160;

/// How requests are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Nip44,
    /// For wallets that do not say that they know better.
    Nip04,
}

/// What the wallet's info event (kind 13194) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) cipher: Cipher,
    /// The methods it names; empty when it names none.
    pub(super) methods: Vec<String>,
}

impl Info {
    pub(super) fn read(event: &Event) -> Self {
        let tag = |name: &str| {
            let found = event.tags.iter().find_map(|tag| match tag.as_slice() {
                [kind, value, ..] if kind == name => Some(value.clone()),
                _ => None,
            });
            found.unwrap_or_default()
        };
        let knows_nip44 = tag("encryption")
            .split([' ', ','])
            .any(|scheme| scheme == "nip44_v2");
        Self {
            cipher: if knows_nip44 {
                Cipher::Nip44
            } else {
                Cipher::Nip04
            },
            methods: event
                .content
                .split_whitespace()
                .take(64)
                .map(str::to_owned)
                .collect(),
        }
    }

    pub(super) fn knows(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| known == method)
    }
}

/// What a wallet says instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct WalletFault {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

impl WalletFault {
    /// Returns whether the wallet has certainly not paid. `INTERNAL`, `OTHER` and
    /// codes that we do not know may come after the payment left.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.code.as_str(),
            "RATE_LIMITED"
                | "NOT_IMPLEMENTED"
                | "INSUFFICIENT_BALANCE"
                | "QUOTA_EXCEEDED"
                | "RESTRICTED"
                | "UNAUTHORIZED"
                | "PAYMENT_FAILED"
                | "UNSUPPORTED_ENCRYPTION"
        )
    }

    pub(super) fn words(&self) -> String {
        let message = crate::protocol::text::clean(&self.message, MAX_WORDS);
        let code = crate::protocol::text::clean(&self.code, 40);
        format!("{code}: {message}")
    }
}

/// A decrypted answer.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) result_type: String,
    #[serde(default)]
    pub(super) error: Option<WalletFault>,
    #[serde(default)]
    pub(super) result: Option<Value>,
}

/// `pay_invoice`.
#[derive(Deserialize)]
pub(super) struct Payment {
    #[serde(default)]
    pub(super) preimage: Option<String>,
    #[serde(default)]
    pub(super) fees_paid: Option<u64>,
}

/// `make_invoice`.
#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) invoice: String,
}

/// `lookup_invoice`, one of `list_transactions`, or the body of a notification.
#[derive(Deserialize)]
pub(super) struct Transaction {
    #[serde(default, rename = "type")]
    pub(super) direction: Option<String>,
    #[serde(default)]
    pub(super) state: Option<String>,
    #[serde(default)]
    pub(super) payment_hash: Option<String>,
    #[serde(default)]
    pub(super) preimage: Option<String>,
    #[serde(default)]
    pub(super) amount: Option<u64>,
    #[serde(default)]
    pub(super) fees_paid: Option<u64>,
    #[serde(default)]
    pub(super) expires_at: Option<u64>,
    #[serde(default)]
    pub(super) settled_at: Option<u64>,
}

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Settled,
    Failed,
    Expired,
    Open,
}

impl Transaction {
    /// Older wallets name no state: then the time of settlement says it.
    pub(super) fn standing(&self) -> Standing {
        match self
            .state
            .as_deref()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("settled") => Standing::Settled,
            Some("failed") => Standing::Failed,
            Some("expired") => Standing::Expired,
            Some(_) => Standing::Open,
            None if self.settled_at.is_some_and(|at| at > 0) => Standing::Settled,
            None => Standing::Open,
        }
    }

    pub(super) fn is_incoming(&self) -> bool {
        self.direction.as_deref() != Some("outgoing")
    }
}

/// `list_transactions`.
#[derive(Deserialize)]
pub(super) struct Transactions {
    #[serde(default)]
    pub(super) transactions: Vec<Transaction>,
}

/// A decrypted notification.
#[derive(Deserialize)]
pub(super) struct Notification {
    #[serde(default)]
    pub(super) notification_type: String,
    pub(super) notification: Transaction,
}

/// Returns the event that asks `wallet` for `method`; the wallet leaves it alone
/// once it has expired.
pub(super) fn request(
    keys: &Keys,
    wallet: &PublicKey,
    cipher: Cipher,
    (method, params): (&str, &Value),
    (now, expires_at): (u64, u64),
    entropy: &dyn Entropy,
) -> Result<Event, String> {
    let text = serde_json::json!({"method": method, "params": params}).to_string();
    let secret = keys.secret_key();
    let content = match cipher {
        Cipher::Nip44 => {
            let nonce = nip44::Nonce::V2(random_bytes(entropy));
            nip44::encrypt_with_nonce(secret, wallet, text, nonce)
        }
        Cipher::Nip04 => nip04::encrypt_with_iv(secret, wallet, text, random_bytes(entropy)),
    };
    let content = content.map_err(|error| error.to_string())?;
    let mut builder = EventBuilder::new(Kind::WalletConnectRequest, content)
        .custom_created_at(Timestamp::from(now))
        .tag(Tag::public_key(*wallet))
        .tag(Tag::expiration(Timestamp::from(expires_at)));
    if cipher == Cipher::Nip44 {
        builder = builder.tag(Tag::custom("encryption", ["nip44_v2"]));
    }
    builder.finalize(keys).map_err(|error| error.to_string())
}

/// Opens what `wallet` wrote, in whichever of the two ciphers.
pub(super) fn open(keys: &Keys, wallet: &PublicKey, content: &str) -> Result<String, &'static str> {
    if content.len() > MAX_CONTENT_BYTES {
        return Err("the wallet's answer is too large");
    }
    let secret = keys.secret_key();
    let text = if content.contains("?iv=") {
        nip04::decrypt(secret, wallet, content)
    } else {
        nip44::decrypt(secret, wallet, content)
    };
    text.map_err(|_| "the wallet's answer cannot be decrypted")
}
