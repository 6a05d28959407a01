//! What a key says about itself: profile, relays, message relays, mints.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/65.md> (10002),
//! <https://github.com/nostr-protocol/nips/blob/master/17.md> (10050),
//! <https://github.com/nostr-protocol/nips/blob/master/61.md> (10019)

use nostr::event::{Event, EventBuilder, Kind};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use serde_json::{Value, json};

use super::kinds::{INBOX_RELAYS, NUTZAP_INFO, PROFILE, RELAY_LIST};
use super::tags::{self, tag};
use super::text;

/// Relays of one list that are read.
const MAX_RELAYS: usize = 20;
/// Mints of one list that are read.
const MAX_MINTS: usize = 20;
/// A profile's content beyond this is not parsed.
const MAX_PROFILE_BYTES: usize = 16 * 1_024;
/// A profile nested deeper is not parsed.
const MAX_PROFILE_DEPTH: usize = 8;

/// Who an agent is, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Display name.
    pub name: String,
    /// One or two sentences.
    pub about: String,
    /// URL of a picture.
    pub picture: Option<String>,
    /// URL of its page.
    pub website: Option<String>,
    /// Whether it says it is a program.
    pub is_bot: bool,
}

/// Where a key's events are found and where it looks for those about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayList {
    /// Relays it writes to.
    pub write: Vec<String>,
    /// Relays it reads from.
    pub read: Vec<String>,
}

/// Which ecash a key takes, and the key to lock it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NutzapInfo {
    /// Relays it looks for nutzaps on.
    pub relays: Vec<String>,
    /// Mints it trusts.
    pub mints: Vec<String>,
    /// 33 bytes compressed, hex.
    pub lock_key: String,
}

/// A lock key that must not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockKeyFault {
    /// Whoever signs a nutzap's redemption would sign with the identity (NIP-61).
    #[error("the lock key is the Nostr key; it must be another")]
    IsNostrKey,
    /// Not a compressed public key.
    #[error("the lock key is not 33 bytes in hexadecimal starting with 02 or 03")]
    Malformed,
}

/// Builds a kind 0 of a program. `takes_ecash` tells shops to offer ecash.
#[must_use]
pub fn build_profile(profile: &Profile, takes_ecash: bool, now: u64) -> EventBuilder {
    let mut content = json!({
        "name": profile.name,
        "about": profile.about,
        "bot": profile.is_bot,
    });
    for (key, value) in [("picture", &profile.picture), ("website", &profile.website)] {
        if let Some(value) = value {
            content[key] = Value::from(value.as_str());
        }
    }
    let preference = takes_ecash.then(|| tag("payment_preference", &["ecash"]));
    event(PROFILE, content.to_string(), now).tag_maybe(preference)
}

/// Builds a kind 10002 that names `relays` for reading and writing.
#[must_use]
pub fn build_relay_list(relays: &[String], now: u64) -> EventBuilder {
    event(RELAY_LIST, String::new(), now).tags(relays.iter().map(|relay| tag("r", &[relay])))
}

/// Builds a kind 10050.
#[must_use]
pub fn build_inbox_relays(relays: &[String], now: u64) -> EventBuilder {
    event(INBOX_RELAYS, String::new(), now).tags(relays.iter().map(|relay| tag("relay", &[relay])))
}

/// Builds a kind 10019 for the holder of `pubkey`.
///
/// # Errors
/// When the lock key is the Nostr key or not a compressed public key.
pub fn build_nutzap_info(
    pubkey: &PublicKey,
    info: &NutzapInfo,
    now: u64,
) -> Result<EventBuilder, LockKeyFault> {
    check_lock_key(pubkey, &info.lock_key)?;
    Ok(event(NUTZAP_INFO, String::new(), now)
        .tags(info.relays.iter().map(|relay| tag("relay", &[relay])))
        .tags(info.mints.iter().map(|mint| tag("mint", &[mint, "sat"])))
        .tag(tag("pubkey", &[&info.lock_key])))
}

/// Reads a kind 0. `None` when it is another kind or its content is not a JSON object.
#[must_use]
pub fn read_profile(event: &Event) -> Option<Profile> {
    if event.kind.as_u16() != PROFILE {
        return None;
    }
    let content = text::bounded_json(&event.content, MAX_PROFILE_BYTES, MAX_PROFILE_DEPTH)?;
    let fields = content.as_object()?;
    let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let url = |key: &str| text::http_url(word(key)).map(String::from);
    Some(Profile {
        name: text::clean(word("name"), 256),
        about: text::clean(word("about"), 1_000),
        picture: url("picture"),
        website: url("website"),
        is_bot: fields.get("bot").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Reads a kind 10002; empty lists for any other kind.
#[must_use]
pub fn read_relay_list(event: &Event) -> RelayList {
    let mut list = RelayList::default();
    if event.kind.as_u16() != RELAY_LIST {
        return list;
    }
    for values in tags::all(event, "r").take(MAX_RELAYS) {
        let Some(url) = values.first().and_then(|url| relay_url(url)) else {
            continue;
        };
        match values.get(1).map(String::as_str) {
            Some("read") => list.read.push(url),
            Some("write") => list.write.push(url),
            _ => {
                list.read.push(url.clone());
                list.write.push(url);
            }
        }
    }
    list
}

/// Reads a kind 10050; empty for any other kind.
#[must_use]
pub fn read_inbox_relays(event: &Event) -> Vec<String> {
    if event.kind.as_u16() != INBOX_RELAYS {
        return Vec::new();
    }
    relay_tags(event)
}

/// Reads a kind 10019. `None` when it is another kind, or without a usable lock key.
#[must_use]
pub fn read_nutzap_info(event: &Event) -> Option<NutzapInfo> {
    if event.kind.as_u16() != NUTZAP_INFO {
        return None;
    }
    let mut lock_key = tags::first(event, "pubkey")?.to_ascii_lowercase();
    // Many wallets write the x coordinate only, and NIP-61 says which key is meant.
    if lock_key.len() == 64 {
        lock_key.insert_str(0, "02");
    }
    check_lock_key(&event.pubkey, &lock_key).ok()?;
    let mints = tags::all(event, "mint")
        // No unit means any unit, satoshi among them.
        .filter(|values| values.len() < 2 || values[1..].iter().any(|unit| unit == "sat"))
        .filter_map(|values| text::http_url(values.first()?))
        .map(|url| String::from(url).trim_end_matches('/').to_owned())
        .take(MAX_MINTS)
        .collect();
    Some(NutzapInfo {
        relays: relay_tags(event),
        mints,
        lock_key,
    })
}

fn event(kind: u16, content: String, now: u64) -> EventBuilder {
    EventBuilder::new(Kind::from_u16(kind), content).custom_created_at(Timestamp::from_secs(now))
}

fn check_lock_key(pubkey: &PublicKey, lock_key: &str) -> Result<(), LockKeyFault> {
    let is_compressed = lock_key.len() == 66
        && (lock_key.starts_with("02") || lock_key.starts_with("03"))
        && lock_key.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_compressed {
        return Err(LockKeyFault::Malformed);
    }
    if lock_key[2..].eq_ignore_ascii_case(&pubkey.to_hex()) {
        return Err(LockKeyFault::IsNostrKey);
    }
    Ok(())
}

fn relay_tags(event: &Event) -> Vec<String> {
    tags::values(event, "relay")
        .filter_map(relay_url)
        .take(MAX_RELAYS)
        .collect()
}

/// Returns `url` without trailing slash if it is a websocket address.
fn relay_url(url: &str) -> Option<String> {
    let url = url.trim().trim_end_matches('/');
    let parsed = url::Url::parse(url).ok()?;
    let is_relay = matches!(parsed.scheme(), "ws" | "wss") && parsed.host_str().is_some();
    (is_relay && url.len() <= 512).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use nostr::event::FinalizeEvent;
    use nostr::key::{Keys, SecretKey};

    use super::*;

    const NOW: u64 = 1_794_000_000;

    fn keys() -> Keys {
        Keys::new(SecretKey::from_slice(&[7; 32]).unwrap())
    }

    fn sign(builder: EventBuilder) -> Event {
        builder.finalize(&keys()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let profile = Profile {
            name: "translate".to_owned(),
            about: "Translates".to_owned(),
            picture: Some("https://a.example/card/translate.png".to_owned()),
            website: None,
            is_bot: true,
        };
        let event = sign(build_profile(&profile, true, NOW));
        assert_eq!(read_profile(&event), Some(profile));
        assert_eq!(tags::first(&event, "payment_preference"), Some("ecash"));

        let relays = vec!["wss://a.example".to_owned(), "ws://127.0.0.1:1".to_owned()];
        let list = read_relay_list(&sign(build_relay_list(&relays, NOW)));
        assert_eq!((&list.read, &list.write), (&relays, &relays));
        let inbox = sign(build_inbox_relays(&relays, NOW));
        assert_eq!(read_inbox_relays(&inbox), relays);

        let info = NutzapInfo {
            relays,
            mints: vec!["https://mint.example".to_owned()],
            lock_key: format!("03{}", "ab".repeat(32)),
        };
        let event = sign(build_nutzap_info(&keys().public_key(), &info, NOW).unwrap());
        assert_eq!(read_nutzap_info(&event), Some(info));
    }

    #[test]
    fn the_nostr_key_is_never_a_lock_key() {
        let pubkey = keys().public_key();
        let check = |lock_key: String, expected| {
            let info = NutzapInfo {
                relays: Vec::new(),
                mints: Vec::new(),
                lock_key: lock_key.clone(),
            };
            assert_eq!(build_nutzap_info(&pubkey, &info, NOW).err(), Some(expected));
            let event = event(NUTZAP_INFO, String::new(), NOW).tag(tag("pubkey", &[&lock_key]));
            assert_eq!(read_nutzap_info(&sign(event)), None);
        };
        check(format!("02{pubkey}"), LockKeyFault::IsNostrKey);
        check(
            format!("03{}", pubkey.to_hex().to_uppercase()),
            LockKeyFault::IsNostrKey,
        );
        check("02zz".to_owned(), LockKeyFault::Malformed);
        check(format!("04{}", "ab".repeat(32)), LockKeyFault::Malformed);
    }
}
