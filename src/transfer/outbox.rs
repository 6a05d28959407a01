//! Paying by message: order, token, message, and what becomes of it.

use feria_paywall::amount::Sat;
use feria_paywall::xcashu::cashu::nuts::{Proofs, PublicKey as LockKey};
use feria_paywall::xcashu::strict::{OfflineVerdict, is_same_mint};
use feria_paywall::xcashu::token;
use nostr::event::Event;
use nostr::key::{Keys, PublicKey};

use super::inspect::{self, MAX_PROOFS};
use super::message::{self, Payment};
use super::payee::Payee;
use super::{RESEND_AFTER, Reconciled, SendTransfer, Transfer, TransferError, Transfers};
use crate::clock::random_id;
use crate::crash;
use crate::store::ledger::Account;
use crate::store::ledger::transfers::{Direction, Step, TransferRow, TransferState};
use crate::wallet::{InFlightState, Lock, SendRequest, SentToken, TokenFault, WalletError};

/// Longest token that the wallet is expected to make, in bytes.
const MAX_TOKEN_BYTES: usize = 128 * 1_024;
/// After the locktime, before the ecash is taken home: clocks differ.
const RECLAIM_SLACK_SECS: u64 = 60;
/// The state before any relay has the message.
const CREATED: &[TransferState] = &[TransferState::Created];
/// The states before the payee's answer.
pub(super) const UNANSWERED: &[TransferState] = &[TransferState::Created, TransferState::Sent];
/// States in which the payee may still redeem.
const UNDECIDED: &[TransferState] = &[
    TransferState::Created,
    TransferState::Sent,
    TransferState::Acknowledged,
];

impl Transfers {
    /// Pays by message. The payment is `sent` when a relay of the payee has taken
    /// the message, else `created`: then, as after every restart,
    /// [`Self::reconcile`] sends it again or takes the ecash home.
    ///
    /// # Errors
    /// [`TransferError::NotReachable`] and [`TransferError::NoCommonMint`] before
    /// any money moves. After [`TransferError::Wallet`] the transfer is listed,
    /// as failed or still open.
    #[tracing::instrument(name = "transfer.payment.send", skip_all, fields(agent = %order.from_agent))]
    pub async fn send(&self, order: SendTransfer) -> Result<Transfer, TransferError> {
        if order.amount == Sat::ZERO {
            return Err(TransferError::Amount(order.amount));
        }
        self.register(&order.from_agent, order.from_keys.clone());
        let payee = self.find_payee(&order.payee, &order.lookup_relays).await?;
        let mint = self.choose_mint(&order, &payee).await?;
        let now = self.now();
        let row = TransferRow {
            id: random_id(self.parts().entropy.as_ref()),
            direction: Direction::Out,
            state: TransferState::Created,
            agent: order.from_agent,
            wallet_id: order.wallet_id,
            peer: order.payee.to_bytes(),
            mint,
            amount: order.amount,
            memo: order.memo.chars().take(500).collect(),
            locktime: Some(now.saturating_add(self.inner.lock.as_secs())),
            lock_key: Some(payee.lock_key),
            rumor_id: None,
            peer_relays: payee.relays,
            reply_relays: order.reply_relays,
            token: None,
            detail: String::new(),
            sent_at: None,
            created_at: now,
            updated_at: now,
        };
        self.parts().ledger.insert_transfer(row.clone()).await?;
        crash::point("transfer.created");
        self.dispatch(&row, &order.from_keys).await?;
        let row = self.parts().ledger.find_transfer(&row.id).await?;
        row.map(Transfer::from)
            .ok_or_else(|| TransferError::Message("the transfer is gone".to_owned()))
    }

    /// Returns the fullest mint of the wallet that the payee takes and that binds
    /// the ecash to the payee's key.
    async fn choose_mint(
        &self,
        order: &SendTransfer,
        payee: &Payee,
    ) -> Result<String, TransferError> {
        let wallets = &self.parts().wallets;
        let mut fullest: Option<(Sat, String)> = None;
        for trust in wallets.mints() {
            if !payee
                .mints
                .iter()
                .any(|mint| is_same_mint(mint, &trust.url))
            {
                continue;
            }
            // A mint that is down cannot be paid with now, but another may do.
            let Ok(keys) = wallets.mint_keys(&trust.url).await else {
                continue;
            };
            let held = wallets
                .balance(&order.wallet_id, &trust.url)
                .await
                .unwrap_or(Sat::ZERO);
            if keys.enforces_p2pk && fullest.as_ref().is_none_or(|(most, _)| held > *most) {
                fullest = Some((held, trust.url));
            }
        }
        match fullest {
            None => Err(TransferError::NoCommonMint {
                payee: order.payee.to_hex(),
                mints: payee.mints.clone(),
            }),
            Some((held, _)) if held < order.amount => {
                Err(TransferError::Wallet(WalletError::Insufficient {
                    wallet: order.wallet_id.clone(),
                    held,
                    needed: order.amount,
                }))
            }
            Some((_, mint)) => Ok(mint),
        }
    }

    /// Makes the token, or the same one again, and sends the message. Returns
    /// whether a relay of the payee has it.
    async fn dispatch(&self, row: &TransferRow, keys: &Keys) -> Result<bool, TransferError> {
        let sent = match self.make_token(row).await {
            Ok(sent) => {
                crash::point("transfer.locked");
                sent
            }
            Err(error @ (WalletError::Unknown(_) | WalletError::Store(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                let step = detail(format!("nothing was paid: {error}"));
                self.advance(row, CREATED, TransferState::Failed, step)
                    .await?;
                return Err(error.into());
            }
        };
        let proofs = match self.proofs(row, &sent).await? {
            Ok(proofs) => proofs,
            Err(reason) => {
                // It comes home after the locktime.
                tracing::error!(transfer.id = %row.id, "the wallet made ecash that cannot be sent");
                self.advance(row, CREATED, TransferState::Created, detail(reason))
                    .await?;
                return Ok(false);
            }
        };
        let payment = Payment {
            id: &row.id,
            memo: &row.memo,
            mint: &row.mint,
            proofs: &proofs,
            reply_relays: &row.reply_relays,
        };
        let peer = peer_key(row)?;
        let rumor = message::payment_rumor(&keys.public_key(), &peer, &payment, row.created_at)?;
        // The answer may come before the relay's OK: it must find the id.
        let step = Step {
            rumor_id: Some(rumor.compute_id().to_bytes()),
            ..Step::default()
        };
        self.advance(row, CREATED, TransferState::Created, step)
            .await?;
        let entropy = self.parts().entropy.as_ref();
        let wrap = message::wrap(keys, &peer, &rumor, self.now(), entropy)?;
        self.publish(row, keys, &wrap).await
    }

    async fn publish(
        &self,
        row: &TransferRow,
        keys: &Keys,
        wrap: &Event,
    ) -> Result<bool, TransferError> {
        let relays = &self.parts().relays;
        let answers = relays.publish(&row.peer_relays, wrap, Some(keys)).await;
        let refusals: Vec<_> = answers
            .iter()
            .filter(|answer| !answer.accepted)
            .map(|answer| format!("{}: {}", answer.relay, answer.message))
            .collect();
        crash::point("transfer.published");
        let is_sent = answers.iter().any(|answer| answer.accepted);
        let step = Step {
            is_sent,
            detail: Some(refusals.join("; ")),
            ..Step::default()
        };
        if is_sent {
            self.advance(row, UNANSWERED, TransferState::Sent, step)
                .await?;
            crash::point("transfer.sent");
        } else {
            self.advance(row, CREATED, TransferState::Created, step)
                .await?;
        }
        Ok(is_sent)
    }

    async fn make_token(&self, row: &TransferRow) -> Result<SentToken, WalletError> {
        let lock = Lock {
            key: row.lock_key.clone().unwrap_or_default(),
            locktime: row.locktime.unwrap_or_default(),
        };
        let request = SendRequest {
            operation_id: operation_id(&row.id),
            wallet_id: row.wallet_id.clone(),
            mint: row.mint.clone(),
            amount: row.amount,
            lock: Some(lock),
            cover_receiver_fee: true,
            reference: row.id.clone(),
            memo: "ecash by message".to_owned(),
        };
        self.parts().wallets.send(request).await
    }

    /// Returns the proofs of `sent`, checked as the payee will check them.
    async fn proofs(
        &self,
        row: &TransferRow,
        sent: &SentToken,
    ) -> Result<Result<Proofs, String>, TransferError> {
        let keys = self.parts().wallets.mint_keys(&row.mint).await?;
        let lock_key = row.lock_key.as_deref().unwrap_or_default();
        let Ok(lock_key) = LockKey::from_hex(lock_key) else {
            return Ok(Err("the payee's key is none".to_owned()));
        };
        let token = match token::parse(&sent.token, MAX_TOKEN_BYTES) {
            Ok(token) => token,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match inspect::check(&token, &keys, &lock_key, self.now()) {
            OfflineVerdict::Accept(checked) if checked.proofs.len() <= MAX_PROOFS => {
                Ok(checked.proofs)
            }
            OfflineVerdict::Accept(_) => Err("too many proofs for one message".to_owned()),
            OfflineVerdict::NeedsSwap(reason) => Err(format!("{reason:?}")),
            OfflineVerdict::Refuse(reason) => Err(reason.to_string()),
        })
    }

    /// Takes the next step of an outgoing transfer, if there is one.
    pub(super) async fn resolve_outgoing(
        &self,
        row: TransferRow,
        report: &mut Reconciled,
    ) -> Result<(), TransferError> {
        if row.state == TransferState::Reclaiming {
            return self.bring_home(&row, report).await;
        }
        let (wallets, now) = (&self.parts().wallets, self.now());
        let locktime = row.locktime.unwrap_or_default();
        let operation = operation_id(&row.id);
        match wallets.token(&operation).await {
            Ok(Some(_)) => {}
            Ok(None) if now < locktime => return self.send_again(&row, report).await,
            // The mint has not said whether it made the token: it may be there yet.
            Ok(None) if self.parts().ledger.is_operation_open(&operation).await? => {
                report.open += 1;
                return Ok(());
            }
            Ok(None) => {
                let step = detail("given up before any ecash was made".to_owned());
                self.advance(&row, UNDECIDED, TransferState::Failed, step)
                    .await?;
                return Ok(());
            }
            Err(error) => {
                left_open(&row, &error, report);
                return Ok(());
            }
        }
        match wallets.in_flight_state(&operation).await {
            Ok(InFlightState::Spent) => self.book_claimed(&row, UNDECIDED, report).await,
            Ok(InFlightState::Unspent) if now > locktime.saturating_add(RECLAIM_SLACK_SECS) => {
                let state = TransferState::Reclaiming;
                if self
                    .advance(&row, UNDECIDED, state, Step::default())
                    .await?
                {
                    crash::point("transfer.reclaiming");
                    self.bring_home(&row, report).await?;
                }
                Ok(())
            }
            Ok(InFlightState::Unspent) if is_due(&row, now) && now < locktime => {
                self.send_again(&row, report).await
            }
            Ok(InFlightState::Unspent | InFlightState::Pending) => {
                report.open += 1;
                Ok(())
            }
            Err(error) => {
                left_open(&row, &error, report);
                Ok(())
            }
        }
    }

    async fn send_again(
        &self,
        row: &TransferRow,
        report: &mut Reconciled,
    ) -> Result<(), TransferError> {
        let Some(keys) = self.identity(&row.agent) else {
            report.open += 1;
            return Ok(());
        };
        match self.dispatch(row, &keys).await {
            Ok(true) => report.resent += 1,
            Ok(false) => report.open += 1,
            Err(TransferError::Store(error)) => return Err(error.into()),
            Err(error) => left_open(row, &error, report),
        }
        Ok(())
    }

    async fn bring_home(
        &self,
        row: &TransferRow,
        report: &mut Reconciled,
    ) -> Result<(), TransferError> {
        let from = &[TransferState::Reclaiming];
        match self.parts().wallets.reclaim(&operation_id(&row.id)).await {
            Ok(_) => {
                crash::point("transfer.reclaimed");
                let step = detail(String::new());
                self.advance(row, from, TransferState::Reclaimed, step)
                    .await?;
                report.reclaimed += 1;
                Ok(())
            }
            // The payee was faster.
            Err(WalletError::Refused(TokenFault::AlreadySpent)) => {
                self.book_claimed(row, from, report).await
            }
            Err(error) => {
                left_open(row, &error, report);
                Ok(())
            }
        }
    }

    async fn book_claimed(
        &self,
        row: &TransferRow,
        from: &'static [TransferState],
        report: &mut Reconciled,
    ) -> Result<(), TransferError> {
        let to = Account::external("transfers");
        let operation = operation_id(&row.id);
        self.parts().wallets.settle(&operation, to).await?;
        crash::point("transfer.settled");
        let step = detail(String::new());
        self.advance(row, from, TransferState::Claimed, step)
            .await?;
        report.claimed += 1;
        Ok(())
    }

    /// Takes `row` on if it still is where `from` says; returns whether it was.
    pub(super) async fn advance(
        &self,
        row: &TransferRow,
        from: &'static [TransferState],
        to: TransferState,
        step: Step,
    ) -> Result<bool, TransferError> {
        let (ledger, now) = (&self.parts().ledger, self.now());
        Ok(ledger
            .advance_transfer(&row.id, from, to, step, now)
            .await?)
    }
}

/// The wallet's name for the token of the transfer `id`.
fn operation_id(id: &str) -> String {
    format!("transfer-{id}")
}

pub(super) fn peer_key(row: &TransferRow) -> Result<PublicKey, TransferError> {
    PublicKey::from_slice(&row.peer).map_err(|error| TransferError::Message(error.to_string()))
}

fn is_due(row: &TransferRow, now: u64) -> bool {
    let rested = row
        .sent_at
        .is_none_or(|at| at.saturating_add(RESEND_AFTER.as_secs()) <= now);
    rested && matches!(row.state, TransferState::Created | TransferState::Sent)
}

fn detail(detail: String) -> Step {
    Step {
        detail: Some(detail),
        ..Step::default()
    }
}

fn left_open(row: &TransferRow, error: &dyn std::error::Error, report: &mut Reconciled) {
    tracing::warn!(transfer.id = %row.id, %error, "a transfer stays open");
    report.open += 1;
}
