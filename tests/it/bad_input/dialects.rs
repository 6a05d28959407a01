//! Listings of every dialect at a running node: the good ones shown with where they
//! came from, the bad ones harmless in each.

use nostr::key::Keys;
use serde_json::{Value, json};

use super::listings::{HOSTILE, check_html, check_text, encoded, found, now};
use super::node::{Node, event};

/// A kind, its content and its tags.
type Written<'a> = (u16, String, Vec<Vec<&'a str>>);

/// One listing in each dialect. `word` is its name wherever it may have one, and
/// stands in every other text; `amount` and `currency` are its price.
fn in_every_dialect<'a>(word: &'a str, amount: &'a str, currency: &'a str) -> Vec<Written<'a>> {
    let tool = json!({"name": "tool", "title": word, "description": word, "inputSchema": {"type": "object"}});
    let server = json!({"serverInfo": {"name": word}, "instructions": word});
    let named = json!({
        "name": word, "about": word, "description": word, "currency": currency,
        "price": amount, "amount": amount,
    });
    let price = vec!["price", amount, currency, "request"];
    let cap = vec!["cap", "tool:tool", amount, currency];
    let capability = json!({"capabilities": [{"name": "call", "description": word}]});
    vec![
        (11_316, server.to_string(), vec![vec!["t", word]]),
        (
            11_317,
            json!({"tools": [tool]}).to_string(),
            vec![cap.clone()],
        ),
        (31_316, server.to_string(), vec![vec!["d", "s"]]),
        (
            31_317,
            json!({"tools": [tool]}).to_string(),
            vec![vec!["d", "l"], vec!["s", "s"], cap],
        ),
        (30_018, named.to_string(), vec![vec!["d", "p"]]),
        (
            30_402,
            word.to_owned(),
            vec![vec!["d", "c"], vec!["title", word], price.clone()],
        ),
        (
            31_402,
            capability.to_string(),
            vec![
                vec!["d", "x"],
                vec!["name", word],
                vec!["url", "https://a.example/x"],
                vec!["pmi", "l402"],
                vec!["price", "call", amount, currency],
            ],
        ),
        (
            31_990,
            named.to_string(),
            vec![vec!["d", "h"], vec!["k", "5050"]],
        ),
        (
            38_400,
            word.to_owned(),
            vec![vec!["d", "a"], vec!["s", word], price.clone()],
        ),
        (
            38_421,
            named.to_string(),
            vec![vec!["d", "i"], vec!["u", "https://b.example"]],
        ),
        (
            38_990,
            word.to_owned(),
            vec![vec!["d", "s"], vec!["name", word], vec!["c", word], price],
        ),
    ]
}

async fn publish(node: &Node, keys: &Keys, listings: &[Written<'_>]) {
    let mut client = node.connect().await;
    for (kind, content, tags) in listings {
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let event = event(keys, *kind, now(), content, &tags);
        let (accepted, words) = client.publish(&json!(event)).await;
        assert!(accepted, "{kind}: {words}");
    }
}

fn text<'a>(row: &'a Value, member: &str) -> &'a str {
    row[member].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_is_shown_with_where_it_came_from() {
    let node = Node::start().await;
    let listings = in_every_dialect("wonder", "21", "sats");
    publish(&node, &Keys::generate(), &listings).await;

    let rows = found(&node, "wonder").await;
    assert_eq!(rows.len(), listings.len(), "{rows:#?}");
    let (_, market) = node.page("/?q=wonder").await;
    for (kind, ..) in &listings {
        let row = rows
            .iter()
            .find(|row| text(row, "dialect") == kind.to_string());
        let row = row.unwrap_or_else(|| panic!("{kind}"));
        let (status, page) = node
            .page(&format!("/l/{}", encoded(text(row, "coordinate"))))
            .await;
        assert_eq!(status, 200, "{kind}");
        assert!(page.contains(&format!("kind {kind}: ")), "{kind}");
        let (price, source) = match kind {
            11_316 | 31_316 | 38_421 => (None, ""),
            // Whose unit nobody knows.
            31_990 => (None, "content amount"),
            30_018 => (Some(21_000), "content price"),
            11_317 | 31_317 => (Some(21_000), "cap tag"),
            _ => (Some(21_000), "price tag"),
        };
        assert_eq!(row["price_msat"].as_u64(), price, "{kind}");
        assert_eq!(text(row, "price_source"), source, "{kind}");
        if !source.is_empty() {
            assert!(page.contains(&format!("its {source}")), "{kind}");
        }
    }
    for name in [
        "Routstr",
        "NIP-15",
        "NIP-A5",
        "agent-discovery",
        "ContextVM",
        "DVMCP",
        "NIP-89",
    ] {
        assert!(market.contains(name), "{name}");
    }
    let mut client = node.connect().await;
    let kinds: Vec<u16> = listings.iter().map(|(kind, ..)| *kind).collect();
    let stored = client.stored(json!({"kinds": kinds})).await;
    assert_eq!(stored.len(), listings.len());
    node.check_serving().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_every_dialect_is_only_ever_text() {
    let node = Node::start().await;
    let books = node.books().await;
    publish(
        &node,
        &Keys::generate(),
        &in_every_dialect(HOSTILE, "21", HOSTILE),
    )
    .await;

    let rows = node.api("search?limit=100").await;
    let rows = rows["items"].as_array().unwrap();
    assert!(rows.len() >= 11, "{rows:#?}");
    for row in rows {
        for (member, value) in row.as_object().unwrap() {
            let words = match value {
                Value::String(text) => text.clone(),
                Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
                _ => continue,
            };
            check_text(member, &words);
        }
        assert_eq!(row["price_msat"], Value::Null, "{row}");
        let (status, page) = node
            .page(&format!("/l/{}", encoded(text(row, "coordinate"))))
            .await;
        assert_eq!(status, 200);
        check_html(text(row, "dialect"), &page);
    }
    let (status, page) = node.page("/").await;
    assert_eq!(status, 200);
    check_html("market", &page);
    assert_eq!(node.books().await, books);
    node.check_serving().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_price_of_any_dialect_is_named_and_never_counts() {
    let node = Node::start().await;
    let books = node.books().await;
    for amount in [
        "-5",
        "NaN",
        "1e300",
        "99999999999999999999999999",
        "0x10",
        "5-",
    ] {
        publish(
            &node,
            &Keys::generate(),
            &in_every_dialect("absurd", amount, "sat"),
        )
        .await;
    }

    let mut priced = 0;
    let rows = node.api("search?q=absurd&limit=100").await;
    for row in rows["items"].as_array().unwrap() {
        assert_eq!(row["price_msat"], Value::Null, "{row}");
        assert!(text(row, "price_text").len() <= 64);
        if text(row, "price_source").is_empty() {
            continue;
        }
        priced += 1;
        let note = text(row, "price_note");
        assert!(note.starts_with("the price is"), "{row}");
        let (_, page) = node
            .page(&format!("/l/{}", encoded(text(row, "coordinate"))))
            .await;
        assert!(page.contains(note), "{row}");
    }
    assert_eq!(priced, 6 * 8, "eight of eleven kinds name a price");
    let affordable = node.api("search?max_price_msat=18446744073709551615").await;
    assert_eq!(affordable["items"], json!([]));
    assert_eq!(node.books().await, books);
    node.check_serving().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_claims_an_address_or_an_interface_is_shown_beside_its_owner() {
    let node = Node::start().await;
    let (seller, thief) = (Keys::generate(), Keys::generate());
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    let content = json!({"capabilities": [{"name": "ask", "schema": schema}]}).to_string();
    let listing = |price: &'static str| -> Vec<Vec<&str>> {
        vec![
            vec!["d", "ask"],
            vec!["name", "oracle"],
            vec!["url", "https://a.example/ask"],
            vec!["pmi", "l402"],
            vec!["price", "ask", price, "sat"],
        ]
    };
    let claimed = "ab".repeat(32);
    let lie = vec![
        vec!["i", claimed.as_str(), "ask"],
        vec!["k", "io.contextvm/common-schema"],
    ];
    publish(&node, &seller, &[(31_402, content.clone(), listing("21"))]).await;
    publish(
        &node,
        &thief,
        &[(31_402, content, [listing("1"), lie].concat())],
    )
    .await;

    let rows = found(&node, "oracle").await;
    assert_eq!(rows.len(), 2, "neither hides the other");
    let of = |keys: &Keys| {
        let key = keys.public_key().to_hex();
        rows.iter().find(|row| text(row, "seller") == key).unwrap()
    };
    let (honest, claim) = (of(&seller), of(&thief));
    assert_eq!(honest["same_endpoint"]["listings"], 1);
    assert_eq!(honest["same_endpoint"]["min_price_msat"], 1_000);
    assert_eq!(honest["schema_hash"], claim["schema_hash"]);
    assert_eq!(honest["schema_note"], Value::Null);
    assert!(text(claim, "schema_note").contains("abababab"), "{claim}");

    let coordinate = encoded(text(honest, "coordinate"));
    let answer = node.api(&format!("listings/{coordinate}")).await;
    for list in ["same_endpoint", "same_interface"] {
        assert_eq!(answer[list].as_array().unwrap().len(), 1, "{list}");
        assert_eq!(answer[list][0]["seller"], claim["seller"]);
    }
    let (_, page) = node.page(&format!("/l/{coordinate}")).await;
    assert!(page.contains("Other listings of this address"));
    assert!(page.contains("Others who answer the same call"));
    assert!(page.contains(text(claim, "seller")));
    let (_, market) = node.page("/?q=oracle").await;
    assert!(market.contains("the prices disagree"), "{market}");
    let hash = text(honest, "schema_hash");
    let sellers = node.api(&format!("search?schema_hash={hash}")).await;
    assert_eq!(sellers["items"].as_array().unwrap().len(), 2);
    node.check_serving().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_becomes_another_under_its_name_is_shown_as_changed() {
    let node = Node::start().await;
    let keys = Keys::generate();
    let tools = |property: &str| {
        let schema = json!({"type": "object", "properties": {property: {"type": "string"}}});
        json!({"tools": [{"name": "mailer", "inputSchema": schema}]}).to_string()
    };
    let mut client = node.connect().await;
    for (age, content) in [(60, tools("text")), (30, tools("all_your_files"))] {
        let event = event(&keys, 11_317, now() - age, &content, &[]);
        assert!(client.publish(&json!(event)).await.0);
    }

    let [row] = found(&node, "mailer").await.try_into().unwrap();
    assert!(
        row["schema_changed_at"].as_u64().unwrap() <= now() - 30,
        "{row}"
    );
    let (_, page) = node
        .page(&format!("/l/{}", encoded(text(&row, "coordinate"))))
        .await;
    assert!(
        page.contains("under the same name: read it again"),
        "{page}"
    );
    node.check_serving().await;
    node.stop().await;
}
