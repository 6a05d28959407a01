//! Tokens made before the clock starts, straight at a mint.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use feria::client::{HttpClient, http_client};
use feria::clock::{Clock, SystemClock, SystemEntropy};
use feria::lifecycle::Lifecycle;
use feria::lightning::PaymentState;
use feria::lightning::simulated::SimulatedNetwork;
use feria::sandbox::mint::{SandboxMint, SandboxMintConfig};
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::xcashu::cashu::amount::{FeeAndAmounts, SplitTarget};
use feria_paywall::xcashu::cashu::dhke::construct_proofs;
use feria_paywall::xcashu::cashu::nuts::nut10::SpendingConditions;
use feria_paywall::xcashu::cashu::nuts::{
    BlindSignature, BlindedMessage, Conditions, CurrencyUnit, KeySet, KeysResponse, PreMintSecrets,
    Proofs, PublicKey, Token,
};
use feria_paywall::xcashu::cashu::{Amount, MintUrl};
use serde_json::{Value, json};

/// Tokens of one request to the mint, which signs at most 1,000 proofs a request.
const BATCH: usize = 300;
/// Longer than any bench runs, and than the gateway asks for.
const LOCK_SECS: u64 = 24 * 3_600;

/// A mint, and money to buy its ecash with.
pub(crate) struct Mint {
    pub(crate) url: String,
    /// Its active keyset.
    pub(crate) keyset: KeySet,
    network: SimulatedNetwork,
    client: HttpClient,
    _mint: SandboxMint,
    _lifecycle: Lifecycle,
}

impl Mint {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let network = SimulatedNetwork::open(None, Arc::new(SystemClock), Arc::new(SystemEntropy))?;
        network.faucet("bank", Msat::from(Sat::new(1_000_000_000)))?;
        let lifecycle = Lifecycle::default();
        let mint = SandboxMint::start(SandboxMintConfig {
            name: "bench".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            input_fee_ppk: 0,
            network: network.clone(),
            data_dir: None,
            seed: [3; 32],
            lifecycle: lifecycle.clone(),
        })
        .await?;
        let client = http_client(Duration::from_secs(30))?;
        let keys: KeysResponse = client
            .get(format!("{}/v1/keys", mint.url))
            .send()
            .await?
            .json()
            .await?;
        let keyset = keys
            .keysets
            .into_iter()
            .find(|keyset| keyset.unit == CurrencyUnit::Sat)
            .context("the mint has no keyset in satoshi")?;
        Ok(Self {
            url: mint.url.clone(),
            keyset,
            network,
            client,
            _mint: mint,
            _lifecycle: lifecycle,
        })
    }

    /// Returns `count` tokens of `amount`, locked to `lock_key` or not at all.
    pub(crate) async fn tokens(
        &self,
        count: usize,
        amount: Sat,
        lock_key: Option<&str>,
    ) -> anyhow::Result<Vec<Proofs>> {
        let lock = lock_key.map(conditions).transpose()?;
        let mut tokens = Vec::with_capacity(count);
        while tokens.len() < count {
            let batch = BATCH.min(count - tokens.len());
            tokens.extend(self.batch(batch, amount, lock.as_ref()).await?);
        }
        Ok(tokens)
    }

    /// Returns the text of a token.
    pub(crate) fn text(&self, proofs: &Proofs) -> anyhow::Result<String> {
        let mint: MintUrl = self.url.parse()?;
        Ok(Token::new(mint, proofs.clone(), None, CurrencyUnit::Sat).to_string())
    }

    async fn batch(
        &self,
        count: usize,
        amount: Sat,
        lock: Option<&SpendingConditions>,
    ) -> anyhow::Result<Vec<Proofs>> {
        let quote = self.paid_quote(amount.as_u64() * count as u64).await?;
        let premints = (0..count)
            .map(|_| self.premint(amount, lock))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let outputs: Vec<BlindedMessage> = premints
            .iter()
            .flat_map(PreMintSecrets::blinded_messages)
            .collect();
        let answer = self
            .post(
                "/v1/mint/bolt11",
                json!({"quote": quote, "outputs": outputs}),
            )
            .await?;
        let mut signatures: Vec<BlindSignature> =
            serde_json::from_value(answer["signatures"].clone())?;
        premints
            .into_iter()
            .map(|premint| {
                let own = signatures.drain(..premint.len()).collect();
                let keys = &self.keyset.keys;
                Ok(construct_proofs(
                    own,
                    premint.rs(),
                    premint.secrets(),
                    keys,
                )?)
            })
            .collect()
    }

    fn premint(
        &self,
        amount: Sat,
        lock: Option<&SpendingConditions>,
    ) -> anyhow::Result<PreMintSecrets> {
        let powers = (0..24).map(|power| 1 << power).collect();
        let split = FeeAndAmounts::from((0, powers));
        let amount = Amount::from(amount.as_u64());
        let id = self.keyset.id;
        Ok(match lock {
            Some(lock) => {
                PreMintSecrets::with_conditions(id, amount, &SplitTarget::None, lock, &split)?
            }
            None => PreMintSecrets::random(id, amount, &SplitTarget::None, &split)?,
        })
    }

    async fn paid_quote(&self, amount_sat: u64) -> anyhow::Result<String> {
        let ask = json!({"amount": amount_sat, "unit": "sat"});
        let quote = self.post("/v1/mint/quote/bolt11", ask).await?;
        let invoice = quote["request"].as_str().context("no invoice")?;
        let id = quote["quote"].as_str().context("no quote")?.to_owned();
        let patience = Duration::from_secs(10);
        match self
            .network
            .pay("bank", invoice, Msat::ZERO, patience)
            .await
        {
            PaymentState::Succeeded { .. } => {}
            other => bail!("the quote was not paid: {other:?}"),
        }
        let address = format!("{}/v1/mint/quote/bolt11/{id}", self.url);
        loop {
            let state: Value = self.client.get(&address).send().await?.json().await?;
            if state["state"] == "PAID" {
                return Ok(id);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let address = format!("{}{path}", self.url);
        let response = self.client.post(address).json(&body).send().await?;
        let status = response.status();
        let answer: Value = response.json().await?;
        anyhow::ensure!(status.is_success(), "the mint refused: {answer}");
        Ok(answer)
    }
}

fn conditions(lock_key: &str) -> anyhow::Result<SpendingConditions> {
    let data = PublicKey::from_hex(lock_key)?;
    let conditions = Conditions {
        locktime: Some(SystemClock.now() + LOCK_SECS),
        ..Conditions::default()
    };
    Ok(SpendingConditions::new_p2pk(data, Some(conditions)))
}
