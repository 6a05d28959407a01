//! The dialects against real examples, our own projections and garbage.

use feria_paywall::amount::Msat;
use nostr::event::{Event, EventBuilder, FinalizeEvent, FinalizeUnsignedEvent, Kind, Tag};
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::protocol::listing::Offer;
use crate::protocol::price::PriceFault;

mod examples;

const NOW: u64 = 1_794_000_000;

fn keys() -> Keys {
    Keys::new(SecretKey::from_slice(&[7; 32]).unwrap())
}

/// Signs an event given as in the specifications: kind, content and tags.
fn signed(json: &str) -> Event {
    let value: Value = serde_json::from_str(json).unwrap();
    let kind = u16::try_from(value["kind"].as_u64().unwrap()).unwrap();
    let tags = value["tags"].as_array().unwrap().iter().map(|tag| {
        let words = tag.as_array().unwrap().iter();
        Tag::parse(words.map(|word| word.as_str().unwrap())).unwrap()
    });
    EventBuilder::new(Kind::from_u16(kind), value["content"].as_str().unwrap())
        .tags(tags)
        .custom_created_at(Timestamp::from_secs(NOW))
        .finalize(&keys())
        .unwrap()
}

/// One line per offer, and the event it is read from.
#[track_caller]
fn check(json: &str, expected: &[&str]) {
    let pubkey = keys().public_key().to_hex();
    let found: Vec<String> = read(&signed(json))
        .into_iter()
        .map(|offer| {
            let price = match offer.price.msat {
                Ok(price) => price.to_string(),
                Err(fault) => format!("({fault})"),
            };
            format!(
                "{} | {} | {} | {} | {price} | {} {} {}",
                offer.coordinate.replace(&pubkey, "me"),
                offer.name,
                offer.capability,
                offer.topics.join(","),
                offer.method,
                offer.endpoint.unwrap_or_default(),
                offer.rails.join(","),
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_paid_service_draft_is_read() {
    check(
        r#"{"kind":31402,"tags":[["d","llm-inference-v1"],["name","LLM Inference API"],["alt","Paid API: x"],
        ["url","https://inference.example.com/v1"],["url","http://inferencexyz123.onion/v1"],
        ["summary","GPT-4 class inference"],["pmi","l402","lightning"],["pmi","cashu"],
        ["price","chat_completion","100","sat"],["price","embedding","10","sats"],["t","ai"],["t","LLM"]],
        "content":"{\"capabilities\":[{\"name\":\"chat_completion\",\"description\":\"d\",\"endpoint\":\"/chat/completions\"}],\"version\":\"2.1.0\"}"}"#,
        &[
            "31402:me:llm-inference-v1 | LLM Inference API | chat_completion | ai,llm | 100 sat | GET https://inference.example.com/v1/chat/completions l402,nut24",
            "31402:me:llm-inference-v1 | LLM Inference API | embedding | ai,llm | 10 sat | GET https://inference.example.com/v1 l402,nut24",
        ],
    );
}

#[test]
fn other_users_of_kind_31402_are_left_out() {
    check(
        r#"{"kind":31402,"tags":[["d","x"],["url","https://a.example"],["s","up"]],"content":""}"#,
        &[],
    );
    check(
        r#"{"kind":31402,"tags":[["pmi","l402"]],"content":""}"#,
        &[],
    );
    check(
        r#"{"kind":31402,"tags":[["pmi","l402"],["url","javascript:x"]],"content":""}"#,
        &[],
    );
    check(
        r#"{"kind":31402,"tags":[["pmi","l402"],["url","https://a.example"],["status","sold"]],"content":""}"#,
        &[],
    );
}

#[test]
fn an_endpoint_on_another_host_is_not_followed() {
    check(
        r#"{"kind":31402,"tags":[["d","x"],["name","n"],["url","https://a.example"],["pmi","lsat"],["pmi","l402"]],
        "content":"{\"capabilities\":[{\"name\":\"c\",\"endpoint\":\"https://evil.example/c\",\"method\":\"post\"},{\"name\":\"e\",\"endpoint\":\"https://a.example/e\"}]}"}"#,
        &[
            "31402:me:x | n | c |  | (no price is named) | POST https://a.example/ l402",
            "31402:me:x | n | e |  | (no price is named) | GET https://a.example/e l402",
        ],
    );
}

#[test]
fn of_two_prices_that_disagree_the_dearer_counts() {
    for (sat, msat, expected) in [
        ("21", "20001", "20001 msat"),
        ("21", "21000", "21 sat"),
        ("21", "1000", "21 sat"),
        ("21", "99000", "99 sat"),
        ("21", "-1", "21 sat"),
        ("-1", "99000", "99 sat"),
    ] {
        let json = r#"{"kind":31402,"tags":[["d","x"],["url","https://a.example"],["pmi","l402"],
            ["price","c","SAT","sat"],["msat","c","MSAT"]],"content":""}"#;
        let offers = read(&signed(&json.replace("MSAT", msat).replace("SAT", sat)));
        assert_eq!(
            offers[0].price.msat.unwrap().to_string(),
            expected,
            "{sat} {msat}"
        );
    }
}

#[test]
fn classifieds_of_others_are_read() {
    check(
        r#"{"kind":30402,"content":"Lorem","tags":[["d","lorem-ipsum"],["title","Lorem Ipsum"],["published_at","1296962229"],
        ["t","electronics"],["image","https://url.to.img","256x256"],["summary","More"],["location","NYC"],["price","100","USD"],
        ["e","b3e3","wss://relay.example.com"],["a","30023:a695:ipsum","wss://relay.nostr.org"]]}"#,
        &[
            "30402:me:lorem-ipsum | Lorem Ipsum | lorem-ipsum | electronics | (the price is not in bitcoin) |   ",
        ],
    );
    let sold = r#"{"kind":30402,"content":"","tags":[["d","x"],["title","T"],["status","sold"]]}"#;
    check(sold, &[]);
    check(
        r#"{"kind":30402,"content":"{}","tags":[["d","x"],["price","1","sats"]]}"#,
        &[],
    );
}

#[test]
fn nobody_projects_the_listing_of_another_key() {
    let json = r#"{"kind":30402,"content":"","tags":[["d","x"],["title","T"],["price","1","SAT"],["a","31402:OWNER:y","wss://r"]]}"#;
    let foreign = signed(&json.replace("OWNER", &"ab".repeat(32)));
    let own = signed(&json.replace("OWNER", &keys().public_key().to_hex()));
    assert!(read(&foreign)[0].coordinate.starts_with("30402:"));
    assert!(read(&own)[0].coordinate.ends_with(":y"));
}

fn listing() -> Listing {
    Listing {
        d_tag: "translate".to_owned(),
        name: "EN-ES translation agent".to_owned(),
        summary: "Pay-per-call translation".to_owned(),
        urls: vec!["https://agent.example/a/translate".to_owned()],
        offers: vec![Offer {
            capability: "translate".to_owned(),
            description: "Translates text".to_owned(),
            price: Msat::new(20_500),
            endpoint: "/v1/translate".to_owned(),
            method: "POST".to_owned(),
        }],
        topics: vec!["Translation".to_owned(), "translation".to_owned()],
        rails: vec!["l402".to_owned(), "nut24".to_owned()],
        mints: vec!["https://mint.example.com".to_owned()],
        image: None,
        published_at: NOW + 5,
        expires_at: None,
        is_active: true,
    }
}

fn context() -> ProjectionContext {
    ProjectionContext {
        pubkey: keys().public_key(),
        relays: vec!["wss://relay.example.com".to_owned()],
        inbox_relays: Vec::new(),
        mints: Vec::new(),
        lock_key: None,
        node_url: "https://agent.example".to_owned(),
        now: NOW,
        lifetime_secs: LIFETIME_SECS,
    }
}

/// The tags of an event, one a line, and its content.
fn print(builder: EventBuilder) -> String {
    let event = builder.finalize_unsigned(keys().public_key());
    let pubkey = keys().public_key().to_hex();
    let tags: Vec<String> = event
        .tags
        .iter()
        .map(|tag| serde_json::to_string(tag).unwrap().replace(&pubkey, "me"))
        .collect();
    format!("{}\n{}", tags.join("\n"), event.content)
}

#[test]
fn the_canonical_event_has_its_exact_shape() {
    let printed = print(paid_service::build(&listing(), &context()));
    assert_eq!(
        printed,
        r#"["d","translate"]
["name","EN-ES translation agent"]
["url","https://agent.example/a/translate"]
["about","Pay-per-call translation"]
["summary","Pay-per-call translation"]
["picture","https://agent.example/card/translate.png"]
["pmi","l402","lightning"]
["pmi","xcashu"]
["price","translate","21","sat"]
["unit","translate","request","1"]
["msat","translate","20500"]
["mint","https://mint.example.com","sat"]
["refund","auto","5xx","timeout"]
["L","market.rail"]
["l","l402","market.rail"]
["l","nut24","market.rail"]
["t","ai-agent"]
["t","translation"]
["t","l402"]
["t","cashu"]
["r","https://agent.example/a/translate/v1/translate"]
["status","active"]
["source","self"]
["alt","Paid API: EN-ES translation agent"]
["expiration","1795209600"]
{"capabilities":[{"description":"Translates text","endpoint":"/v1/translate","method":"POST","name":"translate"}],"version":"1.0.0"}"#
    );
}

#[test]
fn the_classified_has_its_exact_shape() {
    let [classified] = classified::build(&listing(), &context())
        .try_into()
        .unwrap();
    let printed = print(classified);
    let (tags, content) = printed.split_once("\n## ").unwrap();
    assert_eq!(
        tags,
        r#"["d","translate"]
["title","EN-ES translation agent"]
["summary","Pay-per-call translation"]
["published_at","1794000000"]
["location","online"]
["price","21","SAT","request"]
["status","active"]
["image","https://agent.example/card/translate.png","1024x1024"]
["type","simple","digital"]
["visibility","on-sale"]
["stock","1000000"]
["t","ai-agent"]
["t","translation"]
["t","l402"]
["t","cashu"]
["r","https://agent.example/a/translate/v1/translate"]
["a","31402:me:translate","wss://relay.example.com"]
["spec","unit","request"]
["spec","rails","l402, nut24"]
["spec","method","POST"]
["alt","Paid AI service: EN-ES translation agent, 21 sats per request"]
["expiration","1795209600"]"#
    );
    assert!(content.contains("20500 msat per request"));
}

#[test]
fn what_is_written_is_read_back() {
    let mut listing = listing();
    listing.offers.push(Offer {
        capability: "detect language".to_owned(),
        endpoint: String::new(),
        price: Msat::new(1_000),
        ..listing.offers[0].clone()
    });
    let events: Vec<Event> = project(&listing, &context())
        .into_iter()
        .map(|builder| builder.finalize(&keys()).unwrap())
        .collect();
    assert_eq!(events.len(), 3);

    let offers = read(&events[0]);
    assert_eq!(offers.len(), 2);
    for (read, written) in offers.iter().zip(&listing.offers) {
        assert_eq!(read.price.msat, Ok(written.price));
        assert_eq!(
            read.endpoint.as_deref(),
            Some(&*listing.endpoint_url(written))
        );
        assert_eq!(read.capability, written.capability);
        assert_eq!(
            (&read.method, &read.rails),
            (&written.method, &listing.rails)
        );
        assert_eq!(read.mints, listing.mints);
    }
    for (event, read) in events[1..].iter().zip(&offers) {
        let [projected] = super::read(event).try_into().unwrap();
        assert_eq!(projected.coordinate, read.coordinate);
        assert_eq!(projected.endpoint, read.endpoint);
        assert_eq!(projected.method, "POST");
        assert_eq!(
            tags::first(event, "d").map(|d| d.contains(' ')),
            Some(false)
        );
    }

    listing.is_active = false;
    for builder in project(&listing, &context()) {
        assert!(read(&builder.finalize(&keys()).unwrap()).is_empty());
    }
}

#[test]
fn a_flood_of_offers_is_cut() {
    let prices: Vec<Tag> = (0..5_000)
        .map(|n| Tag::parse(["price", &n.to_string(), "1", "sat"]).unwrap())
        .collect();
    let event = EventBuilder::new(Kind::from_u16(kinds::PAID_SERVICE), "[".repeat(60_000))
        .tag(Tag::parse(["url", "https://a.example"]).unwrap())
        .tag(Tag::parse(["pmi", "l402"]).unwrap())
        .tags(prices)
        .finalize(&keys())
        .unwrap();
    assert_eq!(read(&event).len(), MAX_OFFERS);
}

#[test]
fn a_price_in_dollars_keeps_its_words() {
    let json = r#"{"kind":31402,"tags":[["d","x"],["url","https://a.example"],["pmi","x402"],["price","c","250","usd"]],"content":""}"#;
    let offer = read(&signed(json)).remove(0);
    assert_eq!(offer.price.msat, Err(PriceFault::Currency));
    assert_eq!(offer.price.text, "250 usd");
}

/// Text that is no JSON, JSON of any shape, and JSON of the members that readers look at.
fn any_content() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from("https://a.example/x")),
    ];
    let member = "(name|title|about|description|capabilities|tools|inputSchema|outputSchema|schema\
                  |_meta|annotations|endpoint|method|price|currency|amount|quantity|serverInfo\
                  |properties|\\$ref|io\\.contextvm/common-schema|schemaHash|.{0,4})";
    let json = leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((member, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop_oneof![
        1 => ".{0,64}",
        4 => json.prop_map(|value| value.to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_event_panics_a_reader(
        kind in prop::sample::select([kinds::SUBSCRIBED, kinds::LISTINGS].concat()),
        tags in prop::collection::vec(
            (
                "(d|name|title|url|u|pmi|price|msat|unit|cap|t|a|c|e|i|k|ln|r|s|spec|mint|status|expiration|pubkey|relay|.*)",
                prop::collection::vec(
                    "(https://a.example|21|1-9|sat|usd|month|31402:aa:b|l402|5100|tool:x|io.contextvm/common-schema|.{0,12})",
                    0..5,
                ),
            ),
            0..24,
        ),
        content in any_content(),
    ) {
        use crate::protocol::{deletion, profile};

        let event = EventBuilder::new(Kind::from_u16(kind), content)
            .tags(tags.into_iter().map(|(name, values)| Tag::custom(name, values)))
            .custom_created_at(Timestamp::from_secs(NOW))
            .finalize(&keys())
            .unwrap();
        let offers = read(&event);
        prop_assert!(offers.len() <= MAX_OFFERS);
        for offer in offers {
            prop_assert!(text::is_visible(&offer.coordinate), "{:?}", offer);
            prop_assert!(text::is_visible(&offer.name) && offer.name.chars().count() <= MAX_NAME_CHARS);
            prop_assert!(text::is_visible(&offer.capability));
            prop_assert!(text::is_visible(&offer.price.text));
            prop_assert!(text::is_visible(&offer.price.note().unwrap_or_default()));
            prop_assert!(text::is_visible(&offer.price.fiat.unwrap_or_default()));
            prop_assert!(text::is_visible(&offer.schema_note.unwrap_or_default()));
            prop_assert!(offer.schema_hash.is_none_or(|hash| hash.len() == 64));
        }
        drop((
            deletion::read(&event),
            profile::read_profile(&event),
            profile::read_relay_list(&event),
            profile::read_inbox_relays(&event),
            profile::read_nutzap_info(&event),
        ));
    }
}
