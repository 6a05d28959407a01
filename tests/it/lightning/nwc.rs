//! A wallet behind Nostr Wallet Connect: cdk's own service where all is well, and
//! wallets that lie, stammer or say nothing.

use std::future::Future;

use cdk::nuts::CurrencyUnit;
use cdk_nostr::nwc::nip47::{
    GetBalanceResponse, GetInfoResponse, ListTransactionsRequest, LookupInvoiceRequest,
    LookupInvoiceResponse, MakeInvoiceRequest, MakeInvoiceResponse, NIP47Error, PayInvoiceRequest,
    PayInvoiceResponse,
};
use cdk_nostr::nwc::{NwcRequestHandler, NwcService, NwcServiceConfig};
use feria::config::{NwcConfig, SecretRef, write_private};
use feria::http::relay_endpoint::RelayPolicy;
use feria::spend::{FetchRequest, Rail};
use serde_json::json;
use tokio::sync::Notify;

use super::wallet::{Script, ScriptedWallet, error, result};
use super::*;
use crate::relay::support::Relay;

mod lies;

const BACKEND: &str = "wallet";
const LIMIT: Msat = Msat::new(10_000);

async fn relay(market: &Market) -> Relay {
    let policy = RelayPolicy {
        max_event_bytes: 400 * 1_024,
        ..RelayPolicy::default()
    };
    Relay::start_at(market.clock.clone(), policy).await
}

/// Connects a node to wallets, by backend name.
fn connects<'a>(wallets: &'a [(&'a str, String)]) -> impl FnOnce(&mut Config) + 'a {
    move |config| {
        for (name, uri) in wallets {
            let file = format!("{name}.nwc");
            write_private(&config.data_dir.join(&file), uri).unwrap();
            let connection = SecretRef::File(file.into());
            let backend = BackendConfig::Nwc(NwcConfig { connection });
            config
                .lightning
                .backends
                .insert((*name).to_owned(), backend);
        }
        config.lightning.receive = wallets[0].0.to_owned();
        config.lightning.pay = wallets.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
}

async fn node(market: &Market, uri: &str) -> Node {
    Node::open(market, 3, connects(&[(BACKEND, uri.to_owned())])).await
}

/// cdk's wallet with cdk's NIP-47 service before it; `held` keeps the answer to a
/// payment until it is told to let it go.
#[derive(Clone)]
struct CdkWallet {
    wallet: cdk::Wallet,
    is_held: Arc<std::sync::atomic::AtomicBool>,
    paid: Arc<Notify>,
    let_go: Arc<Notify>,
    payments: Arc<std::sync::atomic::AtomicU64>,
}

impl CdkWallet {
    /// Returns the wallet and its connection.
    async fn start(relay: &str, mint: &SandboxMint) -> (Self, String) {
        let store = cdk_sqlite::wallet::memory::empty().await.unwrap();
        let seed = feria::clock::random_bytes(&SystemEntropy);
        let wallet =
            cdk::Wallet::new(&mint.url, CurrencyUnit::Sat, Arc::new(store), seed, None).unwrap();
        let service = NwcService::new(NwcServiceConfig {
            service_keys: nostr_sdk::Keys::generate(),
            client_secret: nostr_sdk::Keys::generate().secret_key().clone(),
            relays: vec![relay.parse().unwrap()],
            lud16: None,
        })
        .unwrap();
        let uri = service.connection_uri().to_string();
        let this = Self {
            wallet,
            is_held: Arc::default(),
            paid: Arc::default(),
            let_go: Arc::default(),
            payments: Arc::default(),
        };
        let handler = Arc::new(this.clone());
        tokio::spawn(async move { service.run(handler, Default::default()).await.unwrap() });
        (this, uri)
    }

    async fn fund(&self, market: &Market, sat: u64) {
        let method = cdk::nuts::PaymentMethod::BOLT11;
        let quote = self.wallet.mint_quote(method, Some(sat.into()), None, None);
        market.pay(&Box::pin(quote).await.unwrap().request).await;
        self.take_in(sat).await;
    }

    /// Takes paid invoices in, which is this wallet's own business.
    async fn take_in(&self, sat: u64) {
        let before = u64::from(self.wallet.total_balance().await.unwrap());
        soon(async {
            while u64::from(self.wallet.total_balance().await.unwrap()) < before + sat {
                // Its futures are too large for ours.
                Box::pin(self.wallet.mint_unissued_quotes()).await.unwrap();
            }
        })
        .await;
    }
}

#[async_trait::async_trait]
impl NwcRequestHandler for CdkWallet {
    async fn get_info(&self) -> Result<GetInfoResponse, NIP47Error> {
        self.wallet.nwc_handler(None).get_info().await
    }

    async fn get_balance(&self) -> Result<GetBalanceResponse, NIP47Error> {
        self.wallet.nwc_handler(None).get_balance().await
    }

    async fn make_invoice(
        &self,
        request: MakeInvoiceRequest,
    ) -> Result<MakeInvoiceResponse, NIP47Error> {
        self.wallet.nwc_handler(None).make_invoice(request).await
    }

    async fn pay_invoice(
        &self,
        request: PayInvoiceRequest,
    ) -> Result<PayInvoiceResponse, NIP47Error> {
        use std::sync::atomic::Ordering;
        self.payments.fetch_add(1, Ordering::SeqCst);
        let paid = self.wallet.nwc_handler(None).pay_invoice(request).await;
        self.paid.notify_one();
        if self.is_held.load(Ordering::SeqCst) {
            self.let_go.notified().await;
        }
        paid
    }

    async fn lookup_invoice(
        &self,
        request: LookupInvoiceRequest,
    ) -> Result<LookupInvoiceResponse, NIP47Error> {
        self.wallet.nwc_handler(None).lookup_invoice(request).await
    }

    async fn list_transactions(
        &self,
        request: ListTransactionsRequest,
    ) -> Result<Vec<LookupInvoiceResponse>, NIP47Error> {
        self.wallet
            .nwc_handler(None)
            .list_transactions(request)
            .await
    }
}

/// A seller and a buyer with a wallet of cdk's each, at mints of their own.
struct Trade {
    market: Market,
    relay: Relay,
    seller_wallet: CdkWallet,
    buyer_wallet: CdkWallet,
    seller: Node,
    buyer: Node,
}

impl Trade {
    async fn open() -> Self {
        let market = Market::open();
        let relay = relay(&market).await;
        let (here, there) = (market.mint("here").await, market.mint("there").await);
        let (seller_wallet, seller_uri) = CdkWallet::start(&relay.url, &there).await;
        let (buyer_wallet, buyer_uri) = CdkWallet::start(&relay.url, &here).await;
        buyer_wallet.fund(&market, 1_000).await;
        let seller = Node::open(&market, 1, connects(&[(BACKEND, seller_uri)])).await;
        let buyer = Node::open(&market, 2, connects(&[(BACKEND, buyer_uri)])).await;
        Self {
            market,
            relay,
            seller_wallet,
            buyer_wallet,
            seller,
            buyer,
        }
    }

    fn request(&self) -> FetchRequest {
        FetchRequest {
            rail: Rail::Lightning,
            ..FetchRequest::get(TREASURY, self.seller.url())
        }
    }

    /// One payment was made, and both sides have it in their books.
    async fn check(&self) {
        let price = PRICE as i64 * 1_000;
        self.seller_wallet.take_in(PRICE).await;
        self.market.clock.advance(Duration::from_secs(20));
        self.seller.app.gateway.sync_settled().await.unwrap();
        let payments = &self.buyer_wallet.payments;
        assert_eq!(payments.load(std::sync::atomic::Ordering::SeqCst), 1);
        let left = self.buyer_wallet.wallet.total_balance().await.unwrap();
        assert_eq!(u64::from(left), 1_000 - PRICE);
        let lightning = Account::lightning(BACKEND);
        // Its funding counts too, if it came within the second of the first reading.
        let funded = -self.buyer.booked(Account::income("unclaimed")).await;
        assert_eq!(self.buyer.booked(lightning.clone()).await, funded - price);
        assert_eq!(self.buyer.booked(Account::expense(TREASURY)).await, price);
        assert_eq!(self.seller.booked(lightning).await, price);
        assert_eq!(self.seller.booked(Account::income("data")).await, -price);
        self.buyer.check_books().await;
        self.seller.check_books().await;
    }
}

#[tokio::test]
async fn a_call_is_sold_and_bought_through_cdks_wallet_service() {
    let trade = Trade::open().await;

    let bought = trade
        .buyer
        .app
        .spender
        .fetch(trade.request())
        .await
        .unwrap();

    assert_eq!((bought.status, &bought.body[..]), (200, &b"served"[..]));
    trade.check().await;
}

#[tokio::test]
async fn a_relay_cut_in_the_middle_of_a_payment_costs_no_second_one() {
    let trade = Trade::open().await;
    let held = &trade.buyer_wallet;
    held.is_held
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let spender = trade.buyer.app.spender.clone();
    let fetch = tokio::spawn(spender_fetch(spender, trade.request()));

    soon(held.paid.notified()).await;
    let stopped = trade.relay.stop().await;
    held.is_held
        .store(false, std::sync::atomic::Ordering::SeqCst);
    held.let_go.notify_one();
    let relay = stopped.start_again().await;
    let bought = tokio::time::timeout(PATIENCE * 3, fetch)
        .await
        .unwrap()
        .unwrap();

    assert_eq!(bought.unwrap().status, 200);
    Trade { relay, ..trade }.check().await;
}

async fn spender_fetch(
    spender: feria::spend::Spender,
    request: FetchRequest,
) -> Result<feria::spend::Fetched, feria::spend::SpendError> {
    spender.fetch(request).await
}

/// A wallet that makes invoices of the network and tells of them.
fn teller(market: &Market, invoice: &feria::lightning::Invoice) -> Script {
    let (bolt11, now) = (invoice.bolt11.clone(), market.network.now());
    let hash = invoice.payment_hash.to_string();
    Box::new(move |method, _| {
        let made = json!({"type": "incoming", "state": "settled", "payment_hash": hash,
            "amount": 21_000, "created_at": now, "settled_at": now});
        match method {
            "make_invoice" => vec![result(method, json!({"invoice": bolt11}))],
            "lookup_invoice" => vec![result(method, made)],
            "list_transactions" => vec![error(method, "NOT_IMPLEMENTED")],
            _ => vec![result(method, json!({"methods": []}))],
        }
    })
}

/// Sells a call through a wallet that has no list of its payments.
async fn sell_and_hear(is_old: bool, tells: bool) {
    let market = Market::open();
    let relay = relay(&market).await;
    let invoice = market.invoice(PRICE).await;
    let script = teller(&market, &invoice);
    let wallet = ScriptedWallet::start(&relay.url, is_old, script).await;
    let node = node(&market, &wallet.uri()).await;
    let challenge = node.challenge().await;
    let preimage = market.pay(&challenge.invoice).await;
    if tells {
        wallet
            .notify(
                &json!({"notification_type": "payment_received", "notification": {
                "type": "incoming", "state": "settled", "amount": 21_000,
                "payment_hash": invoice.payment_hash.to_string()}}),
            )
            .await;
        until(|| async { node.booked(Account::income("unclaimed")).await != 0 }).await;
    }

    let served = node.call(&challenge, &preimage).await;
    market.clock.advance(Duration::from_secs(20));
    node.app.gateway.sync_settled().await.unwrap();

    assert_eq!(served.0, 200);
    let price = PRICE as i64 * 1_000;
    assert_eq!(node.booked(Account::lightning(BACKEND)).await, price);
    assert_eq!(node.booked(Account::income("data")).await, -price);
    assert_eq!(node.booked(Account::income("unclaimed")).await, 0);
    node.check_books().await;
}

async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    soon(async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_arrived_is_heard_of_by_notification() {
    sell_and_hear(false, true).await;
}

#[tokio::test]
async fn what_a_claim_has_shown_is_looked_up_where_there_is_no_list() {
    sell_and_hear(false, false).await;
}

#[tokio::test]
async fn a_wallet_that_does_not_say_otherwise_is_spoken_to_in_nip_04() {
    sell_and_hear(true, true).await;
}

#[tokio::test]
async fn an_empty_wallet_leaves_the_payment_to_the_next_in_order() {
    let trade = Trade::open().await;
    let script: Script = Box::new(|method, _| match method {
        "pay_invoice" => vec![error(method, "INSUFFICIENT_BALANCE")],
        _ => vec![result(method, json!({"methods": []}))],
    });
    let empty = ScriptedWallet::start(&trade.relay.url, false, script).await;
    let there = trade.market.mint("third").await;
    let (full, full_uri) = CdkWallet::start(&trade.relay.url, &there).await;
    full.fund(&trade.market, 100).await;
    let wallets = [("empty", empty.uri()), ("full", full_uri)];
    let buyer = Node::open(&trade.market, 5, connects(&wallets)).await;

    let bought = buyer.app.spender.fetch(trade.request()).await.unwrap();

    let price = PRICE as i64 * 1_000;
    assert_eq!(bought.status, 200);
    assert_eq!(empty.count("pay_invoice"), 1);
    assert_eq!(buyer.booked(Account::lightning("empty")).await, 0);
    let funded = -buyer.booked(Account::income("unclaimed")).await;
    let full = buyer.booked(Account::lightning("full")).await;
    assert_eq!(full, funded - price);
    buyer.check_books().await;
}

#[tokio::test]
async fn without_its_relay_nothing_is_paid_and_nothing_is_in_doubt() {
    let market = Market::open();
    let relay = relay(&market).await;
    let script: Script = Box::new(|method, _| vec![result(method, json!({"methods": []}))]);
    let wallet = ScriptedWallet::start(&relay.url, false, script).await;
    let uri = wallet.uri();
    relay.stop().await;
    let node = node(&market, &uri).await;
    let invoice = market.invoice(100).await;

    let failed = node
        .backend(BACKEND)
        .pay(&invoice.bolt11, LIMIT, Duration::from_secs(1))
        .await;

    assert!(
        matches!(&failed, PaymentState::Failed { reason } if reason.contains("cannot be reached")),
        "{failed:?}"
    );
}

#[test]
fn a_connection_that_cannot_be_used_is_named_without_its_secret() {
    let market = Market::open();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(Network::Simulated, folder.path());
    connects(&[(
        BACKEND,
        "nostr+walletconnect://abc?secret=5ec7e7".to_owned(),
    )])(&mut config);
    let parts = AppParts {
        seed: NodeSeed::from_bytes([1; 64]),
        clock: market.clock.clone(),
        entropy: Arc::new(SystemEntropy),
        lightning: Vec::new(),
        lifecycle: Lifecycle::default(),
    };

    let refused = runtime.block_on(App::build(config, parts)).unwrap_err();

    let message = format!("{refused:#}");
    assert!(message.contains("[lightning.backends.wallet]"), "{message}");
    assert!(!message.contains("5ec7e7"), "{message}");
}
