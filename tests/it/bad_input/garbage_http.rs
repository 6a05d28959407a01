//! Garbage at every route of both listeners, byte by byte over TCP.
//!
//! The generator is seeded: a run that fails repeats.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use feria::http::admin::table;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::node::{Node, PATIENCE};

/// Requests of each kind, to each listener.
const ROUNDS: usize = 250;
/// Bodies for each route of the API.
const BODIES: usize = 30;
const AT_ONCE: usize = 16;
/// What the process may grow by: buffers of connections that are open at once, and some.
const MAX_GROWTH_KB: u64 = 96 * 1_024;

const PUBLIC_PATHS: [&str; 34] = [
    "/",
    "/?q=%ff%fe",
    "/?q=%22%20OR%20*%20NEAR(",
    "/?q=a&q=b",
    "/l/x",
    "/l/naddr1qqqqqq",
    "/l/%00",
    "/l/31402:zz:",
    "/l/..%2f..%2fetc%2fpasswd",
    "/card/data.png",
    "/card/..%2fseed.png",
    "/card/%ff.png",
    "/style.css",
    "/icon.svg",
    "/a/data",
    "/a/data/",
    "/a/data//",
    "/a/data?x=%00",
    "/a//data",
    "/a/%64ata",
    "/a/data/../flaky",
    "/a/data/..%2fflaky",
    "/a/data/%2e%2e/",
    "/a/data%2f",
    "/a/data%00",
    "/a/%ff%fe/",
    "/a/DATA",
    "/a/nobody/x",
    "//a/data",
    "/v1/refund",
    "/openapi.json",
    "/llms.txt",
    "/.well-known/nostr.json?name=%ff",
    "*",
];
/// The usual ones more often, so that most requests get past the method.
const METHODS: [&str; 16] = [
    "GET", "GET", "GET", "GET", "POST", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "TRACE",
    "DELETE", "PATCH", "BREW", "get",
];
const NAMES: [&str; 14] = [
    "Authorization",
    "X-Cashu",
    "Cookie",
    "Accept",
    "Range",
    "Content-Type",
    "Idempotency-Key",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Expect",
    "Connection",
    "X-Forwarded-For",
    "Origin",
    "If-None-Match",
];

/// What goes over one connection.
struct Sent {
    bytes: Vec<u8>,
    /// Whether it is a whole request: then the node answers without being told
    /// that nothing more will come.
    is_whole: bool,
}

struct Garbage {
    rng: StdRng,
    /// A true macaroon and payment request, to be bent.
    macaroon: String,
    request: String,
}

impl Garbage {
    fn new(seed: u64, (l402, cashu): (String, String)) -> Self {
        let macaroon = l402.split('"').nth(1).unwrap().to_owned();
        Self {
            rng: StdRng::seed_from_u64(seed),
            macaroon,
            request: cashu,
        }
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.rng).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..=most)];
        self.rng.fill(bytes.as_mut_slice());
        bytes
    }

    /// `text` with one byte changed or its end cut off.
    fn bent(&mut self, text: &str) -> String {
        let at = self.rng.random_range(0..text.len());
        if self.rng.random() {
            return text[..at].to_owned();
        }
        let other = if text.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    }

    /// A value for a header: anything but the end of the line.
    fn value(&mut self) -> Vec<u8> {
        let random = self.bytes(200);
        let (macaroon, request) = (self.macaroon.clone(), self.request.clone());
        let bent = self.bent(&macaroon);
        let hex = hex::encode(self.bytes(40));
        let zeros = "00".repeat(32);
        let mut value = match self.rng.random_range(0..20) {
            0 => random,
            1 => format!("L402 {bent}:{zeros}").into_bytes(),
            2 => format!("LSAT {macaroon}:{hex}").into_bytes(),
            3 => format!("L402 {}:{zeros}", STANDARD.encode(&random)).into_bytes(),
            4 => format!("l402 {}", URL_SAFE_NO_PAD.encode(&random)).into_bytes(),
            5 => format!("Cashu cashuB{}", URL_SAFE_NO_PAD.encode(&random)).into_bytes(),
            6 => format!("cashuA{}", STANDARD.encode(&random)).into_bytes(),
            7 => format!("cashuB{}", "o".repeat(60_000)).into_bytes(),
            8 => format!("cashuA{}", STANDARD.encode(b"{\"token\":[[[[[[[[[[[[")).into_bytes(),
            9 => self.bent(&request).into_bytes(),
            10 => format!("Bearer {bent}").into_bytes(),
            11 => [b"Bearer ".as_slice(), &random].concat(),
            12 => b"bytes=0-18446744073709551615,-1,5-2".to_vec(),
            13 => "A".repeat(64 * 1_024).into_bytes(),
            14 => b"text/html;q=NaN,text/markdown;q=-1,;;=".to_vec(),
            15 => b"websocket".to_vec(),
            16 => b"application/nostr+json".to_vec(),
            17 => b"100-continue".to_vec(),
            18 => "session=\u{202e}%00; feria=..".as_bytes().to_vec(),
            _ => Vec::new(),
        };
        value.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        value
    }

    /// A body with the header lines that announce it, rightly or not.
    fn body(&mut self) -> (String, Vec<u8>) {
        let bytes = self.bytes(2_000);
        match self.rng.random_range(0..20) {
            0 => (format!("Content-Length: {}\r\n", bytes.len()), bytes),
            1 => ("Content-Length: 99999999999\r\n".into(), bytes),
            2 => ("Content-Length: -1\r\n".into(), bytes),
            3 => ("Content-Length: 5\r\nContent-Length: 6\r\n".into(), bytes),
            4 => ("Transfer-Encoding: chunked\r\n".into(), b"zz\r\n".to_vec()),
            5 => (
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".into(),
                b"ffffffffffffffff\r\nx".to_vec(),
            ),
            6 => ("Transfer-Encoding: identity, chunked\r\n".into(), bytes),
            7 => {
                let body = vec![b'{'; 300_000];
                (format!("Content-Length: {}\r\n", body.len()), body)
            }
            _ => (String::new(), Vec::new()),
        }
    }

    fn request(&mut self, host: &str, paths: &[&str], extra: &str) -> Sent {
        let method = self.pick(&METHODS);
        let path = self.pick(paths);
        let host = match self.rng.random_range(0..12) {
            0 => "evil.example",
            1 => "127.0.0.1@evil.example",
            _ => host,
        };
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}").into_bytes();
        for _ in 0..self.rng.random_range(0..4) {
            let name = self.pick(&NAMES);
            text.extend_from_slice(format!("{name}: ").as_bytes());
            text.extend(self.value());
            text.extend_from_slice(b"\r\n");
        }
        let (announced, body) = self.body();
        text.extend_from_slice(announced.as_bytes());
        text.extend_from_slice(b"\r\n");
        text.extend(body);
        // A body that was not announced is the next request, and no good one.
        let is_whole = announced.is_empty();
        Sent {
            bytes: text,
            is_whole,
        }
    }

    /// What is not even a request.
    fn noise(&mut self) -> Sent {
        let bytes = match self.rng.random_range(0..5) {
            0 => self.bytes(5_000),
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff".to_vec(),
            2 => b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            3 => {
                let lines: Vec<u8> = (0..400)
                    .flat_map(|n| format!("x{n}: y\r\n").into_bytes())
                    .collect();
                [b"GET / HTTP/1.1\r\n".as_slice(), &lines, b"\r\n"].concat()
            }
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        };
        Sent {
            bytes,
            is_whole: false,
        }
    }
}

/// Sends `sent` and returns the status of the answer; `None` when there is none.
async fn status_of(address: &str, sent: &Sent) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The node may have answered and hung up before it has read everything.
    let _ = stream.write_all(&sent.bytes).await;
    if !sent.is_whole {
        let _ = stream.shutdown().await;
    }
    let mut head = [0; 12];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await;
    read.expect("an answer, or the end of the connection")
        .ok()?;
    let head = std::str::from_utf8(&head).ok()?;
    head.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Throws `requests` at `address`; returns how many were answered.
async fn throw(address: &str, requests: Vec<Sent>) -> usize {
    let answers = stream::iter(requests).map(|sent| async move {
        let shown = String::from_utf8_lossy(&sent.bytes[..sent.bytes.len().min(300)]).into_owned();
        (status_of(address, &sent).await, shown)
    });
    let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
    for (status, request) in &answers {
        let is_fault = status.is_some_and(|code| code >= 500 && !(502..=504).contains(&code));
        assert!(!is_fault, "{status:?} to {request}");
    }
    answers
        .iter()
        .filter(|(status, _)| status.is_some())
        .count()
}

fn admin_paths() -> Vec<String> {
    let routes = table().into_iter().flat_map(|route| {
        ["x", "%00", "..%2f..", "31402:00:%ff"].map(|name| {
            let path = route.path.replace("{coordinate}", name);
            path.replace("{name}", name).replace("{id}", name)
        })
    });
    let pages = [
        "/",
        "/login",
        "/login?key=%ff",
        "/healthz",
        "/readyz",
        "//",
        "/api/v1/../..",
    ];
    routes.chain(pages.map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_every_route_is_refused_and_harms_nothing() {
    let node = Node::start().await;
    let mut garbage = Garbage::new(11, node.challenge().await);
    let admin = admin_paths();
    let admin: Vec<&str> = admin.iter().map(String::as_str).collect();
    let operator = format!("Authorization: Bearer {}\r\n", node.operator);
    let books = node.books().await;
    let mut requests = |public: bool, extra: &str| -> Vec<Sent> {
        let (host, paths) = if public {
            (node.public.clone(), PUBLIC_PATHS.as_slice())
        } else {
            (node.admin.clone(), admin.as_slice())
        };
        let make = |_| match garbage.rng.random_range(0..10) {
            0 => garbage.noise(),
            _ => garbage.request(&host, paths, extra),
        };
        (0..ROUNDS).map(make).collect()
    };
    let (first, second) = (requests(true, ""), requests(true, ""));
    let (stranger, owner) = (requests(false, ""), requests(false, &operator));

    throw(&node.public, first).await;
    let before = node.resident_kb();
    let answered = throw(&node.public, second).await;
    throw(&node.admin, stranger).await;
    throw(&node.admin, owner).await;
    let after = node.resident_kb();

    assert!(answered > ROUNDS * 3 / 4, "most is answered: {answered}");
    assert!(after < before + MAX_GROWTH_KB, "{before} to {after} kB");
    assert_eq!(node.books().await, books);
    node.check_serving().await;
    node.stop().await;
}

const AMOUNTS: [&str; 9] = [
    "max_cost_msat",
    "max_fee_msat",
    "amount_sat",
    "limit_sat",
    "ttl_secs",
    "fund_sat",
    "max_amount_msat",
    "limit",
    "offset",
];
const WORDS: [&str; 14] = [
    "wallet",
    "url",
    "method",
    "body",
    "rail",
    "lock",
    "idempotency_key",
    "listing",
    "invoice",
    "payee",
    "memo",
    "agent",
    "mint",
    "description",
];

/// A body of the members that any route reads, most of them of the right type.
fn body(rng: &mut StdRng) -> String {
    let amounts = [0, 1, 21, u64::MAX, u64::MAX / 2, 2_100_000_000_000_001];
    let long = "x".repeat(20_000);
    let words = [
        "data",
        "data",
        "data",
        "treasury",
        "",
        "\u{0}\u{202e}",
        "lnbc1pvjluezpp5",
        "file:///etc/passwd",
        "http://user:pw@127.0.0.1:9/",
        "http://127.0.0.1:9/",
        "http://[::1",
        "cashu",
        "lightning",
        "GET",
        "B AD",
        "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
        &long,
    ];
    let mut members = serde_json::Map::new();
    for name in AMOUNTS {
        members.insert(name.to_owned(), json!(amounts.choose(rng)));
    }
    for name in WORDS {
        members.insert(name.to_owned(), json!(words.choose(rng)));
    }
    members.insert("frozen".to_owned(), json!(false));
    members.insert("dry_run".to_owned(), json!(rng.random::<bool>()));
    members.insert("headers".to_owned(), json!({"x\u{7f}": "y", "Host": "z"}));
    for _ in 0..rng.random_range(0..4) {
        let name = *[AMOUNTS.as_slice(), &WORDS].concat().choose(rng).unwrap();
        let odd = [
            json!(null),
            json!(-1),
            json!(1e300),
            json!([]),
            json!({"a": {}}),
        ];
        members.insert(name.to_owned(), odd.choose(rng).unwrap().clone());
    }
    // Without these two, defaults let more routes go on.
    for name in ["rail", "lock"] {
        if rng.random_range(0..4) > 0 {
            members.remove(name);
        }
    }
    let whole = serde_json::Value::Object(members).to_string();
    match rng.random_range(0..20) {
        0 => whole[..whole.len() / 2].to_owned(),
        1 => "[".repeat(5_000),
        2 => "null".to_owned(),
        3 => whole.replace("21", "1e999"),
        _ => whole,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_nonsense_is_a_problem_with_a_code_even_for_the_owner() {
    let node = Node::start().await;
    let mut rng = StdRng::seed_from_u64(12);
    let books = node.books().await;
    let wallet = json!({"agent": "data", "limit_sat": 100});
    node.post("wallets", &wallet).await;
    let http = feria::client::http_client(PATIENCE).unwrap();

    for route in table().into_iter().filter(|route| route.method == "POST") {
        let path = route.path.replace("{name}", "data").replace("{id}", "data");
        for _ in 0..BODIES {
            let body = body(&mut rng);
            let request = http
                .post(format!("http://{}{path}", node.admin))
                .bearer_auth(&node.operator)
                .header("content-type", "application/json")
                // A refusal may come before the body is read, and ends the connection.
                .header("connection", "close")
                .body(body.clone());
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let document: serde_json::Value = answer.json().await.unwrap();
            let shown: String = body.chars().take(600).collect();
            assert!(
                document.to_string().len() < 4_000,
                "{path} repeats what it was told"
            );

            assert!(
                status < 500 || (502..=504).contains(&status),
                "{path}: {document} to {shown}"
            );
            if status >= 400 {
                assert!(document["code"].is_string(), "{path}: {document}");
                assert!(!document["detail"].as_str().unwrap().is_empty());
                assert_eq!(document["money"], "none", "{path}: {document}");
            }
        }
    }

    let after = node.books().await;
    assert_eq!(after["balances_msat"], books["balances_msat"]);
    node.check_serving().await;
    node.stop().await;
}
