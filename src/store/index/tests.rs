//! The index against hostile, late and repeated events, and against a naive filter.

use std::collections::BTreeSet;

use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::filter::{Filter, MatchEventOptions, SingleLetterTag};
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;
use proptest::prelude::*;

use super::*;

mod audit;
mod versions;

const NOW: u64 = 1_794_000_000;

fn keys(number: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[number; 32]).unwrap())
}

fn event(author: u8, kind: u16, at: u64, tags: &[&[&str]]) -> Event {
    EventBuilder::new(Kind::from_u16(kind), "")
        .tags(
            tags.iter()
                .map(|tag| Tag::parse(tag.iter().copied()).unwrap()),
        )
        .custom_created_at(Timestamp::from_secs(at))
        .finalize(&keys(author))
        .unwrap()
}

fn row(event: &Event, name: &str) -> CatalogRow {
    let d_tag = insert::d_tag(event).unwrap_or_default();
    CatalogRow {
        coordinate: format!("{}:{}:{d_tag}", event.kind, event.pubkey),
        event_id: event.id.to_hex(),
        name: name.to_owned(),
        price_msat: Some(21_000),
        rails: vec!["l402".to_owned()],
        ..CatalogRow::default()
    }
}

async fn insert(index: &Index, event: &Event) -> Stored {
    index
        .insert(event.clone(), Vec::new(), None, NOW)
        .await
        .unwrap()
}

async fn insert_row(index: &Index, event: &Event, row: CatalogRow) -> Stored {
    index
        .insert(event.clone(), vec![row], Some("wss://a".to_owned()), NOW)
        .await
        .unwrap()
}

async fn all(index: &Index) -> Vec<Event> {
    index.query(vec![Filter::new()], 1_000, NOW).await.unwrap()
}

async fn find(index: &Index, text: &str) -> Vec<String> {
    let search = Search {
        text: text.to_owned(),
        limit: 10,
        ..Search::default()
    };
    let rows = index.search(search, NOW).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

#[tokio::test]
async fn a_newer_version_replaces_and_an_older_one_never_returns() {
    let index = Index::in_memory().unwrap();
    let old = event(1, 31_402, NOW - 10, &[&["d", "x"]]);
    let new = event(1, 31_402, NOW - 5, &[&["d", "x"]]);
    let other = event(2, 31_402, NOW - 20, &[&["d", "x"]]);

    assert_eq!(insert(&index, &old).await, Stored::New);
    assert_eq!(insert(&index, &old).await, Stored::Duplicate);
    assert_eq!(insert(&index, &new).await, Stored::New);
    assert_eq!(insert(&index, &old).await, Stored::Superseded);
    assert_eq!(insert(&index, &other).await, Stored::New);

    assert_eq!(all(&index).await, [new, other]);
}

#[tokio::test]
async fn of_two_versions_of_the_same_second_the_lower_id_stays() {
    let mut versions = [
        event(1, 0, NOW, &[&["t", "a"]]),
        event(1, 0, NOW, &[&["t", "b"]]),
    ];
    versions.sort_by_key(|event| event.id);
    for order in [[0, 1], [1, 0]] {
        let index = Index::in_memory().unwrap();
        for at in order {
            insert(&index, &versions[at]).await;
        }
        assert_eq!(all(&index).await, versions[..1]);
    }
}

#[tokio::test]
async fn a_deletion_acts_whenever_it_arrives() {
    let listing = event(1, 31_402, NOW - 10, &[&["d", "x"]]);
    let address = format!("31402:{}:x", listing.pubkey);
    let id = listing.id.to_hex();
    for tag in [["a", &address], ["e", &id]] {
        let deletion = event(1, 5, NOW - 5, &[&tag]);
        for order in [[&listing, &deletion], [&deletion, &listing]] {
            let index = Index::in_memory().unwrap();
            for event in order {
                insert_row(&index, event, row(event, "translation")).await;
            }
            assert_eq!(insert(&index, &listing).await, Stored::Deleted);
            assert_eq!(all(&index).await, std::slice::from_ref(&deletion));
        }
    }
}

#[tokio::test]
async fn a_listing_published_after_its_deletion_is_shown() {
    let index = Index::in_memory().unwrap();
    let address = format!("31402:{}:x", keys(1).public_key());
    insert(&index, &event(1, 5, NOW - 5, &[&["a", &address]])).await;

    let again = event(1, 31_402, NOW - 4, &[&["d", "x"]]);
    assert_eq!(insert(&index, &again).await, Stored::New);
}

#[tokio::test]
async fn nobody_deletes_what_another_published() {
    let index = Index::in_memory().unwrap();
    let listing = event(1, 31_402, NOW - 10, &[&["d", "x"]]);
    let address = format!("31402:{}:x", listing.pubkey);
    let tampered = event(2, 5, NOW, &[&["a", &address], &["e", &listing.id.to_hex()]]);
    insert(&index, &tampered).await;
    insert(&index, &listing).await;
    insert(
        &index,
        &event(2, 5, NOW - 1, &[&["e", &listing.id.to_hex()]]),
    )
    .await;

    assert!(all(&index).await.contains(&listing));
}

#[tokio::test]
async fn a_deletion_request_cannot_be_deleted() {
    let index = Index::in_memory().unwrap();
    let deletion = event(1, 5, NOW - 5, &[&["e", &"0".repeat(64)]]);
    let second = event(1, 5, NOW, &[&["e", &deletion.id.to_hex()]]);
    insert(&index, &deletion).await;
    insert(&index, &second).await;

    assert_eq!(all(&index).await, [second, deletion]);
}

#[tokio::test]
async fn expired_events_are_neither_shown_nor_replaced_by_older_ones() {
    let index = Index::in_memory().unwrap();
    let expires = (NOW + 60).to_string();
    let listing = event(1, 31_402, NOW, &[&["d", "x"], &["expiration", &expires]]);
    let mut listed = row(&listing, "translation");
    listed.expires_at = Some(NOW + 60);
    insert_row(&index, &listing, listed).await;
    assert_eq!(index.count_listings(NOW).await.unwrap(), 1);

    let later = NOW + 60;
    assert!(
        index
            .query(vec![Filter::new()], 9, later)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(index.count_listings(later).await.unwrap(), 0);
    assert_eq!(index.prune_expired(later).await.unwrap(), 1);
    assert_eq!(index.prune_expired(later).await.unwrap(), 0);
    let old = event(1, 31_402, NOW - 1, &[&["d", "x"]]);
    assert_eq!(insert(&index, &old).await, Stored::Superseded);
    let stale = event(1, 31_402, NOW + 1, &[&["d", "x"], &["expiration", "1"]]);
    assert_eq!(insert(&index, &stale).await, Stored::Deleted);
}

#[tokio::test]
async fn search_ranks_filters_and_forgets_removed_listings() {
    let index = Index::in_memory().unwrap();
    let first = event(1, 31_402, NOW - 2, &[&["d", "a"]]);
    let second = event(1, 31_402, NOW - 1, &[&["d", "b"]]);
    let mut cheap = row(&first, "Translate text");
    cheap.price_msat = Some(1_000);
    cheap.rails = vec!["nut24".to_owned()];
    insert_row(&index, &first, cheap).await;
    insert_row(&index, &second, row(&second, "Weather")).await;

    assert_eq!(find(&index, "translation").await, ["Translate text"]);
    assert_eq!(find(&index, "transl").await, ["Translate text"]);
    assert_eq!(find(&index, "").await, ["Weather", "Translate text"]);
    let search = |rail: Option<&str>, max_price: Option<u64>| Search {
        rail: rail.map(str::to_owned),
        max_price: max_price.map(feria_paywall::amount::Msat::new),
        limit: 9,
        ..Search::default()
    };
    let cheap = index.search(search(None, Some(20_999)), NOW).await.unwrap();
    assert_eq!(cheap.len(), 1);
    assert_eq!(cheap[0].relays, ["wss://a"]);
    assert_eq!(
        index
            .search(search(Some("l402"), None), NOW)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        index
            .search(search(Some("l40"), None), NOW)
            .await
            .unwrap()
            .len(),
        0
    );

    insert(&index, &event(1, 5, NOW, &[&["e", &first.id.to_hex()]])).await;
    assert!(find(&index, "translation").await.is_empty());
}

#[tokio::test]
async fn search_text_is_never_syntax() {
    let index = Index::in_memory().unwrap();
    let listing = event(1, 31_402, NOW, &[&["d", "a"]]);
    insert_row(&index, &listing, row(&listing, "Translate text")).await;
    for text in [
        "\"",
        "'",
        "*",
        "a OR",
        "NEAR(",
        "name:",
        "{name summary}: x",
        "^",
        "-",
        "AND",
        "NOT x",
        "\"\"\"",
        "'; DROP TABLE offers; --",
        "\u{0}",
        "((((",
        "a\"b*",
        "+",
        "💣",
        ":",
        "%_",
    ] {
        find(&index, text).await;
    }
    assert_eq!(
        find(&index, "\"translate\" text*").await,
        ["Translate text"]
    );
    assert_eq!(find(&index, "name:translate").await, Vec::<String>::new());
    find(&index, &"word ".repeat(100_000)).await;
    find(&index, &"x".repeat(1_000_000)).await;
}

#[tokio::test]
async fn a_projection_is_hidden_while_its_original_is_here() {
    let index = Index::in_memory().unwrap();
    let original = event(1, 31_402, NOW, &[&["d", "x"]]);
    let projection = event(1, 30_402, NOW, &[&["d", "x"]]);
    let mut projected = row(&original, "projected");
    projected.event_id = projection.id.to_hex();
    projected.is_projection = true;
    insert_row(&index, &projection, projected).await;
    assert_eq!(find(&index, "").await, ["projected"]);

    insert_row(&index, &original, row(&original, "original")).await;
    assert_eq!(find(&index, "").await, ["original"]);
    let coordinate = format!("31402:{}:x", original.pubkey);
    let listed = index.find_listing(&coordinate, NOW).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(index.count_listings(NOW).await.unwrap(), 1);
}

#[tokio::test]
async fn the_longest_listed_path_answers_for_a_url() {
    let index = Index::in_memory().unwrap();
    for (d, endpoint) in [
        ("a", "https://h.example/a/"),
        ("b", "https://h.example/a/b?x=1"),
    ] {
        let listing = event(1, 31_402, NOW, &[&["d", d]]);
        let mut row = row(&listing, d);
        row.endpoint = Some(endpoint.to_owned());
        insert_row(&index, &listing, row).await;
    }
    for (url, expected) in [
        ("https://h.example/a", Some("a")),
        ("https://H.example:443/a/c?q#f", Some("a")),
        ("https://h.example/a/b/c", Some("b")),
        ("https://h.example/ab", None),
        ("https://h.example/", None),
        ("http://h.example/a", None),
        ("nonsense", None),
    ] {
        let rows = index.list_offers_at(url, NOW).await.unwrap();
        assert_eq!(rows.first().map(|row| row.name.as_str()), expected, "{url}");
    }
}

#[tokio::test]
async fn quotas_do_not_count_what_would_be_replaced() {
    let index = Index::in_memory().unwrap();
    let offer = async |seed, d: &str, at| {
        let new = NewEvent {
            event: event(seed, 31_402, at, &[&["d", d]]),
            rows: Vec::new(),
            relay: None,
            quota: Quota::Author {
                kinds: vec![31_402, 30_402].into(),
                limit: 2,
            },
        };
        let stored = index.insert_batch(vec![new], Vec::new(), NOW).await;
        stored.unwrap()[0].1
    };

    assert_eq!(offer(1, "a", NOW).await, Stored::New);
    assert_eq!(offer(1, "b", NOW).await, Stored::New);
    assert_eq!(offer(1, "c", NOW).await, Stored::OverQuota);
    assert_eq!(offer(1, "b", NOW).await, Stored::Duplicate);
    assert_eq!(offer(1, "a", NOW + 1).await, Stored::New);
    assert_eq!(offer(2, "a", NOW).await, Stored::New);
}

#[tokio::test]
async fn a_batch_and_its_cursors_are_stored_together_or_not_at_all() {
    let index = Index::in_memory().unwrap();
    let new = |d: &str, relay: &str| NewEvent {
        event: event(1, 31_402, NOW, &[&["d", d]]),
        rows: Vec::new(),
        relay: Some(relay.to_owned()),
        quota: Quota::Unlimited,
    };
    let cursor = |synced_to| Cursor {
        relay: "wss://a".to_owned(),
        filters: "f".repeat(32),
        synced_to,
    };
    // The database refuses this one: its name is too short.
    let broken = Cursor {
        filters: "f".to_owned(),
        ..cursor(NOW + 9)
    };

    let refused = index
        .insert_batch(vec![new("a", "wss://a")], vec![cursor(NOW), broken], NOW)
        .await;
    let nothing = index.count(vec![Filter::new()], 9, NOW).await.unwrap();
    let none = index.list_cursors("f".repeat(32)).await.unwrap();
    for synced_to in [NOW + 5, NOW] {
        index
            .insert_batch(vec![new("a", "wss://a")], vec![cursor(synced_to)], NOW)
            .await
            .unwrap();
    }

    assert!(refused.is_err());
    assert_eq!((nothing, none), (0, Vec::new()));
    assert_eq!(index.count(vec![Filter::new()], 9, NOW).await.unwrap(), 1);
    let kept = index.list_cursors("f".repeat(32)).await.unwrap();
    assert_eq!(kept, [cursor(NOW + 5)], "a cursor goes forward only");
}

#[tokio::test]
async fn a_file_is_read_by_others_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let index = Index::open(&path).unwrap();
    let listing = event(1, 31_402, NOW, &[&["d", "a"]]);
    insert_row(&index, &listing, row(&listing, "kept")).await;
    drop(index);

    let index = Index::open(&path).unwrap();
    assert_eq!(find(&index, "kept").await, ["kept"]);
    let project = |event: &Event| vec![row(event, "rebuilt")];
    assert_eq!(
        index
            .rebuild_catalog(vec![31_402], 7, project)
            .await
            .unwrap(),
        1
    );
    assert_eq!(find(&index, "kept").await, Vec::<String>::new());
    assert_eq!(find(&index, "rebuilt").await, ["rebuilt"]);
    assert_eq!(index.readers_version().await.unwrap(), 7);
    assert_eq!(
        index.list_sightings(listing.id.to_bytes()).await.unwrap(),
        ["wss://a"]
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let tag = ("[adt]", "[ab]").prop_map(|(name, value)| Tag::parse([name, value]).unwrap());
    let kind = prop::sample::select(vec![1_u16, 7, 10_002, 30_402, 31_402]);
    (1..4_u8, kind, 0..6_u64, prop::collection::vec(tag, 0..4)).prop_map(
        |(author, kind, at, tags)| {
            EventBuilder::new(Kind::from_u16(kind), "")
                .tags(tags)
                .custom_created_at(Timestamp::from_secs(at))
                .finalize(&keys(author))
                .unwrap()
        },
    )
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let kinds = prop::collection::btree_set(
        prop::sample::select(vec![1_u16, 7, 10_002, 30_402, 31_402]).prop_map(Kind::from_u16),
        0..4,
    );
    let authors = prop::collection::btree_set((1..4_u8).prop_map(|n| keys(n).public_key()), 0..3);
    let values = prop::collection::btree_set("[abc]", 0..3);
    let letter = prop::sample::select(vec!['a', 'd', 't', 'x']);
    let tags = prop::collection::btree_map(letter, values, 0..3);
    (
        prop::option::of(kinds),
        prop::option::of(authors),
        prop::option::weighted(0.5, tags),
        prop::option::weighted(0.3, 0..6_u64),
        prop::option::weighted(0.3, 0..6_u64),
        prop::option::weighted(0.3, 0..5_usize),
    )
        .prop_map(|(kinds, authors, tags, since, until, limit)| {
            let mut filter = Filter::new();
            filter.kinds = kinds;
            filter.authors = authors;
            filter.since = since.map(Timestamp::from_secs);
            filter.until = until.map(Timestamp::from_secs);
            filter.limit = limit;
            for (letter, values) in tags.into_iter().flatten() {
                let letter = SingleLetterTag::from_char(letter).unwrap();
                filter.generic_tags.insert(letter, values);
            }
            filter
        })
}

/// What a relay that looks at every event would answer.
fn naive(stored: &[Event], filters: &[Filter], limit: usize) -> Vec<Event> {
    let mut found = BTreeSet::new();
    for filter in filters {
        let mut matching: Vec<&Event> = stored
            .iter()
            .filter(|event| filter.match_event(event, MatchEventOptions::new()))
            .collect();
        matching.sort();
        matching.truncate(filter.limit.unwrap_or(limit).min(limit));
        found.extend(matching.into_iter().cloned());
    }
    found.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn filters_answer_as_a_naive_scan_does(
        events in prop::collection::vec(any_event(), 0..24),
        requests in prop::collection::vec(prop::collection::vec(any_filter(), 1..3), 12),
        with_ids in prop::bool::ANY,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let index = Index::in_memory().unwrap();
            for event in &events {
                insert(&index, event).await;
            }
            let stored = all(&index).await;
            for mut filters in requests {
                if with_ids {
                    filters[0].ids = Some(events.iter().step_by(2).map(|event| event.id).collect());
                }
                let found = index.query(filters.clone(), 10, NOW).await.unwrap();
                assert_eq!(found, naive(&stored, &filters, 10), "{filters:?}");
                assert_eq!(index.count(filters, 10, NOW).await.unwrap(), found.len());
            }
        });
    }
}
