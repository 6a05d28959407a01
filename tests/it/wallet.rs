//! The wallet against a real mint over HTTP, with a line between them that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use feria::clock::{Clock, OffsetClock, SeededEntropy, SystemEntropy};
use feria::lifecycle::Lifecycle;
use feria::lightning::PaymentState;
use feria::lightning::simulated::{Behaviour, Resolution, SimulatedNetwork};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::ledger::{Account, EntryKind, Ledger};
use feria::wallet::{
    InFlightState, Lock, MeltOutcome, MintTrust, NewAgentWallet, ReceiveRequest, Received,
    SendRequest, SentToken, TREASURY, TokenFault, WalletError, WalletInfo, Wallets,
};
use feria_paywall::amount::{Msat, Sat};

mod agents;
mod audit;
mod crash;
mod doubt;
pub(crate) mod line;
mod melts;
mod sweep;
#[path = "../soak/wallet_sweep.rs"]
mod wallet_sweep;

use self::line::Line;

/// A node with a mint behind a line that can be cut.
struct Market {
    network: SimulatedNetwork,
    mint: SandboxMint,
    line: Line,
    clock: Arc<OffsetClock>,
    ledger: Ledger,
    wallets: Wallets,
    _lifecycle: Lifecycle,
}

const FUNDED: u64 = 1_000;

impl Market {
    async fn start(input_fee_ppk: u64) -> Self {
        let clock = Arc::new(OffsetClock::default());
        let network =
            SimulatedNetwork::open(None, clock.clone(), Arc::new(SeededEntropy::new(5))).unwrap();
        network.faucet("bank", Sat::new(1_000_000).into()).unwrap();
        let lifecycle = Lifecycle::default();
        let mint = SandboxMint::start(SandboxMintConfig {
            name: "one".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            input_fee_ppk,
            network: network.clone(),
            data_dir: None,
            seed: [9; 32],
            lifecycle: lifecycle.clone(),
        })
        .await
        .unwrap();
        let line = Line::to(mint.url.trim_start_matches("http://")).await;
        let ledger = Ledger::in_memory().unwrap();
        let wallets = wallets(&ledger, &line.url, &clock, 1);
        Self {
            network,
            mint,
            line,
            clock,
            ledger,
            wallets,
            _lifecycle: lifecycle,
        }
    }

    /// A market whose treasury holds [`FUNDED`] sat.
    async fn funded(input_fee_ppk: u64) -> Self {
        let market = Self::start(input_fee_ppk).await;
        market.fund(TREASURY, FUNDED).await;
        market
    }

    async fn fund(&self, wallet: &str, sat: u64) -> Received {
        let quote = self
            .wallets
            .request_funding(wallet, &self.line.url, Sat::new(sat))
            .await
            .unwrap();
        self.pay(&quote.bolt11).await;
        loop {
            if let Some(received) = self.wallets.claim_funding(&quote.quote_id).await.unwrap() {
                return received;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn pay(&self, bolt11: &str) {
        let paid = self
            .network
            .pay("bank", bolt11, Msat::ZERO, Duration::from_secs(5))
            .await;
        assert!(matches!(paid, PaymentState::Succeeded { .. }), "{paid:?}");
    }

    async fn invoice(&self, sat: u64) -> String {
        self.network
            .create_invoice(
                "shop",
                Sat::new(sat).into(),
                "tea",
                Duration::from_secs(600),
            )
            .await
            .unwrap()
            .bolt11
    }

    /// The node after its process died: same ledger file, empty memory.
    fn restarted(&self) -> Wallets {
        wallets(&self.ledger, &self.line.url, &self.clock, 1)
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    async fn agent_wallet(&self, limit: u64) -> WalletInfo {
        self.wallets
            .create_agent_wallet(NewAgentWallet {
                agent: "research".to_owned(),
                limit: Sat::new(limit),
                ttl_secs: 3_600,
                mint: self.line.url.clone(),
            })
            .await
            .unwrap()
    }

    async fn held(&self, wallet: &str) -> u64 {
        let url = &self.line.url;
        self.wallets.balance(wallet, url).await.unwrap().as_u64()
    }

    async fn booked(&self, account: Account) -> i64 {
        self.ledger.balance_msat(account).await.unwrap() / 1_000
    }

    /// Books and proofs agree, and every satoshi the mint owes is accounted for.
    async fn check(&self, elsewhere: u64) {
        let audit = self.ledger.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!(self.wallets.verify_books().await.unwrap(), [""; 0]);
        let assets = audit.class_msat("assets") / 1_000;
        let owed = self.mint.outstanding_sat().await.unwrap();
        assert_eq!(owed, u64::try_from(assets).unwrap() + elsewhere);
    }
}

fn wallets(ledger: &Ledger, mint: &str, clock: &Arc<OffsetClock>, node: u8) -> Wallets {
    let trust = MintTrust {
        url: mint.to_owned(),
        cap: Sat::new(1_000_000),
    };
    let (ledger, clock) = (ledger.clone(), clock.clone());
    let entropy = Arc::new(SystemEntropy);
    Wallets::new(ledger, [node; 64], vec![trust], clock, entropy).unwrap()
}

/// Somebody else's node at the same mint.
fn stranger(market: &Market) -> Wallets {
    let ledger = Ledger::in_memory().unwrap();
    wallets(&ledger, &market.line.url, &market.clock, 2)
}

fn order(market: &Market, id: &str, sat: u64) -> SendRequest {
    SendRequest {
        operation_id: id.to_owned(),
        wallet_id: TREASURY.to_owned(),
        mint: market.line.url.clone(),
        amount: Sat::new(sat),
        lock: None,
        cover_receiver_fee: false,
        reference: "test".to_owned(),
        memo: String::new(),
    }
}

fn receipt(id: &str, token: &SentToken) -> ReceiveRequest {
    ReceiveRequest {
        operation_id: id.to_owned(),
        wallet_id: TREASURY.to_owned(),
        token: token.token.clone(),
        from: Account::income("agent"),
        kind: EntryKind::Earn,
        unlock_as: vec!["agent".to_owned()],
        reference: "test".to_owned(),
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, WalletError>, fault: &TokenFault) {
    match result {
        Err(WalletError::Refused(found)) => assert_eq!(found, *fault),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_moves_value_without_fees() {
    let market = Market::funded(0).await;
    let payee = stranger(&market);

    let sent = market
        .wallets
        .send(order(&market, "s1", 100))
        .await
        .unwrap();
    let received = payee.receive(receipt("r1", &sent)).await.unwrap();

    assert!(sent.token.starts_with("cashuB"));
    assert_eq!((sent.amount, sent.fee), (Sat::new(100), Sat::ZERO));
    assert_eq!((received.amount, received.fee), (Sat::new(100), Sat::ZERO));
    let to = Account::expense(TREASURY);
    market.wallets.settle("s1", to.clone()).await.unwrap();
    market.wallets.settle("s1", to.clone()).await.unwrap();
    assert_eq!(market.booked(to).await, 100);
    assert_eq!(market.held(TREASURY).await, FUNDED - 100);
    market.check(100).await;
    assert_eq!(payee.verify_books().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_receivers_fee_is_covered_on_request() {
    let market = Market::funded(1_000).await;
    let payee = stranger(&market);

    let sent = market
        .wallets
        .send(SendRequest {
            cover_receiver_fee: true,
            ..order(&market, "s1", 21)
        })
        .await
        .unwrap();
    let received = payee.receive(receipt("r1", &sent)).await.unwrap();

    assert!(received.amount >= Sat::new(21), "{received:?}");
    assert_eq!(sent.amount, received.amount.saturating_add(received.fee));
    assert!(sent.fee > Sat::ZERO);
    assert_eq!(
        market.booked(Account::fees("ecash")).await,
        i64::try_from(sent.fee.as_u64()).unwrap()
    );
    market
        .wallets
        .settle("s1", Account::external("transfers"))
        .await
        .unwrap();
    market.check(received.amount.as_u64()).await;
}

#[tokio::test]
async fn a_locked_token_opens_with_the_payees_key_only() {
    let market = Market::funded(100).await;
    let payee = stranger(&market);
    let thief = wallets(
        &Ledger::in_memory().unwrap(),
        &market.line.url,
        &market.clock,
        3,
    );
    let lock = Lock {
        key: payee.lock_key("agent").unwrap(),
        locktime: market.now() + 600,
    };

    let sent = market
        .wallets
        .send(SendRequest {
            lock: Some(lock),
            ..order(&market, "s1", 64)
        })
        .await
        .unwrap();

    assert_refused(
        thief.receive(receipt("t1", &sent)).await,
        &TokenFault::ForeignLock,
    );
    let early = market.wallets.reclaim("s1").await;
    assert!(matches!(early, Err(WalletError::Limit(_))), "{early:?}");
    assert_eq!(
        market.wallets.in_flight_state("s1").await.unwrap(),
        InFlightState::Unspent
    );
    let again = market.wallets.token("s1").await.unwrap().unwrap();
    assert_eq!(again.token, sent.token);
    let received = payee.receive(receipt("r1", &sent)).await.unwrap();
    assert_eq!(received.amount, Sat::new(63));
    assert_eq!(
        market.wallets.in_flight_state("s1").await.unwrap(),
        InFlightState::Spent
    );
    market
        .wallets
        .settle("s1", Account::external("transfers"))
        .await
        .unwrap();
    market.check(63).await;
}

#[tokio::test]
async fn a_spent_token_is_refused_and_leaves_nothing_open() {
    let market = Market::funded(0).await;
    let payee = stranger(&market);
    let sent = market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    payee.receive(receipt("r1", &sent)).await.unwrap();

    let second = payee.receive(receipt("r2", &sent)).await;

    assert_refused(second, &TokenFault::AlreadySpent);
    assert_refused(
        payee.receive(receipt("r2", &sent)).await,
        &TokenFault::AlreadySpent,
    );
    let report = payee.recover().await.unwrap();
    assert_eq!(report, feria::wallet::RecoveryReport::default());
    assert_eq!(payee.verify_books().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_same_operation_id_never_spends_twice() {
    let market = Market::funded(0).await;

    let first = market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    let second = market.wallets.send(order(&market, "s1", 10)).await.unwrap();
    let received = market.wallets.receive(receipt("r1", &first)).await.unwrap();
    let repeated = market.wallets.receive(receipt("r1", &first)).await.unwrap();

    assert_eq!(first.token, second.token);
    assert_eq!(received.amount, repeated.amount);
    market
        .wallets
        .settle("s1", Account::expense(TREASURY))
        .await
        .unwrap();
    assert_eq!(market.held(TREASURY).await, FUNDED);
    market.check(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_parallel_sends_use_no_proof_twice() {
    let market = Arc::new(Market::funded(100).await);

    let sends: Vec<_> = (0..16)
        .map(|number| {
            let market = market.clone();
            tokio::spawn(async move {
                let order = order(&market, &format!("s{number}"), 20);
                market.wallets.send(order).await
            })
        })
        .collect();
    let mut fees = 0;
    for send in sends {
        fees += send.await.unwrap().unwrap().fee.as_u64();
    }

    assert_eq!(market.held(TREASURY).await, FUNDED - 16 * 20 - fees);
    assert_eq!(
        market.booked(Account::in_flight(&market.line.url)).await,
        320
    );
    market.check(0).await;
}

#[tokio::test]
async fn more_than_there_is_is_refused_before_anything_is_planned() {
    let market = Market::funded(100).await;

    let refused = market.wallets.send(order(&market, "s1", FUNDED)).await;

    assert!(
        matches!(refused, Err(WalletError::Insufficient { .. })),
        "{refused:?}"
    );
    assert!(market.wallets.token("s1").await.unwrap().is_none());
    market.check(0).await;
}

#[tokio::test]
async fn a_token_worth_less_than_the_fee_is_dust() {
    let market = Market::funded(1_000).await;
    let sent = market.wallets.send(order(&market, "s1", 1)).await.unwrap();

    let refused = market.wallets.receive(receipt("r1", &sent)).await;

    assert_refused(refused, &TokenFault::Dust);
    market.check(0).await;
}

#[tokio::test]
async fn a_token_of_a_foreign_mint_or_none_at_all_is_refused() {
    let market = Market::funded(0).await;
    let foreign = Market::funded(0).await;
    let sent = foreign
        .wallets
        .send(order(&foreign, "s1", 5))
        .await
        .unwrap();

    let refused = market.wallets.receive(receipt("r1", &sent)).await;
    assert!(matches!(refused, Err(WalletError::UntrustedMint(_))));

    for text in ["", "cashuA", "cashuB!!!", "lnbc1", "cashuBo2FteBVodHRw"] {
        let request = ReceiveRequest {
            token: text.to_owned(),
            ..receipt("r2", &sent)
        };
        let refused = market.wallets.receive(request).await;
        assert!(
            matches!(refused, Err(WalletError::Refused(TokenFault::Malformed(_)))),
            "{text}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_plain_token_is_taken_home_at_once() {
    let market = Market::funded(100).await;
    let sent = market.wallets.send(order(&market, "s1", 50)).await.unwrap();

    let back = market.wallets.reclaim("s1").await.unwrap();
    let again = market.wallets.reclaim("s1").await.unwrap();

    assert_eq!(back.amount.saturating_add(back.fee), sent.amount);
    assert_eq!(back.amount, again.amount);
    assert_eq!(market.booked(Account::in_flight(&market.line.url)).await, 0);
    market.check(0).await;
}

#[tokio::test]
async fn a_locked_token_comes_home_after_its_locktime() {
    let market = Market::funded(100).await;
    let payee = stranger(&market);
    // The mint goes by the real clock, for which this locktime is past.
    let lock = Lock {
        key: payee.lock_key("agent").unwrap(),
        locktime: market.now() - 10,
    };
    market
        .wallets
        .send(SendRequest {
            lock: Some(lock),
            ..order(&market, "s1", 50)
        })
        .await
        .unwrap();

    let back = market.wallets.reclaim("s1").await.unwrap();

    assert_eq!(back.amount.saturating_add(back.fee), Sat::new(50));
    market.check(0).await;
}

#[tokio::test]
async fn a_token_the_payee_took_cannot_be_taken_home() {
    let market = Market::funded(0).await;
    let payee = stranger(&market);
    let sent = market.wallets.send(order(&market, "s1", 50)).await.unwrap();
    payee.receive(receipt("r1", &sent)).await.unwrap();

    assert_refused(
        market.wallets.reclaim("s1").await,
        &TokenFault::AlreadySpent,
    );
    market
        .wallets
        .settle("s1", Account::expense(TREASURY))
        .await
        .unwrap();
    market.check(50).await;
}
