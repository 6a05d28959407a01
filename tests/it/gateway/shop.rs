//! A seller with one agent, its upstream, a buyer's purse and two mints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use feria::clock::{Clock, OffsetClock, SystemEntropy, random_id};
use feria::config::{AgentConfig, GatewayConfig, Network};
use feria::gateway::{Body, ClientAddr, Gateway, GatewayParts};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::{SimulatedBackend, SimulatedNetwork};
use feria::lightning::{Lightning, LightningBackend, PaymentState};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::ledger::{Account, EntryKind, Ledger};
use feria::wallet::{Lock, MintTrust, ReceiveRequest, SendRequest, TREASURY, Wallets};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::Challenge;
use feria_paywall::payment::Preimage;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};

#[path = "shop_upstream.rs"]
mod upstream;

use upstream::listen;
pub(super) use upstream::{Mode, Upstream};

/// Few enough that the bucket does not refill while a test runs.
pub(super) const CHALLENGES_PER_MINUTE: u32 = 5;

/// What the buyer's purse is filled with at once.
const PURSE_SAT: u64 = 40_000;

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

/// How a shop is set up.
pub(super) struct Setup<'a> {
    pub(super) uses: u32,
    pub(super) rails: &'a [&'a str],
    pub(super) config: GatewayConfig,
    /// Changes what is on sale.
    pub(super) change: Change<'a>,
    /// The seller's ledger.
    pub(super) ledger: Ledger,
    /// The address of another upstream than the shop's own.
    pub(super) upstream: Option<String>,
    /// What the seller's Lightning backend is wrapped into.
    pub(super) lightning: WrapLightning,
}

type Change<'a> = Box<dyn FnOnce(&mut AgentConfig, &mut GatewayConfig) + 'a>;
type WrapLightning = Box<dyn FnOnce(SimulatedBackend) -> Arc<dyn LightningBackend>>;

impl<'a> Setup<'a> {
    pub(super) fn new(uses: u32, rails: &'a [&'a str]) -> Self {
        Self {
            uses,
            rails,
            config: GatewayConfig {
                upstream_timeout_secs: 1,
                challenges_per_minute: CHALLENGES_PER_MINUTE,
                ..GatewayConfig::default()
            },
            change: Box::new(|_, _| {}),
            ledger: Ledger::in_memory().unwrap(),
            upstream: None,
            lightning: Box::new(|backend| -> Arc<dyn LightningBackend> { Arc::new(backend) }),
        }
    }
}

pub(super) struct Shop {
    pub(super) gateway: Gateway,
    pub(super) agent: AgentConfig,
    pub(super) upstream: Arc<Upstream>,
    pub(super) upstream_url: String,
    pub(super) network: SimulatedNetwork,
    /// What the seller and the buyer trust; its URL may be that of a front before it.
    pub(super) mint: SandboxMint,
    pub(super) other_mint: SandboxMint,
    pub(super) ledger: Ledger,
    pub(super) wallets: Wallets,
    buyer: Wallets,
    pub(super) clock: Arc<OffsetClock>,
    pub(super) lifecycle: Lifecycle,
}

impl Shop {
    pub(super) async fn open(uses: u32, rails: &[&str]) -> Self {
        Self::open_with(uses, rails, |_| {}).await
    }

    /// Opens a shop whose agent was changed by `change`.
    pub(super) async fn open_with<'a>(
        uses: u32,
        rails: &'a [&'a str],
        change: impl FnOnce(&mut AgentConfig) + 'a,
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
        let mut setup = Setup::new(1, &["l402", "nut24"]);
        setup.change = Box::new(edit);
        Self::set_up(setup, std::future::ready).await
    }

    /// Opens a shop whose mint is reached at what `front` makes of its URL.
    pub(super) async fn set_up<F>(setup: Setup<'_>, front: impl FnOnce(String) -> F) -> Self
    where
        F: Future<Output = String>,
    {
        let clock = Arc::new(OffsetClock::default());
        let network = SimulatedNetwork::open(None, clock.clone(), Arc::new(SystemEntropy)).unwrap();
        network
            .faucet("bank", Sat::new(100_000_000).into())
            .unwrap();
        let lifecycle = Lifecycle::default();
        let mut mint = mint("one", 100, &network, &lifecycle).await;
        mint.url = front(mint.url).await;
        let other_mint = mint_of("two", &network, &lifecycle).await;
        let ledger = setup.ledger;
        let seller = wallets(&ledger, &[&mint], 1, &clock);
        let buyer = wallets(
            &Ledger::in_memory().unwrap(),
            &[&mint, &other_mint],
            2,
            &clock,
        );
        let upstream = Arc::new(Upstream::default());
        let upstream_url = match setup.upstream {
            Some(url) => url,
            None => listen(&upstream, &lifecycle).await,
        };
        let mut agent = agent(&upstream_url, setup.uses, setup.rails);
        let mut config = setup.config;
        (setup.change)(&mut agent, &mut config);
        agent.check().unwrap();
        let gateway = Gateway::new(GatewayParts {
            config,
            network: Network::Simulated,
            public_url: "http://127.0.0.1:7402".to_owned(),
            agents: vec![agent.clone()],
            data_dir: std::path::PathBuf::new(),
            ledger: ledger.clone(),
            wallets: seller.clone(),
            lightning: Lightning::single(
                (setup.lightning)(SimulatedBackend::new(network.clone(), "seller")),
                clock.clone(),
            ),
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
            upstream_url,
            network,
            mint,
            other_mint,
            ledger,
            wallets: seller,
            buyer,
            clock,
            lifecycle,
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

    /// Pays `bolt11` out of the bank.
    pub(super) async fn pay(&self, bolt11: &str) -> Preimage {
        let paid = self
            .network
            .pay("bank", bolt11, Msat::ZERO, Duration::from_secs(5))
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
        self.token(&self.mint.url, sat, Some(self.lock())).await
    }

    async fn token(&self, mint: &str, sat: u64, lock: Option<Lock>) -> String {
        self.fund_buyer(mint, sat + 50).await;
        self.send(mint, sat, lock).await
    }

    /// Returns a token out of a purse that is filled rarely: for many of them.
    pub(super) async fn token_of_purse(&self, sat: u64, is_locked: bool) -> String {
        let held = self.buyer.balance(TREASURY, &self.mint.url).await.unwrap();
        if held < Sat::new(2 * sat + 50) {
            self.fund_buyer(&self.mint.url, PURSE_SAT).await;
        }
        self.send(&self.mint.url, sat, is_locked.then(|| self.lock()))
            .await
    }

    fn lock(&self) -> Lock {
        Lock {
            key: self.wallets.lock_key("data").unwrap(),
            locktime: self.clock.now() + 2 * 3_600,
        }
    }

    async fn fund_buyer(&self, mint: &str, sat: u64) {
        let quote = self
            .buyer
            .request_funding(TREASURY, mint, Sat::new(sat))
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
    }

    async fn send(&self, mint: &str, sat: u64, lock: Option<Lock>) -> String {
        self.buyer
            .send(SendRequest {
                operation_id: format!("send-{}", random_id(&SystemEntropy)),
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
        let id = hex::encode(Sha256::digest(token));
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

    /// What the buyer holds at the shop's mint.
    pub(super) async fn buyer_holds(&self) -> u64 {
        let held = self.buyer.balance(TREASURY, &self.mint.url).await;
        held.unwrap().as_u64()
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

/// The one agent on sale: 100 sat a call.
pub(super) fn agent(upstream: &str, uses: u32, rails: &[&str]) -> AgentConfig {
    let mut agent = AgentConfig::new("data", upstream, Msat::new(100_000));
    agent.uses = uses;
    agent.path = "/v1/query".to_owned();
    agent.rails = rails.iter().map(|rail| (*rail).to_owned()).collect();
    agent
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
