//! What passes between a client and an upstream, and what does not.

use std::sync::Arc;

use feria::config::{AgentConfig, InjectedValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::stand::{Stand, Upstream, answer, soon, whole};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/tls");

#[tokio::test(flavor = "multi_thread")]
async fn both_bodies_stream_at_the_same_time() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let credential = stand.buy("POST").await;
    let chunked = "transfer-encoding: chunked\r\nconnection: close\r\n";

    let mut client = stand.begin("POST", &credential, chunked).await;
    client.send("3\r\none\r\n").await;
    let mut service = upstream.next().await;
    assert!(service.head().await.contains("transfer-encoding: chunked"));
    service.until("one\r\n").await;
    service
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nuno\r\n")
        .await;
    assert!(client.head().await.starts_with("http/1.1 200"));
    client.until("uno\r\n").await;
    client.send("3\r\ntwo\r\n").await;
    service.until("two\r\n").await;
    service.send("3\r\ndos\r\n").await;
    client.until("dos\r\n").await;
    client.send("0\r\n\r\n").await;
    service.until("0\r\n\r\n").await;
    service.send("0\r\n\r\n").await;

    assert_eq!(client.rest().await, "0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_without_being_held() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 256;
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, config| {
        config.public.max_body_bytes = PART * PARTS;
    })
    .await;
    let credential = stand.buy("POST").await;
    let lines = format!("content-length: {}\r\n", PART * PARTS);

    let mut client = stand.begin("POST", &credential, &lines).await;
    let mut service = upstream.next().await;
    service.head().await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    service.send(chunked).await;
    client.head().await;
    let mut part = vec![7; PART];
    for _ in 0..PARTS {
        // Each part is seen by the other side before the next one is made.
        soon(client.0.write_all(&part)).await.unwrap();
        soon(service.0.read_exact(&mut part)).await.unwrap();
        service.send(&format!("{PART:x}\r\n")).await;
        soon(service.0.write_all(&part)).await.unwrap();
        service.send("\r\n").await;
        // A part may arrive in several chunks.
        let mut arrived = 0;
        while arrived < PART {
            let line = client.until("\r\n").await;
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            soon(client.0.read_exact(&mut part[arrived..arrived + length]))
                .await
                .unwrap();
            client.until("\r\n").await;
            arrived += length;
        }
    }
    service.send("0\r\n\r\n").await;

    assert_eq!(client.until("\r\n\r\n").await, "0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways_but_for_those_about_payments() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let credential = stand.buy("POST").await;
    let lines = "te: trailers\r\ntrailer: x-sum, x-cashu\r\nconnection: te, close\r\n\
                 transfer-encoding: chunked\r\n";

    let mut client = stand.begin("POST", &credential, lines).await;
    client
        .send("1\r\na\r\n0\r\nx-sum: 1\r\nx-cashu: forged\r\n\r\n")
        .await;
    let mut service = upstream.next().await;
    let head = service.head().await;
    let sent = service.until("\r\n\r\n").await;
    service
        .send(
            "HTTP/1.1 200 OK\r\ntrailer: x-check, payment-receipt\r\n\
             transfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nx-check: 2\r\n\
             payment-receipt: forged\r\n\r\n",
        )
        .await;
    let answer = whole(&mut client).await;

    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
    assert_eq!(sent, "1\r\na\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(answer.body, "1\r\nb\r\n0\r\nx-check: 2\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_sees_a_clean_head_and_so_does_the_client() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |agent, _| {
        agent.forward.inject = [("X-Api-Key", "k-123"), ("host", "inside.example")]
            .map(|(name, value)| (name.to_owned(), InjectedValue::from(value)))
            .into();
        agent.forward.strip_request_headers = vec!["Cookie".to_owned()];
        agent.forward.strip_response_headers = vec!["Server".to_owned()];
    })
    .await;
    let credential = stand.buy("POST").await;
    let lines = "x-api-key: forged\r\ncookie: a=1\r\nx-forwarded-for: 198.51.100.1\r\n\
                 authorization: Bearer own\r\nconnection: close, x-once\r\nx-once: 1\r\n\
                 accept: text/plain\r\n";

    let mut client = stand.begin("POST", &credential, lines).await;
    let mut service = upstream.next().await;
    let asked = service.head().await;
    service
        .send(
            "HTTP/1.1 200 OK\r\nserver: secret/1\r\nkeep-alive: 5\r\nx-api-key: k-123\r\n\
             x-kept: 1\r\nx-cashu: forged\r\ncontent-length: 2\r\n\r\nok",
        )
        .await;
    let answer = whole(&mut client).await;

    let mut lines: Vec<&str> = asked.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    let expected = [
        "post / http/1.1",
        "accept: text/plain",
        "authorization: bearer own",
        "host: inside.example",
        "via: 1.1 feria",
        "x-api-key: k-123",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.example",
        "x-forwarded-proto: http",
    ];
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| *line != "content-length: 0")
        .collect();
    assert_eq!(lines, expected);
    assert!(answer.head.contains("x-kept: 1"), "{answer:?}");
    for gone in ["server:", "keep-alive:", "x-api-key:", "x-cashu:"] {
        assert!(!answer.head.contains(gone), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_upstream_is_called_exactly_once() {
    let upstream = Upstream::open().await;
    let stand = Stand::open(&upstream.url(), |_, _| {}).await;
    let (first, second) = (stand.buy("POST").await, stand.buy("POST").await);
    let kept_open = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    let (served, mut service) = tokio::join!(stand.call(&first, ""), async {
        let mut service = upstream.next().await;
        service.head().await;
        service.send(kept_open).await;
        service
    });
    // The second call comes over the same connection, which then dies.
    let (failed, ()) = tokio::join!(stand.call(&second, ""), async {
        service.head().await;
        drop(service);
    });

    assert_eq!(served.status, 200, "{served:?}");
    failed.check_given_back(502, "upstream_failed");
    assert!(!upstream.is_called_again().await);
}

/// Serves one TLS connection: whole requests are answered, if the client goes on at all.
async fn tls_upstream(upstream: &Upstream) -> bool {
    let certificate = CertificateDer::from_pem_file(format!("{TLS}/upstream.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{TLS}/upstream.key")).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let Ok(mut stream) = soon(acceptor.accept(upstream.next().await.0)).await else {
        return false;
    };
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => read.push(byte),
            Err(_) => return false,
        }
    }
    stream
        .write_all(answer("over TLS").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_nobody_vouches_for_gets_no_request() {
    feria::client::install_tls_provider();
    let upstream = Upstream::open().await;
    let url = format!("https://{}", upstream.address());
    let stand = Stand::open(&url, |_, _| {}).await;
    let credential = stand.buy("POST").await;

    let (failed, was_asked) = tokio::join!(stand.call(&credential, ""), tls_upstream(&upstream));

    assert!(!was_asked);
    failed.check_given_back(502, "upstream_unreachable");
    assert!(!failed.body.contains(&upstream.address().port().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_vouches_for_its_upstream() {
    feria::client::install_tls_provider();
    let upstream = Upstream::open().await;
    let url = format!("https://{}", upstream.address());
    let trusts = |agent: &mut AgentConfig| {
        agent.forward.upstream_ca = format!("file:{TLS}/authority.pem");
    };
    let stand = Stand::open(&url, |agent, _| trusts(agent)).await;
    let credential = stand.buy("POST").await;

    let (served, was_asked) = tokio::join!(stand.call(&credential, ""), tls_upstream(&upstream));

    assert!(was_asked);
    assert_eq!((served.status, served.body.as_str()), (200, "over TLS"));
}
