//! Malformed payments by the thousand at every parser that a stranger reaches: no
//! fault, no panic, no row, no memory, no invoice beyond the limit.
//!
//! The generator is seeded: a run that fails repeats.

// Written out, because this file is a module of two binaries.
#[path = "malformed_storm/bent.rs"]
mod bent;
#[path = "malformed_storm/line.rs"]
mod line;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use self::bent::{Bent, Parser};
use self::line::{KeptLine, throw};
use super::node::Node;

/// Challenges that one address gets per minute.
const CHALLENGES_PER_MINUTE: u32 = 60;
/// What the process may grow by once it is warm: buffers, and pages that its
/// allocator keeps.
const MAX_GROWTH_KB: u64 = 16 * 1_024;
/// Connections that are kept open, each with one request at a time.
const LINES: usize = 8;

/// Throws `rounds` malformed requests at each parser.
pub(super) async fn storm(seed: u64, rounds: usize) -> Value {
    let node = Node::start_with(CHALLENGES_PER_MINUTE).await;
    let started = Instant::now();
    let mut bent = Bent::new(seed, &node, &node.challenge().await);
    let (books, rows) = (node.books().await, node.paid_rows());
    let mut parsers = serde_json::Map::new();
    // Everything once, so that what grows only once has grown.
    for parser in Parser::ALL {
        round(&node, &mut bent, parser, rounds / 10).await;
    }
    let warm = node.resident_kb();
    let mut invoices = 0;
    for parser in Parser::ALL {
        let answers = round(&node, &mut bent, parser, rounds).await;
        invoices += answers.invoices;
        parsers.insert(parser.name().to_owned(), json!(answers.by_status));
    }
    let spent = hostile_sellers(&node, &mut bent, rounds / 10).await;
    let grown = node.resident_kb().saturating_sub(warm);

    let minutes = started.elapsed().as_secs() / 60 + 2;
    assert!(
        invoices <= minutes * u64::from(CHALLENGES_PER_MINUTE),
        "{invoices} invoices"
    );
    assert!(grown < MAX_GROWTH_KB, "grown by {grown} kB from {warm} kB");
    assert_eq!((node.books().await, node.paid_rows()), (books, rows));
    node.stop().await;
    json!({
        "requests_per_parser": rounds + rounds / 10,
        "answers": parsers,
        "hostile_402s": spent,
        "invoices": invoices,
        "warm_kb": warm,
        "grown_kb": grown,
        "secs": started.elapsed().as_secs(),
    })
}

#[derive(Default)]
struct Answers {
    by_status: BTreeMap<u16, u64>,
    invoices: u64,
}

async fn round(node: &Node, bent: &mut Bent, parser: Parser, rounds: usize) -> Answers {
    let requests: Vec<Vec<u8>> = (0..rounds).map(|_| bent.request(parser)).collect();
    let share = requests.len().div_ceil(LINES).max(1);
    let lines = requests.chunks(share).map(|share| {
        let (line, share) = (KeptLine::to(&node.public), share.to_vec());
        tokio::spawn(throw(line, share))
    });
    let mut answers = Answers::default();
    for line in futures_util::future::join_all(lines).await {
        for (status, has_invoice, request) in line.unwrap() {
            let shown = String::from_utf8_lossy(&request[..request.len().min(400)]).into_owned();
            assert!((400..500).contains(&status), "{status} to {shown}");
            *answers.by_status.entry(status).or_default() += 1;
            answers.invoices += u64::from(has_invoice);
        }
    }
    answers
}

/// The node as a buyer of sellers whose 402 is malformed.
async fn hostile_sellers(node: &Node, bent: &mut Bent, rounds: usize) -> Value {
    let seller = line::Seller::start().await;
    node.post("wallets", &json!({"agent": "storm"})).await;
    let mut by_status: BTreeMap<u16, u64> = BTreeMap::new();
    for _ in 0..rounds {
        seller.say(bent.challenge());
        let call = json!({"wallet": "storm", "url": seller.url, "method": "GET",
                          "max_cost_msat": 50_000});
        let status = node.try_post("fetch", &call).await;
        *by_status.entry(status).or_default() += 1;
        assert_ne!(status, 500);
    }
    assert_eq!(seller.paid(), 0);
    json!(by_status)
}
