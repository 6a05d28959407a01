//! Tests of the embedded mint, over HTTP with cdk's own client.

use std::path::Path;
use std::time::Duration;

use cdk::amount::{FeeAndAmounts, SplitTarget};
use cdk::nuts::{
    CheckStateRequest, Id, KeySet, MeltQuoteBolt11Request, MeltQuoteBolt11Response, MeltQuoteState,
    MeltRequest, MintQuoteBolt11Request, MintQuoteState, MintRequest, PreMintSecrets, Proofs,
    ProofsMethods, State,
};
use cdk::wallet::MintConnector;
use cdk::{
    HttpClient, MeltQuoteCreateResponse, MeltQuoteRequest, MeltQuoteResponse, MintQuoteRequest,
    MintQuoteResponse,
};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::payment::Preimage;

use super::*;
use crate::clock::{SeededEntropy, SystemClock};
use crate::lightning::simulated::{Behaviour, Resolution};
use crate::lightning::{Invoice, PaymentState};

const BOLT11: PaymentMethod = PaymentMethod::Known(KnownMethod::Bolt11);

struct Market {
    network: SimulatedNetwork,
    mint: SandboxMint,
    client: HttpClient,
    lifecycle: Lifecycle,
}

fn network(journal: Option<&Path>) -> SimulatedNetwork {
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SeededEntropy::new(3)));
    let network = SimulatedNetwork::open(journal, clock, entropy).unwrap();
    if network.issued_msat() == 0 {
        network.faucet("payer", Sat::new(10_000).into()).unwrap();
    }
    network
}

async fn market(folder: Option<&Path>) -> Market {
    let journal = folder.map(|folder| folder.join("lightning.jsonl"));
    let network = network(journal.as_deref());
    let lifecycle = Lifecycle::default();
    let mint = SandboxMint::start(SandboxMintConfig {
        name: "one".to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        input_fee_ppk: 100,
        network: network.clone(),
        data_dir: folder.map(Path::to_owned),
        seed: [9; 32],
        lifecycle: lifecycle.clone(),
    })
    .await
    .unwrap();
    let client = HttpClient::new(mint.url.parse().unwrap(), None);
    Market {
        network,
        mint,
        client,
        lifecycle,
    }
}

impl Market {
    async fn stop(self) {
        assert!(self.lifecycle.shut_down(Duration::from_secs(5)).await);
    }

    async fn keys(&self) -> KeySet {
        let keysets = self.client.get_mint_keysets().await.unwrap().keysets;
        let active = keysets.iter().find(|keyset| keyset.active).unwrap();
        assert_eq!(active.input_fee_ppk, 100);
        self.client.get_mint_keyset(active.id).await.unwrap()
    }

    async fn quote_state(&self, quote: &str) -> MintQuoteState {
        match self.client.get_mint_quote_status(BOLT11, quote).await {
            Ok(MintQuoteResponse::Bolt11(quote)) => quote.state,
            other => panic!("{other:?}"),
        }
    }

    /// Buys ecash for `sat` from the payer's Lightning money.
    async fn buy(&self, sat: u64) -> Proofs {
        let request = MintQuoteBolt11Request {
            amount: sat.into(),
            unit: CurrencyUnit::Sat,
            description: None,
            pubkey: None,
        };
        let quoted = self
            .client
            .post_mint_quote(MintQuoteRequest::Bolt11(request))
            .await;
        let Ok(MintQuoteResponse::Bolt11(quote)) = quoted else {
            panic!("{quoted:?}");
        };
        let paid = self
            .network
            .pay("payer", &quote.request, Msat::ZERO, Duration::ZERO)
            .await;
        assert!(matches!(paid, PaymentState::Succeeded { .. }), "{paid:?}");
        while self.quote_state(&quote.quote).await == MintQuoteState::Unpaid {}
        let keys = self.keys().await;
        let outputs = blank(keys.id, sat);
        let request = MintRequest {
            quote: quote.quote,
            outputs: outputs.blinded_messages(),
            signature: None,
        };
        let signatures = self.client.post_mint(&BOLT11, request).await.unwrap();
        let signatures = signatures.signatures;
        cdk::dhke::construct_proofs(signatures, outputs.rs(), outputs.secrets(), &keys.keys)
            .unwrap()
    }

    async fn melt_quote(&self, invoice: &Invoice) -> MeltQuoteBolt11Response<String> {
        let request = MeltQuoteBolt11Request {
            request: invoice.bolt11.parse().unwrap(),
            unit: CurrencyUnit::Sat,
            options: None,
        };
        let quoted = self
            .client
            .post_melt_quote(MeltQuoteRequest::Bolt11(request))
            .await;
        match quoted {
            Ok(MeltQuoteCreateResponse::Bolt11(quote)) => quote,
            other => panic!("{other:?}"),
        }
    }

    async fn melt(
        &self,
        invoice: &Invoice,
        proofs: &Proofs,
    ) -> Result<MeltQuoteBolt11Response<String>, cdk::Error> {
        let quote = self.melt_quote(invoice).await;
        let request = MeltRequest::new(quote.quote, proofs.clone(), None);
        match self.client.post_melt(&BOLT11, request).await? {
            MeltQuoteResponse::Bolt11(melted) => Ok(melted),
            other => panic!("{other:?}"),
        }
    }

    async fn invoice(&self, sat: u64) -> Invoice {
        self.network
            .create_invoice("seller", Sat::new(sat).into(), "", Duration::from_secs(600))
            .await
            .unwrap()
    }

    async fn states(&self, proofs: &Proofs) -> Vec<State> {
        let ys = proofs.ys().unwrap();
        let answer = self.client.post_check_state(CheckStateRequest { ys }).await;
        let states = answer.unwrap().states;
        states.into_iter().map(|state| state.state).collect()
    }

    fn check_conserved(&self) {
        let total: Msat = self.network.balances().into_iter().map(|(_, b)| b).sum();
        assert_eq!(total.as_u64(), self.network.issued_msat());
    }
}

fn blank(keyset: Id, sat: u64) -> PreMintSecrets {
    let amounts = FeeAndAmounts::from((100, (0..DENOMINATIONS).map(|p| 1 << p).collect()));
    PreMintSecrets::random(keyset, sat.into(), &SplitTarget::default(), &amounts).unwrap()
}

#[tokio::test]
async fn ecash_is_bought_and_melted_for_a_true_preimage() {
    let market = market(None).await;
    let proofs = market.buy(128).await;
    let invoice = market.invoice(127).await;

    let melted = market.melt(&invoice, &proofs).await.unwrap();

    assert_eq!(melted.state, MeltQuoteState::Paid);
    let preimage: Preimage = melted.payment_preimage.unwrap().parse().unwrap();
    assert!(preimage.opens(&invoice.payment_hash));
    assert_eq!(market.network.balance("seller"), Sat::new(127).into());
    assert_eq!(market.network.balance("payer"), Sat::new(9_872).into());
    assert_eq!(market.mint.outstanding_sat().await.unwrap(), 0);
    market.check_conserved();
}

#[tokio::test]
async fn the_mint_says_that_it_is_simulated_and_what_it_supports() {
    let market = market(None).await;

    let info = market.client.get_mint_info().await.unwrap();

    assert!(info.name.unwrap().starts_with(MARK));
    assert!(info.motd.unwrap().starts_with(MARK));
    let nuts = info.nuts;
    assert!(nuts.nut07.supported && nuts.nut08.supported && nuts.nut09.supported);
    assert!(nuts.nut10.supported && nuts.nut11.supported && nuts.nut12.supported);
}

#[tokio::test]
async fn a_failed_melt_leaves_the_ecash_unspent() {
    let market = market(None).await;
    let proofs = market.buy(128).await;
    market.network.set_behaviour(Behaviour::Fail);

    let failed = market.melt(&market.invoice(100).await, &proofs).await;

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(market.states(&proofs).await, [State::Unspent]);
    market.check_conserved();
}

#[tokio::test]
async fn a_pending_melt_keeps_the_ecash_until_it_is_settled() {
    let market = market(None).await;
    let proofs = market.buy(128).await;
    let invoice = market.invoice(127).await;
    market.network.set_behaviour(Behaviour::Pending);

    let quote = market.melt_quote(&invoice).await.quote;
    // The mint holds the answer back for a minute while the payment is pending.
    let request = MeltRequest::new(quote.clone(), proofs.clone(), None).prefer_async(true);
    market.client.post_melt(&BOLT11, request).await.unwrap();
    let paying = || {
        market
            .network
            .payment_state(&market.mint.account, &invoice.payment_hash)
    };
    while !matches!(paying(), PaymentState::Pending) {
        tokio::task::yield_now().await;
    }

    assert_eq!(market.states(&proofs).await, [State::Pending]);
    market
        .network
        .resolve_pending(&invoice.payment_hash, Resolution::Settle)
        .unwrap();
    let settled = loop {
        match market.client.get_melt_quote_status(BOLT11, &quote).await {
            Ok(MeltQuoteResponse::Bolt11(quote)) if quote.state == MeltQuoteState::Pending => {}
            Ok(MeltQuoteResponse::Bolt11(quote)) => break quote,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(settled.state, MeltQuoteState::Paid);
    assert_eq!(market.states(&proofs).await, [State::Spent]);
    market.check_conserved();
}

#[tokio::test]
async fn a_restarted_mint_keeps_its_keysets_and_its_spent_proofs() {
    let folder = tempfile::tempdir().unwrap();
    let first = market(Some(folder.path())).await;
    let (spent, kept) = (first.buy(64).await, first.buy(32).await);
    first.melt(&first.invoice(63).await, &spent).await.unwrap();
    let keys = first.keys().await;
    first.stop().await;

    let second = market(Some(folder.path())).await;

    assert_eq!(second.keys().await.id, keys.id);
    assert_eq!(second.states(&spent).await, [State::Spent]);
    let melted = second.melt(&second.invoice(31).await, &kept).await.unwrap();
    assert_eq!(melted.state, MeltQuoteState::Paid);
    assert_eq!(second.network.balance("seller"), Sat::new(94).into());
    second.check_conserved();
}

#[tokio::test]
async fn a_mint_is_not_served_to_the_outside() {
    let started = SandboxMint::start(SandboxMintConfig {
        name: "open".to_owned(),
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        input_fee_ppk: 0,
        network: network(None),
        data_dir: None,
        seed: [9; 32],
        lifecycle: Lifecycle::default(),
    })
    .await;

    assert!(matches!(started, Err(SandboxError::NotLoopback(_))));
}
