//! Our link against our endpoint.

use std::sync::Arc;
use std::time::Duration;

use feria::clock::ManualClock;
use feria::http::relay_endpoint::RelayPolicy;
use feria::relay::{Delivery, RelayError};
use nostr::event::{FinalizeEventAsync, Kind};
use nostr::filter::Filter;
use nostr::key::Keys;
use nostr::nips::nip17::PrivateDirectMessageBuilder;
use nostr::nips::nip59::UnwrappedGift;

use super::support::{
    NOW, Relay, end_of_stored, event, event_at, eventually, links, links_with, next, next_event,
};

fn kind(kind: u16) -> Vec<Filter> {
    vec![Filter::new().kind(Kind::from(kind))]
}

#[tokio::test]
async fn events_reach_stored_and_live_subscribers_once() {
    let (first, second) = (Relay::start().await, Relay::start().await);
    let urls = [first.url.clone(), second.url.clone()];
    let keys = Keys::generate();
    let early = event(&keys, 30_402, "early", &[&["d", "a"]]);
    let late = event(&keys, 30_402, "late", &[&["d", "b"]]);
    let links = links();

    let published = links.publish(&urls, &early, None).await;
    let mut receiver = links.subscribe(&urls, kind(30_402), None).unwrap();
    let mut stored = end_of_stored(&mut receiver).await;
    stored.extend(end_of_stored(&mut receiver).await);
    links.publish(&urls, &late, None).await;
    let live = next_event(&mut receiver).await;

    assert!(
        published.iter().all(|answer| answer.accepted),
        "{published:?}"
    );
    assert_eq!(stored, [early]);
    assert_eq!(live, late);
    let duplicates = || {
        links
            .health()
            .iter()
            .map(|relay| relay.duplicates)
            .sum::<u64>()
    };
    eventually(|| duplicates() == 2).await;
    assert!(receiver.try_recv().is_err());
}

#[tokio::test]
async fn an_event_that_a_relay_has_counts_as_published() {
    let relay = Relay::start().await;
    let listing = event(&Keys::generate(), 30_402, "", &[&["d", "a"]]);
    let links = links();
    let urls = [relay.url.clone()];

    links.publish(&urls, &listing, None).await;
    let again = links.publish(&urls, &listing, None).await;

    assert!(again[0].accepted);
    assert_eq!(again[0].message, "duplicate: have it");
}

#[tokio::test]
async fn deletion_removes_own_events_only() {
    let relay = Relay::start().await;
    let urls = [relay.url.clone()];
    let (owner, stranger) = (Keys::generate(), Keys::generate());
    let listing = event(&owner, 30_402, "", &[&["d", "a"]]);
    let id = listing.id.to_hex();
    let links = links();
    links.publish(&urls, &listing, None).await;

    let foreign = event(&stranger, 5, "", &[&["e", &id]]);
    links.publish(&urls, &foreign, None).await;
    let after_foreign = links.fetch(&relay.url, kind(30_402), None).await.unwrap();
    let own = event(&owner, 5, "", &[&["e", &id]]);
    links.publish(&urls, &own, None).await;
    let after_own = links.fetch(&relay.url, kind(30_402), None).await.unwrap();

    assert_eq!(after_foreign, [listing]);
    assert!(after_own.is_empty());
}

#[tokio::test]
async fn an_event_is_gone_after_its_expiration() {
    let clock = Arc::new(ManualClock::at(NOW));
    let relay = Relay::start_at(Arc::clone(&clock) as _, RelayPolicy::default()).await;
    let urls = [relay.url.clone()];
    let expiration = (NOW + 60).to_string();
    let tags: [&[&str]; 2] = [&["d", "a"], &["expiration", &expiration]];
    let listing = event(&Keys::generate(), 30_402, "", &tags);
    let links = links();

    let first = links.publish(&urls, &listing, None).await;
    let before = links.fetch(&relay.url, kind(30_402), None).await.unwrap();
    clock.advance(Duration::from_secs(61));
    let after = links.fetch(&relay.url, kind(30_402), None).await.unwrap();
    let late = links.publish(&urls, &listing, None).await;

    assert!(first[0].accepted);
    assert_eq!(before, [listing]);
    assert!(after.is_empty());
    assert_eq!(late[0].message, "invalid: expired");
}

#[tokio::test]
async fn messages_are_shown_to_their_addressee_only() {
    let relay = Relay::start().await;
    let (sender, payee, stranger) = (Keys::generate(), Keys::generate(), Keys::generate());
    relay.endpoint.set_inbox_keys([payee.public_key()]);
    let wrap = PrivateDirectMessageBuilder::new(payee.public_key(), "250 sat for you")
        .finalize_async(&sender)
        .await
        .unwrap();
    // Wraps are dated by the system's clock; this one is as good.
    let wrap = event_at(
        &Keys::generate(),
        NOW,
        1_059,
        &wrap.content,
        &[&["p", &payee.public_key().to_hex()]],
    );
    let links = links();
    let mut inbox = links
        .subscribe(
            std::slice::from_ref(&relay.url),
            kind(1_059),
            Some(payee.clone()),
        )
        .unwrap();
    end_of_stored(&mut inbox).await;

    let published = links
        .publish(std::slice::from_ref(&relay.url), &wrap, Some(&sender))
        .await;
    let live = next_event(&mut inbox).await;
    let own = links.fetch(&relay.url, kind(1_059), Some(&payee)).await;
    let foreign = links.fetch(&relay.url, kind(1_059), Some(&stranger)).await;
    let nobody = links.fetch(&relay.url, kind(1_059), None).await;
    let anything = links.fetch(&relay.url, vec![Filter::new()], None).await;

    assert!(published[0].accepted, "{published:?}");
    assert_eq!(live, wrap);
    assert_eq!(own.unwrap(), [wrap]);
    assert!(foreign.unwrap().is_empty());
    let refusal = nobody.unwrap_err().to_string();
    assert!(refusal.contains("auth-required"), "{refusal}");
    assert!(anything.unwrap().is_empty());
}

#[tokio::test]
async fn messages_for_strangers_are_kept_by_an_open_inbox_only() {
    let clock = Arc::new(ManualClock::at(NOW));
    let closed = Relay::start().await;
    let open = RelayPolicy {
        is_open_inbox: true,
        ..RelayPolicy::default()
    };
    let open = Relay::start_at(clock, open).await;
    let somebody = Keys::generate().public_key().to_hex();
    let wrap = event(&Keys::generate(), 1_059, "sealed", &[&["p", &somebody]]);

    let urls = [closed.url.clone(), open.url.clone()];
    let published = links().publish(&urls, &wrap, None).await;

    assert!(!published[0].accepted);
    assert!(published[0].message.starts_with("blocked:"));
    assert!(published[1].accepted);
}

#[tokio::test]
async fn subscriptions_come_back_after_the_relay_restarts() {
    let relay = Relay::start().await;
    let url = relay.url.clone();
    let keys = Keys::generate();
    let links = links();
    let mut receiver = links
        .subscribe(std::slice::from_ref(&url), kind(30_402), None)
        .unwrap();
    end_of_stored(&mut receiver).await;

    let stopped = relay.stop().await;
    let unreachable = links.fetch(&url, kind(30_402), None).await;
    let _relay = stopped.start_again().await;
    end_of_stored(&mut receiver).await;
    let listing = event(&keys, 30_402, "after", &[&["d", "a"]]);
    let published = links
        .publish(std::slice::from_ref(&url), &listing, None)
        .await;
    let received = next_event(&mut receiver).await;

    assert!(matches!(unreachable, Err(RelayError::Unreachable { .. })));
    assert!(published[0].accepted, "{published:?}");
    assert_eq!(received, listing);
}

#[tokio::test]
async fn a_request_on_a_dead_connection_is_sent_again() {
    let relay = Relay::start().await;
    let url = relay.url.clone();
    let listing = event(&Keys::generate(), 30_402, "", &[&["d", "a"]]);
    let links = links();
    links.fetch(&url, kind(30_402), None).await.unwrap();

    let _relay = relay.stop().await.start_again().await;
    let published = links.publish(&[url], &listing, None).await;

    assert!(published[0].accepted, "{published:?}");
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_does_not_hold_up_its_own_requests() {
    let relay = Relay::start().await;
    let urls = [relay.url.clone()];
    let keys = Keys::generate();
    let links = links();
    let raw = (0..400).map(|number| {
        let d_tag = number.to_string();
        event_at(&keys, NOW + number, 30_402, "", &[&["d", &d_tag]])
    });
    let events: Vec<_> = raw.collect();
    for listing in &events {
        assert!(links.publish(&urls, listing, None).await[0].accepted);
    }

    let mut receiver = links.subscribe(&urls, kind(30_402), None).unwrap();
    let first = next(&mut receiver).await;
    let while_full = links
        .publish(&urls, &event(&keys, 10_002, "", &[]), None)
        .await;
    let rest = end_of_stored(&mut receiver).await;

    assert!(matches!(first, Delivery::Event(_)));
    assert!(while_full[0].accepted);
    assert_eq!(rest.len(), events.len() - 1);
}

#[tokio::test]
async fn a_dropped_receiver_ends_its_subscription() {
    let relay = Relay::start().await;
    let links = links_with(Arc::new(ManualClock::at(NOW)), |_, timing| {
        timing.ping_every = Duration::from_millis(5);
    });
    let receiver = links
        .subscribe(std::slice::from_ref(&relay.url), kind(30_402), None)
        .unwrap();
    eventually(|| {
        links
            .health()
            .iter()
            .any(|relay| relay.state == "connected")
    })
    .await;

    drop(receiver);

    eventually(|| links.health().iter().all(|relay| relay.state == "waiting")).await;
}

#[tokio::test]
async fn urls_that_name_no_relay_are_refused() {
    let links = links();
    let listing = event(&Keys::generate(), 30_402, "", &[&["d", "a"]]);
    for url in ["", "http://127.0.0.1", "relay", "ws://"] {
        let urls = [url.to_owned()];

        let subscribed = links.subscribe(&urls, kind(1), None);
        let fetched = links.fetch(url, kind(1), None).await;
        let published = links.publish(&urls, &listing, None).await;

        assert!(matches!(subscribed, Err(RelayError::Url(_))), "{url}");
        assert!(matches!(fetched, Err(RelayError::Url(_))), "{url}");
        assert!(!published[0].accepted, "{url}");
    }
}

#[tokio::test]
async fn a_message_can_be_opened_by_its_addressee() {
    let clock = Arc::new(feria::clock::SystemClock);
    let relay = Relay::start_at(clock, RelayPolicy::default()).await;
    let (sender, payee) = (Keys::generate(), Keys::generate());
    relay.endpoint.set_inbox_keys([payee.public_key()]);
    let links = links_with(Arc::new(feria::clock::SystemClock), |_, _| {});
    let wrap = PrivateDirectMessageBuilder::new(payee.public_key(), "hello")
        .finalize_async(&sender)
        .await
        .unwrap();

    links
        .publish(std::slice::from_ref(&relay.url), &wrap, None)
        .await;
    let received = links
        .fetch(&relay.url, kind(1_059), Some(&payee))
        .await
        .unwrap();
    let gift = UnwrappedGift::from_gift_wrap(&payee, &received[0]).unwrap();

    assert_eq!(gift.sender, sender.public_key());
    assert_eq!(gift.rumor.content, "hello");
}
