//! Signed listings, the same ones every time, but for their dates.

use anyhow::Context;
use feria::clock::{Clock, SystemClock};
use feria::protocol::{Listing, Offer, ProjectionContext, dialect};
use feria_paywall::amount::Msat;
use nostr::event::{Event, FinalizeEvent};
use nostr::key::{Keys, SecretKey};

/// Returns listing `number`, of kind 31402; ten have the same seller.
pub(crate) fn listing(number: u32) -> anyhow::Result<Event> {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&(number / 10 + 1).to_be_bytes());
    let keys = Keys::new(SecretKey::from_slice(&secret)?);
    let topic = ["weather", "translation", "search", "images"][number as usize % 4];
    let url = format!("https://seller-{}.example/a/agent-{number}", number / 10);
    let listing = Listing {
        d_tag: format!("agent-{number}"),
        name: format!("Agent {number} for {topic}"),
        summary: format!("Answers questions about {topic} from its own model, number {number}."),
        urls: vec![url],
        offers: vec![Offer {
            capability: topic.to_owned(),
            description: format!("One question about {topic}"),
            price: Msat::new(u64::from(number % 100 + 1) * 1_000),
            endpoint: "/v1/query".to_owned(),
            method: "POST".to_owned(),
        }],
        topics: vec![topic.to_owned()],
        rails: vec!["l402".to_owned(), "nut24".to_owned()],
        mints: Vec::new(),
        image: None,
        published_at: SystemClock.now(),
        expires_at: None,
        is_active: true,
    };
    let context = ProjectionContext {
        pubkey: keys.public_key(),
        relays: Vec::new(),
        inbox_relays: Vec::new(),
        mints: Vec::new(),
        lock_key: None,
        node_url: format!("https://seller-{}.example", number / 10),
        now: SystemClock.now(),
        lifetime_secs: dialect::LIFETIME_SECS,
    };
    let builder = dialect::project(&listing, &context)
        .into_iter()
        .next()
        .context("a listing has no event")?;
    Ok(builder.finalize(&keys)?)
}
