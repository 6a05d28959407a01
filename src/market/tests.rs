//! Admission, search pages, and what `check` tells its owner.

use std::collections::BTreeSet;
use std::sync::Arc;

use feria_paywall::amount::Msat;
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::filter::Filter;
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;

use super::check::{RelayState, judge};
use super::*;
use crate::clock::ManualClock;
use crate::protocol::dialect::{LIFETIME_SECS, ProjectionContext};
use crate::protocol::{self, Listing, Offer, kinds};

mod dialects;

const NOW: u64 = 1_794_000_000;

fn keys(number: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[number; 32]).unwrap())
}

fn indexer(policy: Policy) -> Indexer {
    let clock = Arc::new(ManualClock::at(NOW));
    Indexer::new(Index::in_memory().unwrap(), clock, policy)
}

fn builder(kind: u16, tags: &[&[&str]]) -> EventBuilder {
    EventBuilder::new(Kind::from_u16(kind), "")
        .tags(
            tags.iter()
                .map(|tag| Tag::parse(tag.iter().copied()).unwrap()),
        )
        .custom_created_at(Timestamp::from_secs(NOW))
}

fn service(author: u8, d: &str, price: &str) -> Event {
    let tags: &[&[&str]] = &[
        &["d", d],
        &["name", d],
        &["url", "https://a.example"],
        &["pmi", "l402"],
        &["price", "call", price, "sat"],
    ];
    builder(kinds::PAID_SERVICE, tags)
        .finalize(&keys(author))
        .unwrap()
}

fn agent() -> OwnAgent {
    OwnAgent {
        keys: keys(7),
        listing: Listing {
            d_tag: "translate".to_owned(),
            name: "Translate".to_owned(),
            summary: "Translates".to_owned(),
            urls: vec!["https://a.example/a/translate".to_owned()],
            offers: vec![Offer {
                capability: "translate".to_owned(),
                description: String::new(),
                price: Msat::new(20_500),
                endpoint: String::new(),
                method: "POST".to_owned(),
            }],
            topics: Vec::new(),
            rails: vec!["l402".to_owned()],
            mints: Vec::new(),
            image: None,
            published_at: NOW,
            expires_at: None,
            is_active: true,
        },
        write_relays: vec!["wss://a".to_owned(), "wss://b".to_owned()],
        inbox_relays: Vec::new(),
        lock_key: None,
        mints: vec!["https://mint.example".to_owned()],
        node_url: "https://a.example".to_owned(),
    }
}

fn listing_events(agent: &OwnAgent, now: u64) -> Vec<Event> {
    let context = ProjectionContext {
        pubkey: agent.keys.public_key(),
        relays: agent.write_relays.clone(),
        inbox_relays: Vec::new(),
        mints: Vec::new(),
        lock_key: None,
        node_url: agent.node_url.clone(),
        now,
        lifetime_secs: LIFETIME_SECS,
    };
    protocol::project(&agent.listing, &context)
        .into_iter()
        .map(|builder| builder.finalize(&agent.keys).unwrap())
        .collect()
}

#[tokio::test]
async fn a_listing_is_taken_once_and_announced_once() {
    let indexer = indexer(Policy::default());
    let mut changes = indexer.changes();
    let listing = service(1, "a", "21");

    let first = indexer.admit(listing.clone(), Some("wss://a")).await;
    let again = indexer.admit(listing.clone(), Some("wss://b")).await;

    assert_eq!((first.accepted, first.is_new), (true, true));
    assert_eq!((again.accepted, again.is_new), (true, false));
    assert_eq!(*changes.try_recv().unwrap(), listing);
    assert!(changes.try_recv().is_err());
}

#[tokio::test]
async fn an_absurd_price_is_kept_as_text_and_counted() {
    let index = Index::in_memory().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let indexer = Indexer::new(index.clone(), clock, Policy::default());
    for (d, price) in [
        ("a", "-5"),
        ("b", "1e99"),
        ("c", "99999999999999999999"),
        ("d", "7"),
    ] {
        assert!(indexer.admit(service(1, d, price), None).await.accepted);
    }

    let rows = search::search(&index, SearchQuery::default(), NOW)
        .await
        .unwrap()
        .rows;
    let priced: Vec<_> = rows.iter().filter_map(|row| row.price_msat).collect();
    assert_eq!((rows.len(), priced), (4, vec![7_000]));
    assert!(rows.iter().any(|row| row.price_text == "-5 sat"));
    assert_eq!(indexer.counters()["absurd-price"], 3);
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let indexer = indexer(Policy::default());
    let long = "x".repeat(2_000);
    let sign = |builder: EventBuilder| builder.finalize(&keys(1)).unwrap();
    let mut deep = builder(kinds::PAID_SERVICE, &[]);
    deep.content = "[".repeat(21);
    let mut large = builder(kinds::PAID_SERVICE, &[]);
    large.content = "x".repeat(70_000);
    let future = builder(kinds::PAID_SERVICE, &[]);
    let at = |secs| Timestamp::from_secs(NOW + secs);
    let tags: Vec<&[&str]> = vec![&["t", "x"]; 501];

    for (event, expected) in [
        (builder(1, &[]), Reason::Kind),
        (builder(kinds::GIFT_WRAP, &[]), Reason::NoInbox),
        (deep, Reason::TooDeep),
        (large, Reason::TooLarge),
        (builder(kinds::PROFILE, &tags), Reason::Tags),
        (builder(kinds::PROFILE, &[&["t", &long]]), Reason::Tags),
        (future.clone().custom_created_at(at(901)), Reason::Future),
        (future.custom_created_at(at(900)), Reason::Stored),
        (
            builder(kinds::PROFILE, &[&["expiration", "5"]]),
            Reason::Deleted,
        ),
    ] {
        let admission = indexer.admit(sign(event), None).await;
        assert_eq!(admission.reason, expected);
        assert_eq!(admission.accepted, expected == Reason::Stored);
    }
    assert_eq!(indexer.counters()["tags"], 2);
}

#[tokio::test]
async fn a_full_quota_takes_new_versions_and_copies_only() {
    let indexer = indexer(Policy {
        max_listings_per_key: 2,
        ..Policy::default()
    });
    indexer.admit(service(1, "a", "1"), None).await;
    indexer.admit(service(1, "b", "1"), None).await;

    let reason = async |event: Event| indexer.admit(event, None).await.reason;
    assert_eq!(reason(service(1, "c", "1")).await, Reason::Quota);
    assert_eq!(reason(service(1, "b", "1")).await, Reason::Duplicate);
    let mut newer = builder(kinds::PAID_SERVICE, &[&["d", "a"]]);
    newer = newer.custom_created_at(Timestamp::from_secs(NOW + 1));
    assert_eq!(
        reason(newer.finalize(&keys(1)).unwrap()).await,
        Reason::Stored
    );
    assert_eq!(reason(service(2, "c", "1")).await, Reason::Stored);
    let profile = builder(kinds::PROFILE, &[]).finalize(&keys(1)).unwrap();
    assert_eq!(reason(profile).await, Reason::Stored);
}

#[tokio::test]
async fn messages_are_kept_for_own_agents_up_to_a_limit() {
    let indexer = indexer(Policy {
        max_wraps_per_inbox: 2,
        ..Policy::default()
    });
    indexer.set_gift_wraps(GiftWraps::For(BTreeSet::from([keys(9).public_key()])));
    let wrap = |sender: u8, recipient: u8| {
        let recipient = keys(recipient).public_key().to_hex();
        builder(kinds::GIFT_WRAP, &[&["p", &recipient]])
            .finalize(&keys(sender))
            .unwrap()
    };

    let mut reasons = Vec::new();
    for (sender, recipient) in [(1, 9), (2, 9), (3, 9), (4, 8)] {
        reasons.push(indexer.admit(wrap(sender, recipient), None).await.reason);
    }
    assert_eq!(
        reasons,
        [
            Reason::Stored,
            Reason::Stored,
            Reason::Quota,
            Reason::NoInbox
        ]
    );
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let index = Index::in_memory().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let indexer = Indexer::new(index.clone(), clock, Policy::default());
    for d in ["a", "b", "c"] {
        indexer.admit(service(1, d, "1"), None).await;
    }
    let query = |offset| SearchQuery {
        limit: Some(2),
        offset,
        ..SearchQuery::default()
    };

    let first = search::search(&index, query(0), NOW).await.unwrap();
    let second = search::search(&index, query(2), NOW).await.unwrap();

    assert_eq!(first.next_offset, Some(2));
    assert_eq!(second.next_offset, None);
    let names: BTreeSet<_> = first
        .rows
        .iter()
        .chain(&second.rows)
        .map(|row| &row.name)
        .collect();
    assert_eq!(names.len(), 3);
    let none = SearchQuery {
        offset: usize::MAX,
        limit: Some(0),
        ..SearchQuery::default()
    };
    assert!(
        search::search(&index, none, NOW)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
}

#[test]
fn own_projections_pass_every_known_client() {
    let agent = agent();
    let events = listing_events(&agent, NOW);
    for client in client_rules::CLIENTS {
        let faults = (client.faults)(&events[1]);
        assert!(faults.is_empty(), "{}: {faults:?}", client.name);
    }
}

#[test]
fn the_known_traps_are_named() {
    let listed = builder(
        kinds::CLASSIFIED,
        &[
            &["d", "https://a.example"],
            &["price", "5", "sats", "per-request"],
            &["t"],
            &["a", "x"],
        ],
    );
    let event = listed.finalize(&keys(1)).unwrap();
    for client in client_rules::CLIENTS {
        assert!(!(client.faults)(&event).is_empty(), "{}", client.name);
    }
}

#[test]
fn check_names_the_one_thing_to_fix() {
    let agent = agent();
    let now = listing_events(&agent, NOW);
    let old = listing_events(&agent, NOW - 60);
    let down = || Err("connection refused".to_owned());
    let fix = |a: Result<Vec<Event>, String>, b: Result<Vec<Event>, String>, quoted| {
        let answers = [("wss://a".to_owned(), a), ("wss://b".to_owned(), b)];
        let report = judge(&agent, &answers, quoted, NOW);
        assert_eq!(report.ok, report.fix.is_none());
        report.fix.unwrap_or_default()
    };
    let asked = |msat| Some(QuotedPrice::Asked(Msat::new(msat)));
    let both = || Ok(now.clone());

    assert_eq!(fix(both(), both(), asked(21_000)), "");
    assert!(fix(down(), down(), None).contains("no relay answers"));
    assert!(fix(both(), down(), None).contains("wss://b does not answer"));
    assert!(fix(both(), Ok(Vec::new()), None).contains("does not have the listing"));
    assert!(fix(both(), Ok(old), None).contains("old version"));
    assert!(fix(both(), Ok(now[..1].to_vec()), None).contains("classified"));
    assert!(fix(both(), both(), asked(5_000_000)).contains("asks 5000 sat"));
    let free = Some(QuotedPrice::NoChallenge { status: 200 });
    assert!(fix(both(), both(), free).contains("200 instead of 402"));
    assert!(fix(both(), both(), Some(QuotedPrice::Unreachable)).contains("does not answer"));
    assert!(fix(both(), both(), Some(QuotedPrice::Shadow)).contains("shadow mode"));

    let answers = [("wss://a".to_owned(), both())];
    let late = judge(&agent, &answers, None, NOW + LIFETIME_SECS);
    assert_eq!(late.relays[0].state, RelayState::Expired);
}

#[tokio::test]
async fn a_dropped_catalog_is_rebuilt_from_the_events() {
    let index = Index::in_memory().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let indexer = Indexer::new(index.clone(), clock, Policy::default());
    for event in listing_events(&agent(), NOW) {
        indexer.admit(event, None).await;
    }
    let before = search::search(&index, SearchQuery::default(), NOW)
        .await
        .unwrap();

    assert_eq!(indexer.rebuild_catalog().await.unwrap(), 2);

    let after = search::search(&index, SearchQuery::default(), NOW)
        .await
        .unwrap();
    assert_eq!(before, after);
    assert_eq!(after.rows.len(), 1);
    assert_eq!(
        indexer.filters(),
        [Filter::new().kinds(kinds::SUBSCRIBED.iter().copied().map(Kind::from_u16))]
    );
}
