//! The endpoint's answers, message by message.

use std::sync::Arc;

use feria::clock::ManualClock;
use feria::http::relay_endpoint::RelayPolicy;
use futures_util::StreamExt;
use nostr::key::Keys;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::support::{NOW, PATIENCE, RawClient, Relay, event, event_at};

#[tokio::test]
async fn stored_events_come_newest_first_and_no_more_than_asked_for() {
    let relay = Relay::start().await;
    let keys = Keys::generate();
    let mut client = RawClient::connect(&relay).await;
    for age in [30, 10, 20] {
        let d_tag = age.to_string();
        let listing = event_at(&keys, NOW - age, 30_402, "", &[&["d", &d_tag]]);
        assert!(client.publish(&listing).await.0);
    }

    client
        .say(json!(["REQ", "s", {"kinds": [30_402], "limit": 2}, {"kinds": [31_402]}]))
        .await;
    let (first, second, end) = (
        client.hear().await,
        client.hear().await,
        client.hear().await,
    );
    client.say(json!(["REQ", "none", {"limit": 0}])).await;

    assert_eq!(first[2]["created_at"], NOW - 10);
    assert_eq!(second[2]["created_at"], NOW - 20);
    assert_eq!(end, json!(["EOSE", "s"]));
    assert_eq!(client.hear().await, json!(["EOSE", "none"]));
}

#[tokio::test]
async fn a_closed_subscription_hears_nothing_more() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    for id in ["a", "b"] {
        client.say(json!(["REQ", id, {"kinds": [30_402]}])).await;
        client.hear().await;
    }
    client.say(json!(["CLOSE", "a"])).await;

    let listing = event(&Keys::generate(), 30_402, "", &[&["d", "x"]]);
    client.say(json!(["EVENT", listing])).await;
    let (first, second) = (client.hear().await, client.hear().await);
    client.say(json!(["REQ", "c", {"limit": 0}])).await;
    let third = client.hear().await;

    assert_eq!(first[0], "OK");
    assert_eq!((&second[0], &second[1]), (&json!("EVENT"), &json!("b")));
    assert_eq!(third, json!(["EOSE", "c"]));
}

#[tokio::test]
async fn events_are_refused_with_a_reason() {
    let relay = Relay::start().await;
    let keys = Keys::generate();
    let mut client = RawClient::connect(&relay).await;
    let mut forged = serde_json::to_value(event(&keys, 30_402, "a", &[&["d", "x"]])).unwrap();
    forged["content"] = json!("b");
    let big = "x".repeat(70_000);
    let cases: [(Value, &str); 8] = [
        (forged, "invalid: wrong id or signature"),
        (json!(event(&keys, 1, "gm", &[])), "blocked:"),
        (
            json!(event(&keys, 30_402, &big, &[])),
            "invalid: the event is too large",
        ),
        (
            json!(event_at(&keys, NOW + 3_600, 30_402, "", &[])),
            "invalid: dated too far",
        ),
        (
            json!(event(&keys, 30_402, "", &[&["expiration", "1"]])),
            "invalid: expired",
        ),
        (json!(event(&keys, 30_402, "", &[&["-"]])), "auth-required:"),
        (json!(event(&keys, 22_242, "", &[])), "invalid:"),
        (json!(event(&keys, 1_059, "", &[])), "blocked:"),
    ];

    for (event, reason) in cases {
        client.say(json!(["EVENT", event])).await;
        let answer = client.hear().await;

        assert_eq!((&answer[0], &answer[2]), (&json!("OK"), &json!(false)));
        assert_eq!(answer[1], event["id"]);
        let words = answer[3].as_str().unwrap();
        assert!(words.starts_with(reason), "{words}, not {reason}");
    }
}

#[tokio::test]
async fn every_market_kind_is_welcome() {
    let relay = Relay::start().await;
    let keys = Keys::generate();
    let mut client = RawClient::connect(&relay).await;

    for kind in [
        0, 5, 1_111, 10_002, 10_019, 10_050, 11_316, 11_317, 30_402, 31_402, 31_555, 31_990,
    ] {
        let answer = client
            .publish(&event(&keys, kind, "", &[&["d", "x"]]))
            .await;

        assert_eq!(answer, (true, String::new()), "kind {kind}");
    }
}

#[tokio::test]
async fn ephemeral_events_are_passed_on_and_not_stored() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    client.say(json!(["REQ", "s", {"kinds": [25_910]}])).await;
    client.hear().await;

    let request = event(&Keys::generate(), 25_910, "call", &[]);
    client.say(json!(["EVENT", request])).await;
    let (answer, live) = (client.hear().await, client.hear().await);
    client.say(json!(["REQ", "t", {"kinds": [25_910]}])).await;

    assert_eq!(answer[2], true);
    assert_eq!(live, json!(["EVENT", "s", request]));
    assert_eq!(client.hear().await, json!(["EOSE", "t"]));
}

#[tokio::test]
async fn limits_of_subscriptions_hold() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    let filters = vec![json!({"limit": 0}); 11];
    let mut request = vec![json!("REQ"), json!("many")];
    request.extend(filters);

    client.say(Value::Array(request)).await;
    let many = client.hear().await;
    client.say(json!(["REQ", "none"])).await;
    let none = client.hear().await;
    client.say(json!(["REQ", "x".repeat(65), {}])).await;
    let long = client.hear().await;
    for number in 0..20 {
        client
            .say(json!(["REQ", number.to_string(), {"limit": 0}]))
            .await;
        assert_eq!(client.hear().await[0], "EOSE");
    }
    client.say(json!(["REQ", "20", {"limit": 0}])).await;
    let twenty_first = client.hear().await;
    client.say(json!(["REQ", "0", {"limit": 0}])).await;
    let replaced = client.hear().await;

    assert_eq!(many[0], "CLOSED");
    assert_eq!(none[0], "CLOSED");
    assert_eq!(long[0], "NOTICE");
    assert_eq!(
        (&twenty_first[0], &twenty_first[1]),
        (&json!("CLOSED"), &json!("20"))
    );
    assert_eq!(replaced, json!(["EOSE", "0"]));
}

#[tokio::test]
async fn unreadable_messages_are_answered_by_name() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    let id = "ab".repeat(32);

    client.say(json!(["REQ", "s", {"kinds": "all"}])).await;
    let closed = client.hear().await;
    client.say(json!(["EVENT", {"id": id}])).await;
    let refused = client.hear().await;
    client.say(json!(["COUNT", "c", {}])).await;
    let count = client.hear().await;
    client.say(json!(["NEG-OPEN", "n", {}, "61"])).await;
    let negentropy = client.hear().await;

    assert_eq!((&closed[0], &closed[1]), (&json!("CLOSED"), &json!("s")));
    assert_eq!((&refused[0], &refused[1]), (&json!("OK"), &json!(id)));
    assert_eq!((&count[0], &count[1]), (&json!("CLOSED"), &json!("c")));
    assert_eq!(
        (&negentropy[0], &negentropy[1]),
        (&json!("NEG-ERR"), &json!("n"))
    );
}

#[tokio::test]
async fn a_client_of_nonsense_is_hung_up_on() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    for text in ["", "[", "{}", "null", "[[[[", "[\"EVENT\"]", "[1,2,3]"] {
        client.say_text(text).await;
        assert_eq!(client.hear().await[0], "NOTICE");
    }

    for _ in 0..64 {
        client.say_text("nonsense").await;
    }
    let mut notices = 0;
    while client.try_hear().await.is_some() {
        notices += 1;
    }

    assert!(notices < 64);
}

#[tokio::test]
async fn a_frame_of_100_mb_ends_the_connection() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    let stream = match client.socket.get_mut() {
        tokio_tungstenite::MaybeTlsStream::Plain(stream) => stream,
        _ => panic!("a plain stream"),
    };
    let mut header = vec![0x81, 0x80 | 127];
    header.extend_from_slice(&100_000_000_u64.to_be_bytes());
    header.extend_from_slice(&[1, 2, 3, 4]);

    stream.write_all(&header).await.unwrap();

    assert_eq!(client.try_hear().await, None);
    let mut other = RawClient::connect(&relay).await;
    other.say(json!(["REQ", "s", {"limit": 0}])).await;
    assert_eq!(other.hear().await, json!(["EOSE", "s"]));
}

#[tokio::test]
async fn a_slow_reader_is_dropped() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    client.say(json!(["REQ", "s", {"kinds": [25_910]}])).await;
    client.hear().await;
    let keys = Keys::generate();
    let content = "x".repeat(60_000);
    let total = 500;

    for _ in 0..total {
        let _ = relay
            .live
            .send(Arc::new(event(&keys, 25_910, &content, &[])));
        tokio::task::yield_now().await;
    }
    let mut received = 0;
    let read = async {
        while let Some(Ok(_)) = client.socket.next().await {
            received += 1
        }
    };
    timeout(PATIENCE, read).await.expect("the connection ends");

    assert!(received < total, "{received}");
}

#[tokio::test]
async fn authentication_is_bound_to_this_relay_and_connection() {
    let relay = Relay::start().await;
    let keys = Keys::generate();
    let mut client = RawClient::connect(&relay).await;
    let other = RawClient::connect(&relay).await;
    let challenge = client.challenge.clone();

    let elsewhere = client.authenticate(&keys, "ws://127.0.0.1:1").await;
    client.challenge = other.challenge;
    let replayed = client.authenticate(&keys, &relay.url).await;
    client.challenge = challenge;
    let good = client.authenticate(&keys, &format!("{}/", relay.url)).await;

    assert_eq!(
        elsewhere,
        (false, "invalid: signed for another relay".to_owned())
    );
    assert_eq!(
        replayed,
        (
            false,
            "invalid: not the challenge of this connection".to_owned()
        )
    );
    assert_eq!(good, (true, String::new()));
}

#[tokio::test]
async fn several_keys_may_authenticate_on_one_connection() {
    let policy = RelayPolicy {
        is_open_inbox: true,
        ..RelayPolicy::default()
    };
    let relay = Relay::start_at(Arc::new(ManualClock::at(NOW)), policy).await;
    let [first, second, stranger] = [(); 3].map(|()| Keys::generate());
    let mut client = RawClient::connect(&relay).await;
    for keys in [&first, &second, &stranger] {
        let key = keys.public_key().to_hex();
        let wrap = event(&Keys::generate(), 1_059, &key, &[&["p", &key]]);
        assert!(client.publish(&wrap).await.0);
    }

    client.say(json!(["REQ", "s", {"kinds": [1_059]}])).await;
    let before = client.hear().await;
    for keys in [&first, &second] {
        assert!(client.authenticate(keys, &relay.url).await.0);
    }
    client
        .say(json!(["REQ", "s", {"kinds": [1_059, 30_402], "limit": 2}]))
        .await;
    let (one, two, end) = (
        client.hear().await,
        client.hear().await,
        client.hear().await,
    );
    let foreign = json!({"kinds": [1_059], "#p": [stranger.public_key().to_hex()]});
    client.say(json!(["REQ", "t", foreign])).await;
    let refused = client.hear().await;

    assert_eq!(before[0], "CLOSED");
    assert!(before[2].as_str().unwrap().starts_with("auth-required:"));
    let read = [one, two].map(|message| message[2]["content"].as_str().unwrap().to_owned());
    assert!(read.contains(&first.public_key().to_hex()));
    assert!(read.contains(&second.public_key().to_hex()));
    assert_eq!(end, json!(["EOSE", "s"]));
    assert!(refused[2].as_str().unwrap().starts_with("restricted:"));
}

async fn get(relay: &Relay, accept: &str) -> String {
    let mut stream = TcpStream::connect(relay.address).await.unwrap();
    let request =
        format!("GET / HTTP/1.1\r\nhost: relay\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn the_information_document_states_the_limits() {
    let relay = Relay::start().await;

    let response = get(&relay, "application/nostr+json").await;
    let page = get(&relay, "text/html").await;

    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let document: Value = serde_json::from_str(body).unwrap();
    assert!(
        head.contains("content-type: application/nostr+json"),
        "{head}"
    );
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert_eq!(document["name"], "test relay");
    assert_eq!(document["limitation"]["max_subscriptions"], 20);
    assert_eq!(document["limitation"]["max_message_length"], 512 * 1024);
    assert!(
        document["supported_nips"]
            .as_array()
            .unwrap()
            .contains(&json!(42))
    );
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
}

#[tokio::test]
async fn lists_that_would_keep_the_store_busy_are_refused() {
    let relay = Relay::start().await;
    let mut client = RawClient::connect(&relay).await;
    let values: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    let long = json!(["REQ", "a", {"#t": values}, {"#d": values}]);

    client.say(long).await;
    let refused = client.hear().await;
    client.say(json!(["REQ", "a", {"#t": values}])).await;
    let served = client.hear().await;

    let words = "invalid: more than 2000 values in the filters";
    assert_eq!(refused, json!(["CLOSED", "a", words]));
    assert_eq!(served, json!(["EOSE", "a"]));
}
