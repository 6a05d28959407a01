//! Tests of the simulated network.

use feria_paywall::amount::Sat;

use bitcoin::hashes::Hash as _;
use lightning_invoice::Bolt11Invoice;

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::lightning::{LightningBackend, LightningError};

const PATIENCE: Duration = Duration::from_millis(1);
const NO_FEE: Msat = Msat::ZERO;

struct Net {
    network: SimulatedNetwork,
    clock: Arc<ManualClock>,
}

fn net() -> Net {
    open(None)
}

fn open(path: Option<&Path>) -> Net {
    let clock = Arc::new(ManualClock::at(1_700_000_000));
    let entropy = Arc::new(SeededEntropy::new(7));
    let network = SimulatedNetwork::open(path, clock.clone(), entropy).unwrap();
    if network.issued_msat() == 0 {
        network.faucet("alice", Sat::new(1_000).into()).unwrap();
    }
    Net { network, clock }
}

impl Net {
    async fn invoice(&self, sat: u64) -> Invoice {
        let expiry = Duration::from_secs(600);
        let bob = SimulatedBackend::new(self.network.clone(), "bob");
        bob.create_invoice(Sat::new(sat).into(), "a call", expiry)
            .await
            .unwrap()
    }

    async fn pay(&self, invoice: &Invoice) -> PaymentState {
        let alice = SimulatedBackend::new(self.network.clone(), "alice");
        alice.pay(&invoice.bolt11, NO_FEE, PATIENCE).await
    }

    #[track_caller]
    fn check_balances(&self, alice_sat: u64, bob_sat: u64) {
        assert_eq!(self.network.balance("alice"), Sat::new(alice_sat).into());
        assert_eq!(self.network.balance("bob"), Sat::new(bob_sat).into());
        let total: Msat = self.network.balances().into_iter().map(|(_, b)| b).sum();
        assert_eq!(total.as_u64(), self.network.issued_msat());
    }
}

#[tokio::test]
async fn a_paid_invoice_gives_its_true_preimage() {
    let net = net();
    let invoice = net.invoice(100).await;

    let paid = net.pay(&invoice).await;

    let PaymentState::Succeeded { preimage, fee } = paid else {
        panic!("{paid:?}");
    };
    assert!(preimage.opens(&invoice.payment_hash));
    assert_eq!(fee, Msat::ZERO);
    let parsed: Bolt11Invoice = invoice.bolt11.parse().unwrap();
    assert!(parsed.description().to_string().starts_with(MARK));
    assert_eq!(
        parsed.payment_hash().as_byte_array(),
        invoice.payment_hash.as_bytes()
    );
    net.check_balances(900, 100);
}

#[tokio::test]
async fn paying_twice_gives_the_first_outcome() {
    let net = net();
    let invoice = net.invoice(100).await;
    net.pay(&invoice).await;

    let again = net.pay(&invoice).await;

    assert!(matches!(again, PaymentState::Succeeded { .. }), "{again:?}");
    net.check_balances(900, 100);
}

#[tokio::test]
async fn routing_takes_its_fee_from_the_payer() {
    let net = net();
    net.network.set_fee(Sat::new(2).into());
    let invoice = net.invoice(100).await;
    let alice = SimulatedBackend::new(net.network.clone(), "alice");

    let refused = alice.pay(&invoice.bolt11, Msat::new(1_999), PATIENCE).await;
    let paid = alice.pay(&invoice.bolt11, Msat::new(2_000), PATIENCE).await;

    assert!(
        matches!(refused, PaymentState::Failed { .. }),
        "{refused:?}"
    );
    assert!(matches!(paid, PaymentState::Succeeded { fee, .. } if fee == Msat::new(2_000)));
    net.check_balances(898, 100);
}

#[tokio::test]
async fn a_failed_payment_leaves_the_money() {
    let net = net();
    net.network.set_behaviour(Behaviour::Fail);
    let invoice = net.invoice(100).await;

    let failed = net.pay(&invoice).await;

    assert!(matches!(failed, PaymentState::Failed { .. }), "{failed:?}");
    net.check_balances(1_000, 0);
}

#[tokio::test]
async fn a_pending_payment_ends_as_told() {
    let net = net();
    net.network
        .set_behaviour_for("bob", Some(Behaviour::Pending));
    let (first, second) = (net.invoice(100).await, net.invoice(50).await);
    assert!(matches!(net.pay(&first).await, PaymentState::Pending));
    assert!(matches!(net.pay(&second).await, PaymentState::Pending));
    net.check_balances(850, 0);

    let network = &net.network;
    network
        .resolve_pending(&first.payment_hash, Resolution::Settle)
        .unwrap();
    network
        .resolve_pending(&second.payment_hash, Resolution::Fail)
        .unwrap();

    let state = network.payment_state("alice", &first.payment_hash);
    assert!(
        matches!(state, PaymentState::Succeeded { preimage, .. } if preimage.opens(&first.payment_hash))
    );
    let state = network.payment_state("alice", &second.payment_hash);
    assert!(matches!(state, PaymentState::Failed { .. }));
    net.check_balances(900, 100);
}

#[tokio::test]
async fn a_timed_out_payment_is_unknown_until_looked_up() {
    let net = net();
    net.network.set_behaviour(Behaviour::Timeout);
    let invoice = net.invoice(100).await;

    let answer = net.pay(&invoice).await;

    assert!(matches!(answer, PaymentState::Unknown { .. }), "{answer:?}");
    let found = net.network.payment_state("alice", &invoice.payment_hash);
    assert!(matches!(found, PaymentState::Succeeded { .. }), "{found:?}");
    net.check_balances(900, 100);
}

#[tokio::test]
async fn a_wrong_preimage_opens_nothing() {
    let net = net();
    net.network.set_behaviour(Behaviour::WrongPreimage);
    let invoice = net.invoice(100).await;

    let paid = net.pay(&invoice).await;

    assert!(
        matches!(&paid, PaymentState::Succeeded { preimage, .. } if !preimage.opens(&invoice.payment_hash))
    );
    net.check_balances(900, 100);
}

#[tokio::test]
async fn a_delay_within_patience_succeeds_and_beyond_it_stays_pending() {
    let net = net();
    net.network.set_behaviour(Behaviour::Delay(PATIENCE));
    assert!(matches!(
        net.pay(&net.invoice(100).await).await,
        PaymentState::Succeeded { .. }
    ));

    net.network.set_behaviour(Behaviour::Delay(PATIENCE * 2));
    assert!(matches!(
        net.pay(&net.invoice(100).await).await,
        PaymentState::Pending
    ));

    net.check_balances(800, 100);
}

#[tokio::test]
async fn expired_foreign_and_unaffordable_invoices_are_refused() {
    let net = net();
    let expired = net.invoice(100).await;
    net.clock.advance(Duration::from_secs(601));
    let costly = net.invoice(1_001).await;
    let elsewhere =
        SimulatedNetwork::open(None, net.clock.clone(), Arc::new(SeededEntropy::new(8))).unwrap();
    let foreign = elsewhere
        .create_invoice("bob", Msat::new(1_000), "", Duration::from_secs(600))
        .await
        .unwrap();

    for (invoice, reason) in [
        (&expired, "expired"),
        (&costly, "not enough"),
        (&foreign, "no route"),
    ] {
        let refused = net.pay(invoice).await;
        assert!(
            matches!(&refused, PaymentState::Failed { reason: found } if found.contains(reason)),
            "{refused:?} instead of {reason}"
        );
    }
    let bob = SimulatedBackend::new(net.network.clone(), "bob");
    assert_eq!(
        bob.invoice_state(&expired.payment_hash).await.unwrap(),
        InvoiceState::Expired
    );
    assert_eq!(
        bob.invoice_state(&foreign.payment_hash).await.unwrap(),
        InvoiceState::NotFound
    );
    net.check_balances(1_000, 0);
}

#[tokio::test]
async fn settled_invoices_are_told_once_in_order() {
    let net = net();
    for sat in [1, 2, 3] {
        net.pay(&net.invoice(sat).await).await;
    }
    let bob = SimulatedBackend::new(net.network.clone(), "bob");

    let all = bob.settled_since(0).await.unwrap();
    let rest = bob.settled_since(all[0].index).await.unwrap();

    assert_eq!(all.len(), 3);
    assert!(all.windows(2).all(|pair| pair[0].index < pair[1].index));
    let amounts: Vec<_> = rest.iter().map(|settled| settled.amount).collect();
    assert_eq!(amounts, [Msat::new(2_000), Msat::new(3_000)]);
}

#[tokio::test]
async fn a_network_that_is_down_takes_nothing() {
    let net = net();
    let invoice = net.invoice(1).await;
    net.network.set_down(true);
    let bob = SimulatedBackend::new(net.network.clone(), "bob");

    let made = bob.create_invoice(Msat::new(1_000), "", PATIENCE).await;
    let paid = net.pay(&invoice).await;

    assert!(matches!(made, Err(LightningError::Unavailable { .. })));
    assert!(matches!(paid, PaymentState::Failed { .. }), "{paid:?}");
    net.check_balances(1_000, 0);
}

#[tokio::test]
async fn the_journal_brings_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lightning.jsonl");
    let (paid, pending, open_invoice) = {
        let net = open(Some(&path));
        let (paid, pending) = (net.invoice(100).await, net.invoice(50).await);
        net.pay(&paid).await;
        net.network.set_behaviour(Behaviour::Pending);
        net.pay(&pending).await;
        (paid, pending, net.invoice(25).await)
    };
    // A kill in the middle of an append leaves a line without an end.
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    std::io::Write::write_all(&mut file, b"{\"event\":\"fau").unwrap();

    let net = open(Some(&path));

    net.check_balances(850, 100);
    let state = net.network.payment_state("alice", &paid.payment_hash);
    assert!(
        matches!(state, PaymentState::Succeeded { preimage, .. } if preimage.opens(&paid.payment_hash))
    );
    net.network
        .resolve_pending(&pending.payment_hash, Resolution::Settle)
        .unwrap();
    assert!(matches!(
        net.pay(&open_invoice).await,
        PaymentState::Succeeded { .. }
    ));
    net.check_balances(825, 175);
    drop(net);
    open(Some(&path)).check_balances(825, 175);
}

#[test]
fn a_changed_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lightning.jsonl");
    std::fs::write(&path, "{\"event\":\"nonsense\"}\n").unwrap();
    let clock = Arc::new(ManualClock::at(0));

    let opened = SimulatedNetwork::open(Some(&path), clock, Arc::new(SeededEntropy::new(1)));

    assert!(matches!(
        opened,
        Err(SimulatedError::Corrupt { line: 1, .. })
    ));
}
