//! Where a payee is reached (kind 10050) and what it takes (kind 10019).
//!
//! Both records are looked up in the index first and then on the lookup relays;
//! the newest wins. They are signed by the payee, so a relay can withhold them or
//! show old ones, but not change them.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/61.md>

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;

use super::message::is_relay;
use super::{TransferError, Transfers};

const INBOX_RELAYS: Kind = Kind::InboxRelays;
const ECASH_INFO: Kind = Kind::CashuNutZapInfo;
/// Most relays that one message is sent to.
const MAX_RELAYS: usize = 4;
/// Most mints of a payee that are looked at.
const MAX_MINTS: usize = 20;
/// Most lookup relays that are asked.
const MAX_LOOKUPS: usize = 4;

/// How a payee takes ecash by message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payee {
    /// Where it reads its messages.
    pub(super) relays: Vec<String>,
    /// The mints it takes satoshi of.
    pub(super) mints: Vec<String>,
    /// The P2PK key to lock to: 33 bytes, hexadecimal.
    pub(super) lock_key: String,
}

impl Transfers {
    pub(super) async fn find_payee(
        &self,
        key: &PublicKey,
        lookup_relays: &[String],
    ) -> Result<Payee, TransferError> {
        let filter = Filter::new().author(*key).kinds([INBOX_RELAYS, ECASH_INFO]);
        let mut records = match &self.parts().index {
            Some(index) => index.query(vec![filter.clone()], 2, self.now()).await?,
            None => Vec::new(),
        };
        if Payee::read(key, &records).is_ok() {
            return Payee::read(key, &records);
        }
        for url in lookup_relays.iter().take(MAX_LOOKUPS) {
            match self
                .parts()
                .relays
                .fetch(url, vec![filter.clone()], None)
                .await
            {
                Ok(found) => records.extend(found),
                Err(error) => tracing::debug!(relay.url = %url, %error, "a lookup relay failed"),
            }
        }
        Payee::read(key, &records)
    }
}

impl Payee {
    /// Reads the newest of `records` by `key`.
    pub(super) fn read(key: &PublicKey, records: &[Event]) -> Result<Self, TransferError> {
        let missing = |missing| TransferError::NotReachable {
            payee: key.to_hex(),
            missing,
        };
        let newest = |kind| {
            records
                .iter()
                .filter(|event| event.kind == kind && event.pubkey == *key)
                .max_by_key(|event| (event.created_at, std::cmp::Reverse(event.id)))
        };
        let inbox = newest(INBOX_RELAYS).ok_or_else(|| missing("kind 10050 (inbox relays)"))?;
        let relays: Vec<_> = values(inbox, "relay")
            .map(|tag| tag[1].clone())
            .filter(|url| is_relay(url))
            .take(MAX_RELAYS)
            .collect();
        if relays.is_empty() {
            return Err(missing("relay in its kind 10050"));
        }
        let info = newest(ECASH_INFO).ok_or_else(|| missing("kind 10019 (mints and key)"))?;
        let mints: Vec<_> = values(info, "mint")
            .filter(|tag| tag.len() == 2 || tag[2..].iter().any(|unit| unit == "sat"))
            .map(|tag| tag[1].clone())
            .take(MAX_MINTS)
            .collect();
        let lock_key = values(info, "pubkey")
            .find_map(|tag| compressed(&tag[1]))
            .ok_or_else(|| missing("P2PK key in its kind 10019"))?;
        if mints.is_empty() {
            return Err(missing("mint in its kind 10019"));
        }
        Ok(Self {
            relays,
            mints,
            lock_key,
        })
    }
}

/// The tags of this name that have a value.
fn values<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a [String]> {
    event
        .tags
        .iter()
        .map(nostr::event::Tag::as_slice)
        .filter(move |tag| tag.len() >= 2 && tag[0] == name)
}

/// Accepts 33 bytes, and the 32 of clients that write the x coordinate only.
fn compressed(key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase();
    let is_hex = key.bytes().all(|byte| byte.is_ascii_hexdigit());
    match key.len() {
        66 if is_hex && (key.starts_with("02") || key.starts_with("03")) => Some(key),
        64 if is_hex => Some(format!("02{key}")),
        _ => None,
    }
}
