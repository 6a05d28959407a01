//! The four tiers, and what each permits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much a token may do at most. The first three names are those of
/// Lightning Labs' macaroon bakery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Looks, touches nothing.
    ReadOnly,
    /// Looks, and asks for money on behalf of own agents.
    InvoiceOnly,
    /// Looks, and pays from a wallet whose keys stay on the node or with its remote signer.
    PayOnly,
    /// All that an agent needs to trade.
    AgentCommerce,
}

/// One thing that a route of the API does.
///
/// | permission | what it opens | read-only | invoice-only | pay-only | agent-commerce |
/// |---|---|---|---|---|---|
/// | `browse` | search, listings, prices, balances, purchases and their reasons | yes | yes | yes | yes |
/// | `invoice` | make invoices and payment requests for own agents, and their state | no | yes | no | yes |
/// | `pay` | paid fetch, pay an invoice or a payment request | no | no | yes | yes |
/// | `transfer` | send ecash to a peer by message, reclaim it | no | no | no | yes |
/// | `listing` | publish, edit and retire listings of own agents | no | no | no | yes |
/// | `wallet-admin` | open, fund and close wallets of own agents | no | no | no | yes |
/// | `node-admin` | issue and revoke tokens, settings, backups | no | no | no | no |
///
/// `node-admin` belongs to no tier: only the operator, who has the node's files, does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// See the table.
    Browse,
    /// See the table.
    Invoice,
    /// See the table.
    Pay,
    /// See the table.
    Transfer,
    /// See the table.
    Listing,
    /// See the table.
    WalletAdmin,
    /// See the table.
    NodeAdmin,
}

/// Returns whether `tier` includes `permission`.
#[must_use]
pub const fn permits(tier: Tier, permission: Permission) -> bool {
    match permission {
        Permission::Browse => true,
        Permission::Invoice => matches!(tier, Tier::InvoiceOnly | Tier::AgentCommerce),
        Permission::Pay => matches!(tier, Tier::PayOnly | Tier::AgentCommerce),
        Permission::Transfer | Permission::Listing | Permission::WalletAdmin => {
            matches!(tier, Tier::AgentCommerce)
        }
        Permission::NodeAdmin => false,
    }
}

impl Tier {
    /// All tiers, from the least to the most.
    pub const ALL: [Self; 4] = [
        Self::ReadOnly,
        Self::InvoiceOnly,
        Self::PayOnly,
        Self::AgentCommerce,
    ];

    /// Returns the name in commands, tokens and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::InvoiceOnly => "invoice-only",
            Self::PayOnly => "pay-only",
            Self::AgentCommerce => "agent-commerce",
        }
    }
}

impl Permission {
    /// All permissions, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Browse,
        Self::Invoice,
        Self::Pay,
        Self::Transfer,
        Self::Listing,
        Self::WalletAdmin,
        Self::NodeAdmin,
    ];

    /// Returns the name in messages and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::Invoice => "invoice",
            Self::Pay => "pay",
            Self::Transfer => "transfer",
            Self::Listing => "listing",
            Self::WalletAdmin => "wallet-admin",
            Self::NodeAdmin => "node-admin",
        }
    }

    /// Returns what it opens, for the documentation.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Browse => "search, listings, prices, balances, purchases and their reasons",
            Self::Invoice => "invoices and payment requests for own agents",
            Self::Pay => "paid calls and invoices, from a wallet of an own agent",
            Self::Transfer => "ecash sent to a peer by message",
            Self::Listing => "what own agents sell: publish, reload, withdraw credentials",
            Self::WalletAdmin => "wallets of own agents: open, fund, freeze, sweep, close",
            Self::NodeAdmin => "tokens, policies and approvals: with the operator's key alone",
        }
    }

    /// Returns whether a call acts for an agent, so that a token bound to one
    /// needs to know which.
    #[must_use]
    pub const fn acts_for_an_agent(self) -> bool {
        !matches!(self, Self::Browse | Self::NodeAdmin)
    }

    /// Returns whether a call spends, so that hosts, rails and amounts bound it.
    #[must_use]
    pub const fn spends(self) -> bool {
        matches!(self, Self::Pay | Self::Transfer)
    }
}

/// A word that names no tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {0:?} as a tier: choose read-only, invoice-only, pay-only or agent-commerce")]
pub struct ParseTierError(pub String);

impl FromStr for Tier {
    type Err = ParseTierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| ParseTierError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
