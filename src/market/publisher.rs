//! Publishes what own agents are and sell.
//!
//! One call writes every event an agent has, in the shapes of
//! [`crate::protocol::dialect`], sends each to the write relays and offers it to
//! the own index, and reports what each relay said. Publishing again is the
//! refresh: relays keep the newest version.

use futures_util::future::join_all;
use nostr::event::{Event, EventBuilder, FinalizeEvent};
use nostr::filter::Filter;
use nostr::key::Keys;
use serde::Serialize;

use super::indexer::Indexer;
use crate::clock::SharedClock;
use crate::config::AgentConfig;
use crate::protocol::dialect::{self, LIFETIME_SECS, ProjectionContext, classified};
use crate::protocol::profile::{self, NutzapInfo, Profile};
use crate::protocol::{self, Listing, Offer, deletion, handler, kinds, tags};
use crate::relay::{Published, Relays};

/// An own agent, with all that its events say.
#[derive(Debug, Clone)]
pub struct OwnAgent {
    /// Signs its events.
    pub keys: Keys,
    /// What it sells.
    pub listing: Listing,
    /// Relays its events go to.
    pub write_relays: Vec<String>,
    /// Relays it takes private messages from.
    pub inbox_relays: Vec<String>,
    /// Its P2PK key, 33 bytes compressed, hex; without it no kind 10019 is published.
    pub lock_key: Option<String>,
    /// Mints it takes ecash at by message, whatever its listing sells for.
    pub mints: Vec<String>,
    /// The node's public URL without trailing slash.
    pub node_url: String,
}

/// What became of the events of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// One entry per event, in the order of publication.
    pub events: Vec<PublishedEvent>,
    /// Events that were not published because they must not be.
    pub withheld: Vec<String>,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedEvent {
    /// Its kind.
    pub kind: u16,
    /// Its id, hex.
    pub event_id: String,
    /// Whether the own index has it.
    pub is_indexed: bool,
    /// What each relay said.
    pub relays: Vec<Published>,
}

impl PublishReport {
    /// Returns whether every event reached at least one relay.
    #[must_use]
    pub fn is_published(&self) -> bool {
        !self.events.is_empty()
            && self
                .events
                .iter()
                .all(|event| event.relays.iter().any(|relay| relay.accepted))
    }
}

/// Publishes for own agents; clones share it.
#[derive(Debug, Clone)]
pub struct Publisher {
    relays: Relays,
    indexer: Indexer,
    clock: SharedClock,
}

impl Publisher {
    /// Returns the publisher that sends through `relays` and feeds `indexer`.
    #[must_use]
    pub fn new(relays: Relays, indexer: Indexer, clock: SharedClock) -> Self {
        Self {
            relays,
            indexer,
            clock,
        }
    }

    /// Publishes profile, relay lists, mints and listing of `agent`. Repeat it every
    /// [`dialect::REFRESH_SECS`], or the listing vanishes.
    #[tracing::instrument(
        name = "market.listing.publish",
        skip_all,
        fields(listing.d_tag = %agent.listing.d_tag)
    )]
    pub async fn publish(&self, agent: &OwnAgent) -> PublishReport {
        let context = self.context(agent).await;
        let mut report = PublishReport::default();
        let mut events = announcements(agent, &context, &mut report);
        events.extend(protocol::project(&agent.listing, &context));
        self.send_all(&agent.keys, &agent.write_relays, events, &mut report)
            .await;
        report
    }

    /// Marks the listing of `agent` as sold and asks for its deletion.
    #[tracing::instrument(
        name = "market.listing.retire",
        skip_all,
        fields(listing.d_tag = %agent.listing.d_tag)
    )]
    pub async fn retire(&self, agent: &OwnAgent) -> PublishReport {
        let context = self.context(agent).await;
        let listing = Listing {
            is_active: false,
            ..agent.listing.clone()
        };
        // Relays that ignore deletions still show it as sold.
        let sold = protocol::project(&listing, &context);
        let deleted = vec![deletion::build(&coordinates(agent), context.now)];
        let mut report = PublishReport::default();
        // In this order: what comes after its deletion is refused.
        for events in [sold, deleted] {
            self.send_all(&agent.keys, &agent.write_relays, events, &mut report)
                .await;
        }
        report
    }

    /// Publishes where listings open in a browser, signed with the node's `keys`.
    pub async fn publish_handler(
        &self,
        keys: &Keys,
        node_name: &str,
        node_url: &str,
        relays: &[String],
    ) -> PublishReport {
        let mut report = PublishReport::default();
        let builder = handler::build(node_name, node_url, self.now_for(keys).await);
        self.send_all(keys, relays, vec![builder], &mut report)
            .await;
        report
    }

    async fn context(&self, agent: &OwnAgent) -> ProjectionContext {
        ProjectionContext {
            pubkey: agent.keys.public_key(),
            relays: agent.write_relays.clone(),
            inbox_relays: agent.inbox_relays.clone(),
            mints: agent.mints.clone(),
            lock_key: agent.lock_key.clone(),
            node_url: agent.node_url.clone(),
            now: self.now_for(&agent.keys).await,
            lifetime_secs: LIFETIME_SECS,
        }
    }

    /// Returns the time to sign with: now, but later than everything the key has
    /// published, because of two versions of one second a relay may keep the old one.
    async fn now_for(&self, keys: &Keys) -> u64 {
        let now = self.clock.now();
        let newest = self
            .indexer
            .newest(Filter::new().author(keys.public_key()))
            .await
            .map_or(0, |event| event.created_at.as_secs());
        now.max(newest.saturating_add(1))
    }

    /// Signs all events, then sends them side by side: a relay that is down costs one time-out.
    async fn send_all(
        &self,
        keys: &Keys,
        relays: &[String],
        builders: Vec<EventBuilder>,
        report: &mut PublishReport,
    ) {
        let mut sending = Vec::new();
        for builder in builders {
            let kind = builder.kind.as_u16();
            match builder.finalize(keys) {
                Ok(event) => sending.push(self.send(keys, relays, event)),
                Err(error) => report.withheld.push(format!("kind {kind}: {error}")),
            }
        }
        report.events.extend(join_all(sending).await);
    }

    async fn send(&self, keys: &Keys, relays: &[String], event: Event) -> PublishedEvent {
        let admission = self.indexer.admit(event.clone(), None).await;
        PublishedEvent {
            kind: event.kind.as_u16(),
            event_id: event.id.to_hex(),
            is_indexed: admission.accepted,
            relays: self.relays.publish(relays, &event, Some(keys)).await,
        }
    }
}

/// Builds 0, 10002, 10050 and 10019, as far as there is something to say.
fn announcements(
    agent: &OwnAgent,
    context: &ProjectionContext,
    report: &mut PublishReport,
) -> Vec<EventBuilder> {
    let listing = &agent.listing;
    let who = Profile {
        name: listing.name.clone(),
        about: listing.summary.clone(),
        picture: Some(context.image(listing)),
        website: listing.urls.first().cloned(),
        is_bot: true,
    };
    let takes_ecash = listing.rails.iter().any(|rail| rail == "nut24");
    let mut events = vec![profile::build_profile(&who, takes_ecash, context.now)];
    if !context.relays.is_empty() {
        events.push(profile::build_relay_list(&context.relays, context.now));
    }
    if !context.inbox_relays.is_empty() {
        events.push(profile::build_inbox_relays(
            &context.inbox_relays,
            context.now,
        ));
    }
    if let Some(lock_key) = &context.lock_key {
        let info = NutzapInfo {
            relays: context.inbox_relays.clone(),
            mints: context.mints.clone(),
            lock_key: lock_key.clone(),
        };
        match profile::build_nutzap_info(&context.pubkey, &info, context.now) {
            Ok(event) => events.push(event),
            Err(fault) => report
                .withheld
                .push(format!("kind {}: {fault}", kinds::NUTZAP_INFO)),
        }
    }
    events
}

/// Returns the addresses of all listing events of `agent`.
fn coordinates(agent: &OwnAgent) -> Vec<String> {
    let pubkey = agent.keys.public_key();
    let listing = &agent.listing;
    let canonical =
        dialect::coordinate(kinds::PAID_SERVICE, &pubkey, &tags::clean_d(&listing.d_tag));
    let projections = listing.offers.iter().map(|offer| {
        let d_tag = classified::d_tag(listing, offer);
        dialect::coordinate(kinds::CLASSIFIED, &pubkey, &d_tag)
    });
    std::iter::once(canonical).chain(projections).collect()
}

/// Returns the listing of an own agent as its configuration describes it.
///
/// `published_at` is when it was first published, Unix seconds.
#[must_use]
pub fn listing_of(
    agent: &AgentConfig,
    node_url: &str,
    mints: &[String],
    published_at: u64,
) -> Listing {
    let takes_ecash = agent.rails.iter().any(|rail| rail == "nut24");
    Listing {
        d_tag: agent.name.clone(),
        name: agent.name.clone(),
        summary: agent.summary.clone(),
        urls: vec![format!("{node_url}/a/{}", agent.name)],
        offers: offers_of(agent),
        topics: agent.topics.clone(),
        rails: agent.rails.clone(),
        mints: if takes_ecash {
            mints.to_vec()
        } else {
            Vec::new()
        },
        image: None,
        published_at,
        expires_at: None,
        is_active: true,
    }
}

/// Returns one offer for each capability, at the first route that sells it.
fn offers_of(agent: &AgentConfig) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for route in agent.sold() {
        let Some(terms) = route.terms else { continue };
        if offers
            .iter()
            .any(|offer| offer.capability == terms.capability)
        {
            continue;
        }
        offers.push(Offer {
            capability: terms.capability,
            description: agent.summary.clone(),
            price: terms.price,
            endpoint: route.path,
            method: route.methods.into_iter().next().unwrap_or_default(),
        });
    }
    offers
}
