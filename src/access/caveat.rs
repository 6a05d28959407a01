//! The restrictions a token can carry, and how each is spelled as a caveat.
//!
//! | caveat | example | bounds |
//! |---|---|---|
//! | `tier` | `tier=pay-only` | what may be done |
//! | `agent` | `agent=research` | for whom |
//! | `expires_at` | `expires_at=1900000000` | until when, Unix seconds |
//! | `max_amount_msat` | `max_amount_msat=50000` | the amount of each call |
//! | `window_msat` | `window_msat=500000/86400` | the amount of all calls in any so many seconds |
//! | `host` | `host=api.example,localhost` | whom may be paid |
//! | `rail` | `rail=cashu` | how |
//! | `method` | `method=GET` | by which HTTP methods a paid call is made |
//!
//! [`CAVEATS`] is the same table for the documentation.

use std::fmt;
use std::str::FromStr;

use feria_paywall::amount::Msat;
use feria_paywall::l402::Caveat;

use super::tier::Tier;

/// Every condition with an example and what it bounds, in plain words.
pub const CAVEATS: [(&str, &str, &str); 8] = [
    ("tier", "tier=pay-only", "what may be done"),
    ("agent", "agent=research", "for which own agent"),
    (
        "expires_at",
        "expires_at=1900000000",
        "until when, Unix seconds",
    ),
    (
        "max_amount_msat",
        "max_amount_msat=50000",
        "what one call may cost at most, fees included",
    ),
    (
        "window_msat",
        "window_msat=500000/86400",
        "what all calls in any so many seconds may cost; copies of the token share it",
    ),
    (
        "host",
        "host=api.example,localhost",
        "which hosts may be paid",
    ),
    ("rail", "rail=cashu", "by which rails: cashu, lightning"),
    (
        "method",
        "method=GET,HEAD",
        "by which HTTP methods a paid call may be made",
    ),
];

/// The longest window, in seconds: a year.
const MAX_WINDOW_SECS: u64 = 366 * 24 * 3_600;

/// How much may be spent in any so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The most.
    pub amount: Msat,
    /// How long, in seconds; 1 to a year.
    pub secs: u64,
}

/// One condition that every call with the token must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restriction {
    /// Only what this tier permits.
    Tier(Tier),
    /// Only for this agent.
    Agent(String),
    /// Only before this moment, Unix seconds.
    ExpiresAt(u64),
    /// Only calls of at most this amount.
    MaxAmount(Msat),
    /// Only so much in any so many seconds.
    Window(Window),
    /// Only payments to one of these hosts.
    Hosts(Vec<String>),
    /// Only payments on one of these rails, `cashu` or `lightning`.
    Rails(Vec<String>),
    /// Only paid calls by one of these HTTP methods.
    Methods(Vec<String>),
}

/// A caveat that is no restriction this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRestrictionError {
    /// The condition is not in the table of this module.
    #[error(
        "read the condition {0:?}: known are tier, agent, expires_at, max_amount_msat, window_msat, host, rail and method"
    )]
    Unknown(String),
    /// The value cannot be read or written.
    #[error("read the value of {0}")]
    Value(&'static str),
}

impl Restriction {
    /// Returns the name of the condition.
    #[must_use]
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::Tier(_) => "tier",
            Self::Agent(_) => "agent",
            Self::ExpiresAt(_) => "expires_at",
            Self::MaxAmount(_) => "max_amount_msat",
            Self::Window(_) => "window_msat",
            Self::Hosts(_) => "host",
            Self::Rails(_) => "rail",
            Self::Methods(_) => "method",
        }
    }

    /// Returns the caveat that stands for this restriction.
    ///
    /// # Errors
    /// When it would read back as something else: an empty list, a comma in a host.
    pub(super) fn to_caveat(&self) -> Result<Caveat, ParseRestrictionError> {
        let value = match self {
            Self::Tier(tier) => tier.to_string(),
            Self::Agent(agent) => agent.clone(),
            Self::ExpiresAt(at) => at.to_string(),
            Self::MaxAmount(amount) => amount.as_u64().to_string(),
            Self::Window(window) => format!("{}/{}", window.amount.as_u64(), window.secs),
            Self::Hosts(names) | Self::Rails(names) | Self::Methods(names) => names.join(","),
        };
        let fault = || ParseRestrictionError::Value(self.condition());
        let caveat = Caveat::new(self.condition(), value).map_err(|_| fault())?;
        match Self::from_caveat(&caveat) {
            Ok(read) if read == *self => Ok(caveat),
            _ => Err(fault()),
        }
    }

    /// Reads a caveat.
    pub(super) fn from_caveat(caveat: &Caveat) -> Result<Self, ParseRestrictionError> {
        let value = caveat.value();
        match caveat.condition() {
            "tier" => value
                .parse()
                .map(Self::Tier)
                .map_err(|_| ParseRestrictionError::Value("tier")),
            "agent" if !value.is_empty() => Ok(Self::Agent(value.to_owned())),
            "agent" => Err(ParseRestrictionError::Value("agent")),
            "expires_at" => number("expires_at", value).map(Self::ExpiresAt),
            "max_amount_msat" => {
                number("max_amount_msat", value).map(|msat| Self::MaxAmount(Msat::new(msat)))
            }
            "host" => names("host", value).map(Self::Hosts),
            "rail" => names("rail", value).map(Self::Rails),
            "method" => names("method", value).map(Self::Methods),
            "window_msat" => window(value)
                .map(Self::Window)
                .ok_or(ParseRestrictionError::Value("window_msat")),
            other => Err(ParseRestrictionError::Unknown(
                other.chars().take(40).collect(),
            )),
        }
    }
}

/// Reads `condition=value`, the spelling of the command line.
impl FromStr for Restriction {
    type Err = ParseRestrictionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let caveat = Caveat::parse(text.as_bytes())
            .map_err(|_| ParseRestrictionError::Unknown(text.chars().take(40).collect()))?;
        Self::from_caveat(&caveat)
    }
}

/// Says the restriction in plain words.
impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(tier) => write!(f, "may do what {tier} permits"),
            Self::Agent(agent) => write!(f, "acts only for agent {agent}"),
            Self::ExpiresAt(at) => write!(f, "ends at {at} (Unix seconds)"),
            Self::MaxAmount(amount) => write!(f, "at most {amount} a call"),
            Self::Window(window) => {
                write!(f, "at most {} in any {}", window.amount, span(window.secs))
            }
            Self::Hosts(hosts) => write!(f, "pays only {}", hosts.join(", ")),
            Self::Rails(rails) => write!(f, "pays only by {}", rails.join(", ")),
            Self::Methods(methods) => write!(f, "calls only by {}", methods.join(", ")),
        }
    }
}

/// Reads plain digits; `parse` alone would take a sign.
fn number(condition: &'static str, value: &str) -> Result<u64, ParseRestrictionError> {
    value
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| value.parse().ok())
        .flatten()
        .ok_or(ParseRestrictionError::Value(condition))
}

fn window(value: &str) -> Option<Window> {
    let (amount, secs) = value.split_once('/')?;
    let amount = Msat::new(number("window_msat", amount).ok()?);
    let secs = number("window_msat", secs).ok()?;
    ((1..=MAX_WINDOW_SECS).contains(&secs)).then_some(Window { amount, secs })
}

fn span(secs: u64) -> String {
    match secs {
        secs if secs % 86_400 == 0 => format!("{} days", secs / 86_400),
        secs if secs % 3_600 == 0 => format!("{} hours", secs / 3_600),
        secs if secs % 60 == 0 => format!("{} minutes", secs / 60),
        secs => format!("{secs} seconds"),
    }
}

fn names(condition: &'static str, value: &str) -> Result<Vec<String>, ParseRestrictionError> {
    let names: Vec<_> = value.split(',').map(str::to_owned).collect();
    if names
        .iter()
        .any(|name| name.trim() != name || name.is_empty())
    {
        return Err(ParseRestrictionError::Value(condition));
    }
    Ok(names)
}
