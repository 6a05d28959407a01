//! The rows of the dashboard's tables, made of what the other parts report.

use feria_paywall::amount::Msat;

use crate::config::AgentConfig;
use crate::gateway::GivenAway;
use crate::http::Node;
use crate::http::view::{self, Moment, RailMark, msats, percent, sats, whole_sats};
use crate::relay::RelayHealth;
use crate::spend::Purchase;
use crate::store::ledger::Audit;
use crate::store::ledger::recent_calls::RecentCall;
use crate::transfer::{Direction, Transfer};
use crate::wallet::WalletInfo;

/// Height of the bar of the largest amount, in units of the drawing.
const BAR_HEIGHT: u64 = 28;

/// How something ended: a word, and the class that gives it a colour and a shape.
pub(super) struct Outcome {
    pub(super) word: String,
    pub(super) class: &'static str,
}

impl Outcome {
    fn new(word: &str, class: &'static str) -> Self {
        Self {
            word: word.to_owned(),
            class,
        }
    }
}

/// Says how a purchase ended.
pub(super) fn purchase_outcome(outcome: &str) -> Outcome {
    match outcome {
        "delivered" => Outcome::new("delivered", "good"),
        "refunded" => Outcome::new("refunded", "back"),
        "paid" => Outcome::new("paid, answer owed", "warn"),
        "unknown" => Outcome::new("unresolved", "warn"),
        "planned" => Outcome::new("planned", "warn"),
        "failed" => Outcome::new("failed", "bad"),
        other => Outcome::new(other, "muted"),
    }
}

/// Says how a paid call ended.
pub(super) fn call_outcome(state: &str) -> Outcome {
    match state {
        "committed" => Outcome::new("delivered", "good"),
        "claimed" => Outcome::new("being served", "warn"),
        "swapping" => Outcome::new("being paid", "warn"),
        "interrupted" => Outcome::new("interrupted", "warn"),
        "released" => Outcome::new("given back", "back"),
        "refunded" => Outcome::new("refunded", "back"),
        other => Outcome::new(other, "muted"),
    }
}

/// One bar of a small chart.
pub(super) struct Bar {
    pub(super) left: u64,
    pub(super) top: u64,
    pub(super) height: u64,
    pub(super) class: &'static str,
}

/// Draws amounts, newest first, as bars from left (oldest) to right.
pub(super) fn bars(newest_first: impl Iterator<Item = (u64, &'static str)>) -> Vec<Bar> {
    let mut amounts: Vec<_> = newest_first.collect();
    amounts.reverse();
    let largest = amounts.iter().map(|(amount, _)| *amount).max().unwrap_or(0);
    amounts
        .into_iter()
        .zip(0..)
        .map(|((amount, class), place)| {
            // An amount of nothing keeps a stump: there was a call.
            let height = (percent(amount, largest) * BAR_HEIGHT / 100).max(2);
            Bar {
                left: place * 8,
                top: BAR_HEIGHT - height,
                height,
                class,
            }
        })
        .collect()
}

pub(super) struct AgentRow {
    pub(super) name: String,
    pub(super) price: String,
    pub(super) rails: Vec<RailMark>,
    pub(super) earned: String,
    /// Calls in shadow mode and free trials since the start; empty when there were none.
    pub(super) given_away: String,
    pub(super) method: String,
    pub(super) endpoint: String,
    pub(super) upstream: String,
}

impl AgentRow {
    pub(super) fn new(node: &Node, agent: &AgentConfig, audit: &Audit) -> Self {
        let account = format!("income:{}", agent.name);
        let earned = audit.balances.get(&account).copied().unwrap_or(0);
        Self {
            name: agent.name.clone(),
            price: agent.price.to_string(),
            rails: view::rail_marks(&agent.rails),
            earned: sats(-earned),
            given_away: given_away(node.gateway.given_away(&agent.name)),
            method: agent.method.clone(),
            endpoint: node.endpoint(agent),
            upstream: agent.upstream.clone(),
        }
    }
}

/// Says what an agent gave away.
fn given_away(count: GivenAway) -> String {
    let shadow = (count.shadow_calls > 0).then(|| {
        let price = Msat::new(count.shadow_msat);
        format!("{} in shadow mode, worth {price}", count.shadow_calls)
    });
    let trials = (count.trial_calls > 0).then(|| format!("{} free trials", count.trial_calls));
    let parts: Vec<String> = shadow.into_iter().chain(trials).collect();
    parts.join("; ")
}

pub(super) struct PurchaseRow {
    pub(super) when: Moment,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) rail: RailMark,
    pub(super) price: String,
    pub(super) fee: String,
    pub(super) outcome: Outcome,
    pub(super) duration: String,
    pub(super) decision: String,
    /// The reason is shown at once where something did not go as wished.
    pub(super) is_open: bool,
}

impl PurchaseRow {
    pub(super) fn new(purchase: Purchase, now: u64) -> Self {
        let (host, path) = host_and_path(&purchase.endpoint);
        Self {
            is_open: purchase.outcome != "delivered",
            when: Moment::before(purchase.created_at, now),
            host,
            path,
            rail: view::rail_mark(&purchase.rail),
            price: msats(purchase.price_msat),
            fee: msats(purchase.fee_msat),
            outcome: purchase_outcome(&purchase.outcome),
            duration: view::duration(purchase.duration_ms),
            decision: purchase.decision,
        }
    }
}

/// Splits an address into what differs between sellers and what is called there.
fn host_and_path(endpoint: &str) -> (String, String) {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    match rest.split_once('/') {
        Some((host, path)) => (host.to_owned(), format!("/{path}")),
        None => (rest.to_owned(), "/".to_owned()),
    }
}

/// Returns what a paid call brought: a payment is counted at its first call.
pub(super) fn brought_msat(call: &RecentCall) -> u64 {
    if call.is_paid_before {
        0
    } else {
        call.price_msat
    }
}

pub(super) struct CallRow {
    pub(super) id: String,
    pub(super) when: Moment,
    pub(super) agent: String,
    pub(super) rail: RailMark,
    pub(super) price: String,
    pub(super) given_back: String,
    pub(super) outcome: Outcome,
}

impl CallRow {
    pub(super) fn new(call: RecentCall, now: u64) -> Self {
        Self {
            when: Moment::before(call.created_at, now),
            rail: view::rail_mark(if call.is_paid_before {
                "l402-cached"
            } else {
                &call.rail
            }),
            price: msats(brought_msat(&call)),
            given_back: whole_sats(call.owed_sat),
            outcome: call_outcome(&call.state),
            agent: call.agent,
            id: view::short(&call.id),
        }
    }
}

pub(super) struct WalletRow {
    pub(super) agent: String,
    pub(super) id: String,
    pub(super) state: Outcome,
    pub(super) balance: String,
    pub(super) limit: String,
    pub(super) filled: u64,
    pub(super) ends: Moment,
}

impl WalletRow {
    pub(super) fn new(wallet: WalletInfo, now: u64) -> Self {
        let class = match wallet.state.as_str() {
            "open" => "good",
            "frozen" => "warn",
            _ => "muted",
        };
        Self {
            state: Outcome::new(&wallet.state, class),
            ends: Moment::after(wallet.expires_at, now),
            id: view::short(&wallet.id),
            balance: whole_sats(wallet.balance_sat),
            limit: whole_sats(wallet.limit_sat),
            filled: percent(wallet.balance_sat, wallet.limit_sat),
            agent: wallet.agent,
        }
    }
}

pub(super) struct MintRow {
    pub(super) url: String,
    pub(super) held: String,
    pub(super) cap: String,
    pub(super) filled: u64,
}

impl MintRow {
    pub(super) fn new(url: String, held_sat: u64, cap_sat: u64) -> Self {
        Self {
            url,
            held: whole_sats(held_sat),
            cap: whole_sats(cap_sat),
            filled: percent(held_sat, cap_sat),
        }
    }
}

pub(super) struct RelayRow {
    pub(super) url: String,
    pub(super) state: Outcome,
    pub(super) events: u64,
    pub(super) duplicates: u64,
    pub(super) invalid: u64,
    pub(super) said: String,
}

impl RelayRow {
    pub(super) fn new(relay: RelayHealth) -> Self {
        let class = match relay.state.as_str() {
            "connected" => "good",
            _ => "warn",
        };
        Self {
            state: Outcome::new(&relay.state, class),
            said: relay.last_error.unwrap_or_default(),
            url: relay.url,
            events: relay.events,
            duplicates: relay.duplicates,
            invalid: relay.invalid,
        }
    }
}

pub(super) struct TransferRow {
    pub(super) direction: &'static str,
    pub(super) agent: String,
    pub(super) peer: String,
    pub(super) peer_short: String,
    pub(super) amount: String,
    pub(super) state: Outcome,
    pub(super) when: Moment,
}

impl TransferRow {
    pub(super) fn new(transfer: Transfer, now: u64) -> Self {
        let state = transfer.state.as_str();
        let class = match state {
            "claimed" | "received" | "acknowledged" => "good",
            "reclaimed" => "back",
            "failed" | "refused" | "rejected" => "bad",
            _ => "warn",
        };
        Self {
            direction: match transfer.direction {
                Direction::Out => "sent by",
                Direction::In => "received by",
            },
            state: Outcome::new(&state.replace(['_', '-'], " "), class),
            amount: whole_sats(transfer.amount_sat),
            when: Moment::before(transfer.created_at, now),
            peer_short: view::short(&transfer.peer),
            peer: transfer.peer,
            agent: transfer.agent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_run_from_the_oldest_and_fit() {
        let bars = bars([(0, "good"), (50, "good"), (100, "bad")].into_iter());

        let seen: Vec<_> = bars
            .iter()
            .map(|bar| (bar.left, bar.top, bar.height))
            .collect();
        assert_eq!(seen, [(0, 0, 28), (8, 14, 14), (16, 26, 2)]);
        assert_eq!(bars[0].class, "bad");
    }

    #[test]
    fn an_address_is_shown_in_two_parts() {
        let split = |endpoint| host_and_path(endpoint);

        assert_eq!(split("https://h:1/a/x"), ("h:1".into(), "/a/x".into()));
        assert_eq!(split("h"), ("h".into(), "/".into()));
    }

    #[test]
    fn what_is_not_settled_is_never_green() {
        for state in ["claimed", "swapping", "interrupted", "released", "new"] {
            assert_ne!(call_outcome(state).class, "good", "{state}");
        }
        for outcome in ["unknown", "paid", "planned", "refused", "failed"] {
            assert_ne!(purchase_outcome(outcome).class, "good", "{outcome}");
        }
    }
}
