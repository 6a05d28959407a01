//! The mints we trust: one HTTP connector each, their keys, and what their errors mean.
//!
//! A mint may lie or break. Keysets are used only if their id is the hash of
//! their keys; every request has a time limit; and an error counts as *the mint
//! said no* only if the mint said so. Everything else is *lost*: the request may
//! have been carried out.

use std::collections::HashMap;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cdk::mint_url::MintUrl;
use cdk::nuts::{
    BlindSignature, BlindedMessage, CheckStateRequest, CurrencyUnit, Id, KeySet, KeySetInfo, Nuts,
    PublicKey, RestoreRequest, State, SwapRequest,
};
use cdk::wallet::{HttpClient, MintConnector};
use parking_lot::RwLock;
use url::{Host, Url};

use super::health::{MintHealth, Observed};
use super::types::{KeysetKeys, MintKeys, MintTrust, TokenFault, WalletError};
use crate::clock::SharedClock;

/// For every request but a melt.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long keys are used without asking again. A key never changes under its
/// id; what changes is which keyset is active.
const KEYS_MAX_AGE_SECS: u64 = 3_600;
/// How long stale keys are used before the mint is asked again.
const KEYS_RETRY_SECS: u64 = 60;
/// Keysets of one mint that we look at.
const MAX_KEYSETS: usize = 64;

/// Why a mint did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MintFault {
    /// No connection was made: the request was not carried out.
    NotSent(String),
    /// It may have been carried out.
    Lost(String),
    /// An input is spent.
    Spent,
    /// An input, or the quote, is part of a payment on its way.
    Pending,
    /// An output was signed before: the request was carried out earlier.
    AlreadySigned,
    /// The keyset is not the active one any more, or not known.
    KeysetRefused,
    /// Any other refusal of the mint.
    Refused(String),
    /// Something before the mint (a proxy, a limit on requests) turned the request
    /// away: it says nothing about the ecash, and was not carried out.
    Blocked(String),
    /// The mint answered with an error that does not say whether it was carried out.
    Unclear(String),
}

impl MintFault {
    fn of(error: &cdk::Error) -> Self {
        use cdk::Error as E;
        match error {
            E::TokenAlreadySpent => Self::Spent,
            E::TokenPending | E::PendingQuote | E::PaymentPending => Self::Pending,
            E::BlindedMessageAlreadySigned => Self::AlreadySigned,
            E::UnknownKeySet | E::InactiveKeyset | E::ExpiredKeyset => Self::KeysetRefused,
            E::HttpError(None, reason)
                if reason.to_ascii_lowercase().contains("connection refused") =>
            {
                Self::NotSent(reason.clone())
            }
            // Without an error body of NUT-00 it is not the mint that speaks. 408 is
            // what a proxy says that gave up waiting for the mint.
            E::HttpError(Some(status @ 400..=499), _) if *status != 408 => {
                Self::Blocked(format!("HTTP {status}"))
            }
            E::HttpError(status, reason) => Self::Lost(match status {
                Some(status) => format!("HTTP {status}"),
                None => reason.chars().take(200).collect(),
            }),
            E::Timeout => Self::Lost("timed out".to_owned()),
            E::SerdeJsonError(error) => Self::Lost(error.to_string()),
            // Mints answer so to faults of their own, after the work was done too.
            E::UnknownErrorResponse(reason) => Self::Unclear(reason.chars().take(300).collect()),
            other => Self::Refused(other.to_string().chars().take(300).collect()),
        }
    }

    /// As the error of a request that could not have moved money.
    pub(crate) fn into_read_error(self, mint: &str) -> WalletError {
        match self {
            Self::NotSent(reason)
            | Self::Lost(reason)
            | Self::Blocked(reason)
            | Self::Unclear(reason) => WalletError::MintUnavailable {
                mint: mint.to_owned(),
                reason,
            },
            other => WalletError::Refused(other.into_token_fault()),
        }
    }

    pub(crate) fn into_token_fault(self) -> TokenFault {
        match self {
            Self::Spent => TokenFault::AlreadySpent,
            Self::Pending => TokenFault::Pending,
            Self::AlreadySigned => TokenFault::Mint("outputs signed before".to_owned()),
            Self::KeysetRefused => TokenFault::Mint("keyset not active or not known".to_owned()),
            Self::NotSent(reason)
            | Self::Lost(reason)
            | Self::Refused(reason)
            | Self::Blocked(reason)
            | Self::Unclear(reason) => TokenFault::Mint(reason),
        }
    }
}

/// One trusted mint.
#[derive(Debug)]
pub(crate) struct MintLink {
    pub(crate) url: String,
    client: HttpClient,
    keys: RwLock<Option<(u64, Arc<MintKeys>)>>,
    clock: SharedClock,
    observed: Observed,
}

impl MintLink {
    fn new(url: &str, clock: SharedClock) -> Result<Self, WalletError> {
        let mint_url = MintUrl::from_str(url)
            .map_err(|_| WalletError::UntrustedMint(url.chars().take(256).collect()))?;
        Ok(Self {
            url: url.to_owned(),
            client: HttpClient::new(mint_url, None),
            keys: RwLock::new(None),
            clock,
            observed: Observed::default(),
        })
    }

    /// Runs one request under the usual time limit.
    pub(crate) async fn ask<'a, T, F, R>(&'a self, request: R) -> Result<T, MintFault>
    where
        F: Future<Output = Result<T, cdk::Error>>,
        R: FnOnce(&'a HttpClient) -> F,
    {
        self.ask_within(REQUEST_TIMEOUT, request).await
    }

    /// Runs one request under `limit`.
    pub(crate) async fn ask_within<'a, T, F, R>(
        &'a self,
        limit: Duration,
        request: R,
    ) -> Result<T, MintFault>
    where
        F: Future<Output = Result<T, cdk::Error>>,
        R: FnOnce(&'a HttpClient) -> F,
    {
        let began = self.clock.now_millis();
        let answer = match tokio::time::timeout(limit, request(&self.client)).await {
            Ok(answer) => answer.map_err(|error| MintFault::of(&error)),
            Err(_) => Err(MintFault::Lost("timed out".to_owned())),
        };
        let took = Duration::from_millis(self.clock.now_millis().saturating_sub(began));
        self.observed
            .note(took, answer.as_ref().err(), self.clock.now());
        answer
    }

    /// Returns how the mint is doing, as seen in passing.
    fn health(&self) -> MintHealth {
        let mut health = self.observed.health();
        if let Some((_, keys)) = self.keys.read().as_ref() {
            let active = keys.keysets.values().filter(|keyset| keyset.active);
            health.active_keysets = u32::try_from(active.clone().count()).unwrap_or(u32::MAX);
            health.keyset_expires_at = active.filter_map(|keyset| keyset.final_expiry).min();
        }
        health
    }

    pub(crate) async fn swap(
        &self,
        request: SwapRequest,
    ) -> Result<Vec<BlindSignature>, MintFault> {
        let answer = self.ask(|client| client.post_swap(request)).await?;
        Ok(answer.signatures)
    }

    /// NUT-09: the signatures the mint ever gave for these outputs, by B_.
    pub(crate) async fn restore(
        &self,
        outputs: Vec<BlindedMessage>,
    ) -> Result<HashMap<PublicKey, BlindSignature>, MintFault> {
        let request = RestoreRequest { outputs };
        let answer = self.ask(|client| client.post_restore(request)).await?;
        Ok(answer
            .outputs
            .into_iter()
            .map(|output| output.blinded_secret)
            .zip(answer.signatures)
            .collect())
    }

    /// NUT-07, in the order of `ys`. A mint that leaves one out has not answered.
    pub(crate) async fn states(&self, ys: &[PublicKey]) -> Result<Vec<State>, MintFault> {
        let request = CheckStateRequest { ys: ys.to_vec() };
        let answer = self.ask(|client| client.post_check_state(request)).await?;
        let by_y: HashMap<PublicKey, State> = answer
            .states
            .into_iter()
            .map(|state| (state.y, state.state))
            .collect();
        ys.iter()
            .map(|y| by_y.get(y).copied())
            .collect::<Option<_>>()
            .ok_or_else(|| MintFault::Lost("not every state was told".to_owned()))
    }

    async fn fetch_keys(&self) -> Result<MintKeys, MintFault> {
        let infos = self.ask(|client| client.get_mint_keysets()).await?.keysets;
        let known = self.keys.read().as_ref().map(|(_, keys)| Arc::clone(keys));
        let mut active: HashMap<Id, KeySet> = HashMap::new();
        let mut keysets = HashMap::new();
        for info in infos
            .into_iter()
            .filter(|info| info.unit == CurrencyUnit::Sat)
            .take(MAX_KEYSETS)
        {
            let cached = known.as_ref().and_then(|keys| keys.keysets.get(&info.id));
            let keys = match cached {
                Some(cached) => cached.keys.clone(),
                None => {
                    if active.is_empty() {
                        let sets = self.ask(|client| client.get_mint_keys()).await?;
                        active = sets.into_iter().map(|set| (set.id, set)).collect();
                    }
                    match active.remove(&info.id) {
                        Some(set) => set.keys,
                        None => {
                            self.ask(|client| client.get_mint_keyset(info.id))
                                .await?
                                .keys
                        }
                    }
                }
            };
            match verified(info, keys) {
                Some(keyset) => {
                    keysets.insert(keyset.id, keyset);
                }
                None => tracing::warn!(
                    mint.url = %self.url,
                    "mint offers a keyset whose id is not that of its keys"
                ),
            }
        }
        let info = self.ask(|client| client.get_mint_info()).await?;
        let (nuts, missing) = supported(&info.nuts);
        self.observed.describe(nuts, missing);
        Ok(MintKeys {
            mint: self.url.clone(),
            keysets,
            enforces_p2pk: info.nuts.nut11.supported && info.nuts.nut12.supported,
        })
    }
}

/// Sorts the optional NUTs that this wallet uses into those that the mint says it
/// supports and the others.
fn supported(nuts: &Nuts) -> (Vec<u8>, Vec<u8>) {
    let claims = [
        (7, nuts.nut07.supported),
        (8, nuts.nut08.supported),
        (9, nuts.nut09.supported),
        (10, nuts.nut10.supported),
        (11, nuts.nut11.supported),
        (12, nuts.nut12.supported),
        (20, nuts.nut20.supported),
    ];
    let of = |wanted: bool| {
        let claims = claims.iter();
        claims
            .filter(|(_, is_supported)| *is_supported == wanted)
            .map(|(nut, _)| *nut)
            .collect()
    };
    (of(true), of(false))
}

/// Recomputes the keyset's id from its keys.
fn verified(info: KeySetInfo, keys: cdk::nuts::Keys) -> Option<KeysetKeys> {
    let set = KeySet {
        id: info.id,
        unit: info.unit,
        active: Some(info.active),
        keys,
        input_fee_ppk: info.input_fee_ppk,
        final_expiry: info.final_expiry,
    };
    set.verify_id().ok()?;
    Some(KeysetKeys {
        id: set.id,
        unit: "sat".to_owned(),
        active: info.active,
        input_fee_ppk: set.input_fee_ppk,
        final_expiry: set.final_expiry,
        keys: set.keys,
    })
}

impl MintKeys {
    /// The keyset to ask signatures of: active, not expiring, cheapest.
    pub(crate) fn active(&self, now: u64) -> Option<&KeysetKeys> {
        self.keysets
            .values()
            .filter(|keyset| keyset.active)
            .filter(|keyset| keyset.final_expiry.is_none_or(|expiry| expiry > now))
            .min_by_key(|keyset| (keyset.input_fee_ppk, keyset.id))
    }

    /// In the form that resolves short keyset ids.
    pub(crate) fn infos(&self) -> Vec<KeySetInfo> {
        self.keysets
            .values()
            .map(|keyset| KeySetInfo {
                id: keyset.id,
                unit: CurrencyUnit::Sat,
                active: keyset.active,
                input_fee_ppk: keyset.input_fee_ppk,
                final_expiry: keyset.final_expiry,
            })
            .collect()
    }
}

impl KeysetKeys {
    /// The amounts this keyset has keys for.
    pub(crate) fn denominations(&self) -> Vec<u64> {
        self.keys
            .iter()
            .map(|(amount, _)| u64::from(*amount))
            .collect()
    }
}

/// All trusted mints.
#[derive(Debug)]
pub(crate) struct MintPool {
    clock: SharedClock,
    mints: RwLock<HashMap<String, (MintTrust, Arc<MintLink>)>>,
}

impl MintPool {
    pub(crate) fn new(clock: SharedClock, mints: Vec<MintTrust>) -> Result<Self, WalletError> {
        let pool = Self {
            clock,
            mints: RwLock::new(HashMap::new()),
        };
        for mint in mints {
            pool.trust(mint)?;
        }
        Ok(pool)
    }

    pub(crate) fn trust(&self, mint: MintTrust) -> Result<(), WalletError> {
        let url = normalize(&mint.url)
            .ok_or_else(|| WalletError::UntrustedMint(mint.url.chars().take(256).collect()))?;
        let link = match self.mints.read().get(&url) {
            Some((_, link)) => Arc::clone(link),
            None => Arc::new(MintLink::new(&url, Arc::clone(&self.clock))?),
        };
        let trust = MintTrust {
            url: url.clone(),
            cap: mint.cap,
        };
        self.mints.write().insert(url, (trust, link));
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<MintTrust> {
        let mut mints: Vec<MintTrust> = self
            .mints
            .read()
            .values()
            .map(|(trust, _)| trust.clone())
            .collect();
        mints.sort_by(|a, b| a.url.cmp(&b.url));
        mints
    }

    /// Returns how a trusted mint is doing.
    pub(crate) fn health(&self, mint: &str) -> Result<MintHealth, WalletError> {
        Ok(self.link(mint)?.health())
    }

    pub(crate) fn link(&self, mint: &str) -> Result<Arc<MintLink>, WalletError> {
        normalize(mint)
            .and_then(|url| {
                self.mints
                    .read()
                    .get(&url)
                    .map(|(_, link)| Arc::clone(link))
            })
            .ok_or_else(|| WalletError::UntrustedMint(mint.chars().take(256).collect()))
    }

    /// The keys of a mint, at most an hour old. Stale ones serve when the mint
    /// does not answer: keys do not change under their id.
    pub(crate) async fn keys(&self, mint: &str) -> Result<Arc<MintKeys>, WalletError> {
        let link = self.link(mint)?;
        let cached = link.keys.read().clone();
        if let Some((fetched_at, keys)) = &cached
            && self.clock.now().saturating_sub(*fetched_at) < KEYS_MAX_AGE_SECS
        {
            return Ok(Arc::clone(keys));
        }
        match self.refresh(&link).await {
            Ok(keys) => Ok(keys),
            Err(fault) => match cached {
                Some((_, keys)) => {
                    // Callers do not all wait for a mint that is down.
                    let retry_at = self.clock.now().saturating_add(KEYS_RETRY_SECS);
                    let fetched_at = retry_at.saturating_sub(KEYS_MAX_AGE_SECS);
                    *link.keys.write() = Some((fetched_at, Arc::clone(&keys)));
                    Ok(keys)
                }
                None => Err(fault.into_read_error(&link.url)),
            },
        }
    }

    /// Fetches the keys now.
    pub(crate) async fn refresh(&self, link: &MintLink) -> Result<Arc<MintKeys>, MintFault> {
        let keys = Arc::new(link.fetch_keys().await?);
        *link.keys.write() = Some((self.clock.now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

/// The one way to write a mint's URL, or `None` if it may not be used: not
/// `https` (or `http` to a loopback host), with credentials, query or fragment.
pub(crate) fn normalize(text: &str) -> Option<String> {
    if text.len() > 256 {
        return None;
    }
    let url = Url::parse(text.trim()).ok()?;
    let is_loopback = match url.host()? {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(name) => name == "localhost",
    };
    let is_allowed = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (is_allowed && is_plain).then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
