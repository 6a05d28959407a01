//! The doors to the buying side of a running node: the client for Rust, the proxy,
//! the commands.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use feria::access::{IssueRequest, Tier};
use feria::app::App;
use feria::http::proxy::{ProxyParts, serve};
use feria::lifecycle::Lifecycle;
use feria::spend::{Client, ClientError};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::xcashu::request::{CashuTerms, encode};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::parallel_budget::{node, shop, wallet};
use super::shop::Shop;

struct Town {
    shop: Shop,
    url: String,
    app: App,
    folder: tempfile::TempDir,
    client: Client,
    lifecycle: Lifecycle,
}

impl Town {
    /// A node with a wallet `scout`, and a shop.
    async fn open() -> Self {
        let (shop, url) = shop().await;
        let folder = tempfile::tempdir().unwrap();
        let (app, lifecycle) = node(&shop, folder.path()).await;
        wallet(&shop, &app.node.wallets, &app.node.spender, 20, 20).await;
        Self {
            client: Client::open(folder.path()).unwrap(),
            shop,
            url,
            app,
            folder,
            lifecycle,
        }
    }

    /// Starts a proxy; returns its address.
    async fn proxy(&self, needs_token: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let parts = ProxyParts {
            client: self.client.clone(),
            terms: json!({ "wallet": "scout" }),
            needs_token,
        };
        serve(parts, listener, &self.lifecycle);
        address
    }

    async fn token(&self, tier: Tier) -> String {
        let order = IssueRequest::new(tier);
        self.app.node.access.issue(order).await.unwrap().text
    }

    fn calls(&self) -> u64 {
        self.shop.upstream.calls.load(Ordering::SeqCst)
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_feria"));
        command
            .env_clear()
            .arg("--data-dir")
            .arg(self.folder.path())
            .args(arguments)
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn close(self) {
        self.lifecycle
            .shut_down(std::time::Duration::from_secs(5))
            .await;
    }
}

/// Sends `request` as it is; returns the head and the body of the answer.
async fn raw(address: &str, request: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn post(target: &str, host: &str, more: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}Content-Length: 5\r\n\r\nhello"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_agent_buys_in_one_line_and_once_per_key() {
    let town = Town::open().await;
    let buy = async || {
        let call = town.client.post(&town.url, "hello").wallet("scout");
        let call = call.max_cost(Msat::new(200_000)).idempotency_key("k");
        call.send().await.unwrap()
    };

    let first = buy().await;
    let purchase = first.purchase.clone().unwrap();
    let text = first.text().await.unwrap();
    let again = buy().await.text().await.unwrap();
    let nobody = town.client.get(&town.url).wallet("nobody").send().await;
    let dear = town
        .client
        .post(&town.url, "x")
        .wallet("scout")
        .max_cost(Msat::new(1_000));
    let dear = dear.send().await;

    assert!(text.ends_with("to hello"), "{text}");
    assert_eq!(again, text);
    assert_eq!((purchase.price_msat, town.calls()), (100_000, 1));
    assert!(
        matches!(&nobody, Err(ClientError::Problem(_))),
        "{nobody:?}"
    );
    assert_eq!(nobody.unwrap_err().code(), "not_found");
    assert_eq!(dear.unwrap_err().code(), "over_cap");
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_client_has_its_calls_paid_through_the_proxy() {
    let town = Town::open().await;
    let proxy = town.proxy(false).await;
    let host = town.url.strip_prefix("http://").unwrap();
    let (host, _) = host.split_once('/').unwrap();

    let (head, body) = raw(&proxy, &post(&town.url, host, "")).await;
    let prefixed = format!("/{}", town.url);
    let (other_head, other) = raw(&proxy, &post(&prefixed, "localhost", "")).await;
    let single_slash = prefixed.replacen("//", "/", 1);
    let (third_head, _) = raw(&proxy, &post(&single_slash, "127.0.0.1:1", "")).await;

    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("feria-purchase: "), "{head}");
    assert!(!head.contains("\nx-cashu:"), "{head}");
    assert!(
        body.contains("to hello") && other.contains("to hello"),
        "{body} {other}"
    );
    assert!(other_head.starts_with("http/1.1 200"), "{other_head}");
    assert!(third_head.starts_with("http/1.1 200"), "{third_head}");
    assert_eq!(town.calls(), 3);
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_refuses_tunnels_pages_and_who_shows_no_token() {
    let town = Town::open().await;
    let (open, guarded) = (town.proxy(false).await, town.proxy(true).await);
    let host = "localhost";
    let prefixed = format!("/{}", town.url);
    let bearer = async |tier| format!("Proxy-Authorization: Bearer {}\r\n", town.token(tier).await);
    let (reader, buyer) = (
        bearer(Tier::ReadOnly).await,
        bearer(Tier::AgentCommerce).await,
    );
    let tunnel =
        "CONNECT seller.example:443 HTTP/1.1\r\nHost: seller.example\r\nConnection: close\r\n\r\n";
    let cases = [
        (&open, tunnel.to_owned(), "501", "connect_unsupported"),
        (&open, post("/pages", host, ""), "404", "not_found"),
        (
            &open,
            post(&prefixed, host, "Origin: http://evil.example\r\n"),
            "403",
            "foreign_host",
        ),
        (
            &open,
            post(&prefixed, host, "Sec-Fetch-Site: cross-site\r\n"),
            "403",
            "foreign_host",
        ),
        (
            &open,
            post(&prefixed, "evil.example", ""),
            "403",
            "foreign_host",
        ),
        (&guarded, post(&prefixed, host, ""), "407", "token_missing"),
        (
            &guarded,
            post(&prefixed, host, &reader),
            "403",
            "tier_too_low",
        ),
    ];

    for (proxy, request, status, code) in cases {
        let (head, body) = raw(proxy, &request).await;

        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}: {head}"
        );
        assert!(
            head.contains(&format!("feria-problem: {code}")),
            "{request}: {head}"
        );
        assert!(body.contains("next_steps"), "{body}");
    }
    assert_eq!(town.calls(), 0);
    let (head, _) = raw(&guarded, &post(&prefixed, host, &buyer)).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(town.calls(), 1);
    town.close().await;
}

/// A seller of two parts, the second of which waits until the first was read.
async fn slow(lifecycle: &Lifecycle) -> (String, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let wait = Arc::clone(&go_on);
    let router = Router::new().fallback(move || {
        let wait = Arc::clone(&wait);
        let second = stream::once(async move {
            wait.notified().await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"data: 2\n\n"))
        });
        let first = stream::iter([Ok(Bytes::from_static(b"data: 1\n\n"))]);
        std::future::ready(Body::from_stream(first.chain(second)))
    });
    lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (url, go_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_passes_through_proxy_and_command_as_it_comes() {
    let town = Town::open().await;
    let proxy = town.proxy(false).await;
    let (url, go_on) = slow(&town.lifecycle).await;
    let mut socket = TcpStream::connect(&proxy).await.unwrap();
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(socket).lines();
    let mut until = async |wanted: &str| {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == wanted {
                return;
            }
        }
        panic!("{wanted} never came");
    };

    until("data: 1").await;
    go_on.notify_one();
    until("data: 2").await;

    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_feria"));
    let mut fetch = command
        .env_clear()
        .arg("--data-dir")
        .arg(town.folder.path())
        .args(["fetch", "--wallet", "scout", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(fetch.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "data: 1");
    go_on.notify_one();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "data: 2");
    assert!(fetch.wait().await.unwrap().success());
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_and_a_call_without_payment_cost_nothing() {
    let town = Town::open().await;

    let quote = town
        .run(&[
            "--json", "quote", "--agent", "scout", "-d", "hello", &town.url,
        ])
        .await;
    let dear = town
        .run(&[
            "quote",
            "--agent",
            "scout",
            "--max-cost",
            "1sat",
            "-d",
            "hello",
            &town.url,
        ])
        .await;
    let unpaid = town
        .run(&[
            "fetch", "--agent", "scout", "--no-pay", "-d", "hello", &town.url,
        ])
        .await;
    let dry = town
        .run(&[
            "fetch",
            "--agent",
            "scout",
            "--dry-run",
            "-d",
            "hello",
            &town.url,
        ])
        .await;

    let read: Value = serde_json::from_slice(&quote.stdout).unwrap();
    assert_eq!(read["price_msat"], 100_000, "{read}");
    assert_eq!(read["asks"][0]["rail"], "nut24");
    assert_eq!(read["ways"][0]["excluded"], Value::Null);
    assert_eq!(dear.status.code(), Some(8), "{dear:?}");
    assert_eq!(unpaid.status.code(), Some(0), "{unpaid:?}");
    assert_eq!(dry.status.code(), Some(10), "{dry:?}");
    assert_eq!(town.calls(), 0);
    let purchases = town.app.node.spender.list_purchases(None, 9).await.unwrap();
    assert!(purchases.is_empty(), "{purchases:?}");
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_call_is_resumed_and_explained() {
    let town = Town::open().await;
    let bought = town
        .run(&[
            "--json", "fetch", "--wallet", "scout", "-d", "hello", &town.url,
        ])
        .await;
    let bought: Value = serde_json::from_slice(&bought.stdout).unwrap();
    let id = bought["purchase"]["id"].as_str().unwrap();

    let again = town
        .run(&[
            "--json", "fetch", "--wallet", "scout", "--resume", id, "-d", "hello", &town.url,
        ])
        .await;
    let other = town
        .run(&[
            "fetch", "--wallet", "scout", "--resume", id, "-d", "other", &town.url,
        ])
        .await;
    let why = town.run(&["--json", "ledger", "why", id]).await;

    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["body"], bought["body"]);
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    let why: Value = serde_json::from_slice(&why.stdout).unwrap();
    assert!(
        why["why"].as_str().unwrap().starts_with("Paid by ecash"),
        "{why}"
    );
    assert_eq!(why["purchase"]["outcome"], "delivered");
    assert_eq!(town.calls(), 1);
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_file_is_fetched() {
    const WHOLE: &str = "0123456789";
    let town = Town::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let router = Router::new().fallback(|headers: http::HeaderMap| async move {
        let from = headers.get("range").map(|range| {
            let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
            range.trim_end_matches('-').parse::<usize>().unwrap()
        });
        match from {
            Some(from) if from >= WHOLE.len() => (http::StatusCode::RANGE_NOT_SATISFIABLE, ""),
            Some(from) => (http::StatusCode::PARTIAL_CONTENT, &WHOLE[from..]),
            None => (http::StatusCode::OK, WHOLE),
        }
    });
    town.lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    let path = town.folder.path().join("file");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "01234").unwrap();

    for _ in 0..2 {
        let rest = town
            .run(&["fetch", "--wallet", "scout", "-c", "-o", file, &url])
            .await;
        assert!(rest.status.success(), "{rest:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), WHOLE);
    }
    std::fs::write(&path, "longer than what will be there").unwrap();
    let anew = town
        .run(&["fetch", "--wallet", "scout", "-o", file, &url])
        .await;

    assert!(anew.status.success(), "{anew:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), WHOLE);
    town.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_request_is_paid_with_a_token_on_standard_output() {
    let town = Town::open().await;
    let terms = CashuTerms {
        amount: Sat::new(21),
        unit: "sat".to_owned(),
        mints: vec![town.shop.mint.url.clone()],
        lock_key: None,
        min_locktime_secs: None,
    };
    let creq = encode(&terms, "bill").unwrap();

    let paid = town
        .run(&["pay", "--agent", "scout", "--idempotency-key", "k", &creq])
        .await;
    let capped = town
        .run(&["pay", "--agent", "scout", "--max-cost", "20sat", &creq])
        .await;

    assert!(paid.status.success(), "{paid:?}");
    let token = String::from_utf8(paid.stdout).unwrap();
    assert_eq!(town.shop.buyer_receives(token.trim()).await, 21);
    assert_ne!(capped.status.code(), Some(0));
    town.close().await;
}
