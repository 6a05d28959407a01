//! A whole node that sells one agent, its client and its upstream, byte by byte.
//!
//! Client and upstream are bare sockets in the hands of the test, so that it says
//! what is on the wire, and when a side stops or goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use feria::app::{App, AppParts, Listeners};
use feria::client::http_client;
use feria::clock::{SystemClock, SystemEntropy};
use feria::config::{AgentConfig, Config, Network, NodeSeed};
use feria::lifecycle::Lifecycle;
use feria::lightning::PaymentState;
use feria::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::Challenge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what comes soon, or fails.
pub(super) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    timeout(PATIENCE, coming).await.expect("it never came")
}

/// One end of a connection.
pub(super) struct Wire(pub(super) TcpStream);

impl Wire {
    pub(super) async fn send(&mut self, text: &str) {
        soon(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// Reads up to and with `marker`.
    pub(super) async fn until(&mut self, marker: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(marker.as_bytes()) {
            let byte = soon(self.0.read_u8()).await;
            let text = String::from_utf8_lossy(&read).into_owned();
            read.push(byte.unwrap_or_else(|error| panic!("{error} after {text:?}")));
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads a head, its names in lower case.
    pub(super) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await.to_lowercase()
    }

    /// Reads until the other side has closed; a reset is a close too.
    pub(super) async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let _ = soon(self.0.read_to_end(&mut read)).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// A service that says what the test says.
pub(super) struct Upstream(TcpListener);

impl Upstream {
    pub(super) async fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Returns the next connection.
    pub(super) async fn next(&self) -> Wire {
        Wire(soon(self.0.accept()).await.unwrap().0)
    }

    /// Returns whether another connection is there.
    pub(super) async fn is_called_again(&self) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(self.0.poll_accept(context).is_ready())
        })
        .await
    }

    /// Answers one whole request on a connection of its own; returns its head.
    pub(super) async fn answer(&self, text: &str) -> String {
        let mut wire = self.next().await;
        let head = wire.head().await;
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
        soon(wire.0.read_exact(&mut vec![0; length])).await.unwrap();
        wire.send(&answer(text)).await;
        head
    }
}

/// A whole answer of the upstream.
pub(super) fn answer(text: &str) -> String {
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}")
}

/// An answer of the gateway, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn check(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.body.contains(&format!("\"code\":\"{code}\"")),
            "{self:?}"
        );
    }

    /// The use was given back, and the payer is told so.
    #[track_caller]
    pub(super) fn check_given_back(&self, status: u16, code: &str) {
        self.check(status, code);
        assert!(self.body.contains("nothing was taken from it"), "{self:?}");
    }
}

pub(super) struct Stand {
    pub(super) app: App,
    pub(super) public: SocketAddr,
    network: SimulatedNetwork,
    _folder: tempfile::TempDir,
}

impl Stand {
    /// Sells `POST /a/data` of `upstream`, with what `set` changes.
    pub(super) async fn open(
        upstream: &str,
        set: impl FnOnce(&mut AgentConfig, &mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(Network::Simulated, folder.path());
        config.public.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        let mut agent = AgentConfig::new("data", upstream, Msat::new(21_000));
        set(&mut agent, &mut config);
        agent.save(folder.path()).unwrap();
        let clock = Arc::new(SystemClock);
        let network = SimulatedNetwork::open(None, clock.clone(), Arc::new(SystemEntropy)).unwrap();
        network.faucet("bank", Sat::new(100_000).into()).unwrap();
        let listeners = Listeners::bind(&mut config).await.unwrap();
        let parts = AppParts {
            seed: NodeSeed::from_bytes([7; 64]),
            clock,
            entropy: Arc::new(SystemEntropy),
            lightning: vec![Arc::new(SimulatedBackend::new(network.clone(), "seller"))],
            lifecycle: Lifecycle::default(),
        };
        let app = App::build(config, parts).await.unwrap();
        let public = app.start(listeners).await.unwrap().public;
        Self {
            app,
            public,
            network,
            _folder: folder,
        }
    }

    pub(super) async fn connect(&self) -> Wire {
        Wire(TcpStream::connect(self.public).await.unwrap())
    }

    /// Buys one call; returns the value of `Authorization`.
    pub(super) async fn buy(&self, method: &str) -> String {
        let url = format!("http://{}/a/data", self.public);
        let client = http_client(PATIENCE).unwrap();
        let asked = client
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        let challenge = Challenge::parse_all(asked.headers()).remove(0);
        let paid = self
            .network
            .pay("bank", &challenge.invoice, Msat::ZERO, PATIENCE)
            .await;
        match paid {
            PaymentState::Succeeded { preimage, .. } => {
                format!("L402 {}:{}", challenge.token, preimage.expose_hex())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Sends the head of a paid call, `lines` in it, and returns the connection.
    pub(super) async fn begin(&self, method: &str, credential: &str, lines: &str) -> Wire {
        let mut wire = self.connect().await;
        wire.send(&format!(
            "{method} /a/data HTTP/1.1\r\nhost: shop.example\r\nauthorization: {credential}\r\n{lines}\r\n"
        ))
        .await;
        wire
    }

    /// Makes a whole call.
    pub(super) async fn call(&self, credential: &str, body: &str) -> Answer {
        let lines = format!("content-length: {}\r\nconnection: close\r\n", body.len());
        let mut wire = self.begin("POST", credential, &lines).await;
        wire.send(body).await;
        whole(&mut wire).await
    }

    /// Makes the call again until the one before it is decided.
    pub(super) async fn call_again(&self, credential: &str, body: &str, status: u16) -> Answer {
        let repeated = async {
            loop {
                let answer = self.call(credential, body).await;
                if answer.status == status {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(repeated).await
    }
}

/// Reads an answer until its connection is closed.
pub(super) async fn whole(wire: &mut Wire) -> Answer {
    let head = wire.head().await;
    let body = wire.rest().await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body }
}
