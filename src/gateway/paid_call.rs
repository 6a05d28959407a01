//! The life of a paid call, and what a start does with the ones it finds open.
//!
//! ```text
//!                      ┌──────────── retry with the same token ───────────┐
//!                      ▼                                                  │
//! swapping ───────▶ claimed ──▶ (forwarded) ──▶ committed                 │
//!    │ ▲               └───────────┴──────────▶ released ─────────────────┘
//!    ▼ │ same token                                └──▶ refunded
//! interrupted
//! ```
//!
//! *Forwarded* is not written down: a call whose process died is given back
//! whether the upstream had seen it or not, because its payer has seen nothing.
//!
//! | arrow | crash point | what the next start finds and does |
//! |---|---|---|
//! | begin a swap | `gateway.after_swap_intent` | *swapping*: becomes *interrupted*; the wallet completes or drops its own operation, and the same token continues either way |
//! | mint took the token | `gateway.after_swap` | the same |
//! | claim | `gateway.after_claim` | *claimed*: released |
//! | upstream answered | `gateway.after_forward` | *claimed*: released |
//! | commit | `gateway.after_commit` | *committed*: the kept response answers the repeat, change waits in `POST /v1/refund` |
//! | release | `gateway.after_release` | *released*: the same credential or token works, or `POST /v1/refund` |
//! | order a refund or change | `gateway.after_pay_out_intent` | the same operation id gives the same token |
//! | token made | `gateway.after_pay_out` | the same |
//! | accept offline → redeem | `gateway.after_redeem_intent` | *redeeming*: the same operation again |
//!
//! An end that the ledger does not take is written as soon as it does; see `undecided`.
//!
//! A credential that bought time is claimed at its first call alone; those that follow
//! take nothing, so there is nothing to decide about them ([`super::passes`]).
//!
//! Released means: for L402 the use is given back; an offline token pays for the
//! retry; a swapped one is owed, and a refund is handed out with the answer.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use feria_paywall::journal::{
    CallId, Claim, Claimed, Delivered, Journal, JournalError, PayOut, Payment, PaymentKey, Replay,
    RequestKey, StoredResponse,
};

use super::passes;
use super::undecided::End;
use super::{Core, GatewayError};
use crate::clock::ordered_id;
use crate::crash;
use crate::store::StoreError;
use crate::store::ledger::paid_calls::ClaimRules;

/// What a start resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct GatewayRecovery {
    /// Claimed calls that were given back to their payers.
    pub released: u64,
    /// Swaps that their payers continue.
    pub interrupted: u64,
    /// Refunds and change that were ordered before and are made now.
    pub paid_out: u64,
    /// Refunds and change whose mint does not answer; the payer asks for them.
    pub open: u64,
}

impl Core {
    /// Resolves everything that was open when the process died.
    pub(super) async fn recover(&self) -> Result<GatewayRecovery, GatewayError> {
        let calls = self.ledger.resolve_open_calls(self.now()).await?;
        let mut report = GatewayRecovery {
            released: calls.released,
            interrupted: calls.interrupted,
            ..GatewayRecovery::default()
        };
        // A silent mint is waited for once, not once for each of its payers.
        let mut silent = HashSet::new();
        for owed in self.ledger.list_open_pay_outs().await? {
            if silent.contains(&owed.mint) {
                report.open += 1;
                continue;
            }
            if self.make_pay_out(&owed).await.is_ok() {
                report.paid_out += 1;
            } else {
                report.open += 1;
                silent.insert(owed.mint);
            }
        }
        self.redeem_begun().await?;
        Ok(report)
    }

    /// Calls the redeemer once enough was accepted offline since it was last called.
    fn note_accepted(&self, offline_sat: u64) {
        let before = self.accepted_sat.fetch_add(offline_sat, Ordering::Relaxed);
        if offline_sat > 0 && self.is_half_of_cap(before.saturating_add(offline_sat)) {
            self.accepted_sat.store(0, Ordering::Relaxed);
            self.redeem_wanted.notify_one();
        }
    }
}

fn fault(error: StoreError) -> JournalError {
    JournalError(Box::new(error))
}

#[async_trait::async_trait]
impl Journal for Core {
    #[tracing::instrument(name = "store.payment.claim", skip_all, fields(agent = %claim.service))]
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError> {
        let is_lightning = matches!(claim.payment, Payment::L402 { .. } | Payment::Mpp { .. });
        let rules = ClaimRules {
            call_id: ordered_id(self.clock.now_millis(), self.entropy.as_ref()),
            lightning: self
                .lightning
                .receiver()
                .filter(|_| is_lightning)
                .map_or_else(|| "none".to_owned(), |backend| backend.name().to_owned()),
            vault_cap: self.config.vault_cap,
        };
        let offline_sat = match &claim.payment {
            Payment::Offline(token) => token.gross.as_u64(),
            Payment::L402 { .. } | Payment::Mpp { .. } | Payment::Swapped(_) => 0,
        };
        let swapped = match &claim.payment {
            Payment::Swapped(token) => Some(token.key()),
            Payment::L402 { .. } | Payment::Mpp { .. } | Payment::Offline(_) => None,
        };
        let bought_time = passes::key_of(&claim.payment).map(|key| (key, self.passes.epoch()));
        let claimed = self.ledger.claim_call(claim, rules).await;
        let claimed = claimed.map_err(|error| {
            if let Some(token) = swapped {
                self.keep_undecided(End::Interrupted(token));
            }
            fault(error)
        })?;
        if let Claimed::New { call, .. } = &claimed {
            self.note_accepted(offline_sat);
            if let Some((key, epoch)) = bought_time {
                self.passes.open(key, call, epoch);
            }
            crash::point("gateway.after_claim");
        }
        Ok(claimed)
    }

    fn find_open(&self, payment: &Payment) -> Option<CallId> {
        self.passes.find(payment)
    }

    async fn commit(
        &self,
        call: &CallId,
        delivered: Delivered,
    ) -> Result<Option<PayOut>, JournalError> {
        crash::point("gateway.after_forward");
        let (now, cost) = (self.now(), delivered.cost);
        let change = self
            .ledger
            .commit_call(call.clone(), delivered, self.keep_until(), now)
            .await
            .map_err(|error| {
                self.keep_undecided(End::Committed(call.clone(), cost));
                fault(error)
            })?;
        crash::point("gateway.after_commit");
        Ok(change)
    }

    async fn keep_response(
        &self,
        call: &CallId,
        response: StoredResponse,
    ) -> Result<(), JournalError> {
        self.ledger
            .keep_call_response(call.clone(), response, self.keep_until())
            .await
            .map_err(fault)
    }

    async fn release(&self, call: &CallId) -> Result<Option<PayOut>, JournalError> {
        let owed = self
            .ledger
            .release_call(call.clone(), self.now())
            .await
            .map_err(|error| {
                self.keep_undecided(End::Released(call.clone()));
                fault(error)
            })?;
        crash::point("gateway.after_release");
        Ok(owed)
    }

    async fn find_response(
        &self,
        payment: PaymentKey,
        request: &RequestKey,
        now: u64,
    ) -> Result<Option<Replay>, JournalError> {
        self.ledger
            .find_call_response(payment, request.clone(), now)
            .await
            .map_err(fault)
    }
}
