//! What a credential may be used for, counted: each limit has a counter of its own.
//!
//! The issuer's `uses` or `balance_msat` is counted under the payment hash, so
//! that every credential of one payment shares it. A `uses` or `sats` that a
//! holder added later is counted under the name of the macaroon as it was right
//! after that caveat: all copies narrowed further share it, the wider original
//! does not. A claim takes from all counters or from none.
//!
//! ```text
//! uses=10 (payment hash) ── uses=3 (name a) ── sats=20 (name b)
//!        │                     └─ may call 3 times, and b only for 20 sat of it
//!        └─ 10 calls in all, those of a and b among them
//! ```
//!
//! Two copies narrowed by the same caveats are the same macaroon and share their
//! counters; a `note` between them makes them two.

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitUnit {
    /// Calls; each takes one.
    Uses,
    /// Millisatoshi; each call takes what it costs.
    Msat,
}

/// One counter and how far it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Names the counter; no secret.
    pub key: [u8; 32],
    /// What is counted.
    pub unit: LimitUnit,
    /// The most that may be taken in all.
    pub max: u64,
}

/// What is left of a credential after a claim: the narrowest of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Calls; `None` when they are not limited, and for ecash, which buys one.
    pub uses: Option<u64>,
    /// Millisatoshi; `None` when they are not limited.
    pub balance_msat: Option<u64>,
}

impl LimitUnit {
    /// Returns the short name, as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uses => "uses",
            Self::Msat => "msat",
        }
    }
}

impl Limit {
    /// Returns how much one call that costs `cost_msat` takes of this limit.
    #[must_use]
    pub const fn taken_by_call(&self, cost_msat: u64) -> u64 {
        match self.unit {
            LimitUnit::Uses => 1,
            LimitUnit::Msat => cost_msat,
        }
    }
}

impl Remaining {
    /// Notes that `left` is left of a limit in `unit`.
    pub fn narrow(&mut self, unit: LimitUnit, left: u64) {
        let slot = match unit {
            LimitUnit::Uses => &mut self.uses,
            LimitUnit::Msat => &mut self.balance_msat,
        };
        *slot = Some(slot.map_or(left, |old| old.min(left)));
    }
}
