//! Every wait has an end, every end an answer, and every answer the right money.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::stand::{Stand, Upstream, answer, soon, whole};

/// The smallest time that the settings know.
const ONE_SECOND: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_connections_is_502() {
    let upstream = Upstream::open().await;
    let url = upstream.url();
    drop(upstream);
    let stand = Stand::open(&url, |_, _| {}).await;
    let credential = stand.buy("POST").await;

    let failed = stand.call(&credential, "x").await;

    failed.check_given_back(502, "upstream_unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_open_in_time_is_504() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // Nobody accepts: once the queue is full, the system answers no further one.
    let mut waiting = Vec::new();
    while let Ok(opened) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        waiting.push(opened.unwrap());
    }
    let stand = Stand::open(&format!("http://{address}"), |agent, _| {
        agent.forward.connect_timeout_secs = ONE_SECOND;
    })
    .await;
    let credential = stand.buy("POST").await;

    let failed = stand.call(&credential, "x").await;

    failed.check_given_back(504, "upstream_connect_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_504_and_the_use_buys_the_retry() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |agent, _| {
        agent.forward.upstream_timeout_secs = ONE_SECOND;
    })
    .await;
    let credential = stand.buy("POST").await;

    let (failed, _silent) = tokio::join!(stand.call(&credential, "x"), upstream.next());
    let (retried, _) = tokio::join!(stand.call(&credential, "x"), upstream.answer("done"));

    failed.check_given_back(504, "upstream_timeout");
    assert_eq!((retried.status, retried.body.as_str()), (200, "done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stalls_or_breaks_before_it_is_committed_is_given_back() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |agent, _| {
        agent.forward.pause_timeout_secs = ONE_SECOND;
    })
    .await;
    let credential = stand.buy("POST").await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha";

    for (goes, status, code) in [
        (false, 504, "upstream_stalled"),
        (true, 502, "upstream_failed"),
    ] {
        let (failed, _service) = tokio::join!(stand.call(&credential, "x"), async {
            let mut service = upstream.next().await;
            service.until("x").await;
            service.send(half).await;
            (!goes).then_some(service)
        });
        failed.check_given_back(status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_an_end_however_busy_it_is() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |agent, _| {
        agent.forward.call_timeout_secs = ONE_SECOND;
    })
    .await;
    let (before, within) = (stand.buy("POST").await, stand.buy("POST").await);

    let (failed, _silent) = tokio::join!(stand.call(&before, "x"), upstream.next());
    let (cut, ()) = tokio::join!(stand.call(&within, "x"), async {
        let mut service = upstream.next().await;
        service.until("x").await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        service.send(head).await;
        // Until the gateway has had enough.
        while soon(service.0.write_all(b"1\r\n.\r\n")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });

    failed.check_given_back(504, "call_timeout");
    assert_eq!(cut.status, 200);
    assert!(!cut.body.ends_with("0\r\n\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_or_grows_too_long_is_given_back() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |agent, config| {
        agent.forward.pause_timeout_secs = ONE_SECOND;
        config.public.max_body_bytes = 8;
    })
    .await;
    let credential = stand.buy("POST").await;

    for (begun, status, code) in [
        ("2\r\nhi\r\n", 408, "request_stalled"),
        ("c\r\nfar too long\r\n", 413, "body_too_large"),
    ] {
        let lines = "transfer-encoding: chunked\r\nconnection: close\r\n";
        let mut client = stand.begin("POST", &credential, lines).await;
        client.send(begun).await;
        let (failed, broken_off) = tokio::join!(whole(&mut client), async {
            let mut service = upstream.next().await;
            service.rest().await
        });
        failed.check_given_back(status, code);
        assert!(!broken_off.contains("0\r\n\r\n"), "{broken_off}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_within_its_upload_gets_its_payment_back() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let credential = stand.buy("POST").await;

    let mut client = stand
        .begin("POST", &credential, "content-length: 10\r\n")
        .await;
    client.send("abc").await;
    let mut service = upstream.next().await;
    service.until("abc").await;
    drop(client);
    let rest = service.rest().await;
    let (again, _) = tokio::join!(
        stand.call_again(&credential, "whole", 200),
        upstream.answer("done")
    );

    assert_eq!(rest, "");
    assert_eq!(again.body, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_before_the_answer_finds_it_kept() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let credential = stand.buy("POST").await;

    let mut client = stand
        .begin("POST", &credential, "content-length: 1\r\n")
        .await;
    client.send("x").await;
    let mut service = upstream.next().await;
    service.until("x").await;
    drop(client);
    service.send(&answer("kept")).await;
    let again = stand.call_again(&credential, "x", 200).await;

    assert_eq!(again.body, "kept");
    assert!(!upstream.is_called_again().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_within_a_short_answer_finds_it_whole() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let credential = stand.buy("POST").await;

    let mut client = stand
        .begin("POST", &credential, "content-length: 1\r\n")
        .await;
    client.send("x").await;
    let mut service = upstream.next().await;
    service.head().await;
    service.until("x").await;
    let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    service.send(begun).await;
    client.until("half\r\n").await;
    drop(client);
    service.send("4\r\nrest\r\n0\r\n\r\n").await;
    let again = stand.call_again(&credential, "x", 200).await;

    assert_eq!(again.body, "halfrest");
    assert!(!upstream.is_called_again().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_within_a_long_answer_stops_it_and_has_used_its_call() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, config| {
        config.gateway.stored_response_max_bytes = 16;
    })
    .await;
    let credential = stand.buy("POST").await;

    let mut client = stand
        .begin("POST", &credential, "content-length: 1\r\n")
        .await;
    client.send("x").await;
    let mut service = upstream.next().await;
    service.head().await;
    service.until("x").await;
    let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n";
    service.send(begun).await;
    service.send(&format!("{}\r\n", "a".repeat(32))).await;
    client.until("aaaa\r\n").await;
    drop(client);
    // The upstream's writes fail once the gateway has closed the connection.
    let rest = service.rest().await;
    let again = stand.call_again(&credential, "x", 402).await;

    assert_eq!(rest, "");
    again.check(402, "credential_used_up");
}
