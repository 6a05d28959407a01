//! A chain of btcd's simnet and two lnds with a channel between them, as processes.
//!
//! The programs are named by `FERIA_BTCD` and `FERIA_LND`. Everything is in a
//! temporary folder and on loopback. A process is killed when its owner is dropped;
//! its number is also written to `FERIA_LIGHTNING_PIDS`, for whoever has to clean up
//! after a test that was killed itself.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use feria::client::{HttpClient, pinned_client};
use feria::config::{LndConfig, SecretRef};
use serde_json::{Value, json};

use super::fake::TLS;
use crate::pair::until;

/// What the funded side puts into the channel, in satoshi.
const CHANNEL_SAT: u64 = 1_000_000;
/// Blocks until simnet knows segwit and the first coins are ripe.
const FIRST_BLOCKS: [u64; 4] = [100; 4];

/// A program that runs; killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    fn start(program: &str, log: &Path, arguments: &[String]) -> Self {
        let program = std::env::var(program).expect("run it by tests/lightning/run");
        let mut options = File::options();
        let log = options.create(true).append(true).open(log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        if let Some(path) = std::env::var_os("FERIA_LIGHTNING_PIDS") {
            let mut pids = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            writeln!(pids, "{}", child.id()).unwrap();
        }
        Self(child)
    }
}

/// The chain, and the two nodes on it: `rich` has opened a channel to `poor`.
pub(super) struct Net {
    pub(super) rich: Lnd,
    pub(super) poor: Lnd,
    chain: Chain,
    /// Dropped last.
    _folder: tempfile::TempDir,
}

struct Chain {
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
    http: HttpClient,
}

/// One lnd.
pub(super) struct Lnd {
    folder: PathBuf,
    rest: u16,
    peers: u16,
    arguments: Vec<String>,
    process: Option<Process>,
    http: Option<HttpClient>,
}

impl Net {
    /// Starts all of it. Takes some ten seconds: an lnd makes its wallet slowly.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [
            chain,
            rest_rich,
            rpc_rich,
            peers_rich,
            rest_poor,
            rpc_poor,
            peers_poor,
        ] = free_ports();
        let authority = std::fs::read_to_string(format!("{TLS}/authority.pem")).unwrap();
        let mut chain = Chain {
            folder: folder.path().join("btcd"),
            port: chain,
            process: None,
            http: pinned_client(Some(&authority)).unwrap(),
        };
        std::fs::create_dir(&chain.folder).unwrap();
        chain.start(None).await;
        let lnd = |name: &str, ports| Lnd::new(folder.path().join(name), &chain, ports);
        let mut rich = lnd("rich", [rest_rich, rpc_rich, peers_rich]);
        let mut poor = lnd("poor", [rest_poor, rpc_poor, peers_poor]);
        rich.spawn();
        poor.spawn();
        rich.is_ready().await;
        poor.is_ready().await;
        // The chain pays its coins to an address that it is started with.
        let address = rich.get("/v1/newaddress").await["address"].clone();
        chain.process = None;
        chain.start(address.as_str()).await;
        for blocks in FIRST_BLOCKS {
            chain.mine(blocks).await;
        }
        let net = Self {
            rich,
            poor,
            chain,
            _folder: folder,
        };
        net.open_channel().await;
        net
    }

    async fn open_channel(&self) {
        for node in [&self.rich, &self.poor] {
            until("the nodes have the chain", async || {
                node.get("/v1/state").await["state"] == "SERVER_ACTIVE"
                    && node.get("/v1/getinfo").await["synced_to_chain"] == true
            })
            .await;
        }
        let key = self.poor.get("/v1/getinfo").await["identity_pubkey"].clone();
        let key = key.as_str().unwrap();
        let host = format!("127.0.0.1:{}", self.poor.peers);
        let peer = json!({ "addr": { "pubkey": key, "host": host }, "perm": true });
        let connecting = self.rich.post("/v1/peers", &peer).await;
        assert!(connecting["status"].is_string(), "{connecting}");
        until("the nodes are peers", async || {
            self.poor.get("/v1/getinfo").await["num_peers"] == 1
        })
        .await;
        let channel = json!({
            "node_pubkey": STANDARD.encode(hex::decode(key).unwrap()),
            "local_funding_amount": CHANNEL_SAT.to_string(),
            "sat_per_vbyte": "2",
        });
        let opened = self.rich.post("/v1/channels", &channel).await;
        assert!(opened["funding_txid_bytes"].is_string(), "{opened}");
        until("the channel is on its way", async || {
            let pool = self.chain.ask("getrawmempool", json!([])).await;
            pool.as_array().is_some_and(|pool| !pool.is_empty())
        })
        .await;
        self.chain.mine(3).await;
        self.channel_is_active().await;
    }

    /// Waits until the rich node can pay the poor one.
    pub(super) async fn channel_is_active(&self) {
        until("the channel is active", async || {
            let poor = self.poor.get("/v1/getinfo").await;
            let key = poor["identity_pubkey"].as_str().unwrap_or_default();
            let routes = self.rich.get(&format!("/v1/graph/routes/{key}/21")).await;
            poor["num_active_channels"] == 1 && routes["routes"].is_array()
        })
        .await;
    }
}

impl Chain {
    async fn start(&mut self, mining_address: Option<&str>) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        File::create(path("btcd.conf")).unwrap();
        let mut arguments = vec![
            "--simnet".to_owned(),
            "--nolisten".to_owned(),
            "--nodnsseed".to_owned(),
            "--txindex".to_owned(),
            "--rpcuser=user".to_owned(),
            "--rpcpass=pass".to_owned(),
            format!("--rpclisten=127.0.0.1:{}", self.port),
            format!("--configfile={}", path("btcd.conf")),
            format!("--datadir={}", path("data")),
            format!("--logdir={}", path("log")),
            // Its own certificates have keys of a curve that ring does not know.
            format!("--rpccert={TLS}/upstream.pem"),
            format!("--rpckey={TLS}/upstream.key"),
        ];
        arguments.extend(mining_address.map(|address| format!("--miningaddr={address}")));
        let log = self.folder.join("out");
        self.process = Some(Process::start("FERIA_BTCD", &log, &arguments));
        until("the chain answers", async || {
            self.ask("getblockcount", json!([])).await.is_u64()
        })
        .await;
    }

    async fn mine(&self, blocks: u64) {
        let mined = self.ask("generate", json!([blocks])).await;
        assert!(mined.is_array(), "{mined}");
    }

    /// Null when there is no answer.
    async fn ask(&self, method: &str, parameters: Value) -> Value {
        let body = json!({ "jsonrpc": "1.0", "id": 1, "method": method, "params": parameters });
        let request = self
            .http
            .post(format!("https://127.0.0.1:{}/", self.port))
            .basic_auth("user", Some("pass"))
            .json(&body);
        let Ok(answer) = request.send().await else {
            return Value::Null;
        };
        let mut answer: Value = answer.json().await.unwrap_or_default();
        answer["result"].take()
    }
}

impl Lnd {
    fn new(folder: PathBuf, chain: &Chain, [rest, rpc, peers]: [u16; 3]) -> Self {
        let arguments = vec![
            format!("--lnddir={}", folder.display()),
            "--noseedbackup".to_owned(),
            "--nobootstrap".to_owned(),
            "--bitcoin.simnet".to_owned(),
            "--bitcoin.node=btcd".to_owned(),
            format!("--btcd.rpchost=127.0.0.1:{}", chain.port),
            "--btcd.rpcuser=user".to_owned(),
            "--btcd.rpcpass=pass".to_owned(),
            format!("--btcd.rpccert={TLS}/authority.pem"),
            format!("--restlisten=127.0.0.1:{rest}"),
            format!("--rpclisten=127.0.0.1:{rpc}"),
            format!("--listen=127.0.0.1:{peers}"),
            "--trickledelay=50".to_owned(),
            "--minbackoff=1s".to_owned(),
            "--maxbackoff=1s".to_owned(),
        ];
        std::fs::create_dir(&folder).unwrap();
        Self {
            folder,
            rest,
            peers,
            arguments,
            process: None,
            http: None,
        }
    }

    /// Starts the program.
    pub(super) fn spawn(&mut self) {
        let log = self.folder.join("out");
        self.process = Some(Process::start("FERIA_LND", &log, &self.arguments));
    }

    /// Kills the program, as a power cut would.
    pub(super) fn kill(&mut self) {
        self.process = None;
    }

    /// Waits until it takes requests.
    pub(super) async fn is_ready(&mut self) {
        let certificate = self.folder.join("tls.cert");
        until("an lnd answers", async || {
            let Ok(pem) = std::fs::read_to_string(&certificate) else {
                return false;
            };
            self.http = pinned_client(Some(&pem)).ok();
            let state = self.get("/v1/state").await;
            // Active as a whole it is only once the chain has blocks.
            matches!(
                state["state"].as_str(),
                Some("RPC_ACTIVE" | "SERVER_ACTIVE")
            )
        })
        .await;
    }

    /// Stops the process without ending it, or lets it go on: `STOP`, `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        signal(process.0.id(), name);
    }

    /// Returns the number of its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").0.id()
    }

    /// Returns the settings of a backend for this lnd.
    pub(super) fn config(&self) -> LndConfig {
        use std::os::unix::fs::PermissionsExt;

        // lnd lets its group read it; our node wants it for its owner alone.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.macaroon(), private).unwrap();
        LndConfig {
            url: format!("https://127.0.0.1:{}", self.rest),
            macaroon: SecretRef::File(self.macaroon()),
            tls_cert: self.folder.join("tls.cert").display().to_string(),
            private_hints: false,
        }
    }

    fn macaroon(&self) -> PathBuf {
        self.folder.join("data/chain/bitcoin/simnet/admin.macaroon")
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.ask(path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(path, Some(body)).await
    }

    /// Null when there is no answer.
    async fn ask(&self, path: &str, body: Option<&Value>) -> Value {
        let Some(http) = &self.http else {
            return Value::Null;
        };
        let url = format!("https://127.0.0.1:{}{path}", self.rest);
        let request = match body {
            Some(body) => http.post(url).json(body),
            None => http.get(url),
        };
        // While it makes its wallet there is none.
        let macaroon = std::fs::read(self.macaroon()).unwrap_or_default();
        let request = request.header("grpc-metadata-macaroon", hex::encode(macaroon));
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

/// Sends a signal by its name; the standard library knows only the one that kills.
pub(super) fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} $0"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Ports that nobody had a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
