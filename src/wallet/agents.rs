//! Agent wallets: small, short-lived, in memory, and with a log.
//!
//! The limit is checked on every credit, in the transaction that plans it.
//! Funding above it is refused. A refund or receipt above it goes to the
//! treasury instead: money that comes home is never refused.

use feria_paywall::amount::Sat;

use super::TREASURY;
use super::engine::Engine;
use super::plan::{Operation, Outcome, Purpose};
use super::planning::{Planned, SpendOrder, Target};
use super::receive::received;
use super::select::split;
use super::swap::Posting;
use super::types::{NewAgentWallet, Received, Swept, TokenFault, WalletError, WalletInfo};
use crate::clock::random_id;
use crate::store::ledger::wallets::WalletRow;
use crate::store::ledger::{Account, Entry, EntryKind, audit_chain, operations, proofs, wallets};

/// Requests that emptying one wallet may take.
const MAX_SWEEPS: usize = 16;

impl Engine {
    pub(crate) async fn create_agent_wallet(
        &self,
        new: NewAgentWallet,
    ) -> Result<WalletInfo, WalletError> {
        let link = self.pool.link(&new.mint)?;
        let is_name = (1..=64).contains(&new.agent.len());
        if !is_name || new.limit == Sat::ZERO || new.ttl_secs == 0 {
            return Err(WalletError::Limit(
                "a wallet needs an agent name of at most 64 characters, a limit and a lifetime"
                    .to_owned(),
            ));
        }
        let now = self.clock.now();
        let row = WalletRow {
            id: random_id(self.entropy.as_ref()),
            agent: new.agent,
            mint: link.url.clone(),
            limit_sat: new.limit.as_u64().min(i64::MAX.unsigned_abs()),
            created_at: now,
            expires_at: now
                .saturating_add(new.ttl_secs)
                .min(i64::MAX.unsigned_abs()),
            state: "open".to_owned(),
            incarnation: self.incarnation.clone(),
        };
        let info = info(&row, 0);
        self.ledger
            .write("create agent wallet", move |transaction| {
                wallets::insert(transaction, &row)?;
                audit_chain::append(transaction, &row.id, now, "created", 0, &row.agent)
            })
            .await?;
        Ok(info)
    }

    pub(crate) async fn fund_agent_wallet(
        &self,
        wallet_id: &str,
        amount: Sat,
    ) -> Result<Received, WalletError> {
        let wallet = self
            .find_wallet(wallet_id)
            .await?
            .ok_or_else(|| WalletError::NoWallet(wallet_id.to_owned()))?;
        let id = format!("fund:{}", random_id(self.entropy.as_ref()));
        let _gate = self.gates.enter(&id).await;
        let keys = self.pool.keys(&wallet.mint).await?;
        if amount == Sat::ZERO
            || keys
                .active(self.clock.now())
                .is_none_or(|keyset| split(amount.as_u64(), &keyset.denominations()).is_none())
        {
            return Err(WalletError::Limit(format!("no way to hold {amount}")));
        }
        let planned = self
            .plan_spend(SpendOrder {
                id: id.clone(),
                wallet_id: TREASURY.to_owned(),
                keys,
                target: Target::Sat(amount.as_u64()),
                handed: Vec::new(),
                lock: None,
                purpose: Purpose::Fund {
                    to: wallet.id.clone(),
                },
                reference: id,
                memo: String::new(),
            })
            .await?;
        let (Planned::Now(operation) | Planned::Before(operation)) = planned;
        let outcome = self.carry_out(&operation, Posting::First).await?;
        received(&operation, &outcome)
    }

    pub(crate) async fn find_wallet(&self, id: &str) -> Result<Option<WalletRow>, WalletError> {
        let id = id.to_owned();
        Ok(self
            .ledger
            .read(move |connection| wallets::find(connection, &id))
            .await?)
    }

    pub(crate) async fn list_agent_wallets(&self) -> Result<Vec<WalletInfo>, WalletError> {
        Ok(self
            .ledger
            .read(|connection| {
                wallets::list(connection)?
                    .iter()
                    .map(|row| {
                        let held = proofs::sum_of_wallet(connection, &row.id, &row.mint)?;
                        Ok(info(row, held))
                    })
                    .collect()
            })
            .await?)
    }

    pub(crate) async fn find_agent_wallet(
        &self,
        name: &str,
    ) -> Result<Option<WalletInfo>, WalletError> {
        let name = name.to_owned();
        Ok(self
            .ledger
            .read(move |connection| {
                wallets::find_by_id_or_agent(connection, &name)?
                    .map(|row| {
                        let held = proofs::sum_of_wallet(connection, &row.id, &row.mint)?;
                        Ok(info(&row, held))
                    })
                    .transpose()
            })
            .await?)
    }

    pub(crate) async fn set_frozen(
        &self,
        wallet_id: &str,
        frozen: bool,
    ) -> Result<(), WalletError> {
        let id = wallet_id.to_owned();
        let now = self.clock.now();
        let is_known = self
            .ledger
            .write("freeze wallet", move |transaction| {
                let (state, kind) = if frozen {
                    ("frozen", "frozen")
                } else {
                    ("open", "thawed")
                };
                if wallets::replace_state(transaction, &id, state)? {
                    audit_chain::append(transaction, &id, now, kind, 0, "")?;
                    return Ok(true);
                }
                Ok(wallets::find(transaction, &id)?.is_some_and(|row| row.state == state))
            })
            .await?;
        if is_known {
            Ok(())
        } else {
            Err(WalletError::NoWallet(wallet_id.to_owned()))
        }
    }

    /// Empties the wallet into the treasury and leaves it open.
    pub(crate) async fn sweep_agent_wallet(&self, wallet_id: &str) -> Result<Swept, WalletError> {
        let _gate = self.gates.enter(&format!("close:{wallet_id}")).await;
        let wallet = self
            .find_wallet(wallet_id)
            .await?
            .filter(|wallet| wallet.state != "closed" && wallet.incarnation == self.incarnation)
            .ok_or_else(|| WalletError::NoWallet(wallet_id.to_owned()))?;
        let mut swept = Swept {
            amount: Sat::ZERO,
            fee: Sat::ZERO,
        };
        for _ in 0..MAX_SWEEPS {
            let Some(part) = self.sweep_once(&wallet).await? else {
                break;
            };
            swept.amount = swept.amount.saturating_add(part.amount);
            swept.fee = swept.fee.saturating_add(part.fee);
        }
        Ok(swept)
    }

    /// Empties the wallet into the treasury and closes it. From the first step
    /// on it pays nothing any more; if an operation is open whose outcome the
    /// mint does not tell, it stays so, and closing it again goes on.
    pub(crate) async fn close_agent_wallet(&self, wallet_id: &str) -> Result<Swept, WalletError> {
        let _gate = self.gates.enter(&format!("close:{wallet_id}")).await;
        let wallet = self
            .find_wallet(wallet_id)
            .await?
            .filter(|wallet| wallet.state != "closed")
            .ok_or_else(|| WalletError::NoWallet(wallet_id.to_owned()))?;
        if wallet.incarnation != self.incarnation {
            // Its proofs are not here; recovery restores and then closes it.
            return Err(WalletError::NoWallet(wallet_id.to_owned()));
        }
        let id = wallet.id.clone();
        self.ledger
            .write("stop wallet", move |transaction| {
                wallets::replace_state(transaction, &id, "frozen").map(drop)
            })
            .await?;
        let mut swept = Swept {
            amount: Sat::ZERO,
            fee: Sat::ZERO,
        };
        for _ in 0..MAX_SWEEPS {
            self.finish_open(&wallet.id).await;
            if let Some(part) = self.sweep_once(&wallet).await? {
                swept.amount = swept.amount.saturating_add(part.amount);
                swept.fee = swept.fee.saturating_add(part.fee);
                continue;
            }
            if let Some(dust) = self.try_close(&wallet).await? {
                swept.fee = swept.fee.saturating_add(dust);
                return Ok(swept);
            }
            if let Some(open) = self.open_of(&wallet.id).await?.first() {
                return Err(WalletError::Unknown(open.id.clone()));
            }
        }
        Err(WalletError::Unknown(format!("close:{wallet_id}")))
    }

    async fn open_of(&self, wallet_id: &str) -> Result<Vec<Operation>, WalletError> {
        let id = wallet_id.to_owned();
        Ok(self
            .ledger
            .read(move |connection| {
                let mut found = Vec::new();
                for row in operations::list_open(connection, None)? {
                    let operation = Operation::read(row)?;
                    if operation.involves(&id) {
                        found.push(operation);
                    }
                }
                Ok(found)
            })
            .await?)
    }

    /// Waits for the operations of the wallet that are under way, and resolves
    /// those that were left.
    async fn finish_open(&self, wallet_id: &str) {
        let Ok(open) = self.open_of(wallet_id).await else {
            return;
        };
        for operation in open {
            let _gate = self.gates.enter(&operation.id).await;
            if let Err(error) = self.resolve(&operation.id).await {
                tracing::warn!(
                    operation.id = %operation.id,
                    %error,
                    "an operation of a wallet that is closing stays open"
                );
            }
        }
    }

    /// One sweep; `None` when there is nothing worth one.
    async fn sweep_once(&self, wallet: &WalletRow) -> Result<Option<Swept>, WalletError> {
        let keys = self.pool.keys(&wallet.mint).await?;
        let (id, mint) = (wallet.id.clone(), wallet.mint.clone());
        let unspent = self
            .ledger
            .read(move |connection| proofs::list_unspent(connection, &id, &mint))
            .await?;
        if !super::planning::is_worth_sweeping(&unspent, &keys) {
            return Ok(None);
        }
        let id = format!("sweep:{}", random_id(self.entropy.as_ref()));
        let _gate = self.gates.enter(&id).await;
        let planned = self
            .plan_spend(SpendOrder {
                id: id.clone(),
                wallet_id: wallet.id.clone(),
                keys,
                target: Target::All,
                handed: Vec::new(),
                lock: None,
                purpose: Purpose::Sweep,
                reference: id,
                memo: String::new(),
            })
            .await?;
        let (Planned::Now(operation) | Planned::Before(operation)) = planned;
        match self.carry_out(&operation, Posting::First).await {
            Ok(Outcome::Moved {
                amount_sat,
                fee_sat,
            }) => Ok(Some(Swept {
                amount: Sat::new(amount_sat),
                fee: Sat::new(fee_sat),
            })),
            Ok(_) => Err(WalletError::Unknown(operation.id)),
            // The keys were refreshed; the next round uses the new keyset.
            Err(WalletError::Refused(TokenFault::Mint(reason))) => {
                tracing::warn!(wallet.id = %wallet.id, reason, "the mint refused a sweep");
                Ok(Some(Swept {
                    amount: Sat::ZERO,
                    fee: Sat::ZERO,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// Closes the wallet if nothing of it is open. What is left is worth less
    /// than the mint's fee: it is booked as one. Returns that, or `None` if
    /// something is open, or came in since the last sweep.
    ///
    /// # Errors
    /// When the mint does not name the keyset of a proof: what that costs, and so
    /// whether it is dust, is not known.
    async fn try_close(&self, wallet: &WalletRow) -> Result<Option<Sat>, WalletError> {
        let keys = self.pool.keys(&wallet.mint).await?;
        let wallet = wallet.clone();
        let now = self.clock.now();
        self.ledger
            .write("close wallet", move |transaction| {
                for row in operations::list_open(transaction, None)? {
                    if Operation::read(row)?.involves(&wallet.id) {
                        return Ok(Ok(None));
                    }
                }
                let unspent = proofs::list_unspent(transaction, &wallet.id, &wallet.mint)?;
                if let Some(keyset) = super::planning::unknown_keyset(&unspent, &keys) {
                    return Ok(Err(WalletError::MintUnavailable {
                        mint: wallet.mint.clone(),
                        reason: format!("no keyset {keyset}"),
                    }));
                }
                if super::planning::is_worth_sweeping(&unspent, &keys) {
                    return Ok(Ok(None));
                }
                let dust = Sat::new(proofs::sum_of_wallet(
                    transaction,
                    &wallet.id,
                    &wallet.mint,
                )?);
                Entry::new(EntryKind::Sweep, &wallet.id, now)
                    .memo("worth less than the mint's fee")
                    .debit(Account::fees("ecash"), dust)
                    .credit(Account::wallet(&wallet.id, &wallet.mint), dust)
                    .post(transaction)?;
                if dust > Sat::ZERO {
                    let change = -dust.to_msat().as_i64();
                    audit_chain::append(transaction, &wallet.id, now, "swept", change, "dust")?;
                }
                proofs::prune_agent_wallet(transaction, &wallet.id)?;
                if wallets::replace_state(transaction, &wallet.id, "closed")? {
                    audit_chain::append(transaction, &wallet.id, now, "closed", 0, "")?;
                }
                Ok(Ok(Some(dust)))
            })
            .await?
    }

    pub(crate) async fn close_expired(&self) -> Result<Vec<(String, Swept)>, WalletError> {
        let now = self.clock.now();
        let expired: Vec<WalletRow> = self
            .ledger
            .read(wallets::list)
            .await?
            .into_iter()
            .filter(|wallet| wallet.state != "closed" && wallet.expires_at <= now)
            .filter(|wallet| wallet.incarnation == self.incarnation)
            .collect();
        let mut closed = Vec::new();
        for wallet in expired {
            match self.close_agent_wallet(&wallet.id).await {
                Ok(swept) => closed.push((wallet.id, swept)),
                // One mint that is down must not keep the others open.
                Err(error) => tracing::warn!(
                    wallet.id = %wallet.id,
                    %error,
                    "an expired wallet cannot be closed yet"
                ),
            }
        }
        Ok(closed)
    }
}

fn info(row: &WalletRow, balance_sat: u64) -> WalletInfo {
    WalletInfo {
        id: row.id.clone(),
        agent: row.agent.clone(),
        mint: row.mint.clone(),
        limit_sat: row.limit_sat,
        balance_sat,
        created_at: row.created_at,
        expires_at: row.expires_at,
        state: row.state.clone(),
    }
}
