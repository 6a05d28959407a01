//! What the demo says at its end: one document, and the same as a table for a person.

use std::fmt;

use comfy_table::{Table, presets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything one run of the demo did. The JSON Schema is `schemas/demo-report.json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DemoReport {
    /// Always `simulated`: no part of the demo touches real money.
    pub network: String,
    /// The relays that the two nodes met at.
    pub relays: Vec<String>,
    /// The mints.
    pub mints: Vec<MintLine>,
    /// Listings in the buyer's index, learned from relays.
    pub listings_indexed: u64,
    /// What the research agent bought, or was refused.
    pub purchases: Vec<PurchaseLine>,
    /// Payments by encrypted message.
    pub messages: Vec<MessageLine>,
    /// The research agent's wallet.
    pub wallet: WalletLine,
    /// What each tier of API access could do, tried over HTTP.
    pub tiers: Vec<TierLine>,
    /// Totals per rail.
    pub totals: Vec<TotalLine>,
    /// The books of both nodes.
    pub ledger: LedgerLine,
    /// What the person behind the research agent paid in all, fees included, millisatoshi.
    pub paid_in_all_msat: u64,
    /// What was resolved at start from an earlier run that was cut off.
    pub recovered: Vec<String>,
    /// The run's length in milliseconds.
    pub duration_ms: u64,
    /// Each thing that was not as it should be; empty when `ok`.
    pub faults: Vec<String>,
    /// Whether every step came out as it should.
    pub ok: bool,
}

/// One mint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MintLine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Its input fee in thousandths of a satoshi per proof.
    pub input_fee_ppk: u64,
}

/// One purchase.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PurchaseLine {
    /// The listing's name.
    pub listing: String,
    /// `l402`, `l402-cached`, `nut24-offline` or `nut24-swap`; empty when refused before a rail was chosen.
    pub rail: String,
    /// The price, millisatoshi.
    pub price_msat: u64,
    /// What mints and Lightning took, millisatoshi.
    pub fee_msat: u64,
    /// The HTTP status that the agent saw; 0 when no paid call was made.
    pub status: u16,
    /// `delivered`, `refunded` or `refused`.
    pub outcome: String,
    /// From the request to the answer.
    pub duration_ms: u64,
    /// Why this rail, or why not at all, in one sentence.
    pub decision: String,
}

/// One payment by message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MessageLine {
    /// What was sent.
    pub amount_sat: u64,
    /// `created`, `sent`, `acknowledged`, `claimed` or `reclaimed`.
    pub state: String,
    /// What the payee's books gained, after the mint's fee.
    pub received_sat: u64,
    /// From sending to the final state.
    pub duration_ms: u64,
}

/// The ephemeral wallet.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct WalletLine {
    /// The most it may hold.
    pub limit_sat: u64,
    /// How long it may live.
    pub ttl_secs: u64,
    /// What left it for purchases, messages and fees, refunds taken off.
    pub spent_msat: u64,
    /// What went back to the treasury at its end.
    pub swept_msat: u64,
    /// Entries of its audit chain.
    pub audit_entries: u64,
    /// Whether the chain's hashes hold.
    pub audit_ok: bool,
    /// What it still held after the sweep; must be 0.
    pub left_sat: u64,
}

/// One tier.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TierLine {
    /// `read-only`, `invoice-only`, `pay-only` or `agent-commerce`.
    pub tier: String,
    /// Actions that were let through.
    pub allowed: Vec<String>,
    /// Actions that were refused with 403.
    pub denied: Vec<String>,
}

/// What went over one rail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TotalLine {
    /// The rail.
    pub rail: String,
    /// Delivered calls.
    pub calls: u64,
    /// Prices of delivered calls, millisatoshi.
    pub price_msat: u64,
    /// Fees of all calls, millisatoshi.
    pub fee_msat: u64,
}

/// The books of both nodes together, over all runs on this data folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct LedgerLine {
    /// The sum of all postings; must be 0.
    pub imbalance_msat: i64,
    /// What came in from outside.
    pub funded_msat: i64,
    /// What both nodes hold: wallets, vault, Lightning, in flight.
    pub held_msat: i64,
    /// What mints and Lightning took.
    pub fees_msat: i64,
    /// `funded - held - fees`; must be 0.
    pub difference_msat: i64,
    /// Differences between the books and the proofs held; must be empty.
    pub book_faults: Vec<String>,
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Network: {} (play money)", self.network.to_uppercase())?;
        writeln!(f, "{}", self.purchase_table())?;
        for message in &self.messages {
            writeln!(
                f,
                "Message: {} sat {}, payee got {} sat, {} ms",
                message.amount_sat, message.state, message.received_sat, message.duration_ms
            )?;
        }
        writeln!(
            f,
            "Wallet: limit {} sat, spent {}, swept {}, audit chain of {} entries {}",
            self.wallet.limit_sat,
            sat(self.wallet.spent_msat),
            sat(self.wallet.swept_msat),
            self.wallet.audit_entries,
            if self.wallet.audit_ok {
                "holds"
            } else {
                "BROKEN"
            },
        )?;
        writeln!(f, "{}", self.tier_table())?;
        writeln!(
            f,
            "Books: funded {} = held {} + fees {}; imbalance {} msat",
            signed_sat(self.ledger.funded_msat),
            signed_sat(self.ledger.held_msat),
            signed_sat(self.ledger.fees_msat),
            self.ledger.imbalance_msat
        )?;
        writeln!(
            f,
            "The person behind the agent paid {} in all.",
            sat(self.paid_in_all_msat)
        )?;
        for fault in &self.faults {
            writeln!(f, "NOT AS IT SHOULD BE: {fault}")?;
        }
        Ok(())
    }
}

impl DemoReport {
    fn purchase_table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY)
            .set_header(["listing", "rail", "price", "fee", "outcome", "time"]);
        for purchase in &self.purchases {
            let rail = if purchase.rail.is_empty() {
                "-"
            } else {
                &purchase.rail
            };
            table.add_row([
                purchase.listing.clone(),
                rail.to_owned(),
                sat(purchase.price_msat),
                sat(purchase.fee_msat),
                purchase.outcome.clone(),
                format!("{} ms", purchase.duration_ms),
            ]);
        }
        for total in &self.totals {
            table.add_row([
                format!("total of {}", total.calls),
                total.rail.clone(),
                sat(total.price_msat),
                sat(total.fee_msat),
                String::new(),
                String::new(),
            ]);
        }
        table
    }

    fn tier_table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY)
            .set_header(["tier", "may", "may not"]);
        for tier in &self.tiers {
            table.add_row([
                tier.tier.clone(),
                tier.allowed.join(", "),
                tier.denied.join(", "),
            ]);
        }
        table
    }
}

fn sat(msat: u64) -> String {
    feria_paywall::amount::Msat::new(msat).to_string()
}

fn signed_sat(msat: i64) -> String {
    let sign = if msat < 0 { "-" } else { "" };
    format!("{sign}{}", sat(msat.unsigned_abs()))
}
