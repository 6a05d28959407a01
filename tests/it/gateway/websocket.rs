//! A WebSocket is one paid call.

use super::stand::{Stand, Upstream, whole};

const HANDSHAKE: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGVzdA==\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: abc\r\n\r\n";

async fn stand(upstream: &Upstream) -> Stand {
    Stand::open(&upstream.url(), |agent, _| agent.method = "GET".to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_handshake_opens_a_tunnel_that_ends_with_the_node() {
    let upstream = Upstream::open().await;
    let stand = stand(&upstream).await;
    let credential = stand.buy("GET").await;

    let mut client = stand.begin("GET", &credential, HANDSHAKE).await;
    let mut service = upstream.next().await;
    let asked = service.head().await;
    // The first bytes may come together with the head.
    service.send(&format!("{SWITCH}hello")).await;
    let switched = client.head().await;
    let greeting = client.until("hello").await;
    client.send("ping").await;
    let ping = service.until("ping").await;
    let mut again = stand
        .begin("GET", &credential, "connection: close\r\n")
        .await;
    let again = whole(&mut again).await;
    let stopped = stand.app.shut_down().await;

    assert!(asked.contains("\r\nupgrade: websocket\r\n"), "{asked}");
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{asked}");
    assert!(
        asked.contains("\r\nsec-websocket-key: dgvzda==\r\n"),
        "{asked}"
    );
    assert!(!asked.contains("authorization"), "{asked}");
    assert!(switched.starts_with("http/1.1 101"), "{switched}");
    assert!(switched.contains("\r\nsec-websocket-accept: abc\r\n"));
    assert!(switched.contains("\r\npayment-receipt: "), "{switched}");
    assert_eq!((greeting.as_str(), ping.as_str()), ("hello", "ping"));
    again.check(402, "credential_used_up");
    assert!(stopped);
    assert_eq!(client.rest().await, "");
    assert_eq!(service.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_is_an_ordinary_answer() {
    let upstream = Upstream::open().await;
    let stand = stand(&upstream).await;
    let credential = stand.buy("GET").await;

    let mut client = stand.begin("GET", &credential, HANDSHAKE).await;
    let mut service = upstream.next().await;
    service.head().await;
    let refusal = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
    service.send(refusal).await;
    let head = client.head().await;

    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert_eq!(client.until("no").await, "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_protocol_is_switched_to() {
    let upstream = Upstream::open().await;
    let stand = stand(&upstream).await;
    let credential = stand.buy("GET").await;
    let h2c = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";

    let mut client = stand.begin("GET", &credential, h2c).await;
    let mut service = upstream.next().await;
    let asked = service.head().await;
    service
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        .await;
    let head = client.head().await;

    assert!(
        !asked.contains("h2c") && !asked.contains("http2-settings"),
        "{asked}"
    );
    assert!(head.starts_with("http/1.1 502"), "{head}");
}
