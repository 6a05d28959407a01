//! A node as a process of its own: its memory and its log are its alone.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use feria::clock::{SystemClock, SystemEntropy};
use feria::config::{AgentConfig, NodeSeed, PAYWALL_SECRET, SecretRef};
use feria::http::admin::OPERATOR_LABEL;
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::SimulatedNetwork;
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria_paywall::amount::Msat;
use futures_util::{SinkExt, StreamExt};
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::Keys;
use nostr::types::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

/// No test waits so long unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(super) struct Node {
    pub(super) public: String,
    pub(super) admin: String,
    /// Opens every route of the API.
    pub(super) operator: String,
    /// The mint that the node trusts.
    pub(super) mint: String,
    /// What the node signs its macaroons with.
    pub(super) paywall: [u8; 32],
    http: feria::client::HttpClient,
    child: Child,
    folder: tempfile::TempDir,
    lifecycle: Lifecycle,
}

impl Node {
    /// Starts a node that sells `data` for Lightning and ecash.
    pub(super) async fn start() -> Self {
        Self::start_with(1_000_000).await
    }

    /// The same, with so many challenges per minute.
    pub(super) async fn start_with(challenges_per_minute: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::default();
        let mint = mint(&lifecycle).await;
        let init = feria(&folder)
            .args(["init", "--network", "simulated", "--no-relays"])
            .output()
            .await
            .unwrap();
        assert!(init.status.success(), "{init:?}");
        let file = folder.path().join("feria.toml");
        let written = std::fs::read_to_string(&file).unwrap();
        let trusted = format!("\n[[mints]]\nurl = \"{}\"\ncap = \"1000sat\"\n", mint.url);
        std::fs::write(&file, written + &trusted).unwrap();
        AgentConfig::new("data", "http://127.0.0.1:9", Msat::new(21_000))
            .save(folder.path())
            .unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = feria(&folder)
            .args(["--json", "up"])
            .env("FERIA_PUBLIC__LISTEN", "127.0.0.1:0")
            .env("FERIA_ADMIN__LISTEN", "127.0.0.1:0")
            .env("FERIA_LIGHTNING__BACKENDS__NODE__KIND", "simulated")
            .env(
                "FERIA_GATEWAY__CHALLENGES_PER_MINUTE",
                challenges_per_minute.to_string(),
            )
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let up: Value = serde_json::from_str(&line.expect("the node is up")).unwrap();
        let seed = NodeSeed::load(&SecretRef::File("seed".into()), folder.path()).unwrap();
        Self {
            public: up["public"].as_str().unwrap().to_owned(),
            admin: up["admin"].as_str().unwrap().to_owned(),
            operator: hex::encode(seed.secret(OPERATOR_LABEL)),
            mint: mint.url,
            paywall: seed.secret(PAYWALL_SECRET),
            http: feria::client::http_client(PATIENCE).unwrap(),
            child,
            folder,
            lifecycle,
        }
    }

    /// Asks the API of the owner.
    pub(super) async fn api(&self, path: &str) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.admin);
        let request = self.http.get(url).bearer_auth(&self.operator);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Tells the API of the owner to do something that it does.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.admin);
        let request = self.http.post(url).bearer_auth(&self.operator).json(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let document = answer.json().await.unwrap();
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    /// Tells the API of the owner to do something; returns the status of the answer.
    pub(super) async fn try_post(&self, path: &str, body: &Value) -> u16 {
        let url = format!("http://{}/api/v1/{path}", self.admin);
        let request = self.http.post(url).bearer_auth(&self.operator).json(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// How many rows the ledger has of what a payment leaves behind.
    pub(super) fn paid_rows(&self) -> u64 {
        let file = self.folder.path().join("ledger.db");
        let ledger = rusqlite::Connection::open(file).unwrap();
        let tables = [
            "paid_calls",
            "credential_limits",
            "accepted_proofs",
            "entries",
        ];
        tables
            .iter()
            .map(|table| {
                let sql = format!("SELECT count(*) FROM {table}");
                ledger
                    .query_row(&sql, [], |row| row.get::<_, u64>(0))
                    .unwrap()
            })
            .sum()
    }

    pub(super) async fn page(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.public);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// What the books say: nothing may change it.
    pub(super) async fn books(&self) -> Value {
        let books = self.api("ledger/audit").await;
        assert_eq!(books["ok"], true, "{books}");
        books
    }

    /// Calls the agent without paying; returns the headers of the 402.
    pub(super) async fn challenge(&self) -> (String, String) {
        let url = format!("http://{}/a/data", self.public);
        let answer = self.http.post(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 402);
        let header = |name| answer.headers()[name].to_str().unwrap().to_owned();
        (header("www-authenticate"), header("x-cashu"))
    }

    /// Asserts that good requests are served as if nothing had happened.
    pub(super) async fn check_serving(&self) {
        let (l402, cashu) = self.challenge().await;
        assert!(l402.starts_with("L402 macaroon=\""), "{l402}");
        assert!(l402.contains("invoice=\"ln"), "{l402}");
        assert!(cashu.starts_with("creqA"), "{cashu}");
        let mut client = self.connect().await;
        let stored = client.stored(json!({"kinds": [31_402], "limit": 3})).await;
        assert!(stored.len() <= 3);
        let (status, page) = self.page("/").await;
        assert_eq!(status, 200);
        assert!(page.contains("id=\"market\""));
        self.books().await;
    }

    /// Resident memory of the process, in kilobytes.
    pub(super) fn resident_kb(&self) -> u64 {
        let pid = self.child.id().expect("the node runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.unwrap().split_whitespace().nth(1).unwrap();
        figure.parse().unwrap()
    }

    /// Asserts that the node never panicked and reported no fault of its own.
    pub(super) fn check_log(&self) {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        for line in log.lines() {
            let is_bad = line.contains("panicked") || line.contains(r#""level":"ERROR""#);
            assert!(!is_bad, "{line}");
        }
    }

    pub(super) async fn connect(&self) -> Client {
        let (socket, _) = connect_async(format!("ws://{}/", self.public))
            .await
            .unwrap();
        let mut client = Client { socket };
        assert_eq!(client.hear().await.expect("a greeting")[0], "AUTH");
        client
    }

    /// Publishes `event` at the node's relay endpoint.
    pub(super) async fn publish(&self, event: &Event) -> (bool, String) {
        let mut client = self.connect().await;
        client.publish(&json!(event)).await
    }

    /// Ends the process as its owner would, and waits for it.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().expect("the node runs").to_string();
        let killed = Command::new("kill").arg(&pid).status().await.unwrap();
        assert!(killed.success());
        let ended = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        self.check_log();
        assert!(ended.success(), "{ended}");
        self.lifecycle.shut_down(PATIENCE).await;
    }
}

/// A websocket at the node.
pub(super) struct Client {
    pub(super) socket: Socket,
}

impl Client {
    pub(super) async fn say(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// The next message; `None` when the node has hung up.
    pub(super) async fn hear(&mut self) -> Option<Value> {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            match frame.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    pub(super) async fn publish(&mut self, event: &Value) -> (bool, String) {
        assert!(self.say(&json!(["EVENT", event]).to_string()).await);
        let answer = self.hear().await.expect("an answer");
        assert_eq!(answer[0], "OK", "{answer}");
        let words = answer[3].as_str().unwrap().to_owned();
        (answer[2].as_bool().unwrap(), words)
    }

    /// Returns what is stored and matches `filter`.
    pub(super) async fn stored(&mut self, filter: Value) -> Vec<Value> {
        assert!(self.say(&json!(["REQ", "good", filter]).to_string()).await);
        let mut events = Vec::new();
        loop {
            let message = self.hear().await.expect("stored events");
            match message[0].as_str() {
                Some("EVENT") => events.push(message[2].clone()),
                Some("EOSE") => return events,
                other => panic!("{other:?} {message}"),
            }
        }
    }
}

/// An address that counts as called when anybody has connected to it.
pub(crate) struct Trap {
    listener: TcpListener,
}

impl Trap {
    pub(crate) async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Asserts that nobody has connected: the first in the queue are we.
    pub(crate) async fn check_untouched(&self) {
        let own = TcpStream::connect(self.listener.local_addr().unwrap()).await;
        let own = own.unwrap();
        let (_, first) = self.listener.accept().await.unwrap();
        assert_eq!(first, own.local_addr().unwrap(), "somebody called");
    }
}

/// Signs an event dated `at`, with each tag as a list of words.
pub(super) fn event(keys: &Keys, kind: u16, at: u64, content: &str, tags: &[&[&str]]) -> Event {
    let tags = tags
        .iter()
        .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
    EventBuilder::new(Kind::from(kind), content)
        .tags(tags)
        .custom_created_at(Timestamp::from(at))
        .finalize(keys)
        .unwrap()
}

/// Opens a connection for a websocket and leaves the frames to the caller.
pub(super) async fn raw_websocket(address: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let request = format!("ws://{address}/").into_client_request().unwrap();
    client_async(request, stream).await.unwrap().0
}

fn feria(folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feria"));
    command
        .arg("--data-dir")
        .arg(folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn mint(lifecycle: &Lifecycle) -> SandboxMint {
    let network =
        SimulatedNetwork::open(None, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
    SandboxMint::start(SandboxMintConfig {
        name: "one".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        input_fee_ppk: 0,
        network,
        data_dir: None,
        seed: [8; 32],
        lifecycle: lifecycle.clone(),
    })
    .await
    .unwrap()
}
