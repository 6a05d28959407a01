//! Ecash against a paid invoice (NUT-04): quote, and issue once it is paid.

use cdk::nuts::{CurrencyUnit, MintQuoteBolt11Request, MintQuoteState, MintRequest, PaymentMethod};
use cdk::wallet::MintConnector;
use cdk::{MintQuoteRequest, MintQuoteResponse};
use feria_paywall::amount::Sat;

use super::engine::Engine;
use super::melt::payee;
use super::mint::{MintFault, MintLink};
use super::plan::{Operation, Outcome, OwnOutputs, Plan, Purpose, messages};
use super::planning::{room, write_plan};
use super::receive::{credited_wallet, received};
use super::select::split;
use super::swap::restored;
use super::types::{FundingQuote, MintKeys, NewFunding, Received, TokenFault, WalletError};
use super::{TREASURY, Wallets};
use crate::clock::random_id;
use crate::crash;
use crate::store::StoreError;
use crate::store::ledger::operations::{self, FundingRow, Tx};
use crate::store::ledger::{proofs, wallets};

/// The longest quote id that is kept.
const MAX_QUOTE_ID_BYTES: usize = 160;

fn operation_id(quote_id: &str) -> String {
    format!("issue:{quote_id}")
}

impl Wallets {
    /// What a funding quote is over; zero when there is no such quote.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn funding_amount(&self, quote_id: &str) -> Result<Sat, WalletError> {
        self.engine.funding_amount(quote_id).await
    }
}

impl Engine {
    pub(crate) async fn request_funding(
        &self,
        new: NewFunding,
    ) -> Result<FundingQuote, WalletError> {
        let amount = new.amount;
        let link = self.pool.link(&new.mint)?;
        self.refuse_funding(&new.wallet_id, &link.url, amount)
            .await?;
        let nonce = random_id(self.entropy.as_ref());
        let key = self.seeds.quote_key(&nonce)?.public_key();
        let request = MintQuoteRequest::Bolt11(MintQuoteBolt11Request {
            amount: amount.as_u64().into(),
            unit: CurrencyUnit::Sat,
            description: None,
            pubkey: Some(key),
        });
        let answer = link
            .ask(|client| client.post_mint_quote(request))
            .await
            .map_err(|fault| fault.into_read_error(&link.url))?;
        let MintQuoteResponse::Bolt11(quote) = answer else {
            return Err(WalletError::Refused(TokenFault::Mint(
                "quote of another payment method".to_owned(),
            )));
        };
        if quote.quote.len() > MAX_QUOTE_ID_BYTES
            || quote
                .amount
                .is_some_and(|asked| u64::from(asked) != amount.as_u64())
        {
            return Err(WalletError::Refused(TokenFault::Mint(
                "quote of another amount".to_owned(),
            )));
        }
        let row = FundingRow {
            quote_id: quote.quote.clone(),
            wallet_id: new.wallet_id,
            mint: link.url.clone(),
            amount_sat: amount.as_u64(),
            expires_at: quote.expiry.unwrap_or(0).min(i64::MAX.unsigned_abs()),
            key_nonce: (quote.pubkey == Some(key)).then_some(nonce),
            source: new.source,
        };
        let expires_at = row.expires_at;
        let node_key = payee(&quote.request);
        self.ledger
            .write("keep funding quote", move |transaction| {
                if let Some(node_key) = node_key {
                    operations::insert_node_key(transaction, &row.mint, &node_key)?;
                }
                operations::insert_funding(transaction, &row)
            })
            .await?;
        Ok(FundingQuote {
            quote_id: quote.quote,
            bolt11: quote.request,
            amount,
            expires_at,
        })
    }

    /// Refuses what would put more into the wallet, or on the mint, than is allowed.
    async fn refuse_funding(
        &self,
        wallet_id: &str,
        mint: &str,
        amount: Sat,
    ) -> Result<(), WalletError> {
        let cap = self
            .pool
            .list()
            .into_iter()
            .find(|trust| trust.url == mint)
            .map_or(Sat::ZERO, |trust| trust.cap);
        let (id, url) = (wallet_id.to_owned(), mint.to_owned());
        let limit = self
            .ledger
            .write("check funding", move |transaction| {
                let held = proofs::sum_held(transaction)?;
                let held = held.iter().filter(|(_, mint, _)| *mint == url);
                let held: u64 = held.map(|(_, _, sat)| *sat).sum();
                // Money that a mint vanishes with is gone, whoever's it was.
                let free = cap.as_u64().saturating_sub(held);
                if id == TREASURY {
                    return Ok(Some(free));
                }
                match wallets::find(transaction, &id)? {
                    Some(wallet) if wallet.state == "open" && wallet.mint == url => {
                        Ok(Some(room(transaction, &wallet)?.min(free)))
                    }
                    _ => Ok(None),
                }
            })
            .await?;
        match limit {
            None => Err(WalletError::NoWallet(wallet_id.to_owned())),
            Some(limit) if amount.as_u64() > limit => Err(WalletError::Limit(format!(
                "wallet {wallet_id} may take {limit} sat more at {mint}"
            ))),
            Some(_) => Ok(()),
        }
    }

    pub(crate) async fn funding_amount(&self, quote_id: &str) -> Result<Sat, WalletError> {
        let id = quote_id.to_owned();
        let found = self
            .ledger
            .read(move |connection| operations::find_funding(connection, &id))
            .await?;
        Ok(found.map_or(Sat::ZERO, |row| Sat::new(row.amount_sat)))
    }

    pub(crate) async fn claim_funding(
        &self,
        quote_id: &str,
    ) -> Result<Option<Received>, WalletError> {
        let id = operation_id(quote_id);
        let _gate = self.gates.enter(&id).await;
        let before = self.find(&id).await?;
        if let Some(operation) = before.filter(|operation| operation.state != "failed") {
            if let Some(outcome) = &operation.outcome {
                return received(&operation, outcome).map(Some);
            }
            let outcome = self.resolve_issue(&operation).await?;
            return received(&operation, &outcome).map(Some);
        }
        let quote = quote_id.to_owned();
        let row = self
            .ledger
            .read(move |connection| operations::find_funding(connection, &quote))
            .await?
            .ok_or_else(|| {
                WalletError::Refused(TokenFault::Mint(format!("no quote {quote_id}")))
            })?;
        let link = self.pool.link(&row.mint)?;
        match self.quote_state(&link, quote_id).await {
            Ok(MintQuoteState::Unpaid) => return Ok(None),
            Ok(MintQuoteState::Paid) => {}
            Ok(MintQuoteState::Issued) => {
                return Err(WalletError::Refused(TokenFault::AlreadySpent));
            }
            Err(fault) => return Err(fault.into_read_error(&link.url)),
        }
        let keys = self.pool.keys(&row.mint).await?;
        let now = self.clock.now();
        let operation = self
            .ledger
            .write("plan issue", move |transaction| {
                plan_issue(transaction, &row, &keys, now)
            })
            .await??;
        let outcome = self.post_issue(&link, &operation).await?;
        received(&operation, &outcome).map(Some)
    }

    async fn quote_state(
        &self,
        link: &MintLink,
        quote_id: &str,
    ) -> Result<MintQuoteState, MintFault> {
        let answer = link
            .ask(|client| client.get_mint_quote_status(PaymentMethod::BOLT11, quote_id))
            .await?;
        match answer {
            MintQuoteResponse::Bolt11(quote) => Ok(quote.state),
            _ => Err(MintFault::Lost("quote of another method".to_owned())),
        }
    }

    async fn post_issue(
        &self,
        link: &MintLink,
        operation: &Operation,
    ) -> Result<Outcome, WalletError> {
        let Purpose::Issue {
            quote_id,
            key_nonce,
            ..
        } = &operation.plan.purpose
        else {
            return Err(WalletError::Unknown(operation.id.clone()));
        };
        let outputs = operation.outputs(&self.seeds)?;
        let mut request = MintRequest {
            quote: quote_id.clone(),
            outputs: messages(&outputs),
            signature: None,
        };
        if let Some(nonce) = key_nonce {
            request
                .sign(&self.seeds.quote_key(nonce)?)
                .map_err(|_| WalletError::Unknown(operation.id.clone()))?;
        }
        crash::point("wallet.issue.planned");
        let answer = link
            .ask(|client| async move { client.post_mint(&PaymentMethod::BOLT11, request).await })
            .await;
        match answer {
            Ok(answer) => {
                crash::point("wallet.issue.answered");
                self.complete(link, operation, &outputs, answer.signatures)
                    .await
            }
            Err(fault) => match self.quote_state(link, quote_id).await {
                Ok(MintQuoteState::Issued) => self.fetch_issued(link, operation).await,
                // Not carried out, and the same outputs will not do.
                Ok(MintQuoteState::Paid)
                    if matches!(fault, MintFault::KeysetRefused | MintFault::AlreadySigned) =>
                {
                    self.refuse(link, operation, fault).await
                }
                _ => Err(WalletError::Unknown(operation.id.clone())),
            },
        }
    }

    /// Brings an open issue to its end. Only the quote's own state tells whether
    /// it was carried out: signatures of the same counters could be older.
    pub(crate) async fn resolve_issue(
        &self,
        operation: &Operation,
    ) -> Result<Outcome, WalletError> {
        let link = self.pool.link(&operation.mint)?;
        let Purpose::Issue { quote_id, .. } = &operation.plan.purpose else {
            return Err(WalletError::Unknown(operation.id.clone()));
        };
        match self.quote_state(&link, quote_id).await {
            Ok(MintQuoteState::Issued) => self.fetch_issued(&link, operation).await,
            Ok(MintQuoteState::Paid) => self.post_issue(&link, operation).await,
            Ok(MintQuoteState::Unpaid) | Err(_) => Err(WalletError::Unknown(operation.id.clone())),
        }
    }

    /// Completes an issue that was carried out while we were not listening.
    async fn fetch_issued(
        &self,
        link: &MintLink,
        operation: &Operation,
    ) -> Result<Outcome, WalletError> {
        let outputs = operation.outputs(&self.seeds)?;
        match restored(link, &outputs).await {
            Ok(Some(signatures)) => self.complete(link, operation, &outputs, signatures).await,
            Ok(None) | Err(_) => Err(WalletError::Unknown(operation.id.clone())),
        }
    }
}

fn plan_issue(
    transaction: &Tx<'_>,
    row: &FundingRow,
    keys: &MintKeys,
    now: u64,
) -> Result<Result<Operation, WalletError>, StoreError> {
    let plan = keys.active(now).and_then(|keyset| {
        let amounts = split(row.amount_sat, &keyset.denominations())?;
        Some((keyset.id, amounts))
    });
    let Some((keyset_id, amounts)) = plan else {
        return Ok(Err(WalletError::MintUnavailable {
            mint: row.mint.clone(),
            reason: "no active keyset for the amount".to_owned(),
        }));
    };
    let wallet_id = credited_wallet(transaction, &row.wallet_id, &row.mint, row.amount_sat, now)?;
    let id = operation_id(&row.quote_id);
    let mut operation = Operation {
        id: id.clone(),
        wallet_id: wallet_id.clone(),
        mint: row.mint.clone(),
        state: "planned".to_owned(),
        plan: Plan {
            keyset_id,
            own: vec![OwnOutputs {
                wallet_id,
                first_counter: 0,
                amounts,
            }],
            handed: Vec::new(),
            lock: None,
            inputs: Vec::new(),
            input_sat: 0,
            fee_sat: 0,
            purpose: Purpose::Issue {
                quote_id: row.quote_id.clone(),
                key_nonce: row.key_nonce.clone(),
                from: row.source.clone(),
            },
            reference: id,
            memo: String::new(),
            origin: None,
        },
        foreign_token: None,
        signatures: None,
        outcome: None,
    };
    write_plan(transaction, &mut operation, now)?;
    Ok(Ok(operation))
}
