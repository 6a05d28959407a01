//! How a browser gets into the dashboard: a link that works once, then a cookie.
//!
//! `feria up` prints the link. Nobody who reads it later, in a log or a browser's
//! history, gets in with it. Sessions live in memory: a restart ends them.

use std::collections::HashMap;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::clock::{SharedClock, SharedEntropy, random_bytes};

/// The cookie's name. It is not `Secure`: the dashboard is plain HTTP on loopback.
const COOKIE_NAME: &str = "feria_session";
/// How long a link works, in seconds.
const LINK_SECS: u64 = 3_600;
/// How long a session lasts, in seconds.
const SESSION_SECS: u64 = 7 * 86_400;
/// Links and sessions kept; the oldest is dropped above that.
const MAX_ENTRIES: usize = 64;

/// Links not used yet, and sessions. Both are kept as hashes only.
#[derive(Debug)]
pub(crate) struct Sessions {
    links: Mutex<HashMap<[u8; 32], u64>>,
    sessions: Mutex<HashMap<[u8; 32], u64>>,
    clock: SharedClock,
    entropy: SharedEntropy,
}

impl Sessions {
    pub(crate) fn new(clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            links: Mutex::default(),
            sessions: Mutex::default(),
            clock,
            entropy,
        }
    }

    /// Returns the code of a new link.
    pub(crate) fn new_link_code(&self) -> String {
        self.add(&self.links, LINK_SECS)
    }

    /// Uses up a link and returns the value of `Set-Cookie`, or `None` when the
    /// link is unknown, used or too old.
    pub(super) fn open(&self, code: &str) -> Option<String> {
        let expires_at = self.links.lock().remove(&digest(code))?;
        if expires_at < self.clock.now() {
            return None;
        }
        let session = self.add(&self.sessions, SESSION_SECS);
        Some(format!(
            "{COOKIE_NAME}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_SECS}"
        ))
    }

    /// Returns whether the request carries the cookie of a session.
    pub(super) fn is_open(&self, headers: &HeaderMap) -> bool {
        let now = self.clock.now();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE_NAME)
            .any(|(_, value)| {
                self.sessions
                    .lock()
                    .get(&digest(value))
                    .is_some_and(|expires_at| *expires_at >= now)
            })
    }

    fn add(&self, to: &Mutex<HashMap<[u8; 32], u64>>, secs: u64) -> String {
        let code = hex::encode(random_bytes::<32>(&*self.entropy));
        let mut entries = to.lock();
        if entries.len() >= MAX_ENTRIES {
            let oldest = entries
                .iter()
                .min_by_key(|(_, expires_at)| **expires_at)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        entries.insert(digest(&code), self.clock.now() + secs);
        code
    }
}

/// Lookups compare hashes, so their time tells nothing about a code.
fn digest(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    fn sessions(clock: &Arc<ManualClock>) -> Sessions {
        Sessions::new(
            Arc::<ManualClock>::clone(clock),
            Arc::new(SeededEntropy::new(1)),
        )
    }

    fn carrying(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(pair).unwrap())])
    }

    #[test]
    fn a_link_works_once_and_its_session_ends() {
        let clock = Arc::new(ManualClock::at(1_000));
        let sessions = sessions(&clock);
        let code = sessions.new_link_code();

        let cookie = sessions.open(&code).unwrap();

        assert!(sessions.open(&code).is_none());
        assert!(sessions.is_open(&carrying(&cookie)));
        assert!(!sessions.is_open(&carrying("feria_session=guess")));
        clock.advance(Duration::from_secs(SESSION_SECS + 1));
        assert!(!sessions.is_open(&carrying(&cookie)));
    }

    #[test]
    fn an_old_link_is_refused() {
        let clock = Arc::new(ManualClock::at(1_000));
        let sessions = sessions(&clock);
        let code = sessions.new_link_code();

        clock.advance(Duration::from_secs(LINK_SECS + 1));

        assert!(sessions.open(&code).is_none());
    }
}
