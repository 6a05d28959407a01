//! The wire: gift wraps, the payment payload and the acknowledgement.
//!
//! Payment: a kind 14 rumor, content = NUT-18 payload as JSON, tags `p` (payee)
//! and one `reply` per relay where the payer reads the answer. Acknowledgement:
//! a kind 14 rumor, content = `{"type":"feria/transfer-received"}`, tags `p`
//! (payer) and `e` (the id of the payment's rumor). Whatever else comes is not
//! ours. A rumor's id is recomputed, never believed.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/59.md>

use feria_paywall::xcashu::cashu::nuts::nut18::PaymentRequestPayload;
use feria_paywall::xcashu::cashu::nuts::{CurrencyUnit, Proofs};
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag, UnsignedEvent};
use nostr::key::{Keys, PublicKey, SecretKey};
use nostr::nips::nip44;
use nostr::nips::nip59::UnwrappedGift;
use nostr::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::TransferError;
use crate::clock::{Entropy, random_bytes};

/// Largest encrypted text that is opened, in bytes: what 64 KiB events can carry, and some.
const MAX_WRAP_BYTES: usize = 128 * 1_024;
/// Most reply relays that are read from a message.
const MAX_REPLY_RELAYS: usize = 3;
/// Longest relay URL that is read, in bytes.
const MAX_URL_BYTES: usize = 200;
/// NIP-59: the times of seal and wrap say nothing about the message.
const MAX_BACKDATE_SECS: u64 = 2 * 24 * 3_600;
const REPLY: &str = "reply";
const RECEIVED: &str = "feria/transfer-received";

/// A message that was opened.
pub(super) struct Letter {
    /// Proved by the seal's signature.
    pub(super) sender: PublicKey,
    /// Recomputed.
    pub(super) rumor_id: [u8; 32],
    /// What it says.
    pub(super) content: Content,
}

/// What a message says.
pub(super) enum Content {
    /// Ecash.
    Payment {
        payload: Box<PaymentRequestPayload>,
        reply_relays: Vec<String>,
    },
    /// The payee has redeemed the ecash of this message.
    Received { rumor_id: [u8; 32] },
    /// Something for somebody else.
    Other,
}

/// Field order and content decide the rumor's id: a resend writes the same bytes.
#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    memo: &'a str,
    mint: &'a str,
    unit: CurrencyUnit,
    proofs: &'a Proofs,
}

#[derive(Serialize, Deserialize)]
struct Acknowledgement {
    r#type: String,
}

/// What a payment message carries.
pub(super) struct Payment<'a> {
    pub(super) id: &'a str,
    pub(super) memo: &'a str,
    pub(super) mint: &'a str,
    pub(super) proofs: &'a Proofs,
    pub(super) reply_relays: &'a [String],
}

/// Returns the rumor that carries `payment`; the same one for the same arguments.
pub(super) fn payment_rumor(
    from: &PublicKey,
    to: &PublicKey,
    payment: &Payment<'_>,
    created_at: u64,
) -> Result<UnsignedEvent, TransferError> {
    let payload = Payload {
        id: payment.id,
        memo: payment.memo,
        mint: payment.mint,
        unit: CurrencyUnit::Sat,
        proofs: payment.proofs,
    };
    let content = serde_json::to_string(&payload).map_err(fault)?;
    let replies = payment.reply_relays.iter().take(MAX_REPLY_RELAYS);
    let mut tags = vec![Tag::public_key(*to)];
    tags.extend(replies.map(|relay| Tag::custom(REPLY, [relay.as_str()])));
    Ok(rumor(from, content, tags, created_at))
}

/// Returns the rumor that says that the ecash of `rumor_id` is redeemed.
pub(super) fn received_rumor(
    from: &PublicKey,
    to: &PublicKey,
    rumor_id: &str,
    created_at: u64,
) -> Result<UnsignedEvent, TransferError> {
    let content = serde_json::to_string(&Acknowledgement {
        r#type: RECEIVED.to_owned(),
    })
    .map_err(fault)?;
    let tags = vec![Tag::public_key(*to), Tag::custom("e", [rumor_id])];
    Ok(rumor(from, content, tags, created_at))
}

fn rumor(from: &PublicKey, content: String, tags: Vec<Tag>, created_at: u64) -> UnsignedEvent {
    let created_at = Timestamp::from(created_at);
    let mut rumor =
        UnsignedEvent::new(*from, created_at, Kind::PrivateDirectMessage, tags, content);
    rumor.ensure_id();
    rumor
}

/// Seals `rumor` with `keys` and wraps it for `to` under a key that is used once.
pub(super) fn wrap(
    keys: &Keys,
    to: &PublicKey,
    rumor: &UnsignedEvent,
    now: u64,
    entropy: &dyn Entropy,
) -> Result<Event, TransferError> {
    let seal = encrypted(Kind::Seal, keys, to, &rumor.as_json(), now, entropy)?;
    let once = SecretKey::from_slice(&random_bytes::<32>(entropy)).map_err(fault)?;
    let (once, text) = (Keys::new(once), seal.as_json());
    encrypted(Kind::GiftWrap, &once, to, &text, now, entropy)
}

fn encrypted(
    kind: Kind,
    keys: &Keys,
    to: &PublicKey,
    text: &str,
    now: u64,
    entropy: &dyn Entropy,
) -> Result<Event, TransferError> {
    let nonce = nip44::Nonce::V2(random_bytes(entropy));
    let content = nip44::encrypt_with_nonce(keys.secret_key(), to, text, nonce).map_err(fault)?;
    let back = u64::from_be_bytes(random_bytes(entropy)) % MAX_BACKDATE_SECS;
    let mut builder = EventBuilder::new(kind, content)
        .custom_created_at(Timestamp::from(now.saturating_sub(back)));
    if kind == Kind::GiftWrap {
        builder = builder.tag(Tag::public_key(*to));
    }
    builder.finalize(keys).map_err(fault)
}

/// Opens `event` with `keys`; `None` for what is not a message to them.
pub(super) fn unwrap(keys: &Keys, event: &Event) -> Option<Letter> {
    if event.kind != Kind::GiftWrap || event.content.len() > MAX_WRAP_BYTES {
        return None;
    }
    let gift = UnwrappedGift::from_gift_wrap(keys, event).ok()?;
    let rumor = gift.rumor;
    Some(Letter {
        sender: gift.sender,
        rumor_id: rumor.compute_id().to_bytes(),
        content: content_of(&rumor),
    })
}

fn content_of(rumor: &UnsignedEvent) -> Content {
    if rumor.kind != Kind::PrivateDirectMessage {
        return Content::Other;
    }
    if let Ok(payload) = serde_json::from_str(&rumor.content) {
        let reply_relays = rumor
            .tags
            .iter()
            .filter(|tag| tag.kind() == REPLY)
            .filter_map(|tag| tag.content())
            .filter(|url| url.len() <= MAX_URL_BYTES && is_relay(url))
            .take(MAX_REPLY_RELAYS)
            .map(str::to_owned)
            .collect();
        return Content::Payment {
            payload: Box::new(payload),
            reply_relays,
        };
    }
    let answered = rumor
        .tags
        .iter()
        .find(|tag| tag.kind() == "e")
        .and_then(|tag| tag.content())
        .and_then(|id| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(id, &mut bytes).ok().map(|()| bytes)
        });
    match (
        serde_json::from_str::<Acknowledgement>(&rumor.content),
        answered,
    ) {
        (Ok(answer), Some(rumor_id)) if answer.r#type == RECEIVED => Content::Received { rumor_id },
        _ => Content::Other,
    }
}

/// Whether `url` is a websocket address.
pub(super) fn is_relay(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}

fn fault(error: impl std::fmt::Display) -> TransferError {
    TransferError::Message(error.to_string())
}
