//! What a holder does without the node: read a token, and narrow it.

use feria_paywall::amount::Msat;
use feria_paywall::l402::Macaroon;
use serde::Serialize;

use super::caveat::Restriction;
use super::tier::{Permission, Tier, permits};
use super::token::{TokenTextError, agent_in, smallest_amount, token_id};

/// A token in plain words. The signature is not checked: that needs the node's secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The id to revoke it by.
    pub id: String,
    /// The tier as issued; `None` when the first caveat names none, which no node accepts.
    pub tier: Option<Tier>,
    /// What it permits after all narrowing; empty when it can do nothing any more.
    pub allowed: Vec<Permission>,
    /// The agent it acts for; `None` for all.
    pub agent: Option<String>,
    /// Unix seconds of the earliest end; `None` for never.
    pub expires_at: Option<u64>,
    /// The largest amount of one call.
    pub max_amount: Option<Msat>,
    /// Every restriction as a sentence, in the order they were added.
    pub sentences: Vec<String>,
    /// Conditions that this version does not know; a node of this version refuses the token.
    pub unknown: Vec<String>,
}

/// Returns what `text` allows, without asking the node.
///
/// # Errors
/// When it is no token for the API of a node.
pub fn inspect(text: &str) -> Result<Inspection, TokenTextError> {
    let (macaroon, id) = read(text)?;
    let caveats = macaroon.caveats().map_err(|_| TokenTextError::Format)?;
    let mut restrictions = Vec::new();
    let mut unknown = Vec::new();
    for caveat in &caveats {
        match Restriction::from_caveat(caveat) {
            Ok(restriction) => restrictions.push(restriction),
            Err(_) => unknown.push(caveat.to_string()),
        }
    }
    let tiers: Vec<Tier> = restrictions
        .iter()
        .filter_map(|restriction| match restriction {
            Restriction::Tier(tier) => Some(*tier),
            _ => None,
        })
        .collect();
    let tier = match restrictions.first() {
        Some(Restriction::Tier(tier)) => Some(*tier),
        _ => None,
    };
    let is_usable = tier.is_some() && unknown.is_empty();
    let allowed = Permission::ALL
        .into_iter()
        .filter(|permission| is_usable && tiers.iter().all(|tier| permits(*tier, *permission)))
        .collect();
    let expires_at = restrictions
        .iter()
        .filter_map(|restriction| match restriction {
            Restriction::ExpiresAt(at) => Some(*at),
            _ => None,
        })
        .min();
    Ok(Inspection {
        id,
        tier,
        allowed,
        agent: agent_in(&restrictions),
        expires_at,
        max_amount: smallest_amount(&restrictions),
        sentences: restrictions.iter().map(Restriction::to_string).collect(),
        unknown,
    })
}

/// Returns a copy of the token `text` narrowed by `restrictions`. Needs no
/// secret of the node, and what was narrowed once cannot be widened again.
///
/// # Errors
/// When the text is no token, or a restriction does not fit.
pub fn attenuate(text: &str, restrictions: &[Restriction]) -> Result<String, TokenTextError> {
    let (mut macaroon, _) = read(text)?;
    for restriction in restrictions {
        macaroon = macaroon
            .attenuate(&restriction.to_caveat()?)
            .map_err(|_| TokenTextError::TooLong)?;
    }
    Ok(macaroon.to_base64_url())
}

fn read(text: &str) -> Result<(Macaroon, String), TokenTextError> {
    let macaroon = Macaroon::parse(text.trim()).map_err(|_| TokenTextError::Format)?;
    let id = token_id(&macaroon).ok_or(TokenTextError::OtherPurpose)?;
    Ok((macaroon, id))
}
