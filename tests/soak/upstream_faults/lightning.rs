//! The seller's Lightning backend is down, or silent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use feria::lightning::simulated::SimulatedBackend;
use feria::lightning::{
    Invoice, InvoiceState, LightningBackend, LightningError, PaymentState, SettledInvoice,
};
use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::shop::{Setup, Shop, l402};
use super::super::stall::{Caller, serve};
use super::{DELIVERED, as_time_runs_out, told};

pub(super) async fn run() -> Vec<Value> {
    let mut rows = Vec::new();
    for (rails, is_silent) in [
        (&["l402"][..], false),
        (&["l402"], true),
        (&["l402", "nut24"], false),
        (&["l402", "nut24"], true),
    ] {
        rows.push(check(rails, is_silent).await);
    }
    rows
}

/// Nothing is free meanwhile; what was bought before is served, and other ways to
/// pay stay open.
async fn check(rails: &[&str], is_silent: bool) -> Value {
    let silent = Arc::new(Silence::default());
    let mut setup = Setup::new(1, rails);
    setup.config.challenges_per_minute = 0;
    let wrapped = Arc::clone(&silent);
    setup.lightning = Box::new(move |inner| -> Arc<dyn LightningBackend> {
        Arc::new(Fitful {
            inner,
            silent: wrapped,
        })
    });
    let shop = Shop::set_up(setup, std::future::ready).await;
    let url = serve(shop.gateway.clone(), Router::new(), &shop.lifecycle).await;
    let caller = Caller::of(url);
    let bought = [l402(&shop.buy().await)];
    if is_silent {
        *silent.is_on.lock() = true;
    } else {
        shop.network.set_down(true);
    }

    let held = async || silent.reached.notified().await;
    let call = caller.call(&[], "x");
    let seen = as_time_runs_out(call, held, Duration::from_secs(11)).await;
    let seen = seen.unwrap();
    let served = caller.call(&bought, "y").await.unwrap();

    let what = format!("{rails:?}, silent: {is_silent}");
    if rails.len() == 1 {
        told(503, "lightning_unavailable", "none").check(&what, &seen);
    } else {
        told(402, "payment_required", "none").check(&what, &seen);
        assert!(seen.header("x-cashu").unwrap().starts_with("creqA"));
    }
    assert_eq!(seen.header("www-authenticate"), None, "{what}");
    DELIVERED.check(&what, &served);
    *silent.is_on.lock() = false;
    shop.network.set_down(false);
    let again = caller.call(&[l402(&shop.buy().await)], "z").await.unwrap();
    DELIVERED.check(&what, &again);
    let calls = &shop.upstream.calls;
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 2);
    shop.check_books().await;
    let fault = if is_silent { "silent" } else { "down" };
    json!({"fault": format!("Lightning {fault}, {rails:?} on sale"), "status": seen.status,
           "code": seen.code(), "money": seen.money(), "repeat": again.status})
}

#[derive(Debug, Default)]
struct Silence {
    is_on: Mutex<bool>,
    reached: Notify,
}

/// A backend that does not always answer when it is asked for an invoice.
#[derive(Debug)]
struct Fitful {
    inner: SimulatedBackend,
    silent: Arc<Silence>,
}

#[async_trait]
impl LightningBackend for Fitful {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_simulated(&self) -> bool {
        true
    }

    async fn create_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry: Duration,
    ) -> Result<Invoice, LightningError> {
        if *self.silent.is_on.lock() {
            self.silent.reached.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.create_invoice(amount, description, expiry).await
    }

    async fn invoice_state(&self, hash: &PaymentHash) -> Result<InvoiceState, LightningError> {
        self.inner.invoice_state(hash).await
    }

    async fn pay(&self, bolt11: &str, fee_limit: Msat, patience: Duration) -> PaymentState {
        self.inner.pay(bolt11, fee_limit, patience).await
    }

    async fn payment_state(&self, hash: &PaymentHash) -> PaymentState {
        self.inner.payment_state(hash).await
    }

    async fn settled_since(&self, index: u64) -> Result<Vec<SettledInvoice>, LightningError> {
        self.inner.settled_since(index).await
    }
}
