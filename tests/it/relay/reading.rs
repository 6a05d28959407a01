//! Reading relays to the end: more than a page, over breaks, and after a restart.

use std::sync::Arc;
use std::time::Duration;

use feria::clock::{ManualClock, SharedClock};
use feria::lifecycle::Lifecycle;
use feria::market::{Market, Policy};
use feria::protocol::kinds;
use feria::relay::Relays;
use feria::store::index::{Cursor, Index};
use nostr::event::Event;
use nostr::filter::Filter;
use nostr::key::{Keys, SecretKey};
use serde_json::{Value, json};

use super::support::{self, NOW, Peer, Relay, event_at, links_with, scripted};
use feria::http::relay_endpoint::RelayPolicy;

const DAY: u64 = 86_400;

/// A node that reads relays.
struct Node {
    market: Market,
    lifecycle: Lifecycle,
}

impl Node {
    fn open(index: Index, relays: Relays, clock: SharedClock) -> Self {
        Self {
            market: Market::new(index, relays, Policy::default(), clock),
            lifecycle: Lifecycle::default(),
        }
    }

    fn read(&self, urls: &[&str]) {
        let reader = self.market.reader();
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        self.lifecycle
            .spawn(async move { reader.run(urls).await.unwrap() });
    }

    async fn count(&self) -> usize {
        let listings = Filter::new().kind(kinds::CLASSIFIED.into());
        let index = &self.market.index;
        index.count(vec![listings], 100_000, NOW).await.unwrap()
    }

    /// Waits until so many listings are stored.
    async fn until(&self, count: usize) {
        let wait = async {
            while self.count().await < count {
                tokio::task::yield_now().await;
            }
        };
        let result = tokio::time::timeout(support::PATIENCE, wait).await;
        assert!(result.is_ok(), "{} of {count}", self.count().await);
    }

    async fn cursors(&self) -> Vec<Cursor> {
        let filters = self.market.reader().cursor_name();
        self.market.index.list_cursors(filters).await.unwrap()
    }

    /// Waits until every relay was read up to `synced_to`.
    async fn until_synced(&self, relays: usize, synced_to: u64) {
        let wait = async {
            loop {
                let cursors = self.cursors().await;
                let is_synced = |cursor: &&Cursor| cursor.synced_to >= synced_to;
                if cursors.iter().filter(is_synced).count() >= relays {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let result = tokio::time::timeout(support::PATIENCE, wait).await;
        assert!(result.is_ok(), "{:?}", self.cursors().await);
    }
}

fn seller(number: u64) -> Keys {
    let mut secret = [3; 32];
    secret[..8].copy_from_slice(&(number + 1).to_be_bytes());
    Keys::new(SecretKey::from_slice(&secret).unwrap())
}

fn listing(number: u64, created_at: u64) -> Event {
    let name = format!("agent-{number}");
    let tags: [&[&str]; 2] = [&["d", &name], &["price", "21", "SAT", "request"]];
    event_at(
        &seller(number / 100),
        created_at,
        kinds::CLASSIFIED,
        "",
        &tags,
    )
}

/// A relay that holds `events` and gives at most `page` of them at once.
async fn relay_with(clock: &SharedClock, page: usize, events: &[Event]) -> Relay {
    let policy = RelayPolicy {
        max_limit: page,
        ..RelayPolicy::default()
    };
    let relay = Relay::start_at(Arc::clone(clock), policy).await;
    for event in events {
        relay.store(event.clone()).await;
    }
    relay
}

fn clock() -> (Arc<ManualClock>, SharedClock) {
    let clock = Arc::new(ManualClock::at(NOW));
    (clock.clone(), clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_read_to_its_first_event_whatever_a_page_holds() {
    let (_, clock) = clock();
    // Three years of listings, 40 of them in one second.
    let events: Vec<Event> = (0..260)
        .map(|number| listing(number, NOW - DAY * 4 * (number / 40).min(250)))
        .collect();
    let relay = relay_with(&clock, 50, &events).await;
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(Index::in_memory().unwrap(), relays, clock);

    node.read(&[&relay.url]);

    node.until(260).await;
    node.until_synced(1, NOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_nobody_listened_is_read_later() {
    let (hand, clock) = clock();
    let relay = relay_with(&clock, 500, &[listing(1, NOW - 9 * DAY)]).await;
    let index = Index::in_memory().unwrap();
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(index.clone(), relays, Arc::clone(&clock));
    node.read(&[&relay.url]);
    node.until_synced(1, NOW).await;
    node.lifecycle.shut_down(support::PATIENCE).await;

    hand.advance(Duration::from_secs(3 * DAY));
    for number in 2..9 {
        relay.store(listing(number, NOW + number * 3_600)).await;
    }
    // Dated before the cursor, as by an author whose clock is slow.
    relay.store(listing(9, NOW - 1_800)).await;
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(index, relays, clock);
    node.read(&[&relay.url]);

    node.until(9).await;
    node.until_synced(1, NOW + 3 * DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_longer_than_the_overlap_leaves_no_gap() {
    let (hand, clock) = clock();
    let relay = relay_with(&clock, 500, &[listing(1, NOW - 60)]).await;
    let url = relay.url.clone();
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(Index::in_memory().unwrap(), relays, Arc::clone(&clock));
    node.read(&[&url]);
    node.until_synced(1, NOW).await;

    let stopped = relay.stop().await;
    hand.advance(Duration::from_secs(DAY));
    for number in 2..5 {
        stopped.store(listing(number, NOW + number * 3_600)).await;
    }
    // New enough to come by the subscription, before the gap is closed.
    stopped.store(listing(5, NOW + DAY - 60)).await;
    let _relay = stopped.start_again().await;

    node.until(5).await;
    node.until_synced(1, NOW + DAY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_inside_a_page_moves_no_cursor() {
    let (_, clock) = clock();
    let url = scripted(|_, mut peer: Peer| async move {
        while let Some(message) = peer.hear().await {
            if message[0] != "REQ" {
                continue;
            }
            let id = message[1].clone();
            if message[2].get("until").is_some() {
                let event = serde_json::to_value(listing(1, NOW - 9 * DAY)).unwrap();
                peer.say(json!(["EVENT", id, event])).await;
                // And then nothing: no end of stored events.
                return;
            }
            peer.say(json!(["EOSE", id])).await;
        }
    })
    .await;
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(Index::in_memory().unwrap(), relays.clone(), clock);

    node.read(&[&url]);
    // The second connection shows the same event again, and the page ends there.
    support::eventually(|| relays.health().iter().any(|relay| relay.duplicates >= 1)).await;

    assert_eq!(node.cursors().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_end_of_pages_is_left() {
    let (_, clock) = clock();
    // Ignores `until` and `since`: gives the same page for ever.
    let page: Vec<Value> = (0..20)
        .map(|number| serde_json::to_value(listing(number, NOW - 5 * DAY)).unwrap())
        .collect();
    let url = scripted(move |_, mut peer: Peer| {
        let page = page.clone();
        async move {
            while let Some(message) = peer.hear().await {
                if message[0] == "REQ" {
                    for event in &page {
                        peer.say(json!(["EVENT", message[1], event])).await;
                    }
                    peer.say(json!(["EOSE", message[1]])).await;
                }
            }
        }
    })
    .await;
    let relays = links_with(Arc::clone(&clock), |_, _| {});
    let node = Node::open(Index::in_memory().unwrap(), relays, clock);

    node.read(&[&url]);

    node.until(20).await;
    node.until_synced(1, NOW).await;
}
