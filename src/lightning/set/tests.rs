//! Several backends at once: roles, names, and one that is away.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::Msat;

use super::*;
use crate::clock::ManualClock;
use crate::lightning::{Invoice, PaymentState, SettledInvoice};

/// A backend that is away, or knows every invoice and pays every one.
#[derive(Debug)]
struct Switch {
    name: &'static str,
    is_away: parking_lot::Mutex<bool>,
    knows: bool,
    asked: AtomicU32,
}

impl Switch {
    fn new(name: &'static str, knows: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            is_away: parking_lot::Mutex::new(false),
            knows,
            asked: AtomicU32::new(0),
        })
    }

    fn answer(&self) -> Result<(), LightningError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if *self.is_away.lock() {
            return Err(LightningError::Unavailable {
                backend: self.name.to_owned(),
                reason: "connection refused".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl LightningBackend for Switch {
    fn name(&self) -> &str {
        self.name
    }

    async fn create_invoice(
        &self,
        _: Msat,
        _: &str,
        _: Duration,
    ) -> Result<Invoice, LightningError> {
        self.answer()?;
        Ok(Invoice {
            bolt11: self.name.to_owned(),
            payment_hash: PaymentHash::new([1; 32]),
            expires_at: 9,
        })
    }

    async fn invoice_state(&self, _: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.answer()?;
        Ok(if self.knows {
            InvoiceState::Open { expires_at: 9 }
        } else {
            InvoiceState::NotFound
        })
    }

    async fn pay(&self, _: &str, _: Msat, _: Duration) -> PaymentState {
        match self.answer() {
            Ok(()) => PaymentState::Pending,
            Err(error) => PaymentState::Unknown {
                reason: error.to_string(),
            },
        }
    }

    async fn payment_state(&self, _: &PaymentHash) -> PaymentState {
        self.pay("", Msat::ZERO, Duration::ZERO).await
    }

    async fn settled_since(&self, _: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.answer()?;
        Ok(Vec::new())
    }
}

struct Both {
    one: Arc<Switch>,
    two: Arc<Switch>,
    clock: Arc<ManualClock>,
    lightning: Lightning,
}

fn both() -> Both {
    let (one, two) = (Switch::new("one", false), Switch::new("two", true));
    let clock = Arc::new(ManualClock::at(1_000));
    let shared: SharedClock = clock.clone();
    let backends: Vec<Arc<dyn LightningBackend>> = vec![one.clone(), two.clone()];
    let lightning = Lightning::new(backends, Some("one"), &["two", "one"], &shared).unwrap();
    Both {
        one,
        two,
        clock,
        lightning,
    }
}

async fn invoice(lightning: &Lightning) -> Result<Invoice, LightningError> {
    let receiver = lightning.receiver().unwrap();
    receiver
        .create_invoice(Msat::new(1), "", Duration::from_secs(1))
        .await
}

#[tokio::test]
async fn a_backend_that_is_away_is_not_replaced() {
    let both = both();
    *both.one.is_away.lock() = true;

    let refused = invoice(&both.lightning).await.unwrap_err();

    assert!(matches!(&refused, LightningError::Unavailable { backend, .. } if backend == "one"));
    assert_eq!(both.two.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_backend_that_is_away_is_asked_again_with_growing_pauses() {
    let Both {
        one,
        clock,
        lightning,
        ..
    } = both();
    *one.is_away.lock() = true;
    let asked = || one.asked.load(Ordering::SeqCst);

    for _ in 0..5 {
        invoice(&lightning).await.unwrap_err();
    }
    assert_eq!(asked(), 2, "one lost answer is no outage");
    for (secs, expected) in [(1, 3), (1, 3), (1, 4), (3, 4), (1, 5), (900, 6)] {
        clock.advance(Duration::from_secs(secs));
        invoice(&lightning).await.unwrap_err();
        assert_eq!(asked(), expected);
    }
    let away = &lightning.health()[0];
    assert_eq!((away.is_up, away.away_since), (false, Some(1_000)));
    assert_eq!(away.last_error.as_deref(), Some("connection refused"));

    *one.is_away.lock() = false;
    clock.advance(Duration::from_secs(60));
    invoice(&lightning).await.unwrap();
    invoice(&lightning).await.unwrap();

    let back = &lightning.health()[0];
    assert_eq!((back.is_up, back.away_since), (true, None));
}

#[tokio::test]
async fn within_the_pause_payments_still_go_through() {
    let Both { one, lightning, .. } = both();
    *one.is_away.lock() = true;
    for _ in 0..2 {
        invoice(&lightning).await.unwrap_err();
    }
    let backend = lightning.find("one").unwrap();

    let new = backend.pay("", Msat::ZERO, Duration::from_secs(1)).await;
    let old = backend.payment_state(&PaymentHash::new([1; 32])).await;
    let invoice = invoice(&lightning).await;

    assert!(matches!(new, PaymentState::Unknown { .. }), "{new:?}");
    assert!(matches!(old, PaymentState::Unknown { .. }), "{old:?}");
    assert!(invoice.is_err());
    assert_eq!(one.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn payers_keep_their_order_and_an_invoice_is_known_by_whoever_made_it() {
    let Both { one, lightning, .. } = both();
    let names: Vec<&str> = lightning.payers().map(LightningBackend::name).collect();
    let hash = PaymentHash::new([1; 32]);

    let state = lightning.invoice_state(&hash).await.unwrap();
    *one.is_away.lock() = true;
    let still = lightning.invoice_state(&hash).await.unwrap();

    assert_eq!(names, ["two", "one"]);
    assert_eq!(state, InvoiceState::Open { expires_at: 9 });
    assert_eq!(still, state);
}

#[tokio::test]
async fn while_one_is_silent_an_invoice_is_not_called_unknown() {
    let Both { two, lightning, .. } = both();
    *two.is_away.lock() = true;

    let state = lightning.invoice_state(&PaymentHash::new([1; 32])).await;

    assert!(matches!(state, Err(LightningError::Unavailable { backend, .. }) if backend == "two"));
}
