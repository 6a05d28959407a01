//! A lying lnd, our backend for it, and what it may say.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use feria::clock::{ManualClock, SeededEntropy};
use feria::config::{LndConfig, Network, SecretRef};
use feria::lifecycle::Lifecycle;
use feria::lightning::simulated::SimulatedNetwork;
use feria::lightning::{LightningBackend, LndBackend, PaymentState};
use feria_paywall::amount::Msat;
use feria_paywall::payment::{PaymentHash, Preimage};

use super::fake::{End, FakeLnd, Reply, TLS};

pub(super) const SEND: &str = "POST /v2/router/send";
pub(super) const TRACK: &str = "GET /v2/router/track/";
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const FEE_LIMIT: Msat = Msat::new(2_000);
/// Long enough for any answer on loopback.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// For servers that would go on for ever.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// A lying lnd, our backend for it, and an invoice that nobody has paid.
pub(super) struct Bench {
    pub(super) fake: FakeLnd,
    pub(super) lnd: LndBackend,
    pub(super) clock: Arc<ManualClock>,
    pub(super) bolt11: String,
    pub(super) preimage: Preimage,
    pub(super) folder: tempfile::TempDir,
    pub(super) lifecycle: Lifecycle,
}

impl Bench {
    pub(super) async fn open() -> Self {
        let lifecycle = Lifecycle::default();
        let fake = FakeLnd::start(&lifecycle).await;
        let folder = tempfile::tempdir().unwrap();
        let macaroon = folder.path().join("lnd.macaroon");
        std::fs::write(&macaroon, [2, 1, 3]).unwrap();
        std::fs::set_permissions(&macaroon, std::fs::Permissions::from_mode(0o600)).unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let lnd = backend(&fake, &folder, "authority.pem", &clock);
        let (bolt11, preimage) = invoice(Msat::new(10_000), &clock).await;
        Self {
            fake,
            lnd,
            clock,
            bolt11,
            preimage,
            folder,
            lifecycle,
        }
    }

    pub(super) fn hash(&self) -> PaymentHash {
        self.preimage.payment_hash()
    }

    /// A line about the payment of the invoice.
    pub(super) fn says(&self, status: &str, preimage: &str) -> String {
        format!(
            r#"{{"result":{{"payment_hash":"{}","payment_preimage":"{preimage}","status":"{status}","fee_msat":"3","failure_reason":"FAILURE_REASON_NO_ROUTE"}}}}"#,
            self.hash()
        )
    }

    pub(super) fn paid(&self) -> Reply {
        let line = self.says("SUCCEEDED", &self.preimage.expose_hex());
        Reply::Lines(vec![self.says("IN_FLIGHT", ""), line], End::Clean)
    }

    pub(super) async fn pay(&self) -> String {
        self.pay_for(PATIENCE).await
    }

    pub(super) async fn pay_for(&self, patience: Duration) -> String {
        tell(&self.lnd.pay(&self.bolt11, FEE_LIMIT, patience).await)
    }

    pub(super) async fn state(&self) -> String {
        tell(&self.lnd.payment_state(&self.hash()).await)
    }

    pub(super) async fn close(self) {
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }
}

pub(super) fn backend(
    fake: &FakeLnd,
    folder: &tempfile::TempDir,
    certificate: &str,
    clock: &Arc<ManualClock>,
) -> LndBackend {
    let config = LndConfig {
        url: format!("https://{}", fake.address),
        macaroon: SecretRef::File("lnd.macaroon".into()),
        tls_cert: format!("{TLS}/{certificate}"),
        private_hints: false,
    };
    LndBackend::open(
        "node",
        &config,
        Network::Regtest,
        folder.path(),
        clock.clone(),
    )
    .unwrap()
}

/// A signed invoice of `amount` and its preimage.
pub(super) async fn invoice(amount: Msat, clock: &Arc<ManualClock>) -> (String, Preimage) {
    let entropy = Arc::new(SeededEntropy::new(1));
    let network = SimulatedNetwork::open(None, clock.clone(), entropy).unwrap();
    let invoice = network
        .create_invoice("payee", amount, "x", Duration::from_secs(600))
        .await
        .unwrap();
    network.faucet("payer", Msat::new(1_000_000)).unwrap();
    let paid = network
        .pay("payer", &invoice.bolt11, Msat::ZERO, SHORT)
        .await;
    let PaymentState::Succeeded { preimage, .. } = paid else {
        panic!("{paid:?}");
    };
    (invoice.bolt11, preimage)
}

pub(super) fn tell(state: &PaymentState) -> String {
    match state {
        PaymentState::Succeeded { fee, .. } => format!("succeeded for {fee}"),
        PaymentState::Failed { reason } => format!("failed: {reason}"),
        PaymentState::Pending => "pending".to_owned(),
        PaymentState::Unknown { reason } => format!("unknown: {reason}"),
    }
}

pub(super) fn refusal(code: i32, message: &str) -> Reply {
    Reply::Body(
        500,
        format!(r#"{{"error":{{"code":{code},"message":"{message}","details":[]}}}}"#),
    )
}

pub(super) fn not_known() -> Reply {
    Reply::Body(
        404,
        r#"{"error":{"code":5,"message":"payment isn't initiated","details":[]}}"#.to_owned(),
    )
}
