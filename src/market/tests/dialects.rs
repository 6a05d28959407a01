//! Listings of every dialect in one catalog, and which of them belong together.

use serde_json::{Value, json};

use super::*;
use crate::market::indexer::{rebuild_index, verify_index};
use crate::store::index::CatalogRow;

/// An event given as in the specifications.
fn written(author: u8, kind: u16, content: &Value, tags: &[&[&str]]) -> Event {
    let mut event = builder(kind, tags);
    event.content = match content {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    event.finalize(&keys(author)).unwrap()
}

/// One listing of each kind, with the word `wonder` in it.
fn one_of_each() -> Vec<Event> {
    let mcp = json!({"serverInfo": {"name": "wonder server"}});
    let tools = json!({"tools": [{"name": "tool", "description": "wonder tool"}]});
    let named = json!({"name": "wonder", "currency": "sat", "price": 5});
    let text = json!("wonder text");
    [
        written(1, 11_316, &mcp, &[]),
        written(2, 11_317, &tools, &[&["cap", "tool:tool", "5", "sats"]]),
        written(1, 31_316, &mcp, &[&["d", "s"]]),
        written(1, 31_317, &tools, &[&["d", "s/tools"], &["s", "s"]]),
        written(1, 30_018, &named, &[&["d", "p"]]),
        written(1, 30_402, &text, &[&["d", "c"], &["title", "wonder"]]),
        written(
            1,
            31_402,
            &json!({}),
            &[
                &["d", "x"],
                &["name", "wonder"],
                &["url", "https://a.example"],
                &["pmi", "l402"],
            ],
        ),
        written(1, 31_990, &named, &[&["d", "h"], &["k", "5050"]]),
        written(1, 38_400, &text, &[&["d", "a"], &["s", "ai"]]),
        written(
            1,
            38_421,
            &named,
            &[&["d", "i"], &["u", "https://b.example"]],
        ),
        written(1, 38_990, &text, &[&["d", "s"], &["c", "wonders"]]),
    ]
    .into()
}

async fn rows(index: &Index, text: &str) -> Vec<CatalogRow> {
    let query = SearchQuery {
        text: text.to_owned(),
        limit: Some(100),
        ..SearchQuery::default()
    };
    search::search(index, query, NOW).await.unwrap().rows
}

async fn filled(events: &[Event]) -> (Index, Indexer) {
    let index = Index::in_memory().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let indexer = Indexer::new(index.clone(), clock, Policy::default());
    for event in events {
        let admission = indexer.admit(event.clone(), Some("wss://a")).await;
        assert_eq!(admission.reason, Reason::Stored, "{}", event.kind);
    }
    (index, indexer)
}

#[tokio::test]
async fn listings_of_every_dialect_are_asked_for_taken_and_found() {
    let events = one_of_each();
    let (index, indexer) = filled(&events).await;

    let asked = indexer.filters().remove(0).kinds.unwrap();
    let mut found: Vec<String> = rows(&index, "wonder")
        .await
        .into_iter()
        .map(|row| row.dialect)
        .collect();
    found.sort();
    let mut expected: Vec<String> = kinds::LISTINGS.iter().map(u16::to_string).collect();
    expected.sort();
    assert_eq!(found, expected);
    for event in &events {
        assert!(asked.contains(&event.kind), "{}", event.kind);
    }
    let tools = rows(&index, "tool").await;
    let tool = tools.iter().find(|row| row.dialect == "11317").unwrap();
    assert_eq!(tool.price_source, "cap tag");
    assert_eq!(tool.relays, ["wss://a"]);

    let verified = verify_index(&index, |_| ()).await.unwrap();
    assert!(verified.is_clean(), "{verified:?}");
    let before = rows(&index, "").await;
    let rebuilt = rebuild_index(&index, |_| ()).await.unwrap();
    assert_eq!(rebuilt.rows as usize, before.len());
    assert_eq!(rows(&index, "wonder").await.len(), expected.len());
    assert_eq!(indexer.refresh_catalog().await.unwrap(), None);
}

#[tokio::test]
async fn an_older_catalog_is_read_again_once() {
    let index = Index::in_memory().unwrap();
    let indexer = Indexer::new(
        index.clone(),
        Arc::new(ManualClock::at(NOW)),
        Policy::default(),
    );
    for event in one_of_each() {
        // As a version would have stored them that could not read them.
        let stored = index.insert(event, Vec::new(), None, NOW);
        stored.await.unwrap();
    }
    assert!(rows(&index, "wonder").await.is_empty());

    let read = indexer.refresh_catalog().await.unwrap();

    assert_eq!(read, Some(kinds::LISTINGS.len() as u64));
    assert_eq!(rows(&index, "wonder").await.len(), kinds::LISTINGS.len());
    assert_eq!(indexer.refresh_catalog().await.unwrap(), None);
}

#[tokio::test]
async fn a_server_is_one_listing_of_two_events() {
    let server = written(
        1,
        11_316,
        &json!(""),
        &[
            &["name", "texts"],
            &["cap", "tool:send", "2900", "sats"],
            &["pmi", "bitcoin-cashu"],
        ],
    );
    let tools = written(
        1,
        11_317,
        &json!({"tools": [{"name": "send"}, {"name": "list"}]}),
        &[&["cap", "tool:send", "100", "sats"]],
    );
    let address = format!("11316:{}:", keys(1).public_key().to_hex());
    let listed = async |events: &[Event]| {
        let (index, _) = filled(events).await;
        assert_eq!(index.count_listings(NOW).await.unwrap(), 1);
        let rows = index.find_listing(&address, NOW).await.unwrap();
        let mut rows: Vec<(String, Option<u64>)> = rows
            .into_iter()
            .map(|row| (row.capability, row.price_msat))
            .collect();
        rows.sort();
        rows
    };

    let alone = listed(std::slice::from_ref(&server)).await;
    let row = |name: &str, msat| (name.to_owned(), msat);
    assert_eq!(
        alone,
        [row("mcp server", None), row("send", Some(2_900_000))]
    );
    for order in [[&server, &tools], [&tools, &server]] {
        let both = listed(&order.map(Clone::clone)).await;
        assert_eq!(
            both,
            [
                row("list", None),
                row("mcp server", None),
                row("send", Some(100_000))
            ],
            "the list of tools speaks for them"
        );
    }
}

#[tokio::test]
async fn listings_of_one_address_are_shown_beside_each_other() {
    let listed = |author: u8, d: &str, price: &str| {
        written(
            author,
            31_402,
            &json!({}),
            &[
                &["d", d],
                &["name", d],
                &["url", "https://a.example/x"],
                &["pmi", "l402"],
                &["price", "call", price, "sat"],
            ],
        )
    };
    let other_dialect = written(
        1,
        38_400,
        &json!("own"),
        &[
            &["d", "own"],
            &["price", "21", "sats"],
            &["l402", "https://a.example/x/"],
        ],
    );
    let elsewhere = written(
        3,
        38_400,
        &json!("far"),
        &[
            &["d", "far"],
            &["price", "1", "sats"],
            &["l402", "https://a.example/xy"],
        ],
    );
    let events = [
        listed(1, "honest", "21"),
        listed(2, "claim", "5"),
        other_dialect,
        elsewhere,
    ];
    let (index, _) = filled(&events).await;

    let [honest] = rows(&index, "honest").await.try_into().unwrap();
    assert_eq!(honest.price_msat, Some(21_000), "nobody displaces it");
    assert_eq!(honest.same_endpoint.listings, 2);
    assert_eq!(honest.same_endpoint.min_price_msat, Some(5_000));
    assert!(honest.same_endpoint.disagrees(honest.price_msat));
    let [far] = rows(&index, "far").await.try_into().unwrap();
    assert!(far.same_endpoint.is_none());

    let coordinate = honest.coordinate.clone();
    let alike = alike::find(&index, &coordinate, &[honest], NOW)
        .await
        .unwrap();
    let mut others: Vec<String> = alike
        .same_endpoint
        .into_iter()
        .map(|row| row.name)
        .collect();
    others.sort();
    assert_eq!(others, ["claim", "own"]);
}

#[tokio::test]
async fn sellers_of_one_interface_are_found_cheapest_first() {
    let schema = |words: &str| json!({"type": "object", "description": words, "properties": {"q": {"type": "string"}}});
    let tools = |author: u8, price: &str, words: &str| {
        let content = json!({"tools": [{"name": "ask", "inputSchema": schema(words)}]});
        written(
            author,
            11_317,
            &content,
            &[&["cap", "tool:ask", price, "sats"]],
        )
    };
    let service = written(
        4,
        31_402,
        &json!({"capabilities": [{"name": "ask", "schema": schema("over HTTP")}]}),
        &[
            &["d", "x"],
            &["name", "service"],
            &["url", "https://a.example"],
            &["pmi", "l402"],
            &["price", "ask", "7", "sat"],
        ],
    );
    let unpriced = written(
        5,
        31_402,
        &json!({"capabilities": [{"name": "ask", "schema": schema("?")}]}),
        &[
            &["d", "x"],
            &["name", "unpriced"],
            &["url", "https://b.example"],
            &["pmi", "l402"],
        ],
    );
    let other = json!({"tools": [{"name": "tell", "inputSchema": schema("a")}]});
    let events = [
        tools(1, "9", "one"),
        tools(2, "3", "two"),
        service,
        unpriced,
        written(3, 11_317, &other, &[&["cap", "tool:tell", "1", "sats"]]),
    ];
    let (index, _) = filled(&events).await;

    let [dear] = rows(&index, "service").await.try_into().unwrap();
    assert_eq!(dear.same_interface.listings, 3);
    assert_eq!(dear.same_interface.min_price_msat, Some(3_000));
    let hash = dear.schema_hash.clone().unwrap();
    let sellers = index.list_by_interface(&hash, NOW).await.unwrap();
    let prices: Vec<Option<u64>> = sellers.iter().map(|row| row.price_msat).collect();
    assert_eq!(prices, [Some(3_000), Some(7_000), Some(9_000), None]);
    let query = SearchQuery {
        schema_hash: Some(hash.to_ascii_uppercase()),
        max_price: Some(Msat::new(8_000)),
        ..SearchQuery::default()
    };
    let found = search::search(&index, query, NOW).await.unwrap().rows;
    assert_eq!(found.len(), 2);
    let coordinate = dear.coordinate.clone();
    let alike = alike::find(&index, &coordinate, &[dear], NOW)
        .await
        .unwrap();
    assert_eq!(alike.same_interface.len(), 3);
}

#[tokio::test]
async fn depth_counts_in_json_and_not_in_prose() {
    let (_, indexer) = filled(&[]).await;
    let deep = Value::from("[".repeat(21));
    for (kind, expected) in [
        (11_317, Reason::TooDeep),
        (31_317, Reason::TooDeep),
        (30_018, Reason::TooDeep),
        (31_990, Reason::TooDeep),
        (38_421, Reason::TooDeep),
        (30_402, Reason::Stored),
        (38_400, Reason::Stored),
        (38_990, Reason::Stored),
    ] {
        let event = written(1, kind, &deep, &[&["d", "x"]]);
        assert_eq!(indexer.admit(event, None).await.reason, expected, "{kind}");
    }
}

#[tokio::test]
async fn one_quota_counts_the_listings_of_all_dialects() {
    let index = Index::in_memory().unwrap();
    let policy = Policy {
        max_listings_per_key: 3,
        ..Policy::default()
    };
    let indexer = Indexer::new(index, Arc::new(ManualClock::at(NOW)), policy);
    let mut reasons = Vec::new();
    for event in one_of_each()
        .into_iter()
        .filter(|event| event.pubkey == keys(1).public_key())
    {
        reasons.push(indexer.admit(event, None).await.reason);
    }
    assert_eq!(reasons[..3], [Reason::Stored; 3]);
    assert!(
        reasons[3..].iter().all(|reason| *reason == Reason::Quota),
        "{reasons:?}"
    );
    assert_eq!(indexer.counters()["quota"], 7);
}
