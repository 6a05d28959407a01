//! The paywall's traits over our Lightning backend, wallets and ledger.
//!
//! The layer decides; this file only carries out. A swap is written down before
//! the mint is asked, under an operation id that the same token finds again.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feria_paywall::amount::{Msat, Sat};
use feria_paywall::journal::{CallId, PaidToken, PayOut};
use feria_paywall::scheme::{
    BoxFuture, ChallengeInvoice, InvoiceError, InvoiceMaker, Redeemer, SwapFault, SwapOrder, World,
};
use feria_paywall::xcashu::cashu::nuts::CurrencyUnit;
use feria_paywall::xcashu::{KeysetInfo, MintInfo};

use super::Core;
use super::undecided::End;
use crate::clock::random_id;
use crate::crash;
use crate::store::ledger::swaps::SwapStart;
use crate::store::ledger::{Account, EntryKind};
use crate::wallet::{MintKeys, ReceiveRequest, TREASURY, TokenFault, WalletError};

impl World for Core {
    fn now_millis(&self) -> u64 {
        self.clock.now_millis()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.lifecycle.spawn_draining(task);
    }

    fn compute(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        let turns = Arc::clone(&self.computing);
        Box::pin(async move {
            // It is never closed.
            let Ok(turn) = turns.acquire_owned().await else {
                return;
            };
            // An error is the end of the runtime, and who waits for the work is told.
            let _ = tokio::task::spawn_blocking(move || {
                work();
                drop(turn);
            })
            .await;
        })
    }
}

#[async_trait]
impl InvoiceMaker for Core {
    async fn make_invoice(
        &self,
        amount: Msat,
        description: &str,
        expiry_secs: u64,
    ) -> Result<ChallengeInvoice, InvoiceError> {
        let Some(backend) = self.lightning.receiver() else {
            return Err(InvoiceError("no backend is set up".to_owned()));
        };
        backend
            .create_invoice(amount, description, Duration::from_secs(expiry_secs))
            .await
            .map(|invoice| ChallengeInvoice {
                bolt11: invoice.bolt11,
                payment_hash: invoice.payment_hash,
            })
            .map_err(|error| InvoiceError(error.to_string()))
    }
}

#[async_trait]
impl Redeemer for Core {
    async fn offline_info(&self, mint: &str) -> Option<Arc<MintInfo>> {
        let keys = self.wallets.mint_keys(mint).await.ok()?;
        let mut cache = self.mint_infos.lock();
        if let Some((known, info)) = cache.get(mint)
            && Arc::ptr_eq(known, &keys)
        {
            return Some(Arc::clone(info));
        }
        let info = Arc::new(mint_info(&keys)?);
        cache.insert(mint.to_owned(), (keys, Arc::clone(&info)));
        Some(info)
    }

    #[tracing::instrument(name = "wallet.token.redeem", skip_all, fields(agent = %order.service))]
    async fn swap(&self, order: SwapOrder) -> Result<Sat, SwapFault> {
        let SwapOrder {
            service,
            token,
            price,
            now,
        } = order;
        let start = self
            .ledger
            .begin_swap(
                service.clone(),
                token.clone(),
                price,
                random_id(self.entropy.as_ref()),
                now,
            )
            .await;
        match start {
            Ok(SwapStart::Swap(operation_id)) => {
                crash::point("gateway.after_swap_intent");
                let received = self.take_in(&operation_id, &service, &token).await;
                crash::point("gateway.after_swap");
                received
            }
            Ok(SwapStart::Credit(net)) => Ok(net),
            Ok(SwapStart::AlreadySpent) => Err(SwapFault::AlreadySpent),
            Ok(SwapStart::InProgress) => Err(SwapFault::InProgress),
            Err(error) => {
                tracing::error!(%error, "A swap could not be written down");
                Err(SwapFault::MintUnavailable)
            }
        }
    }

    async fn pay_out(&self, call: &CallId, _value: &PayOut) -> Result<String, String> {
        match self.pay_out_call(&call.0).await {
            Ok(Some(sent)) => Ok(sent.token),
            Ok(None) => Err("nothing is owed".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Core {
    /// Takes `token` into the treasury as income of `agent`.
    pub(super) async fn take_in(
        &self,
        operation_id: &str,
        agent: &str,
        token: &PaidToken,
    ) -> Result<Sat, SwapFault> {
        let request = ReceiveRequest {
            operation_id: operation_id.to_owned(),
            wallet_id: TREASURY.to_owned(),
            token: token.text.clone(),
            from: Account::income(agent),
            kind: EntryKind::Earn,
            unlock_as: vec![agent.to_owned()],
            reference: operation_id.to_owned(),
        };
        let error = match self.wallets.receive(request).await {
            Ok(received) => return Ok(received.amount),
            Err(error) => error,
        };
        let (fault, is_untouched) = classify(error);
        let noted = if is_untouched {
            self.ledger.cancel_swap(token.key()).await
        } else {
            self.ledger.interrupt_swap(token.key(), self.now()).await
        };
        if let Err(error) = noted {
            tracing::error!(%error, "The end of a swap could not be written down");
            self.keep_undecided(End::Interrupted(token.key()));
        }
        Err(fault)
    }
}

/// Returns what to tell the payer, and whether nothing of the token can be ours.
fn classify(error: WalletError) -> (SwapFault, bool) {
    match error {
        WalletError::Refused(TokenFault::AlreadySpent) => (SwapFault::AlreadySpent, true),
        WalletError::Refused(TokenFault::Dust) => (SwapFault::TooLittle { net: Sat::ZERO }, true),
        // Pending at the mint may be our own request that got no answer.
        WalletError::Refused(TokenFault::Pending) | WalletError::Unknown(_) => {
            (SwapFault::Unknown, false)
        }
        WalletError::Refused(fault) => (
            SwapFault::Refused {
                reason: fault.to_string(),
            },
            true,
        ),
        WalletError::UntrustedMint(_) => (
            SwapFault::Refused {
                reason: error.to_string(),
            },
            true,
        ),
        WalletError::MintUnavailable { .. } => (SwapFault::MintUnavailable, true),
        error => {
            tracing::error!(%error, "The wallet did not take a token in");
            (SwapFault::Unknown, false)
        }
    }
}

fn mint_info(keys: &MintKeys) -> Option<MintInfo> {
    let keysets = keys
        .keysets
        .values()
        .map(|keyset| {
            Some(KeysetInfo {
                id: keyset.id,
                unit: CurrencyUnit::from_str(&keyset.unit).ok()?,
                active: keyset.active,
                input_fee_ppk: keyset.input_fee_ppk,
                final_expiry: keyset.final_expiry,
                keys: keyset.keys.clone(),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(MintInfo {
        url: keys.mint.clone(),
        enforces_p2pk: keys.enforces_p2pk,
        keysets,
    })
}
