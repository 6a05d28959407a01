//! Garbage at the relay endpoint: frames, messages, filters and events.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::SinkExt;
use nostr::key::Keys;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::node::{Client, Node, PATIENCE, event, raw_websocket};

const MAX_GROWTH_KB: u64 = 96 * 1_024;

/// Messages that are no message, and some that nearly are.
fn messages() -> Vec<String> {
    let deep = format!("[\"REQ\",\"a\",{}]", "{\"a\":[".repeat(40_000));
    let many: Vec<Value> = (0..10_000).map(|_| json!({"kinds": [1]})).collect();
    let many = [vec![json!("REQ"), json!("a")], many].concat();
    let ids: Vec<String> = (0..6_000_u64).map(|n| format!("{n:064x}")).collect();
    let values: Vec<String> = (0..15_000).map(|n| format!("{n:x}")).collect();
    vec![
        String::new(),
        "\u{0}".to_owned(),
        "[".repeat(100_000),
        deep,
        json!(many).to_string(),
        json!(["REQ", "x".repeat(100_000), {}]).to_string(),
        json!(["REQ", "", {}]).to_string(),
        json!(["REQ", "\u{202e}\u{0}😀", {"kinds": [1]}]).to_string(),
        json!(["REQ", "a"]).to_string(),
        json!(["REQ", "a", 7, null, "x"]).to_string(),
        json!(["REQ", "a", {"ids": ids}]).to_string(),
        json!(["REQ", "a", {"authors": ids, "search": "x"}]).to_string(),
        json!(["REQ", "a", {"#t": values, "#d": values}]).to_string(),
        json!(["REQ", "a", {"ids": ["zz"]}]).to_string(),
        json!(["REQ", "a", {"kinds": [-1, 65_536, 1e99, "1"]}]).to_string(),
        json!(["REQ", "a", {"since": u64::MAX, "until": -1}]).to_string(),
        json!(["REQ", "a", {"since": u64::MAX, "limit": u64::MAX}]).to_string(),
        json!(["REQ", "a", {"limit": -5}]).to_string(),
        json!(["REQ", "a", {"search": "\" OR * NEAR( )"}]).to_string(),
        json!(["REQ", "a", {"search": "a* ".repeat(50_000)}]).to_string(),
        json!(["REQ", "a", {"#": ["x"], "#tt": ["y"], "&t": []}]).to_string(),
        json!(["REQ", "a", {"kinds": [4, 1059]}]).to_string(),
        json!(["COUNT", "a", {}]).to_string(),
        json!(["CLOSE"]).to_string(),
        json!(["CLOSE", 5]).to_string(),
        json!(["CLOSE", "never opened"]).to_string(),
        json!(["AUTH", {}]).to_string(),
        json!(["AUTH", "x"]).to_string(),
        json!(["NEG-OPEN", "a", {}, "61"]).to_string(),
        json!(["EVENT"]).to_string(),
        json!(["EVENT", {}]).to_string(),
        json!(["EVENT", {"id": "x".repeat(200_000)}]).to_string(),
        json!(["OK", "a", true, ""]).to_string(),
        json!(["\u{feff}EVENT", null]).to_string(),
        "[\"REQ\",\"a\",{\"kinds\":[1],\"kinds\":[2],\"\\ud800\":1}]".to_owned(),
    ]
}

/// Says `text`, then something sensible; whether the node answers or has hung up, it goes on.
async fn survives(node: &Node, text: &str) {
    let mut client = node.connect().await;
    if !client.say(text).await {
        return;
    }
    let good = json!(["REQ", "good", {"kinds": [31_402], "limit": 1}]);
    client.say(&good.to_string()).await;
    while let Some(message) = client.hear().await {
        let kind = message[0].as_str().unwrap();
        assert!(
            ["EVENT", "EOSE", "CLOSED", "NOTICE", "OK", "NEG-ERR"].contains(&kind),
            "{message}"
        );
        if message[1] == "good" && kind == "EOSE" {
            return;
        }
    }
}

/// Writes `bytes` where frames are expected, and reads until the node hangs up.
async fn raw(node: &Node, bytes: &[u8], hangs_up_first: bool) {
    let mut socket = raw_websocket(&node.public).await;
    let stream = socket.get_mut();
    // The node may hang up in the middle.
    let _ = stream.write_all(bytes).await;
    if hangs_up_first {
        return;
    }
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the node hangs up");
}

fn frames(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut frames = vec![
        // Unmasked text, reserved bits, an unknown opcode, a continuation of nothing.
        b"\x81\x05hello".to_vec(),
        b"\xf1\x80\x00\x00\x00\x00".to_vec(),
        b"\x83\x80\x00\x00\x00\x00".to_vec(),
        b"\x80\x81\x00\x00\x00\x00x".to_vec(),
        // Text that is not UTF-8; a ping longer than a ping may be.
        b"\x81\x82\x00\x00\x00\x00\xff\xfe".to_vec(),
        [b"\x89\xfe\x01\x00\x00\x00\x00\x00".as_slice(), &[0; 256]].concat(),
        // A length of 2^63, and one of 100 MB with a little of it.
        b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec(),
        [
            b"\x82\xff\x00\x00\x00\x00\x05\xf5\xe1\x00\x00\x00\x00\x00".as_slice(),
            &[7; 9_000],
        ]
        .concat(),
        // A close with a broken reason.
        b"\x88\x83\x00\x00\x00\x00\x03\xe8\xff".to_vec(),
    ];
    for _ in 0..40 {
        let mut noise = vec![0; rng.random_range(1..3_000)];
        rng.fill(noise.as_mut_slice());
        frames.push(noise);
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_every_frame_is_refused_and_harms_nothing() {
    let node = Node::start().await;
    let mut rng = StdRng::seed_from_u64(13);
    let books = node.books().await;
    for text in messages() {
        survives(&node, &text).await;
    }
    let before = node.resident_kb();

    for text in messages() {
        survives(&node, &text).await;
        let half = text.len() / 2;
        let cut = text.char_indices().map(|(at, _)| at).find(|at| *at >= half);
        survives(&node, &text[..cut.unwrap_or(0)]).await;
    }
    for (number, frame) in frames(&mut rng).iter().enumerate() {
        raw(&node, frame, number % 2 == 0).await;
    }
    let mut client = node.connect().await;
    for length in [0, 1, 100_000] {
        let sent = client.socket.send(Message::binary(vec![9; length])).await;
        sent.unwrap();
        assert_eq!(client.hear().await.unwrap()[0], "NOTICE");
    }
    let after = node.resident_kb();

    assert!(after < before + MAX_GROWTH_KB, "{before} to {after} kB");
    assert_eq!(node.books().await, books);
    node.check_serving().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bent_events_are_refused_one_by_one() {
    let node = Node::start().await;
    let mut rng = StdRng::seed_from_u64(14);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let keys = Keys::generate();
    let tags: [&[&str]; 3] = [
        &["d", "a"],
        &["url", "http://127.0.0.1:9"],
        &["pmi", "l402"],
    ];
    let good = event(&keys, 31_402, now, "{}", &tags);
    let text = json!(["EVENT", good]).to_string();
    let mut client = node.connect().await;

    for _ in 0..200 {
        let at = rng.random_range(0..text.len());
        let bent = format!(
            "{}{}{}",
            &text[..at],
            char::from(rng.random_range(b' '..b'~')),
            &text[at + 1..]
        );
        if bent == text {
            continue;
        }
        if !client.say(&bent).await {
            client = node.connect().await;
            continue;
        }
        match client.hear().await {
            // Some bytes are white space or a repetition; what is left is the event as it was.
            Some(answer) if answer[0] == "OK" && answer[2] == true => {
                assert_eq!(answer[1], good.id.to_hex(), "{bent}");
            }
            Some(_) => {}
            None => client = node.connect().await,
        }
    }

    let mut client: Client = node.connect().await;
    let stored = client.stored(json!({"kinds": [31_402]})).await;
    assert!(
        stored.iter().all(|event| *event == json!(good)),
        "{stored:?}"
    );
    assert!(node.publish(&good).await.0);
    node.check_serving().await;
    node.stop().await;
}
