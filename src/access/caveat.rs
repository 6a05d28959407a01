//! The restrictions a token can carry, and how each is spelled as a caveat.
//!
//! | caveat | example | bounds |
//! |---|---|---|
//! | `tier` | `tier=pay-only` | what may be done |
//! | `agent` | `agent=research` | for whom |
//! | `expires_at` | `expires_at=1900000000` | until when, Unix seconds |
//! | `max_amount_msat` | `max_amount_msat=50000` | the amount of each call |
//! | `host` | `host=api.example,localhost` | whom may be paid |
//! | `rail` | `rail=cashu` | how |

use std::fmt;
use std::str::FromStr;

use feria_paywall::amount::Msat;
use feria_paywall::l402::Caveat;

use super::tier::Tier;

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
    /// Only payments to one of these hosts.
    Hosts(Vec<String>),
    /// Only payments on one of these rails, `cashu` or `lightning`.
    Rails(Vec<String>),
}

/// A caveat that is no restriction this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRestrictionError {
    /// The condition is not in the table of this module.
    #[error(
        "read the condition {0:?}: known are tier, agent, expires_at, max_amount_msat, host and rail"
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
            Self::Hosts(_) => "host",
            Self::Rails(_) => "rail",
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
            Self::Hosts(names) | Self::Rails(names) => names.join(","),
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
            Self::Hosts(hosts) => write!(f, "pays only {}", hosts.join(", ")),
            Self::Rails(rails) => write!(f, "pays only by {}", rails.join(", ")),
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
