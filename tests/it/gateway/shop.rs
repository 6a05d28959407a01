//! A seller with one agent, its upstream, a buyer's purse and two mints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use feria::clock::{Clock, OffsetClock, SystemEntropy};
use feria::config::{AgentConfig, GatewayConfig, Network};
use feria::gateway::{Body, ClientAddr, Gateway, GatewayParts};
use feria::lifecycle::Lifecycle;
use feria::lightning::PaymentState;
use feria::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::ledger::{Account, EntryKind, Ledger};
use feria::wallet::{Lock, MintTrust, ReceiveRequest, SendRequest, TREASURY, Wallets};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::Challenge;
use feria_paywall::payment::Preimage;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};

/// Few enough that the bucket does not refill while a test runs.
pub(super) const CHALLENGES_PER_MINUTE: u32 = 5;

/// What the upstream does with a call.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Work = 0,
    Fail = 1,
    Silent = 2,
}

#[derive(Default)]
pub(super) struct Upstream {
    pub(super) calls: AtomicU64,
    pub(super) saw_payment: AtomicBool,
    mode: AtomicU8,
}

impl Upstream {
    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

async fn serve(
    State(upstream): State<Arc<Upstream>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let number = upstream.calls.fetch_add(1, Ordering::SeqCst);
    if headers.contains_key("authorization") || headers.contains_key("x-cashu") {
        upstream.saw_payment.store(true, Ordering::SeqCst);
    }
    match upstream.mode.load(Ordering::SeqCst) {
        0 => (
            [("x-cost-msat", "30000")],
            format!("answer {number} to {body}"),
        )
            .into_response(),
        1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => std::future::pending().await,
    }
}

/// An answer of the gateway, read whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

pub(super) struct Shop {
    pub(super) gateway: Gateway,
    pub(super) agent: AgentConfig,
    pub(super) upstream: Arc<Upstream>,
    pub(super) network: SimulatedNetwork,
    pub(super) mint: SandboxMint,
    other_mint: SandboxMint,
    ledger: Ledger,
    wallets: Wallets,
    buyer: Wallets,
    clock: Arc<OffsetClock>,
    _lifecycle: Lifecycle,
}

impl Shop {
    pub(super) async fn open(uses: u32, rails: &[&str]) -> Self {
        Self::open_with(uses, rails, |_| {}).await
    }

    /// Opens a shop whose agent was changed by `change`.
    pub(super) async fn open_with(
        uses: u32,
        rails: &[&str],
        change: impl FnOnce(&mut AgentConfig),
    ) -> Self {
        Self::open_agent(|agent, _| {
            agent.uses = uses;
            agent.rails = rails.iter().map(|rail| (*rail).to_owned()).collect();
            change(agent);
        })
        .await
    }

    /// Opens a shop whose settings `edit` has changed.
    pub(super) async fn open_agent(
        edit: impl FnOnce(&mut AgentConfig, &mut GatewayConfig),
    ) -> Self {
        let clock = Arc::new(OffsetClock::default());
        let network = SimulatedNetwork::open(None, clock.clone(), Arc::new(SystemEntropy)).unwrap();
        network.faucet("bank", Sat::new(1_000_000).into()).unwrap();
        let lifecycle = Lifecycle::default();
        let mint = mint("one", 100, &network, &lifecycle).await;
        let other_mint = mint_of("two", &network, &lifecycle).await;
        let ledger = Ledger::in_memory().unwrap();
        let seller = wallets(&ledger, &[&mint], 1, &clock);
        let buyer = wallets(
            &Ledger::in_memory().unwrap(),
            &[&mint, &other_mint],
            2,
            &clock,
        );
        let upstream = Arc::new(Upstream::default());
        let mut agent = AgentConfig::new(
            "data",
            &listen(&upstream, &lifecycle).await,
            Msat::new(100_000),
        );
        agent.path = "/v1/query".to_owned();
        let mut config = GatewayConfig {
            upstream_timeout_secs: 1,
            challenges_per_minute: CHALLENGES_PER_MINUTE,
            ..GatewayConfig::default()
        };
        edit(&mut agent, &mut config);
        agent.check().unwrap();
        let gateway = Gateway::new(GatewayParts {
            config,
            network: Network::Simulated,
            public_url: "http://127.0.0.1:7402".to_owned(),
            agents: vec![agent.clone()],
            data_dir: std::path::PathBuf::new(),
            ledger: ledger.clone(),
            wallets: seller.clone(),
            lightning: Some(Arc::new(SimulatedBackend::new(network.clone(), "seller"))),
            secret: [7; 32],
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            lifecycle: lifecycle.clone(),
        })
        .unwrap();
        Self {
            gateway,
            agent,
            upstream,
            network,
            mint,
            other_mint,
            ledger,
            wallets: seller,
            buyer,
            clock,
            _lifecycle: lifecycle,
        }
    }

    pub(super) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    pub(super) async fn call(&self, headers: &[(&str, String)], body: &str) -> Answer {
        self.request("POST", headers, body).await
    }

    pub(super) async fn request(
        &self,
        method: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        self.request_at(method, "/v1/query", headers, body).await
    }

    /// Sells what `edit` has made of the agent from now on.
    pub(super) fn change(&self, edit: impl FnOnce(&mut AgentConfig)) {
        let mut agent = self.agent.clone();
        edit(&mut agent);
        agent.check().unwrap();
        self.gateway.set_agents(vec![agent]).unwrap();
    }

    pub(super) async fn request_at(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/a/data{path}"))
            .extension(ClientAddr(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes().to_vec());
        }
        let body = Full::from(body.to_owned()).map_err(|never| match never {});
        let Ok(request) = request.body(Body::new(body)) else {
            // What HTTP cannot carry never reaches the gateway.
            return Answer {
                status: StatusCode::BAD_REQUEST,
                headers: HeaderMap::new(),
                body: String::new(),
            };
        };
        let response = self.gateway.handle("data", request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Pays an invoice of a fresh 402; returns macaroon and preimage.
    pub(super) async fn buy(&self) -> (String, String) {
        self.buy_at("POST", "/v1/query").await
    }

    pub(super) async fn buy_at(&self, method: &str, path: &str) -> (String, String) {
        let answer = self.request_at(method, path, &[], "x").await;
        let challenge = Challenge::parse_all(&answer.headers).remove(0);
        let preimage = self.pay(&challenge.invoice).await;
        (challenge.token, preimage.expose_hex())
    }

    pub(super) async fn pay(&self, invoice: &str) -> Preimage {
        let paid = self
            .network
            .pay("bank", invoice, Msat::ZERO, Duration::from_secs(5))
            .await;
        match paid {
            PaymentState::Succeeded { preimage, .. } => preimage,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn plain_token(&self, sat: u64) -> String {
        self.token(&self.mint.url, sat, None).await
    }

    pub(super) async fn foreign_token(&self, sat: u64) -> String {
        self.token(&self.other_mint.url, sat, None).await
    }

    pub(super) async fn locked_token(&self, sat: u64) -> String {
        let lock = Lock {
            key: self.wallets.lock_key("data").unwrap(),
            locktime: self.clock.now() + 2 * 3_600,
        };
        self.token(&self.mint.url, sat, Some(lock)).await
    }

    async fn token(&self, mint: &str, sat: u64, lock: Option<Lock>) -> String {
        let quote = self
            .buyer
            .request_funding(TREASURY, mint, Sat::new(sat + 50))
            .await
            .unwrap();
        self.network
            .pay("bank", &quote.bolt11, Msat::ZERO, Duration::from_secs(5))
            .await;
        while self
            .buyer
            .claim_funding(&quote.quote_id)
            .await
            .unwrap()
            .is_none()
        {
            tokio::task::yield_now().await;
        }
        self.buyer
            .send(SendRequest {
                operation_id: format!("send-{}", quote.quote_id),
                wallet_id: TREASURY.to_owned(),
                mint: mint.to_owned(),
                amount: Sat::new(sat),
                cover_receiver_fee: lock.is_some(),
                lock,
                reference: "test".to_owned(),
                memo: String::new(),
            })
            .await
            .unwrap()
            .token
    }

    /// Returns what the buyer gets for `token`.
    pub(super) async fn buyer_receives(&self, token: &str) -> u64 {
        let id = token.len().to_string() + &token[token.len() - 40..];
        self.buyer
            .receive(ReceiveRequest {
                operation_id: format!("back-{id}"),
                wallet_id: TREASURY.to_owned(),
                token: token.to_owned(),
                from: Account::external("funding"),
                kind: EntryKind::Refund,
                unlock_as: Vec::new(),
                reference: "test".to_owned(),
            })
            .await
            .unwrap()
            .amount
            .as_u64()
    }

    pub(super) async fn booked(&self, account: Account) -> i64 {
        self.ledger.balance_msat(account).await.unwrap() / 1_000
    }

    /// The books add up, and say of the treasury what its proofs say.
    pub(super) async fn check_books(&self) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        let held = self
            .wallets
            .balance(TREASURY, &self.mint.url)
            .await
            .unwrap();
        let booked = self.booked(Account::wallet(TREASURY, &self.mint.url)).await;
        assert_eq!(i64::try_from(held.as_u64()).unwrap(), booked);
        assert_eq!(self.booked(Account::in_flight(&self.mint.url)).await, 0);
    }
}

pub(super) fn l402((macaroon, preimage): &(String, String)) -> (&'static str, String) {
    ("authorization", format!("L402 {macaroon}:{preimage}"))
}

pub(super) fn paid(token: &str) -> (&'static str, String) {
    ("x-cashu", token.to_owned())
}

async fn mint(
    name: &str,
    input_fee_ppk: u64,
    network: &SimulatedNetwork,
    lifecycle: &Lifecycle,
) -> SandboxMint {
    SandboxMint::start(SandboxMintConfig {
        name: name.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        input_fee_ppk,
        network: network.clone(),
        data_dir: None,
        seed: [name.len() as u8; 32],
        lifecycle: lifecycle.clone(),
    })
    .await
    .unwrap()
}

async fn mint_of(name: &str, network: &SimulatedNetwork, lifecycle: &Lifecycle) -> SandboxMint {
    mint(name, 0, network, lifecycle).await
}

fn wallets(ledger: &Ledger, mints: &[&SandboxMint], seed: u8, clock: &Arc<OffsetClock>) -> Wallets {
    let trusted = mints
        .iter()
        .map(|mint| MintTrust {
            url: mint.url.clone(),
            cap: Sat::new(100_000),
        })
        .collect();
    Wallets::new(
        ledger.clone(),
        [seed; 64],
        trusted,
        clock.clone(),
        Arc::new(SystemEntropy),
    )
    .unwrap()
}

/// Serves `upstream` on a free port and returns its address.
async fn listen(upstream: &Arc<Upstream>, lifecycle: &Lifecycle) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(serve)
        .with_state(Arc::clone(upstream));
    lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    url
}
