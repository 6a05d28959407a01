//! Gives value back: refunds of failed calls and change of overpaid ones.
//!
//! What is owed is written down before the token is made; the operation id is the
//! call's, so asking again gives the same token, after a crash too.

use feria_paywall::amount::Sat;
use feria_paywall::ecash::paid_token;
use feria_paywall::journal::PaidToken;
use feria_paywall::xcashu::token::parse;

use super::{Core, GatewayError};
use crate::crash;
use crate::store::ledger::Account;
use crate::store::ledger::refunds::Owed;
use crate::wallet::{Lock, SendRequest, SentToken, TREASURY, TokenFault, WalletError};

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1_024;
/// How long a refund stays locked to the payer's own key before we could take it
/// back. A month: whoever paid may be away for a while.
const REFUND_LOCK_SECS: u64 = 30 * 86_400;

/// What `POST /v1/refund` answers.
#[derive(Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// 200: hand this token out. Asking again gives the same one.
    Token {
        /// The token.
        token: String,
        /// Its mint.
        mint: String,
        /// Its value.
        amount: Sat,
    },
    /// 404: this token never paid for anything here.
    NotFound,
    /// 410: the call it paid for was delivered, and nothing is owed.
    NothingOwed,
    /// 425: the call is still running: ask again.
    InProgress,
    /// 503: owed, but the mint does not answer now: ask again.
    Unavailable,
    /// 400: not a token.
    Malformed,
}

impl std::fmt::Debug for RefundOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token { .. } => "Token(..)",
            Self::NotFound => "NotFound",
            Self::NothingOwed => "NothingOwed",
            Self::InProgress => "InProgress",
            Self::Unavailable => "Unavailable",
            Self::Malformed => "Malformed",
        })
    }
}

impl Core {
    /// Returns what is owed to whoever paid with `token`.
    pub(super) async fn refund(&self, token: &str) -> Result<RefundOutcome, GatewayError> {
        let parsed = parse(token.trim(), MAX_TOKEN_BYTES);
        let Some(paid) = parsed.ok().as_ref().and_then(paid_token) else {
            return Ok(RefundOutcome::Malformed);
        };
        let Some(call) = self.ledger.find_token_call(paid.key()).await? else {
            return Ok(RefundOutcome::NotFound);
        };
        match call.state.as_str() {
            "swapping" | "claimed" => return Ok(RefundOutcome::InProgress),
            "interrupted" => {
                if let Some(outcome) = self.finish_interrupted(&paid, &call.agent).await? {
                    return Ok(outcome);
                }
            }
            _ if call.owed == Sat::ZERO => return Ok(RefundOutcome::NothingOwed),
            _ => {}
        }
        match self.pay_out_call(&call.call_id).await {
            Ok(Some(sent)) => Ok(RefundOutcome::Token {
                token: sent.token,
                mint: sent.mint,
                amount: sent.amount,
            }),
            Ok(None) => Ok(RefundOutcome::NothingOwed),
            Err(GatewayError::Wallet(error)) => {
                tracing::warn!(call.id = %call.call_id, %error, "A refund stays owed");
                Ok(RefundOutcome::Unavailable)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands out what `call_id` owes; `None` if that is nothing.
    pub(super) async fn pay_out_call(
        &self,
        call_id: &str,
    ) -> Result<Option<PaidOut>, GatewayError> {
        let begun = self
            .ledger
            .begin_pay_out(call_id.to_owned(), self.now())
            .await?;
        crash::point("gateway.after_pay_out_intent");
        match begun {
            Some(owed) => self.make_pay_out(&owed).await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes, or finds again, the token for `owed` and books it.
    pub(super) async fn make_pay_out(&self, owed: &Owed) -> Result<PaidOut, GatewayError> {
        let operation_id = format!("payout-{}", owed.call_id);
        if !owed.is_paid_out {
            // What was accepted offline must be money before it can be given back.
            self.redeem_payment(&owed.mint, owed.payment).await?;
            let still_owed = self
                .ledger
                .begin_pay_out(owed.call_id.clone(), self.now())
                .await?;
            if still_owed.is_none() {
                return Err(WalletError::Refused(TokenFault::AlreadySpent).into());
            }
            if self.ledger.is_unredeemed(owed.payment).await? {
                return Err(WalletError::MintUnavailable {
                    mint: owed.mint.clone(),
                    reason: "the token that paid is not redeemed yet".to_owned(),
                }
                .into());
            }
        }
        let sent = match self.wallets.token(&operation_id).await? {
            Some(sent) => sent,
            None => self.send_at_most(&operation_id, owed).await?,
        };
        crash::point("gateway.after_pay_out");
        self.wallets
            .settle(&operation_id, Account::owed(&owed.agent))
            .await?;
        self.ledger
            .finish_pay_out(owed.call_id.clone(), sent.amount, self.now())
            .await?;
        Ok(PaidOut {
            token: sent.token,
            mint: owed.mint.clone(),
            amount: sent.amount,
        })
    }

    /// Sends what is owed, less the mint's fee if the treasury holds nothing else there.
    async fn send_at_most(
        &self,
        operation_id: &str,
        owed: &Owed,
    ) -> Result<SentToken, WalletError> {
        let lock = owed.lock_key.as_ref().map(|key| Lock {
            key: key.clone(),
            locktime: self.now().saturating_add(REFUND_LOCK_SECS),
        });
        let request = SendRequest {
            operation_id: operation_id.to_owned(),
            wallet_id: TREASURY.to_owned(),
            mint: owed.mint.clone(),
            amount: owed.amount,
            lock,
            cover_receiver_fee: false,
            reference: owed.call_id.clone(),
            memo: String::new(),
        };
        match self.wallets.send(request.clone()).await {
            Err(WalletError::Insufficient { held, needed, .. })
                if needed.saturating_sub(held) < owed.amount =>
            {
                let amount = owed.amount.saturating_sub(needed.saturating_sub(held));
                self.wallets.send(SendRequest { amount, ..request }).await
            }
            other => other,
        }
    }

    /// Finds out what became of an interrupted swap. `None` if its value is owed now.
    async fn finish_interrupted(
        &self,
        paid: &PaidToken,
        agent: &str,
    ) -> Result<Option<RefundOutcome>, GatewayError> {
        use crate::store::ledger::swaps::SwapStart;
        use feria_paywall::scheme::SwapFault;

        let start = self
            .ledger
            .begin_swap(
                agent.to_owned(),
                paid.clone(),
                Sat::ZERO,
                String::new(),
                self.now(),
            )
            .await?;
        let SwapStart::Swap(operation_id) = start else {
            return Ok(Some(RefundOutcome::InProgress));
        };
        match self.take_in(&operation_id, agent, paid).await {
            Ok(net) => {
                self.ledger
                    .release_swap(paid.key(), net, self.now())
                    .await?;
                Ok(None)
            }
            // The mint never took it, or somebody else spent it: nothing of it is here.
            Err(SwapFault::MintUnavailable | SwapFault::Unknown) => {
                Ok(Some(RefundOutcome::Unavailable))
            }
            Err(_) => Ok(Some(RefundOutcome::NotFound)),
        }
    }
}

/// A token that was handed out.
pub(super) struct PaidOut {
    pub(super) token: String,
    pub(super) mint: String,
    pub(super) amount: Sat,
}
