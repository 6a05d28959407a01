//! Relays that only a stranger named: on the public internet, or not at all.

use nostr::event::Kind;
use nostr::filter::Filter;
use nostr::key::Keys;

use super::support::{Relay, event, eventually, links};
use crate::bad_input::Trap;

#[tokio::test]
async fn a_strangers_relay_on_a_private_network_is_not_called() {
    let own = Relay::start().await;
    let trap = Trap::set().await;
    let links = links();
    links.keep_strangers_public(std::slice::from_ref(&own.url));
    let port = trap.address().rsplit(':').next().unwrap().to_owned();
    let urls: Vec<String> = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"]
        .iter()
        .map(|host| format!("ws://{host}:{port}"))
        .collect();
    let good = event(&Keys::generate(), 30_402, "", &[&["d", "a"]]);
    let filter = vec![Filter::new().kind(Kind::from(30_402))];

    let published = links.publish(&urls, &good, None).await;
    let fetched = links.fetch(&urls[0], filter.clone(), None).await;
    let _receiver = links.subscribe(&urls, filter.clone(), None).unwrap();
    let is_told = |url: &String| {
        let mut health = links.health().into_iter();
        health.any(|relay| relay.url == *url && relay.last_error.is_some())
    };
    eventually(|| urls.iter().any(is_told)).await;

    for answer in &published {
        assert!(!answer.accepted);
        assert!(answer.message.contains("relays.toml"), "{answer:?}");
    }
    assert!(fetched.unwrap_err().to_string().contains("relays.toml"));
    trap.check_untouched().await;
    let own_urls = std::slice::from_ref(&own.url);
    assert!(links.publish(own_urls, &good, None).await[0].accepted);
    assert_eq!(links.fetch(&own.url, filter, None).await.unwrap(), [good]);
}

#[tokio::test]
async fn the_words_of_a_relay_are_shown_without_what_is_hidden_in_them() {
    let relay = super::support::scripted(|_, mut peer| async move {
        while let Some(message) = peer.hear().await {
            let id = message[1]["id"].clone();
            let words = "blocked: \u{202e}\u{1b}[2J\nno\u{200b}";
            peer.say(serde_json::json!(["OK", id, false, words])).await;
        }
    })
    .await;
    let good = event(&Keys::generate(), 30_402, "", &[&["d", "a"]]);

    let published = links().publish(&[relay], &good, None).await;

    assert_eq!(published[0].message, "blocked: [2J no");
}
