//! Our link against relays that lie, flood or fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use feria::clock::ManualClock;
use feria::relay::{RelayError, RelayHealth, Relays};
use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::Keys;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::support::{
    NOW, PATIENCE, Relay, end_of_stored, event, eventually, links, links_with, next_event, scripted,
};

fn listings() -> Vec<Filter> {
    vec![Filter::new().kind(Kind::from(30_402))]
}

fn listing(content: &str) -> Event {
    event(&Keys::generate(), 30_402, content, &[&["d", "a"]])
}

fn tampered(event: &Event, field: &str, value: &str) -> Value {
    let mut copy = serde_json::to_value(event).unwrap();
    copy[field] = json!(value);
    copy
}

fn health_of(links: &Relays, url: &str) -> RelayHealth {
    let mut relays = links.health().into_iter();
    relays.find(|relay| relay.url == url).expect("a used relay")
}

#[tokio::test]
async fn a_tampered_copy_of_a_known_event_is_refused() {
    let good = listing("true price");
    let honest = Relay::start().await;
    let known = Arc::new(Notify::new());
    let (event, is_known) = (good.clone(), Arc::clone(&known));
    let liar = scripted(move |_, mut peer| {
        let (event, is_known) = (event.clone(), Arc::clone(&is_known));
        async move {
            let id = peer.requested().await;
            is_known.notified().await;
            let mut copy = tampered(&event, "content", "forged price");
            peer.say(json!(["EVENT", id, copy])).await;
            // The same again, in a form that the cheap look does not recognise.
            copy["zzz"] = json!({});
            let text = json!(["EVENT", id, copy]).to_string();
            peer.say_text(&text.replace("\"id\":", "\"id\" : ")).await;
            peer.say(json!(["EOSE", id])).await;
            peer.stay().await;
        }
    })
    .await;
    let links = links();
    links
        .publish(std::slice::from_ref(&honest.url), &good, None)
        .await;
    let urls = [honest.url.clone(), liar.clone()];
    let mut receiver = links.subscribe(&urls, listings(), None).unwrap();

    let first = next_event(&mut receiver).await;
    end_of_stored(&mut receiver).await;
    known.notify_one();
    let from_liar = end_of_stored(&mut receiver).await;
    let health = health_of(&links, &liar);
    known.notify_one();
    let to_a_stranger = self::links().fetch(&liar, listings(), None).await;

    assert_eq!(first, good);
    assert!(from_liar.is_empty());
    assert_eq!((health.duplicates, health.invalid), (1, 1));
    assert!(to_a_stranger.unwrap().is_empty());
}

#[tokio::test]
async fn a_forged_event_is_refused_the_second_time_too() {
    let good = listing("good");
    let forgeries = [
        tampered(&good, "content", "forged"),
        tampered(&good, "id", &"11".repeat(32)),
        tampered(&good, "sig", &"22".repeat(64)),
        tampered(&good, "pubkey", &Keys::generate().public_key().to_hex()),
    ];
    let true_event = good.clone();
    let liar = scripted(move |_, mut peer| {
        let (forgeries, good) = (forgeries.clone(), true_event.clone());
        async move {
            let id = peer.requested().await;
            for forgery in forgeries.iter().chain(&forgeries) {
                peer.say(json!(["EVENT", id, forgery])).await;
            }
            peer.say(json!(["EVENT", id, good])).await;
            peer.say(json!(["EOSE", id])).await;
            peer.stay().await;
        }
    })
    .await;
    let links = links();

    let mut receiver = links
        .subscribe(std::slice::from_ref(&liar), listings(), None)
        .unwrap();
    let events = end_of_stored(&mut receiver).await;

    assert_eq!(
        events,
        [good],
        "the true event gets through, its forgeries do not"
    );
    assert_eq!(health_of(&links, &liar).invalid, 8);
}

#[tokio::test]
async fn events_that_were_not_asked_for_are_refused() {
    let relay = scripted(|_, mut peer| async move {
        let id = peer.requested().await;
        let note = event(&Keys::generate(), 1, "buy my coin", &[]);
        peer.say(json!(["EVENT", id, note])).await;
        peer.say(json!(["EVENT", "another", note])).await;
        peer.say(json!(["EOSE", id])).await;
        peer.stay().await;
    })
    .await;
    let links = links();

    let events = links.fetch(&relay, listings(), None).await.unwrap();

    assert!(events.is_empty());
    assert_eq!(health_of(&links, &relay).invalid, 1);
}

/// Every kind of frame that is not of the protocol, or not of ours.
const NONSENSE: [&str; 14] = [
    "",
    "\u{0}",
    "hello",
    "{}",
    "[]",
    "null",
    "[\"EVENT\"]",
    "[\"EVENT\",1,2]",
    "[\"EVENT\",\"0-1\",{\"id\":\"",
    "[\"EVENT\",\"0-1\",{\"id\":\"zz\"}]",
    "[\"OK\",\"short\",true]",
    "[\"OK\",17,\"yes\",null]",
    "[\"EOSE\"]",
    "[\"CLOSED\",{}]",
];

#[tokio::test]
async fn nonsense_is_counted_and_harms_nobody() {
    let honest = Relay::start().await;
    let good = listing("good");
    let true_event = good.clone();
    let fool = scripted(move |_, mut peer| {
        let good = true_event.clone();
        async move {
            let id = peer.requested().await;
            for text in NONSENSE {
                peer.say_text(text).await;
            }
            peer.say_text(&"[".repeat(100_000)).await;
            peer.say(json!(["NOTICE", "x".repeat(10_000)])).await;
            peer.say(json!(["AUTH", "y".repeat(10_000)])).await;
            peer.say(json!(["EOSE", "zz-zz"])).await;
            peer.say(json!(["CLOSED", "ff-1", "error: whatever"])).await;
            peer.say(json!(["EVENT", id, good])).await;
            peer.stay().await;
        }
    })
    .await;
    let links = links();
    let urls = [fool.clone(), honest.url.clone()];
    let other = listing("from the honest relay");

    let mut receiver = links
        .subscribe(&urls, listings(), Some(Keys::generate()))
        .unwrap();
    end_of_stored(&mut receiver).await;
    eventually(|| health_of(&links, &fool).events == 1).await;
    links
        .publish(std::slice::from_ref(&honest.url), &other, None)
        .await;
    let events = [next_event(&mut receiver).await];
    let health = health_of(&links, &fool);

    assert!(events.contains(&good) || events.contains(&other));
    assert!(health.invalid >= NONSENSE.len() as u64, "{health:?}");
    assert!(health.last_error.unwrap().len() <= 200);
}

#[tokio::test]
async fn a_relay_that_only_talks_nonsense_is_hung_up_on() {
    let relay = scripted(|_, mut peer| async move {
        peer.requested().await;
        for _ in 0..200 {
            peer.say_text("nonsense").await;
        }
        peer.stay().await;
    })
    .await;
    let links = links();

    let _receiver = links
        .subscribe(std::slice::from_ref(&relay), listings(), None)
        .unwrap();

    let reason = || health_of(&links, &relay).last_error.unwrap_or_default();
    eventually(|| reason() == "the relay talks nonsense").await;
}

#[tokio::test]
async fn a_frame_of_100_mb_is_not_read() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let flood = scripted(move |_, mut peer| {
        let count = Arc::clone(&count);
        async move {
            peer.requested().await;
            let stream = peer.socket.get_mut();
            // A text frame whose header says 100 MB.
            let mut header = vec![0x81, 127];
            header.extend_from_slice(&100_000_000_u64.to_be_bytes());
            if stream.write_all(&header).await.is_err() {
                return;
            }
            let block = vec![b'x'; 64 * 1024];
            while let Ok(bytes) = stream.write(&block).await {
                count.fetch_add(bytes, Ordering::SeqCst);
            }
        }
    })
    .await;
    let honest = Relay::start().await;
    let good = listing("good");
    let links = links();
    links
        .publish(std::slice::from_ref(&honest.url), &good, None)
        .await;

    let urls = [flood.clone(), honest.url.clone()];
    let mut receiver = links.subscribe(&urls, listings(), None).unwrap();
    let event = next_event(&mut receiver).await;
    eventually(|| health_of(&links, &flood).invalid > 0).await;
    let connections = health_of(&links, &flood).invalid;

    assert_eq!(event, good);
    // What fits into the buffers of the kernel is all that the relay gets rid of.
    let most = 16_000_000 * usize::try_from(connections + 1).unwrap();
    assert!(written.load(Ordering::SeqCst) < most);
}

#[tokio::test]
async fn a_refused_subscription_is_tried_again_and_does_not_stop_the_others() {
    let good = listing("good");
    let true_event = good.clone();
    let relay = scripted(move |_, mut peer| {
        let good = true_event.clone();
        async move {
            for reason in ["rate-limited: slow down", "error: try later"] {
                let id = peer.requested().await;
                peer.say(json!(["CLOSED", id, reason])).await;
            }
            let id = peer.requested().await;
            peer.say(json!(["EVENT", id, good])).await;
            peer.stay().await;
        }
    })
    .await;
    let links = links();

    let mut receiver = links
        .subscribe(std::slice::from_ref(&relay), listings(), None)
        .unwrap();
    let event = next_event(&mut receiver).await;

    assert_eq!(event, good);
    let error = health_of(&links, &relay).last_error.unwrap();
    assert!(error.contains("error: try later"), "{error}");
}

#[tokio::test]
async fn a_refused_fetch_says_why() {
    let relay = scripted(|_, mut peer| async move {
        let id = peer.requested().await;
        peer.say(json!(["CLOSED", id, "blocked: you"])).await;
        peer.stay().await;
    })
    .await;

    let refused = links().fetch(&relay, listings(), None).await.unwrap_err();

    assert!(refused.to_string().contains("blocked: you"), "{refused}");
}

#[tokio::test]
async fn a_relay_that_never_ends_its_stored_events_gives_what_it_gave() {
    let good = listing("good");
    let true_event = good.clone();
    let relay = scripted(move |_, mut peer| {
        let good = true_event.clone();
        async move {
            for events in [1, 0] {
                let id = peer.requested().await;
                for _ in 0..events {
                    peer.say(json!(["EVENT", id, good])).await;
                }
            }
            peer.stay().await;
        }
    })
    .await;
    let links = links_with(Arc::new(ManualClock::at(NOW)), |options, _| {
        options.answer_timeout = Duration::from_millis(200);
    });

    let some = links.fetch(&relay, listings(), None).await;
    let none = links.fetch(&relay, listings(), None).await;

    assert_eq!(some.unwrap(), [good]);
    assert!(matches!(none, Err(RelayError::TimedOut { .. })));
}

#[tokio::test]
async fn a_publish_without_answer_times_out() {
    let relay = scripted(|_, mut peer| async move { peer.stay().await }).await;
    let links = links_with(Arc::new(ManualClock::at(NOW)), |options, _| {
        options.answer_timeout = Duration::from_millis(100);
    });

    let published = links.publish(&[relay], &listing(""), None).await;

    assert!(!published[0].accepted);
    assert!(published[0].message.ends_with("did not answer in time"));
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_made_again() {
    let good = listing("good");
    let true_event = good.clone();
    let relay = scripted(move |number, mut peer| {
        let good = true_event.clone();
        async move {
            let id = peer.requested().await;
            if number == 0 {
                // Not read any more: pings stay without answer.
                std::future::pending::<()>().await;
            }
            peer.say(json!(["EVENT", id, good])).await;
            peer.stay().await;
        }
    })
    .await;
    let links = links_with(Arc::new(ManualClock::at(NOW)), |_, timing| {
        timing.ping_every = Duration::from_millis(20);
    });

    let mut receiver = links
        .subscribe(std::slice::from_ref(&relay), listings(), None)
        .unwrap();
    let event = next_event(&mut receiver).await;

    assert_eq!(event, good);
    let error = health_of(&links, &relay).last_error.unwrap();
    assert!(error.contains("silent"), "{error}");
}

#[tokio::test]
async fn an_event_is_sent_again_once_authenticated() {
    let keys = Keys::generate();
    let expected = keys.public_key().to_hex();
    let relay = scripted(move |_, mut peer| {
        let expected = expected.clone();
        async move {
            let mut is_authenticated = false;
            while let Some(message) = peer.hear().await {
                let id = message[1]["id"].clone();
                if message[0] == "EVENT" && is_authenticated {
                    peer.say(json!(["OK", id, true, ""])).await;
                } else if message[0] == "EVENT" {
                    let refusal = "auth-required: who are you";
                    peer.say(json!(["OK", id, false, refusal])).await;
                    peer.say(json!(["AUTH", "challenge"])).await;
                } else if message[0] == "AUTH" {
                    assert_eq!(message[1]["pubkey"], expected);
                    is_authenticated = true;
                    peer.say(json!(["OK", id, true, ""])).await;
                }
            }
        }
    })
    .await;

    let with = links()
        .publish(std::slice::from_ref(&relay), &listing(""), Some(&keys))
        .await;
    let without = links().publish(&[relay], &listing(""), None).await;

    assert!(with[0].accepted, "{with:?}");
    assert!(!without[0].accepted);
    assert!(without[0].message.starts_with("auth-required"));
}

#[tokio::test]
async fn a_server_that_is_no_websocket_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    });

    for scheme in ["ws", "wss"] {
        let url = format!("{scheme}://{address}");
        let fetched = tokio::time::timeout(PATIENCE, links().fetch(&url, listings(), None)).await;

        assert!(matches!(fetched, Ok(Err(RelayError::Unreachable { .. }))));
    }
}
