//! Why does nobody see this listing?
//!
//! Reads the listing back from every relay as a stranger would, replays the
//! acceptance rules of known clients ([`super::client_rules`]), compares the
//! listed price with what the endpoint asked, and names the one thing to fix.

use feria_paywall::amount::Msat;
use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use serde::Serialize;
use url::{Host, Url};

use super::client_rules::CLIENTS;
use super::publisher::OwnAgent;
use crate::protocol::dialect::classified;
use crate::protocol::{kinds, tags};
use crate::relay::Relays;

/// What the endpoint asked when it was called without paying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotedPrice {
    /// A 402 that asks this much.
    Asked(Msat),
    /// An answer that was no 402.
    NoChallenge {
        /// Its HTTP status.
        status: u16,
    },
    /// No answer.
    Unreachable,
    /// It is in shadow mode and asks nothing.
    Shadow,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// What each relay shows.
    pub relays: Vec<RelayCheck>,
    /// What each known client makes of the classified listing.
    pub clients: Vec<ClientCheck>,
    /// The first thing to do; `None` when nothing is wrong.
    pub fix: Option<String>,
}

/// What one relay shows to a stranger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayCheck {
    /// Its URL.
    pub relay: String,
    /// How the canonical listing is there.
    pub state: RelayState,
    /// Whether the classified listing is there too.
    pub has_classified: bool,
    /// Why it could not be asked.
    pub message: String,
}

/// How a relay has a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayState {
    /// In the newest version that any relay shows.
    Current,
    /// In an older version.
    Stale,
    /// Expired, but still shown.
    Expired,
    /// Not at all.
    Missing,
    /// It did not answer.
    Unreachable,
}

/// What one client makes of the classified listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientCheck {
    /// Its name.
    pub client: String,
    /// Whether it shows it.
    pub accepts: bool,
    /// What it misses.
    pub faults: Vec<String>,
}

/// Checks the listing of `agent` at its write relays.
pub(super) async fn check(
    relays: &Relays,
    agent: &OwnAgent,
    quoted: Option<QuotedPrice>,
    now: u64,
) -> CheckReport {
    let filters = vec![
        Filter::new()
            .author(agent.keys.public_key())
            .kinds([kinds::PAID_SERVICE, kinds::CLASSIFIED].map(Kind::from_u16)),
    ];
    let asked = agent.write_relays.iter().map(|relay| {
        let filters = filters.clone();
        async move {
            let answer = relays.fetch(relay, filters, None).await;
            (relay.clone(), answer.map_err(|error| error.to_string()))
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    judge(agent, &answers, quoted, now)
}

/// What one relay answered: its events, or why there are none.
type Answer = (String, Result<Vec<Event>, String>);

/// Judges the relays' answers.
pub(super) fn judge(
    agent: &OwnAgent,
    answers: &[Answer],
    quoted: Option<QuotedPrice>,
    now: u64,
) -> CheckReport {
    let d_tag = tags::clean_d(&agent.listing.d_tag);
    let everything = || {
        answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .flatten()
    };
    let newest = newest(everything(), kinds::PAID_SERVICE, &d_tag);
    let shop_d_tag = agent.listing.offers.first().map_or_else(
        || d_tag.clone(),
        |offer| classified::d_tag(&agent.listing, offer),
    );
    let relays: Vec<RelayCheck> = answers
        .iter()
        .map(|(relay, answer)| match answer {
            Err(message) => RelayCheck {
                relay: relay.clone(),
                state: RelayState::Unreachable,
                has_classified: false,
                message: message.clone(),
            },
            Ok(events) => RelayCheck {
                relay: relay.clone(),
                state: state(events, &d_tag, newest, now),
                has_classified: self::newest(events, kinds::CLASSIFIED, &shop_d_tag).is_some(),
                message: String::new(),
            },
        })
        .collect();
    let classified = self::newest(everything(), kinds::CLASSIFIED, &shop_d_tag);
    let clients = classified.map(judge_clients).unwrap_or_default();
    let fix = fix(agent, &relays, &clients, quoted);
    CheckReport {
        ok: fix.is_none(),
        relays,
        clients,
        fix,
    }
}

fn newest<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    kind: u16,
    d_tag: &str,
) -> Option<&'a Event> {
    events
        .into_iter()
        .filter(|event| event.kind.as_u16() == kind && tags::first(event, "d") == Some(d_tag))
        // The order of events is newest first.
        .min()
}

fn state(events: &[Event], d_tag: &str, newest: Option<&Event>, now: u64) -> RelayState {
    match self::newest(events, kinds::PAID_SERVICE, d_tag) {
        None => RelayState::Missing,
        Some(event) if tags::expiration(event).is_some_and(|at| at <= now) => RelayState::Expired,
        Some(event) if Some(event.id) == newest.map(|event| event.id) => RelayState::Current,
        Some(_) => RelayState::Stale,
    }
}

fn judge_clients(classified: &Event) -> Vec<ClientCheck> {
    CLIENTS
        .iter()
        .map(|client| {
            let faults = (client.faults)(classified);
            ClientCheck {
                client: client.name.to_owned(),
                accepts: faults.is_empty(),
                faults,
            }
        })
        .collect()
}

/// Returns the first thing to do, the most harmful fault first.
fn fix(
    agent: &OwnAgent,
    relays: &[RelayCheck],
    clients: &[ClientCheck],
    quoted: Option<QuotedPrice>,
) -> Option<String> {
    let name = &agent.listing.d_tag;
    if agent.listing.rails.is_empty() {
        return Some(
            "nobody can pay for it: feria mint add URL --cap 10000sat, and restart the node"
                .to_owned(),
        );
    }
    if relays.is_empty() {
        return Some(
            "no relay to write to: add one to relays.toml with write = true, and restart the node"
                .to_owned(),
        );
    }
    if let Some(fix) = fix_address(agent) {
        return Some(fix);
    }
    if relays
        .iter()
        .all(|relay| relay.state == RelayState::Unreachable)
    {
        let relay = &relays[0];
        return Some(format!(
            "no relay answers; {}: {}",
            relay.relay, relay.message
        ));
    }
    if let Some(fix) = quoted.and_then(|quoted| fix_quote(agent, quoted)) {
        return Some(fix);
    }
    let not_current = relays
        .iter()
        .find(|relay| relay.state != RelayState::Current);
    if let Some(relay) = not_current {
        let url = &relay.relay;
        return Some(match relay.state {
            RelayState::Unreachable => format!("{url} does not answer: {}", relay.message),
            RelayState::Missing => {
                format!("{url} does not have the listing: feria agent publish {name}")
            }
            RelayState::Expired => format!("{url} shows it expired: feria agent publish {name}"),
            RelayState::Current | RelayState::Stale => {
                format!("{url} shows an old version: feria agent publish {name}")
            }
        });
    }
    if let Some(relay) = relays.iter().find(|relay| !relay.has_classified) {
        return Some(format!(
            "{} does not have the classified listing (kind 30402): feria agent publish {name}",
            relay.relay
        ));
    }
    let refusing = clients.iter().find(|client| !client.accepts)?;
    let fault = refusing.faults.first().map_or("", String::as_str);
    Some(format!("{} hides it: {fault}", refusing.client))
}

/// A listing on relays of the world must name an address the world can reach.
fn fix_address(agent: &OwnAgent) -> Option<String> {
    let url = &agent.node_url;
    let is_private = is_loopback(url) && !agent.write_relays.iter().all(|relay| is_loopback(relay));
    is_private.then(|| {
        format!(
            "only this machine reaches {url}, which the listing names: set public.url in feria.toml, and restart the node"
        )
    })
}

fn is_loopback(url: &str) -> bool {
    let parsed = Url::parse(url);
    match parsed.as_ref().ok().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn fix_quote(agent: &OwnAgent, quoted: QuotedPrice) -> Option<String> {
    let offer = agent.listing.offers.first()?;
    let url = agent.listing.endpoint_url(offer);
    match quoted {
        QuotedPrice::Unreachable => Some(format!("{url} does not answer")),
        QuotedPrice::Shadow => Some(format!(
            "{url} is in shadow mode and charges nobody: set shadow = false to sell"
        )),
        QuotedPrice::NoChallenge { status } => {
            Some(format!("{url} answers {status} instead of 402"))
        }
        // Invoices and ecash are whole satoshi.
        QuotedPrice::Asked(price) if price.ceil_sat() != offer.price.ceil_sat() => Some(format!(
            "{url} asks {price}, but the listing says {}",
            offer.price
        )),
        QuotedPrice::Asked(_) => None,
    }
}
