//! The script: what happens in the demo's market, step by step.
//!
//! | step | what | rail |
//! |---|---|---|
//! | 1 | the buyer's node learns of three agents from relays | |
//! | 2 | a research agent gets a wallet and ecash | |
//! | 3 | it buys `data` twice and `inference` twice | `l402`, `l402-cached`, `nut24-offline`, `nut24-swap` |
//! | 4 | it buys `flaky`, which fails: the money comes back | `nut24-swap` |
//! | 5 | it asks for more than its budget and is refused | |
//! | 6 | it sends 250 sat by encrypted message | |
//! | 7 | its wallet expires and is swept | |
//! | 8 | one macaroon per tier is tried on every action | |
//! | 9 | the books are added up | |
//!
//! A step that goes wrong is written down as a fault and the script goes on: the
//! report shows all of it, and the books are added up in any case.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use feria_paywall::amount::{Msat, Sat};
use http::Method;

use super::report::{MessageLine, PurchaseLine, TotalLine, WalletLine};
use super::world::World;
use super::{Narrator, tiers};
use crate::clock::Clock;
use crate::spend::{Budget, FetchRequest, LockPolicy, SpendError};
use crate::store::index::{CatalogRow, Search};
use crate::transfer::{Direction, SendTransfer, TransferState};
use crate::wallet::{NewAgentWallet, TREASURY, WalletInfo};

/// What the agents on sale are called, in the order the script needs them.
const LISTINGS: [&str; 3] = ["data", "inference", "flaky"];
/// The buying agent.
const RESEARCH: &str = "research";
/// What its wallet may hold, and holds at first.
const WALLET_LIMIT: Sat = Sat::new(10_000);
/// How long its wallet lives.
const WALLET_TTL: Duration = Duration::from_secs(3_600);
/// What the buyer's treasury is funded with at each run.
const FUNDING: Sat = Sat::new(12_000);
/// What one call may cost the agent: less than two calls of the dearest listing.
const PER_CALL_BUDGET: Msat = Msat::new(600_000);
/// The cap that step 5 runs into.
const TIGHT_CAP: Msat = Msat::new(300_000);
/// What goes out by message.
const MESSAGE: Sat = Sat::new(250);
/// How long a step waits for relays, mints or the other node.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it looks meanwhile.
const TICK: Duration = Duration::from_millis(20);

/// What the steps left for the report.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) listings_indexed: u64,
    pub(super) purchases: Vec<PurchaseLine>,
    pub(super) messages: Vec<MessageLine>,
    pub(super) wallet: WalletLine,
    pub(super) tiers: Vec<super::report::TierLine>,
    pub(super) faults: Vec<String>,
}

impl Outcome {
    /// Adds up delivered calls and all fees per rail.
    pub(super) fn totals(&self) -> Vec<TotalLine> {
        let mut totals: Vec<TotalLine> = Vec::new();
        for purchase in self.purchases.iter().filter(|line| !line.rail.is_empty()) {
            let at = totals.iter().position(|total| total.rail == purchase.rail);
            let index = at.unwrap_or_else(|| {
                totals.push(TotalLine {
                    rail: purchase.rail.clone(),
                    calls: 0,
                    price_msat: 0,
                    fee_msat: 0,
                });
                totals.len() - 1
            });
            let total = &mut totals[index];
            total.fee_msat += purchase.fee_msat;
            if purchase.outcome == "delivered" {
                total.calls += 1;
                total.price_msat += purchase.price_msat;
            }
        }
        totals
    }

    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }
}

/// How one purchase of the script is meant to come out.
struct Step {
    listing: &'static str,
    lock: LockPolicy,
    max_cost: Option<Msat>,
    rail: &'static str,
    outcome: &'static str,
}

const STEPS: [Step; 6] = [
    Step::delivered("data", LockPolicy::Auto, "l402"),
    Step::delivered("data", LockPolicy::Auto, "l402-cached"),
    Step::delivered("inference", LockPolicy::Auto, "nut24-offline"),
    Step::delivered("inference", LockPolicy::Never, "nut24-swap"),
    Step {
        listing: "flaky",
        lock: LockPolicy::Never,
        max_cost: None,
        rail: "nut24-swap",
        outcome: "refunded",
    },
    Step {
        listing: "inference",
        lock: LockPolicy::Auto,
        max_cost: Some(TIGHT_CAP),
        rail: "",
        outcome: "refused",
    },
];

impl Step {
    const fn delivered(listing: &'static str, lock: LockPolicy, rail: &'static str) -> Self {
        Self {
            listing,
            lock,
            max_cost: None,
            rail,
            outcome: "delivered",
        }
    }
}

/// Plays all steps up to the tier table; the caller adds up the books.
pub(super) async fn play(world: &World, say: &Narrator) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = play_wallet(world, say, &mut outcome).await {
        outcome.faults.push(format!("{error:#}"));
    }
    match tiers::try_all(world, say).await {
        Ok(tiers) => outcome.tiers = tiers,
        Err(error) => outcome.faults.push(format!("tiers: {error:#}")),
    }
    outcome
}

async fn play_wallet(world: &World, say: &Narrator, outcome: &mut Outcome) -> anyhow::Result<()> {
    let listings = discover(world).await?;
    outcome.listings_indexed = world
        .buyer
        .app
        .index
        .count_listings(world.clock.now())
        .await?;
    say.line(&format!(
        "The buyer's node learned of {} listings from {} relays.",
        outcome.listings_indexed,
        world.relay_urls.len()
    ));
    let wallet = open_wallet(world, say).await?;
    for step in &STEPS {
        buy(world, say, &wallet, &listings, step, outcome).await?;
    }
    send_message(world, say, &wallet, outcome).await?;
    expire(world, say, &wallet, outcome).await
}

/// Waits until the buyer's own index holds every listing.
async fn discover(world: &World) -> anyhow::Result<Vec<CatalogRow>> {
    let give_up = world.clock.now_millis() + millis(PATIENCE);
    loop {
        let mut found = Vec::new();
        for name in LISTINGS {
            let search = Search {
                text: name.to_owned(),
                limit: 10,
                ..Search::default()
            };
            let rows = world
                .buyer
                .app
                .index
                .search(search, world.clock.now())
                .await?;
            found.extend(rows.into_iter().find(|row| {
                row.coordinate.starts_with("31402:")
                    && row.name == name
                    && row.endpoint.as_deref().is_some_and(|endpoint| {
                        endpoint.starts_with(&world.seller.app.config.public.url)
                    })
            }));
        }
        if found.len() == LISTINGS.len() {
            return Ok(found);
        }
        if world.clock.now_millis() > give_up {
            bail!(
                "the buyer's node learned of {} of {} listings in {} s",
                found.len(),
                LISTINGS.len(),
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn open_wallet(world: &World, say: &Narrator) -> anyhow::Result<WalletInfo> {
    let wallets = &world.buyer.app.wallets;
    // The mint with input fees, so that fees show in the report.
    let mint = world
        .mints
        .iter()
        .find(|(_, _, input_fee_ppk)| *input_fee_ppk > 0)
        .map(|(mint, _, _)| mint.url.clone())
        .context("no mint with input fees")?;
    let quote = wallets.request_funding(TREASURY, &mint, FUNDING).await?;
    world.network.faucet(
        "outside",
        quote.amount.to_msat().saturating_add(Msat::new(10_000)),
    )?;
    world
        .network
        .pay("outside", &quote.bolt11, Msat::new(10_000), PATIENCE)
        .await;
    let give_up = world.clock.now_millis() + millis(PATIENCE);
    while wallets.claim_funding(&quote.quote_id).await?.is_none() {
        if world.clock.now_millis() > give_up {
            bail!("the mint did not see its invoice paid");
        }
        tokio::time::sleep(TICK).await;
    }
    let wallet = wallets
        .create_agent_wallet(NewAgentWallet {
            agent: RESEARCH.to_owned(),
            limit: WALLET_LIMIT,
            ttl_secs: WALLET_TTL.as_secs(),
            mint,
        })
        .await?;
    wallets.fund_agent_wallet(&wallet.id, WALLET_LIMIT).await?;
    let budget = Budget {
        per_call_msat: Some(PER_CALL_BUDGET.as_u64()),
        ..Budget::default()
    };
    world
        .buyer
        .app
        .spender
        .set_budget(&wallet.id, budget)
        .await?;
    say.line(&format!(
        "The research agent has a wallet of {WALLET_LIMIT} for {} minutes.",
        WALLET_TTL.as_secs() / 60
    ));
    Ok(wallet)
}

async fn buy(
    world: &World,
    say: &Narrator,
    wallet: &WalletInfo,
    listings: &[CatalogRow],
    step: &Step,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let listing = listings
        .iter()
        .find(|row| row.name == step.listing)
        .context("listing vanished")?;
    let url = listing
        .endpoint
        .clone()
        .context("listing has no endpoint")?;
    let mut request = FetchRequest::get(&wallet.id, url);
    request.method = Method::from_bytes(listing.method.as_bytes())?;
    if request.method == Method::POST {
        request.body = Bytes::from_static(b"{\"prompt\":\"what is a fair price?\"}");
    }
    request.lock = step.lock;
    request.max_cost = step.max_cost;
    request.listing = Some(listing.coordinate.clone());

    let started = world.clock.now_millis();
    let line = match world.buyer.app.spender.fetch(request).await {
        Ok(fetched) => {
            let purchase = fetched
                .purchase
                .with_context(|| format!("{} asked for no payment", step.listing))?;
            PurchaseLine {
                listing: step.listing.to_owned(),
                rail: purchase.rail,
                price_msat: purchase.price_msat,
                fee_msat: purchase.fee_msat,
                status: fetched.status,
                outcome: purchase.outcome,
                duration_ms: purchase.duration_ms,
                decision: purchase.decision,
            }
        }
        Err(SpendError::Refused { refusal, .. }) => PurchaseLine {
            listing: step.listing.to_owned(),
            rail: String::new(),
            price_msat: listing.price_msat.unwrap_or_default(),
            fee_msat: 0,
            status: 0,
            outcome: "refused".to_owned(),
            duration_ms: world.clock.now_millis() - started,
            decision: refusal.to_string(),
        },
        Err(error) => {
            let error = anyhow::Error::new(error);
            outcome.faults.push(format!("{}: {error:#}", step.listing));
            return Ok(());
        }
    };
    say.line(&format!(
        "{}: {} {}, {} + {} fee, {} ms",
        line.listing,
        if line.rail.is_empty() {
            "unpaid,"
        } else {
            &line.rail
        },
        line.outcome,
        Msat::new(line.price_msat),
        Msat::new(line.fee_msat),
        line.duration_ms
    ));
    outcome.expect(
        line.rail == step.rail && line.outcome == step.outcome,
        || {
            format!(
                "{}: {} over {:?} instead of {} over {:?}",
                step.listing, line.outcome, line.rail, step.outcome, step.rail
            )
        },
    );
    outcome.purchases.push(line);
    Ok(())
}

async fn send_message(
    world: &World,
    say: &Narrator,
    wallet: &WalletInfo,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let transfers = &world.buyer.app.transfers;
    let started = world.clock.now_millis();
    let payee = world.seller.app.node.seed.nostr_keys(LISTINGS[0]);
    let from_keys = world.buyer.app.node.seed.nostr_keys(RESEARCH);
    world.buyer.app.open_inboxes().await;
    let before = received(world).await?;
    let sent = transfers
        .send(SendTransfer {
            from_agent: RESEARCH.to_owned(),
            from_keys,
            wallet_id: wallet.id.clone(),
            payee: payee.public_key(),
            amount: MESSAGE,
            memo: "thank you".to_owned(),
            lookup_relays: world.relay_urls.clone(),
            reply_relays: world.relay_urls.clone(),
        })
        .await?;
    let give_up = started + millis(PATIENCE);
    let state = loop {
        transfers.reconcile().await?;
        let state = transfers
            .find(&sent.id)
            .await?
            .map(|transfer| transfer.state);
        if state == Some(TransferState::Claimed) || world.clock.now_millis() > give_up {
            break state.unwrap_or(sent.state);
        }
        tokio::time::sleep(TICK).await;
    };
    let after = received(world).await?;
    let line = MessageLine {
        amount_sat: MESSAGE.as_u64(),
        state: state.as_str().to_owned(),
        received_sat: after.saturating_sub(before),
        duration_ms: world.clock.now_millis() - started,
    };
    say.line(&format!(
        "{MESSAGE} by encrypted message: {}, {} ms",
        line.state, line.duration_ms
    ));
    outcome.expect(state == TransferState::Claimed, || {
        format!("the message with {MESSAGE} ended {}", line.state)
    });
    outcome.messages.push(line);
    Ok(())
}

/// What the seller's agents were paid by message so far, in satoshi.
async fn received(world: &World) -> anyhow::Result<u64> {
    let transfers = world.seller.app.transfers.list().await?;
    Ok(transfers
        .iter()
        .filter(|transfer| {
            transfer.direction == Direction::In
                && matches!(
                    transfer.state,
                    TransferState::Received | TransferState::Acknowledged
                )
        })
        .map(|transfer| transfer.amount_sat)
        .sum())
}

/// Moves the clock past the wallet's expiry and looks at what is left.
async fn expire(
    world: &World,
    say: &Narrator,
    wallet: &WalletInfo,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let wallets = &world.buyer.app.wallets;
    let spent = wallets.audit_log(&wallet.id).await?;
    let left = wallets.balance(&wallet.id, &wallet.mint).await?;
    world.clock.advance(WALLET_TTL + Duration::from_secs(1));
    let mut swept = Msat::ZERO;
    for (id, closed) in wallets.close_expired().await? {
        if id == wallet.id {
            swept = closed.amount.to_msat();
        }
    }
    let info = wallets.find_agent_wallet(&wallet.id).await?;
    let log = wallets.audit_log(&wallet.id).await?;
    // The node's own sweeper may have been quicker than this call.
    if swept == Msat::ZERO {
        let entry = log.entries.iter().rev().find(|entry| entry.kind == "swept");
        swept = Msat::new(entry.map_or(0, |entry| entry.amount_msat.unsigned_abs()));
    }
    outcome.wallet = WalletLine {
        limit_sat: WALLET_LIMIT.as_u64(),
        ttl_secs: WALLET_TTL.as_secs(),
        spent_msat: WALLET_LIMIT
            .to_msat()
            .saturating_sub(left.to_msat())
            .as_u64(),
        swept_msat: swept.as_u64(),
        audit_entries: log.entries.len() as u64,
        audit_ok: log.ok,
        left_sat: info.as_ref().map_or(0, |info| info.balance_sat),
    };
    say.line(&format!(
        "The wallet expired: {swept} swept to the treasury, audit chain of {} entries {}.",
        log.entries.len(),
        if log.ok { "holds" } else { "is broken" }
    ));
    outcome.expect(info.is_some_and(|info| info.state == "closed"), || {
        "the expired wallet is not closed".to_owned()
    });
    outcome.expect(log.ok && spent.ok, || {
        format!("the audit chain is broken: {:?}", log.fault)
    });
    outcome.expect(swept > Msat::ZERO && outcome.wallet.left_sat == 0, || {
        "the expired wallet was not swept".to_owned()
    });
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
