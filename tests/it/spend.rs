//! Buying from a small seller: a real mint, real preimages, real sockets.
//!
//! The seller here is a few lines of axum that can misbehave on demand; the
//! node's own gateway is bought from in its own tests.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use feria::clock::{OffsetClock, SeededEntropy, SharedClock, SharedEntropy};
use feria::config::SpendConfig;
use feria::lifecycle::Lifecycle;
use feria::lightning::Lightning;
use feria::lightning::simulated::{Behaviour, Resolution, SimulatedNetwork};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::spend::{FetchRequest, LockPolicy, Rail, Refusal, SpendError, SpendParts, Spender};
use feria::store::index::Index;
use feria::store::ledger::{Account, EntryKind, Ledger};
use feria::wallet::{
    MintTrust, NewAgentWallet, ReceiveRequest, Received, SendRequest, TREASURY, Wallets,
};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::l402::{Caveat, Challenge, Identifier, Issuer};
use feria_paywall::payment::{PaymentHash, Preimage};
use feria_paywall::xcashu::request::{CashuTerms, encode};

mod floats;
mod hostile;
mod liars;
mod moved;
mod payments;
mod policies;
mod purchases;
mod streams;

use crate::gateway::mint_front::Front;

const PRICE_SAT: u64 = 10;
const LOCK_SECS: u64 = 1_000;

/// How the seller behaves towards a paid call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Serves.
    Honest,
    /// Takes the token, answers 500 and refunds.
    Refunds,
    /// Answers 500 without taking anything.
    Fails,
    /// Answers 400 without taking anything.
    Refuses,
    /// Takes the payment and does not answer the first time.
    GoesSilent,
    /// Takes the token, fails, and loses the answer: the refund must be asked for.
    Owes,
    /// Asks for twice the price.
    Dear,
    /// Asks for payment, whatever was paid.
    Insatiable,
    /// Serves whoever sends a token, and never redeems it.
    Blind,
    /// Answers 401 to a credential that is used up.
    Strict,
    /// Sends a paid caller elsewhere.
    Redirects,
    /// Serves in parts.
    Streams,
    /// Serves the beginning, and breaks off the first time.
    BreaksOff,
}

struct Seller {
    manner: parking_lot::Mutex<Manner>,
    rails: &'static str,
    wallets: Wallets,
    mint: String,
    network: SimulatedNetwork,
    uses: parking_lot::Mutex<HashMap<PaymentHash, u32>>,
    tokens: parking_lot::Mutex<Vec<String>>,
    owed: parking_lot::Mutex<Option<String>>,
    payments: AtomicU64,
    served: AtomicU64,
    challenges: AtomicU64,
}

struct Market {
    spender: Spender,
    wallets: Wallets,
    ledger: Ledger,
    wallet_id: String,
    seller: Arc<Seller>,
    url: String,
    /// Where the buyer's wallet is.
    mint: String,
    /// Before that mint.
    front: Front,
    network: SimulatedNetwork,
    lifecycle: Lifecycle,
    clock: Arc<OffsetClock>,
}

/// Which mint the seller takes ecash of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mints {
    /// The buyer's.
    Shared,
    /// Another that the buyer trusts too.
    Apart,
}

async fn wallets(ledger: &Ledger, seed: u8, mints: &[String], clock: &SharedClock) -> Wallets {
    let mints = mints
        .iter()
        .map(|url| MintTrust {
            url: url.clone(),
            cap: Sat::new(1_000_000),
        })
        .collect();
    let entropy: SharedEntropy = Arc::new(SeededEntropy::new(u64::from(seed)));
    Wallets::new(
        ledger.clone(),
        [seed; 64],
        mints,
        Arc::clone(clock),
        entropy,
    )
    .unwrap()
}

impl Market {
    /// A buyer with `limit_sat` in an agent wallet and a seller who takes `rails`.
    async fn open(rails: &'static str, limit_sat: u64) -> Self {
        Self::open_at(rails, limit_sat, Mints::Shared).await
    }

    async fn open_at(rails: &'static str, limit_sat: u64, mints: Mints) -> Self {
        let lifecycle = Lifecycle::default();
        let hand = Arc::new(OffsetClock::default());
        let clock: SharedClock = Arc::clone(&hand) as SharedClock;
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(7));
        let network =
            SimulatedNetwork::open(None, Arc::clone(&clock), Arc::clone(&entropy)).unwrap();
        let front = Front::before(&start_mint("a", &network, &lifecycle).await).await;
        let mint = front.url.clone();
        let seller_mint = match mints {
            Mints::Shared => mint.clone(),
            Mints::Apart => start_mint("b", &network, &lifecycle).await,
        };
        let ledger = Ledger::in_memory().unwrap();
        let trusted = [mint.clone(), seller_mint.clone()];
        let buyer = wallets(&ledger, 1, &trusted, &clock).await;
        let wallet_id = fund(&buyer, &network, &mint, limit_sat).await;
        let seller_ledger = Ledger::in_memory().unwrap();
        let seller = Arc::new(Seller {
            manner: parking_lot::Mutex::new(Manner::Honest),
            rails,
            wallets: wallets(
                &seller_ledger,
                2,
                std::slice::from_ref(&seller_mint),
                &clock,
            )
            .await,
            mint: seller_mint,
            network: network.clone(),
            uses: parking_lot::Mutex::default(),
            tokens: parking_lot::Mutex::default(),
            owed: parking_lot::Mutex::default(),
            payments: AtomicU64::new(0),
            served: AtomicU64::new(0),
            challenges: AtomicU64::new(0),
        });
        let url = serve(Arc::clone(&seller), &lifecycle).await;
        let spender = spender(&ledger, &buyer, &clock, entropy);
        Self {
            spender,
            wallets: buyer,
            ledger,
            wallet_id,
            seller,
            url,
            mint,
            front,
            network,
            lifecycle,
            clock: hand,
        }
    }

    /// Gives `agent` a further wallet with `sat` in it.
    async fn another_wallet(&self, agent: &str, sat: u64) -> String {
        let funded = fund_treasury(&self.wallets, &self.network, &self.mint, sat);
        funded.await;
        open_wallet(&self.wallets, &self.mint, agent, sat).await
    }

    fn request(&self) -> FetchRequest {
        FetchRequest::get(&self.wallet_id, &self.url)
    }

    fn keyed(&self, key: &str) -> FetchRequest {
        FetchRequest {
            idempotency_key: Some(key.to_owned()),
            ..self.request()
        }
    }

    fn seller_is(&self, manner: Manner) {
        *self.seller.manner.lock() = manner;
    }

    fn payments(&self) -> u64 {
        self.seller.payments.load(Ordering::SeqCst)
    }

    async fn balance(&self) -> u64 {
        self.wallets
            .balance(&self.wallet_id, &self.mint)
            .await
            .unwrap()
            .as_u64()
    }

    /// Fails when the books do not add up, and stops the mint.
    async fn close(self) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        let differences = self.wallets.verify_books().await.unwrap();
        assert!(differences.is_empty(), "{differences:?}");
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }
}

async fn start_mint(name: &str, network: &SimulatedNetwork, lifecycle: &Lifecycle) -> String {
    SandboxMint::start(SandboxMintConfig {
        name: name.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        input_fee_ppk: 0,
        network: network.clone(),
        data_dir: None,
        seed: [name.as_bytes()[0]; 32],
        lifecycle: lifecycle.clone(),
    })
    .await
    .unwrap()
    .url
}

fn spender(
    ledger: &Ledger,
    wallets: &Wallets,
    clock: &SharedClock,
    entropy: SharedEntropy,
) -> Spender {
    Spender::new(SpendParts {
        config: SpendConfig {
            max_price: Msat::new(1_000_000),
            max_fee: Msat::new(20_000),
            price_tolerance_percent: 0,
            timeout_secs: 3,
            ..SpendConfig::default()
        },
        ledger: ledger.clone(),
        wallets: wallets.clone(),
        index: Index::in_memory().unwrap(),
        lightning: Lightning::default(),
        clock: Arc::clone(clock),
        entropy,
    })
    .unwrap()
}

async fn fund(wallets: &Wallets, network: &SimulatedNetwork, mint: &str, sat: u64) -> String {
    fund_treasury(wallets, network, mint, sat).await;
    open_wallet(wallets, mint, "research", sat).await
}

async fn fund_treasury(wallets: &Wallets, network: &SimulatedNetwork, mint: &str, sat: u64) {
    let quote = wallets
        .request_funding(TREASURY, mint, Sat::new(sat))
        .await
        .unwrap();
    network.faucet("bank", Msat::new(sat * 2_000)).unwrap();
    network
        .pay(
            "bank",
            &quote.bolt11,
            Msat::new(1_000),
            Duration::from_secs(5),
        )
        .await;
    wallets
        .claim_funding(&quote.quote_id)
        .await
        .unwrap()
        .unwrap();
}

async fn open_wallet(wallets: &Wallets, mint: &str, agent: &str, sat: u64) -> String {
    let wallet = wallets
        .create_agent_wallet(NewAgentWallet {
            agent: agent.to_owned(),
            limit: Sat::new(sat),
            ttl_secs: 1_000_000,
            mint: mint.to_owned(),
        })
        .await
        .unwrap();
    wallets
        .fund_agent_wallet(&wallet.id, Sat::new(sat))
        .await
        .unwrap();
    wallet.id
}

async fn serve(seller: Arc<Seller>, lifecycle: &Lifecycle) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(seller);
    lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    format!("http://{address}/a/data")
}

async fn answer(State(seller): State<Arc<Seller>>, request: Request<Body>) -> Response<Body> {
    if request.uri().path() == "/v1/refund" {
        let Some(owed) = seller.owed.lock().clone() else {
            return reply(StatusCode::NOT_FOUND, HeaderMap::new());
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-cashu", owed.parse().unwrap());
        return reply(StatusCode::OK, headers);
    }
    let manner = *seller.manner.lock();
    if let Some(token) = request.headers().get("x-cashu") {
        return take_token(&seller, manner, token.to_str().unwrap()).await;
    }
    if let Some(credential) = request.headers().get("authorization") {
        return take_credential(&seller, manner, credential.to_str().unwrap()).await;
    }
    challenge(&seller, manner).await
}

async fn take_token(seller: &Seller, manner: Manner, token: &str) -> Response<Body> {
    if seller.tokens.lock().iter().any(|known| known == token) {
        return served(seller);
    }
    if manner == Manner::Insatiable {
        return challenge(seller, manner).await;
    }
    match manner {
        Manner::Refuses => {
            seller.tokens.lock().push(token.to_owned());
            return reply(StatusCode::BAD_REQUEST, HeaderMap::new());
        }
        Manner::Fails => return reply(StatusCode::BAD_GATEWAY, HeaderMap::new()),
        Manner::Blind => return served(seller),
        _ => {}
    }
    let n = seller.payments.fetch_add(1, Ordering::SeqCst);
    let received = redeem(seller, n, token).await;
    seller.tokens.lock().push(token.to_owned());
    match manner {
        Manner::GoesSilent => std::future::pending().await,
        Manner::Refunds | Manner::Owes => {
            let refund = seller
                .wallets
                .send(SendRequest {
                    operation_id: format!("out-{n}"),
                    wallet_id: TREASURY.to_owned(),
                    mint: seller.mint.clone(),
                    amount: received.amount,
                    lock: None,
                    cover_receiver_fee: false,
                    reference: format!("call-{n}"),
                    memo: String::new(),
                })
                .await
                .unwrap();
            if manner == Manner::Owes {
                *seller.owed.lock() = Some(refund.token.clone());
                std::future::pending::<()>().await;
            }
            let mut headers = HeaderMap::new();
            headers.insert("x-cashu", refund.token.parse().unwrap());
            reply(StatusCode::BAD_GATEWAY, headers)
        }
        Manner::Redirects => streams::elsewhere(),
        Manner::Streams => streams::in_parts(seller, None),
        Manner::BreaksOff => streams::in_parts(seller, Some(2)),
        _ => served(seller),
    }
}

async fn redeem(seller: &Seller, n: u64, token: &str) -> Received {
    seller
        .wallets
        .receive(ReceiveRequest {
            operation_id: format!("in-{n}"),
            wallet_id: TREASURY.to_owned(),
            token: token.to_owned(),
            from: Account::income("data"),
            kind: EntryKind::Earn,
            unlock_as: vec!["data".to_owned()],
            reference: format!("call-{n}"),
        })
        .await
        .unwrap()
}

async fn take_credential(seller: &Seller, manner: Manner, header: &str) -> Response<Body> {
    let (_, preimage) = header.rsplit_once(':').unwrap();
    let hash = preimage.parse::<Preimage>().unwrap().payment_hash();
    match manner {
        Manner::Fails => return reply(StatusCode::BAD_GATEWAY, HeaderMap::new()),
        Manner::Insatiable => return challenge(seller, manner).await,
        Manner::Redirects => return streams::elsewhere(),
        _ => {}
    }
    let is_good = {
        let mut uses = seller.uses.lock();
        let left = uses.get_mut(&hash).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    if is_good {
        served(seller)
    } else if manner == Manner::Strict {
        reply(StatusCode::UNAUTHORIZED, HeaderMap::new())
    } else {
        challenge(seller, manner).await
    }
}

async fn challenge(seller: &Seller, manner: Manner) -> Response<Body> {
    seller.challenges.fetch_add(1, Ordering::SeqCst);
    let price = PRICE_SAT * if manner == Manner::Dear { 2 } else { 1 };
    let mut headers = HeaderMap::new();
    if seller.rails.contains("l402") {
        let invoice = seller
            .network
            .create_invoice(
                "seller",
                Msat::new(price * 1_000),
                "a call",
                Duration::from_secs(60),
            )
            .await
            .unwrap();
        let identifier = Identifier {
            payment_hash: invoice.payment_hash,
            token_id: [3; 32],
        };
        let caveats = [
            Caveat::new("services", "data:0").unwrap(),
            Caveat::new("uses", "2").unwrap(),
        ];
        let macaroon = Issuer::new(&[9; 32]).issue(&identifier, &caveats).unwrap();
        seller.uses.lock().insert(invoice.payment_hash, 2);
        let challenge = Challenge::new(&macaroon, invoice.bolt11);
        headers.insert("www-authenticate", challenge.header_value().unwrap());
    }
    if seller.rails.contains("nut24") {
        let terms = CashuTerms {
            amount: Sat::new(price),
            unit: "sat".to_owned(),
            mints: vec![seller.mint.clone()],
            lock_key: Some(seller.wallets.lock_key("data").unwrap()),
            min_locktime_secs: Some(LOCK_SECS),
        };
        headers.insert("x-cashu", encode(&terms, "id").unwrap().parse().unwrap());
    }
    reply(StatusCode::PAYMENT_REQUIRED, headers)
}

fn served(seller: &Seller) -> Response<Body> {
    seller.served.fetch_add(1, Ordering::SeqCst);
    reply(StatusCode::OK, HeaderMap::new())
}

fn reply(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::from("the data"));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
