//! `feria pay`: pays an invoice or a payment request, or sends ecash to an agent.

use clap::Args;
use feria_paywall::amount::{Msat, Sat};
use serde_json::json;

use super::client::NodeClient;
use super::exit::ExitCode;
use super::fault::{Fault, Outcome};
use super::output::facts;
use super::{Context, Output, parse};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A BOLT11 invoice, a payment request (creqA..., CREQB1...), or the npub of an agent.
    target: String,
    /// The wallet that pays: its id, or the name of its agent.
    #[arg(long, visible_alias = "agent", value_name = "WALLET")]
    wallet: String,
    /// How much to send to an npub, or where a payment request leaves it open; such as 250sat.
    #[arg(long, value_name = "AMOUNT", value_parser = parse::sat)]
    amount: Option<Sat>,
    /// Words for the payee of ecash.
    #[arg(long, default_value = "")]
    memo: String,
    /// The most an invoice or a payment request may ask.
    #[arg(long, value_name = "AMOUNT")]
    max_cost: Option<Msat>,
    /// The most that fees may add.
    #[arg(long, value_name = "AMOUNT")]
    max_fee: Option<Msat>,
    /// Names this payment: the same key again never pays again.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Arguments {
    pub(super) async fn execute(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        if self.target.starts_with("npub1") {
            return self.send(context, output).await;
        }
        if self.target.to_ascii_lowercase().starts_with("creq") {
            return self.meet(context, output).await;
        }
        // Before the node is asked: an invoice of "5000" would be a strange mistake to pay for.
        if !self.target.to_ascii_lowercase().starts_with("ln") {
            return Err(Fault::usage(format!(
                "{:?} is neither an invoice (ln...) nor a payment request (creq...) nor the key of an agent (npub1...)",
                self.target
            )));
        }
        if self.amount.is_some() {
            return Err(Fault::usage("an invoice names its amount itself")
                .next("leave --amount out; --max-cost is the most it may ask"));
        }
        let request = json!({
            "wallet": self.wallet,
            "invoice": self.target,
            "max_cost_msat": self.max_cost.map(Msat::as_u64),
            "max_fee_msat": self.max_fee.map(Msat::as_u64),
            "idempotency_key": self.idempotency_key,
        });
        let client = NodeClient::open(&context.data_dir).await?;
        let paid = client.post(&["pay"], &request).await?;
        output.show(&paid, |paid| {
            facts(
                paid,
                &[
                    ("Paid sat", "amount_sat"),
                    ("Fee sat", "fee_sat"),
                    ("Payment hash", "payment_hash"),
                    ("Id", "id"),
                ],
            )
        })?;
        Ok(ExitCode::Ok)
    }

    /// Pays a payment request. One that names no way for the token gets it printed.
    async fn meet(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let request = json!({
            "wallet": self.wallet,
            "request": self.target,
            "amount_sat": self.amount.map(Sat::as_u64),
            "max_cost_msat": self.max_cost.map(Msat::as_u64),
            "max_fee_msat": self.max_fee.map(Msat::as_u64),
            "idempotency_key": self.idempotency_key,
        });
        let client = NodeClient::open(&context.data_dir).await?;
        let paid = client.post(&["pay"], &request).await?;
        output.show(&paid, |paid| {
            if let Some(token) = paid["token"].as_str() {
                return token.to_owned();
            }
            let (record, keys) = match paid.get("purchase") {
                Some(purchase) => (
                    purchase,
                    [
                        ("Paid msat", "price_msat"),
                        ("Outcome", "outcome"),
                        ("Id", "id"),
                    ],
                ),
                None => (
                    paid,
                    [("Sent sat", "amount_sat"), ("State", "state"), ("Id", "id")],
                ),
            };
            facts(record, &keys)
        })?;
        Ok(ExitCode::Ok)
    }

    async fn send(self, context: &Context, output: &mut Output<'_>) -> Outcome {
        let amount = self
            .amount
            .ok_or_else(|| Fault::usage("say how much to send: --amount 250sat"))?;
        let request = json!({
            "wallet": self.wallet,
            "payee": self.target,
            "amount_sat": amount.as_u64(),
            "memo": self.memo,
        });
        let client = NodeClient::open(&context.data_dir).await?;
        let sent = client.post(&["transfers"], &request).await?;
        output.show(&sent, |sent| {
            facts(
                sent,
                &[("Sent sat", "amount_sat"), ("State", "state"), ("Id", "id")],
            )
        })?;
        Ok(ExitCode::Ok)
    }
}
