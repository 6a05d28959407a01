//! A listing's life between three nodes: the seller, a relay and a buyer, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria::clock::{ManualClock, SeededEntropy};
use feria::http::relay_endpoint::{
    EventSink, RelayEndpoint, RelayEndpointParts, RelayInfo, RelayPolicy, SinkAnswer,
};
use feria::lifecycle::Lifecycle;
use feria::market::check::RelayState;
use feria::market::{Indexer, Market, OwnAgent, Policy, QuotedPrice, SearchQuery};
use feria::protocol::{Listing, Offer, kinds};
use feria::relay::{RelayOptions, Relays};
use feria::store::index::{CatalogRow, Index};
use feria_paywall::amount::Msat;
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::{Keys, PublicKey, SecretKey};
use nostr::types::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;

const NOW: u64 = 1_800_000_000;
/// The kinds that a listing of our own is published as.
const OWN_LISTINGS: &[u16] = &[kinds::PAID_SERVICE, kinds::CLASSIFIED];
/// No test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hands what clients publish to the indexer, which announces it.
struct Sink(Indexer);

#[async_trait]
impl EventSink for Sink {
    async fn offer(&self, event: Event, _authenticated: &[PublicKey]) -> SinkAnswer {
        let admission = self.0.admit(event, None).await;
        SinkAnswer {
            accepted: admission.accepted,
            message: admission.reason.to_string(),
            is_new: false,
        }
    }
}

struct Node {
    market: Market,
    clock: Arc<ManualClock>,
    lifecycle: Lifecycle,
}

impl Node {
    fn start() -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let lifecycle = Lifecycle::default();
        let options = RelayOptions {
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            max_frame_bytes: 512 * 1_024,
        };
        let entropy = Arc::new(SeededEntropy::new(3));
        let relays = Relays::new(options, clock.clone(), entropy, lifecycle.clone());
        let index = Index::in_memory().unwrap();
        let market = Market::new(index, relays, Policy::default(), clock.clone());
        Self {
            market,
            clock,
            lifecycle,
        }
    }

    /// Serves this node as a relay and returns its URL.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let policy = RelayPolicy {
            public_urls: vec![format!("http://{address}")],
            ..RelayPolicy::default()
        };
        let endpoint = Arc::new(RelayEndpoint::new(RelayEndpointParts {
            index: self.market.index.clone(),
            sink: Arc::new(Sink(self.market.indexer.clone())),
            live: self.market.indexer.live(),
            policy,
            info: RelayInfo::default(),
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(7)),
            lifecycle: self.lifecycle.clone(),
        }));
        self.lifecycle.spawn(async move {
            axum::serve(listener, endpoint.router()).await.unwrap();
        });
        format!("ws://{address}")
    }

    /// Follows the relay at `url`, and returns what is stored from now on.
    fn follow(&self, url: &str) -> broadcast::Receiver<Arc<Event>> {
        let changes = self.market.indexer.changes();
        let (reader, urls) = (self.market.reader(), vec![url.to_owned()]);
        self.lifecycle
            .spawn(async move { reader.run(urls).await.unwrap() });
        changes
    }

    async fn search(&self, text: &str) -> Vec<CatalogRow> {
        let query = SearchQuery {
            text: text.to_owned(),
            ..SearchQuery::default()
        };
        self.market.search(query).await.unwrap().rows
    }
}

/// Waits until an event of each of `kinds` has arrived, in whatever order.
async fn until(changes: &mut broadcast::Receiver<Arc<Event>>, kinds: &[u16]) {
    let mut missing = kinds.to_vec();
    let stored = async {
        while !missing.is_empty() {
            let arrived = changes.recv().await.unwrap().kind.as_u16();
            missing.retain(|kind| *kind != arrived);
        }
    };
    timeout(PATIENCE, stored).await.unwrap();
}

fn agent(relays: &[&str]) -> OwnAgent {
    OwnAgent {
        keys: Keys::new(SecretKey::from_slice(&[7; 32]).unwrap()),
        listing: Listing {
            d_tag: "translate".to_owned(),
            name: "EN-ES translation agent".to_owned(),
            summary: "Pay-per-call translation".to_owned(),
            urls: vec!["https://agent.example/a/translate".to_owned()],
            offers: vec![Offer {
                capability: "translate".to_owned(),
                description: "Translates text".to_owned(),
                price: Msat::new(21_000),
                endpoint: "/v1".to_owned(),
                method: "POST".to_owned(),
            }],
            topics: vec!["translation".to_owned()],
            rails: vec!["l402".to_owned(), "nut24".to_owned()],
            mints: vec!["https://mint.example".to_owned()],
            image: None,
            published_at: NOW,
            expires_at: None,
            is_active: true,
        },
        write_relays: relays.iter().map(|&relay| relay.to_owned()).collect(),
        inbox_relays: relays.iter().map(|&relay| relay.to_owned()).collect(),
        lock_key: Some(format!("02{}", "ab".repeat(32))),
        mints: vec!["https://mint.example".to_owned()],
        node_url: "https://agent.example".to_owned(),
    }
}

#[tokio::test]
async fn a_listing_is_published_found_checked_repriced_and_retired() {
    let (relay, seller, buyer) = (Node::start(), Node::start(), Node::start());
    let url = relay.serve().await;
    let mut agent = agent(&[&url]);
    let mut arrived = buyer.follow(&url);

    let report = seller.market.publisher.publish(&agent).await;
    assert!(report.is_published(), "{report:?}");
    let published: Vec<u16> = report.events.iter().map(|event| event.kind).collect();
    assert_eq!(published, [0, 10_002, 10_050, 10_019, 31_402, 30_402]);
    until(&mut arrived, OWN_LISTINGS).await;

    let [found] = buyer.search("translation").await.try_into().unwrap();
    assert_eq!(found.price_msat, Some(21_000));
    assert_eq!(
        found.endpoint.as_deref(),
        Some("https://agent.example/a/translate/v1")
    );
    assert_eq!(found.relays, std::slice::from_ref(&url));
    let quoted = Some(QuotedPrice::Asked(Msat::new(21_000)));
    let check = seller.market.check(&agent, quoted).await;
    assert_eq!(
        (check.ok, check.relays[0].state),
        (true, RelayState::Current)
    );

    // The same second: the new price must win all the same.
    agent.listing.offers[0].price = Msat::new(5_000);
    seller.market.publisher.publish(&agent).await;
    until(&mut arrived, OWN_LISTINGS).await;
    let [found] = buyer.search("translation").await.try_into().unwrap();
    assert_eq!(found.price_msat, Some(5_000));

    let report = seller.market.publisher.retire(&agent).await;
    assert!(report.is_published(), "{report:?}");
    until(&mut arrived, &[kinds::DELETION]).await;
    for node in [&relay, &seller, &buyer] {
        assert!(node.search("").await.is_empty());
    }

    seller.market.publisher.publish(&agent).await;
    until(&mut arrived, OWN_LISTINGS).await;
    assert_eq!(buyer.search("translation").await.len(), 1);
    for node in [relay, seller, buyer] {
        assert!(node.lifecycle.shut_down(PATIENCE).await);
    }
}

#[tokio::test]
async fn listings_of_every_dialect_are_asked_of_a_relay() {
    let (relay, buyer) = (Node::start(), Node::start());
    let url = relay.serve().await;
    let keys = Keys::new(SecretKey::from_slice(&[9; 32]).unwrap());
    let content = r#"{"name":"wonder","serverInfo":{"name":"wonder"},"tools":[{"name":"wonder"}]}"#;
    let mut arrived = buyer.follow(&url);

    for kind in kinds::LISTINGS {
        let tags = [
            ["d", "x"],
            ["title", "wonder"],
            ["name", "wonder"],
            ["url", "https://a.example"],
            ["u", "https://a.example"],
            ["pmi", "l402"],
            ["k", "5050"],
            ["s", "x"],
        ];
        let event = EventBuilder::new(Kind::from_u16(*kind), content)
            .tags(tags.map(|tag| Tag::parse(tag).unwrap()))
            .custom_created_at(Timestamp::from_secs(NOW))
            .finalize(&keys)
            .unwrap();
        assert!(relay.market.indexer.admit(event, None).await.accepted);
    }

    until(&mut arrived, kinds::LISTINGS).await;
    let rows = buyer.search("wonder").await;
    for kind in kinds::LISTINGS {
        let row = rows.iter().find(|row| row.dialect == kind.to_string());
        assert_eq!(row.unwrap().relays, std::slice::from_ref(&url), "{kind}");
    }
    for node in [relay, buyer] {
        assert!(node.lifecycle.shut_down(PATIENCE).await);
    }
}

#[tokio::test]
async fn a_relay_that_is_down_is_reported_and_named() {
    let seller = Node::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let agent = agent(&[&url]);

    let report = seller.market.publisher.publish(&agent).await;
    assert!(!report.is_published());
    assert!(report.events.iter().all(|event| event.is_indexed));
    let check = seller.market.check(&agent, None).await;
    assert_eq!(check.relays[0].state, RelayState::Unreachable);
    assert!(check.fix.unwrap().contains("no relay answers"));
    assert_eq!(seller.search("translation").await.len(), 1);
}

#[tokio::test]
async fn a_lock_key_that_is_the_nostr_key_is_withheld() {
    let (relay, seller) = (Node::start(), Node::start());
    let mut agent = agent(&[&relay.serve().await]);
    agent.lock_key = Some(format!("02{}", agent.keys.public_key()));

    let report = seller.market.publisher.publish(&agent).await;

    assert!(
        report
            .events
            .iter()
            .all(|event| event.kind != kinds::NUTZAP_INFO)
    );
    assert!(report.withheld[0].contains("10019"), "{report:?}");
}
