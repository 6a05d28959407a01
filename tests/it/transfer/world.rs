//! Two nodes, a mint and a relay.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria::clock::{Clock, OffsetClock, SeededEntropy};
use feria::http::relay_endpoint::{
    EventSink, RelayEndpoint, RelayEndpointParts, RelayInfo, RelayPolicy, SinkAnswer,
};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::SimulatedNetwork;
use feria::relay::{RelayOptions, Relays};
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria::store::index::{Index, Stored};
use feria::store::ledger::Ledger;
use feria::transfer::{
    Inbox, SendTransfer, Taken, Transfer, TransferError, TransferParts, TransferState, Transfers,
};
use feria::wallet::{MintTrust, TREASURY, Wallets};
use feria_paywall::amount::{Msat, Sat};
use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag, UnsignedEvent};
use nostr::filter::Filter;
use nostr::key::{Keys, PublicKey, SecretKey};
use nostr::nips::nip59::{GiftWrapBuilder, UnwrappedGift};
use nostr::types::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::time::timeout;

/// No test waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Sink(Index, Arc<OffsetClock>);

#[async_trait]
impl EventSink for Sink {
    async fn offer(&self, event: Event, _authenticated: &[PublicKey]) -> SinkAnswer {
        let stored = self.0.insert(event, Vec::new(), None, self.1.now()).await;
        let is_new = stored.unwrap() == Stored::New;
        SinkAnswer {
            accepted: true,
            message: String::new(),
            is_new,
        }
    }
}

async fn serve_relay(clock: &Arc<OffsetClock>, lifecycle: &Lifecycle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let index = Index::in_memory().unwrap();
    let (live, _) = broadcast::channel(1_024);
    let endpoint = Arc::new(RelayEndpoint::new(RelayEndpointParts {
        index: index.clone(),
        sink: Arc::new(Sink(index, Arc::clone(clock))),
        live,
        policy: RelayPolicy {
            public_urls: vec![format!("ws://{address}")],
            is_open_inbox: true,
            ..RelayPolicy::default()
        },
        info: RelayInfo::default(),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(1)),
        lifecycle: lifecycle.clone(),
    }));
    lifecycle.spawn(async move {
        axum::serve(listener, endpoint.router()).await.unwrap();
    });
    format!("ws://{address}")
}

pub(crate) struct Node {
    pub(crate) agent: &'static str,
    pub(crate) keys: Keys,
    pub(crate) ledger: Ledger,
    pub(crate) wallets: Wallets,
    pub(crate) relays: Relays,
    pub(crate) transfers: Transfers,
}

pub(crate) struct World {
    pub(crate) clock: Arc<OffsetClock>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) relay: String,
    pub(crate) mint: SandboxMint,
    pub(crate) mint_config: SandboxMintConfig,
    pub(crate) network: SimulatedNetwork,
    /// Keeps the mint's database until the end.
    _folder: tempfile::TempDir,
    pub(crate) payer: Node,
    pub(crate) payee: Node,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_lock(Duration::from_secs(3_600)).await
    }

    pub(crate) async fn with_lock(lock: Duration) -> Self {
        let clock = Arc::new(OffsetClock::default());
        let lifecycle = Lifecycle::default();
        let network =
            SimulatedNetwork::open(None, clock.clone(), Arc::new(SeededEntropy::new(2))).unwrap();
        network.faucet("bank", Sat::new(100_000).into()).unwrap();
        let relay = serve_relay(&clock, &lifecycle).await;
        let folder = tempfile::tempdir().unwrap();
        let mut mint_config = SandboxMintConfig {
            name: "one".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            input_fee_ppk: 100,
            network: network.clone(),
            data_dir: Some(folder.path().to_owned()),
            seed: [4; 32],
            lifecycle: Lifecycle::default(),
        };
        let mint = SandboxMint::start(mint_config.clone()).await.unwrap();
        mint_config.listen = mint.url["http://".len()..].parse().unwrap();
        let payer = node("payer", 11, &mint.url, &clock, &lifecycle, lock);
        let payee = node("payee", 12, &mint.url, &clock, &lifecycle, lock);
        let world = Self {
            clock,
            lifecycle,
            relay,
            mint,
            mint_config,
            network,
            _folder: folder,
            payer,
            payee,
        };
        world.fund().await;
        world
    }

    async fn fund(&self) {
        let wallets = &self.payer.wallets;
        let amount = Sat::new(1_000);
        let quote = wallets
            .request_funding(TREASURY, &self.mint.url, amount)
            .await
            .unwrap();
        self.network
            .pay("bank", &quote.bolt11, Msat::ZERO, PATIENCE)
            .await;
        eventually(async || {
            wallets
                .claim_funding(&quote.quote_id)
                .await
                .unwrap()
                .is_some()
        })
        .await;
    }

    /// Publishes where the payee is reached and what it takes.
    pub(crate) async fn announce(&self) {
        let key = self
            .payee
            .wallets
            .lock_key(&feria::transfer::lock_label(self.payee.agent))
            .unwrap();
        let inbox =
            EventBuilder::new(Kind::InboxRelays, "").tag(Tag::custom("relay", [&self.relay]));
        let info = EventBuilder::new(Kind::CashuNutZapInfo, "")
            .tag(Tag::custom("mint", [self.mint.url.as_str(), "sat"]))
            .tag(Tag::custom("pubkey", [key]));
        for record in [inbox, info] {
            let record = record.finalize(&self.payee.keys).unwrap();
            let urls = [self.relay.clone()];
            let published = self.payee.relays.publish(&urls, &record, None).await;
            assert!(published[0].accepted, "{published:?}");
        }
    }

    pub(crate) async fn pay(&self, sat: u64) -> Result<Transfer, TransferError> {
        let order = SendTransfer {
            from_agent: self.payer.agent.to_owned(),
            from_keys: self.payer.keys.clone(),
            wallet_id: TREASURY.to_owned(),
            payee: self.payee.keys.public_key(),
            amount: Sat::new(sat),
            memo: "for the data".to_owned(),
            lookup_relays: vec![self.relay.clone()],
            reply_relays: vec![self.relay.clone()],
        };
        self.payer.transfers.send(order).await
    }

    pub(crate) async fn stop_mint(&mut self) {
        let lifecycle = std::mem::take(&mut self.mint_config.lifecycle);
        assert!(lifecycle.shut_down(PATIENCE).await);
    }

    pub(crate) async fn start_mint(&mut self) {
        self.mint = SandboxMint::start(self.mint_config.clone()).await.unwrap();
    }

    /// Returns the messages that wait for `node` at the relay.
    pub(crate) async fn messages(&self, node: &Node) -> Vec<Event> {
        let filter = Filter::new()
            .kind(Kind::GiftWrap)
            .pubkey(node.keys.public_key());
        let found = node
            .relays
            .fetch(&self.relay, vec![filter], Some(&node.keys))
            .await;
        found.unwrap()
    }

    pub(crate) fn inbox(&self, node: &Node) -> Inbox {
        Inbox {
            agent: node.agent.to_owned(),
            keys: node.keys.clone(),
            relays: vec![self.relay.clone()],
            wallet_id: TREASURY.to_owned(),
        }
    }

    pub(crate) fn read_messages(&self, node: &Node) {
        let (transfers, inbox) = (node.transfers.clone(), self.inbox(node));
        self.lifecycle.spawn(async move {
            transfers.run_inbox(inbox).await.unwrap();
        });
    }

    pub(crate) async fn state(&self, node: &Node, id: &str) -> TransferState {
        node.transfers.find(id).await.unwrap().unwrap().state
    }

    pub(crate) async fn held(&self, node: &Node) -> u64 {
        let held = node.wallets.balance(TREASURY, &self.mint.url).await;
        held.unwrap().as_u64()
    }

    /// Pays 250 sat and returns the payment as the payee would read it.
    pub(crate) async fn payment(&self) -> (Transfer, Event, UnsignedEvent) {
        self.announce().await;
        let sent = self.pay(250).await.unwrap();
        let wrap = self.messages(&self.payee).await.remove(0);
        let gift = UnwrappedGift::from_gift_wrap(&self.payee.keys, &wrap).unwrap();
        (sent, wrap, gift.rumor)
    }

    pub(crate) async fn deliver(&self, from: &Keys, content: &str) -> Taken {
        let rumor = UnsignedEvent::new(
            from.public_key(),
            Timestamp::from(self.clock.now()),
            Kind::PrivateDirectMessage,
            [],
            content,
        );
        let to = self.payee.keys.public_key();
        let wrap = GiftWrapBuilder::new(to, rumor).finalize(from).unwrap();
        let inbox = self.inbox(&self.payee);
        self.payee.transfers.take(&inbox, &wrap).await.unwrap()
    }
}

fn node(
    agent: &'static str,
    seed: u8,
    mint: &str,
    clock: &Arc<OffsetClock>,
    lifecycle: &Lifecycle,
    lock: Duration,
) -> Node {
    let entropy = Arc::new(SeededEntropy::new(seed.into()));
    let ledger = Ledger::in_memory().unwrap();
    let trust = MintTrust {
        url: mint.to_owned(),
        cap: Sat::new(1_000_000),
    };
    let wallets = Wallets::new(
        ledger.clone(),
        [seed; 64],
        vec![trust],
        clock.clone(),
        entropy.clone(),
    )
    .unwrap();
    let options = RelayOptions {
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(5),
        max_frame_bytes: 512 * 1_024,
    };
    let relays = Relays::new(options, clock.clone(), entropy.clone(), lifecycle.clone());
    let parts = TransferParts {
        ledger: ledger.clone(),
        wallets: wallets.clone(),
        relays: relays.clone(),
        index: None,
        clock: clock.clone(),
        entropy,
        lifecycle: lifecycle.clone(),
    };
    Node {
        agent,
        keys: Keys::new(SecretKey::from_slice(&[seed; 32]).unwrap()),
        ledger,
        wallets,
        relays,
        transfers: Transfers::with_lock(parts, lock),
    }
}

pub(crate) async fn eventually<F: Future<Output = bool>>(is_true: impl Fn() -> F) {
    let wait = async {
        while !is_true().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("it becomes true in time");
}
