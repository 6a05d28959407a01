//! A call that wants to be let in, and the answer.

use feria_paywall::amount::Msat;

use super::caveat::{Restriction, Window};
use super::tier::{Permission, Tier, permits};
use crate::store::StoreError;

/// What a call is about. What it leaves out, a token restricted in that respect refuses.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What the route does.
    pub permission: Permission,
    /// The own agent it acts for.
    pub agent: Option<&'a str>,
    /// The host that is paid.
    pub host: Option<&'a str>,
    /// The rail that is paid on, `cashu` or `lightning`.
    pub rail: Option<&'a str>,
    /// The HTTP method of the call that is paid for.
    pub method: Option<&'a str>,
    /// What the call may cost at most.
    pub amount: Option<Msat>,
    /// Unix seconds.
    pub now: u64,
}

impl Request<'_> {
    /// Returns a request that names nothing but its permission.
    #[must_use]
    pub const fn new(permission: Permission, now: u64) -> Self {
        Self {
            permission,
            agent: None,
            host: None,
            rail: None,
            method: None,
            amount: None,
            now,
        }
    }
}

/// A call that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token's id, for logs and the audit.
    pub token_id: String,
    /// The tier as issued.
    pub tier: Tier,
    /// The only agent the token acts for.
    pub agent: Option<String>,
    /// The largest amount of one call.
    pub max_amount: Option<Msat>,
}

/// Why a call is not let in. Each sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Not a token, or one of another node.
    #[error("this is not a token of this node; copy it again or ask the operator for one")]
    NotOurs,
    /// Signed by this node, but the ledger does not know it (another data directory, or a restored backup).
    #[error("this node has no record of the token {0}; ask the operator for a new one")]
    NoRecord(String),
    /// The operator withdrew it.
    #[error("the token was revoked; ask the operator for a new one")]
    Revoked,
    /// Its time is over.
    #[error("the token ended at {0}; ask the operator for a new one")]
    Expired(u64),
    /// A caveat that this version cannot hold.
    #[error(
        "the token carries the unknown or unreadable condition {0:?}; use a token without it, or a newer node"
    )]
    UnknownCaveat(String),
    /// The tier does not include the call.
    #[error("{tier} does not include {permission}; use a token of a tier that does")]
    Tier {
        /// The narrowest tier that the token names.
        tier: Tier,
        /// What was wanted.
        permission: Permission,
    },
    /// Agent, host or rail is outside of what the token allows, or was not named.
    #[error("the token is restricted: {allowed}; the call is for {asked}")]
    Restricted {
        /// The restriction.
        allowed: Restriction,
        /// What the call named, or "none named".
        asked: String,
    },
    /// The amount is above the token's, or was not named.
    #[error("the token allows at most {max} a call; ask for less or use another token")]
    Amount {
        /// The token's bound.
        max: Msat,
    },
    /// What was spent under the token leaves too little of its window.
    #[error("the token allows {} in any {} seconds, {used} is used; wait, or use another token", .window.amount, .window.secs)]
    Window {
        /// The window.
        window: Window,
        /// Spent and reserved in it.
        used: Msat,
    },
    /// The ledger could not be read; nobody is let in meanwhile.
    #[error("the ledger cannot be read now; try again later")]
    Unavailable(#[from] StoreError),
}

/// Checks one restriction against a call.
pub(super) fn check(restriction: &Restriction, request: &Request<'_>) -> Result<(), Denied> {
    let permission = request.permission;
    match restriction {
        Restriction::Tier(tier) if !permits(*tier, permission) => Err(Denied::Tier {
            tier: *tier,
            permission,
        }),
        Restriction::ExpiresAt(at) if request.now >= *at => Err(Denied::Expired(*at)),
        Restriction::MaxAmount(max) => match request.amount {
            Some(amount) if amount > *max => Err(Denied::Amount { max: *max }),
            None if permission.spends() => Err(Denied::Amount { max: *max }),
            _ => Ok(()),
        },
        Restriction::Agent(agent) => one_of(
            restriction,
            std::slice::from_ref(agent),
            request.agent,
            permission.acts_for_an_agent(),
        ),
        Restriction::Hosts(hosts) => one_of(restriction, hosts, request.host, permission.spends()),
        Restriction::Rails(rails) => one_of(restriction, rails, request.rail, permission.spends()),
        Restriction::Methods(methods) => {
            one_of(restriction, methods, request.method, permission.spends())
        }
        // What is used of it is counted when the call is let in.
        Restriction::Window(window) => match request.amount {
            Some(amount) if amount > window.amount => Err(Denied::Amount { max: window.amount }),
            None if permission.spends() => Err(Denied::Amount { max: window.amount }),
            _ => Ok(()),
        },
        Restriction::Tier(_) | Restriction::ExpiresAt(_) => Ok(()),
    }
}

/// A call that names nothing passes only where nothing could be named.
fn one_of(
    restriction: &Restriction,
    allowed: &[String],
    asked: Option<&str>,
    is_needed: bool,
) -> Result<(), Denied> {
    let is_allowed = match asked {
        Some(asked) => allowed.iter().any(|name| name.eq_ignore_ascii_case(asked)),
        None => !is_needed,
    };
    if is_allowed {
        return Ok(());
    }
    Err(Denied::Restricted {
        allowed: restriction.clone(),
        asked: asked.unwrap_or("none named").to_owned(),
    })
}
