//! Reads the spending condition of one proof, more strictly than any mint.
//!
//! Two programs that read one secret differently are a double spend, so whatever
//! a mint could understand in another way (a tag twice, a sign before a number,
//! a field twice) is unreadable here.
//!
//! <https://github.com/cashubtc/nuts/blob/main/11.md>

use std::collections::HashSet;

use cashu::nuts::PublicKey;
use cashu::secret::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest secret that is read, in bytes.
const MAX_SECRET_BYTES: usize = 8_192;
/// The year 9999; mints that keep seconds in fewer bits break far beyond it.
const MAX_LOCKTIME: u64 = 253_402_300_799;
/// Our own tag of a payment request, which payers may copy into the secret.
pub(super) const MIN_LOCKTIME_TAG: &str = "min_locktime_secs";

/// What a secret demands of who spends it.
#[derive(Clone)]
pub(super) enum Lock {
    /// A plain secret: whoever knows it.
    None,
    /// A signature, by NUT-11.
    P2pk(P2pk),
    /// Another or an unreadable condition.
    Other(Unusual),
}

/// Why a condition is not a plain lock to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusual {
    /// HTLC, or a kind that we do not know.
    Kind,
    /// P2PK that cannot be read, or could be read in two ways.
    Unreadable,
    /// A tag is there twice.
    DuplicateTag,
}

/// A lock to a key, and what loosens or tightens it.
#[derive(Clone, Default)]
pub(super) struct P2pk {
    pub(super) key: Option<PublicKey>,
    pub(super) extra_keys: Option<Vec<PublicKey>>,
    pub(super) n_sigs: Option<u64>,
    pub(super) locktime: Option<u64>,
    pub(super) refund_keys: Option<Vec<PublicKey>>,
    pub(super) signs_outputs: bool,
    pub(super) has_unknown_tag: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct P2pkSecret {
    #[serde(rename = "nonce")]
    _nonce: String,
    data: String,
    #[serde(default)]
    tags: Vec<Vec<String>>,
}

impl Lock {
    /// Reads the condition in `secret`.
    pub(super) fn of(secret: &Secret) -> Self {
        let Ok(text) = std::str::from_utf8(secret.as_bytes()) else {
            return Self::None;
        };
        // A mint trims white space before it looks for a condition.
        if !text.trim_start().starts_with('[') {
            return Self::None;
        }
        if text.len() > MAX_SECRET_BYTES {
            return Self::Other(Unusual::Unreadable);
        }
        let Ok((kind, data)) = serde_json::from_str::<(String, &RawValue)>(text) else {
            return Self::Other(Unusual::Unreadable);
        };
        if kind != "P2PK" {
            return Self::Other(Unusual::Kind);
        }
        match serde_json::from_str::<P2pkSecret>(data.get()) {
            Ok(secret) => P2pk::read(&secret).map_or_else(Self::Other, Self::P2pk),
            Err(_) => Self::Other(Unusual::Unreadable),
        }
    }
}

impl P2pk {
    fn read(secret: &P2pkSecret) -> Result<Self, Unusual> {
        let mut lock = Self {
            key: Some(read_key(&secret.data)?),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        let mut n_sigs_refund = None;
        for tag in &secret.tags {
            let (name, values) = tag.split_first().ok_or(Unusual::Unreadable)?;
            if !seen.insert(name.as_str()) {
                return Err(Unusual::DuplicateTag);
            }
            match name.as_str() {
                "locktime" => lock.locktime = Some(read_number(values, MAX_LOCKTIME)?),
                "n_sigs" => lock.n_sigs = Some(read_number(values, 100)?),
                "n_sigs_refund" => n_sigs_refund = Some(read_number(values, 100)?),
                "pubkeys" => lock.extra_keys = Some(read_keys(values)?),
                "refund" => lock.refund_keys = Some(read_keys(values)?),
                "sigflag" => {
                    lock.signs_outputs = match values {
                        [flag] if flag == "SIG_INPUTS" => false,
                        [flag] if flag == "SIG_ALL" => true,
                        _ => return Err(Unusual::Unreadable),
                    }
                }
                MIN_LOCKTIME_TAG => {}
                _ => lock.has_unknown_tag = true,
            }
        }
        let refund_keys = lock.refund_keys.as_ref().map_or(0, Vec::len) as u64;
        let is_impossible = lock.n_sigs == Some(0)
            || n_sigs_refund.is_some_and(|needed| needed == 0 || needed > refund_keys)
            || lock.has_key_twice();
        if is_impossible {
            return Err(Unusual::Unreadable);
        }
        Ok(lock)
    }

    /// By NUT-11 a key repeated in one path makes the proof unspendable.
    fn has_key_twice(&self) -> bool {
        let spend = self.key.iter().chain(self.extra_keys.iter().flatten());
        let refund = self.refund_keys.iter().flatten();
        has_repeat(spend) || has_repeat(refund)
    }
}

fn has_repeat<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> bool {
    let mut seen = HashSet::new();
    let mut keys = keys;
    keys.any(|key| !seen.insert(key.x_only_public_key().serialize()))
}

fn read_key(text: &str) -> Result<PublicKey, Unusual> {
    PublicKey::from_hex(text).map_err(|_| Unusual::Unreadable)
}

fn read_keys(values: &[String]) -> Result<Vec<PublicKey>, Unusual> {
    values.iter().map(|value| read_key(value)).collect()
}

fn read_number(values: &[String], max: u64) -> Result<u64, Unusual> {
    let [value] = values else {
        return Err(Unusual::Unreadable);
    };
    value
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| value.parse().ok())
        .flatten()
        .filter(|number| *number <= max)
        .ok_or(Unusual::Unreadable)
}
