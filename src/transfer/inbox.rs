//! Being paid by message: read, check, redeem, acknowledge.

use std::time::Duration;

use feria_paywall::xcashu::cashu::nuts::nut18::PaymentRequestPayload;
use feria_paywall::xcashu::strict::is_same_mint;
use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::{Keys, PublicKey};
use nostr::types::Timestamp;

use super::inspect::{self, Readable};
use super::message::{self, Content};
use super::outbox::{UNANSWERED, peer_key};
use super::{Reconciled, TransferError, Transfers, lock_label};
use crate::crash;
use crate::protocol::text::clean;
use crate::relay::Delivery;
use crate::store::ledger::transfers::{Direction, Incoming, Step, TransferRow, TransferState};
use crate::store::ledger::{Account, EntryKind};
use crate::wallet::{ReceiveRequest, TokenFault, WalletError};

/// Wraps are dated up to two days back; one day more for slow relays.
const LOOK_BACK: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long an acknowledgement is tried.
const ANSWER_FOR: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Kept and refused messages that an agent stores; what comes beyond is dropped unread.
const MAX_IDLE: u64 = 1_000;
/// Characters that are kept of a payer's words.
const MAX_MEMO_CHARS: usize = 500;

const HELD: &[TransferState] = &[TransferState::Held];
const RECEIVED: &[TransferState] = &[TransferState::Received];

/// Where an own agent reads its messages.
#[derive(Debug, Clone)]
pub struct Inbox {
    /// Its name.
    pub agent: String,
    /// Its Nostr keys.
    pub keys: Keys,
    /// The relays of its kind 10050.
    pub relays: Vec<String>,
    /// Which wallet is credited.
    pub wallet_id: String,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Not a message to this agent, or none of ours.
    Ignored,
    /// The message or its proofs were here before.
    Duplicate,
    /// Of a mint that is not trusted; stored, untouched.
    Kept,
    /// Not taken; the sentence says why.
    Refused(String),
    /// Checked and stored; the mint has to be asked again.
    Held,
    /// Redeemed.
    Received {
        /// What arrived, in satoshi.
        amount_sat: u64,
    },
    /// The payee of an own payment says that it is redeemed.
    Answered,
}

impl Transfers {
    /// Reads the messages of an agent for as long as the node runs.
    ///
    /// # Errors
    /// When one of the relays is not a relay's address.
    pub async fn run_inbox(&self, inbox: Inbox) -> Result<(), TransferError> {
        self.register(&inbox.agent, inbox.keys.clone());
        let since = self.now().saturating_sub(LOOK_BACK.as_secs());
        let filter = Filter::new()
            .kind(Kind::GiftWrap)
            .pubkey(inbox.keys.public_key())
            .since(Timestamp::from(since));
        let identity = Some(inbox.keys.clone());
        let mut deliveries = self
            .parts()
            .relays
            .subscribe(&inbox.relays, vec![filter], identity)
            .map_err(|error| TransferError::Message(error.to_string()))?;
        while let Some(delivery) = deliveries.recv().await {
            let Delivery::Event(received) = delivery else {
                continue;
            };
            match self.take(&inbox, &received.event).await {
                Ok(_) => tracing::debug!(agent = %inbox.agent, "a message was read"),
                Err(error) => {
                    tracing::error!(agent = %inbox.agent, %error, "a message could not be stored");
                }
            }
        }
        Ok(())
    }

    /// Takes one gift wrap. The same wrap, message or proofs count once.
    ///
    /// # Errors
    /// When the ledger fails; the message may be offered again.
    #[tracing::instrument(name = "transfer.message.take", skip_all, fields(agent = %inbox.agent))]
    pub async fn take(&self, inbox: &Inbox, wrap: &Event) -> Result<Taken, TransferError> {
        let Some(letter) = message::unwrap(&inbox.keys, wrap) else {
            return Ok(Taken::Ignored);
        };
        match letter.content {
            Content::Other => Ok(Taken::Ignored),
            Content::Received { rumor_id } => self.take_answer(&letter.sender, rumor_id).await,
            Content::Payment {
                payload,
                reply_relays,
            } => {
                let id = hex::encode(letter.rumor_id);
                if let Some(before) = self.parts().ledger.find_transfer(&id).await? {
                    return self.seen_before(&before).await;
                }
                let mut row = self.incoming_row(inbox, id, &letter.sender, &payload);
                row.peer_relays = reply_relays;
                self.take_payment(row, &payload).await
            }
        }
    }

    fn incoming_row(
        &self,
        inbox: &Inbox,
        id: String,
        sender: &PublicKey,
        payload: &PaymentRequestPayload,
    ) -> TransferRow {
        let now = self.now();
        TransferRow {
            id,
            direction: Direction::In,
            state: TransferState::Held,
            agent: inbox.agent.clone(),
            wallet_id: inbox.wallet_id.clone(),
            peer: sender.to_bytes(),
            mint: clean(&payload.mint.to_string(), 300),
            amount: feria_paywall::amount::Sat::ZERO,
            memo: clean(payload.memo.as_deref().unwrap_or_default(), MAX_MEMO_CHARS),
            locktime: None,
            lock_key: None,
            rumor_id: None,
            peer_relays: Vec::new(),
            reply_relays: Vec::new(),
            token: None,
            detail: String::new(),
            sent_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    async fn take_payment(
        &self,
        mut row: TransferRow,
        payload: &PaymentRequestPayload,
    ) -> Result<Taken, TransferError> {
        let readable = match inspect::read(payload) {
            Ok(readable) => readable,
            Err(reason) => return self.refuse_new(row, reason).await,
        };
        let Readable { token, ys } = readable;
        row.amount = token.amount;
        row.token = Some(token.text.clone());
        let wallets = &self.parts().wallets;
        let trusted = wallets
            .mints()
            .into_iter()
            .find(|trust| is_same_mint(&trust.url, &token.mint));
        let Some(trusted) = trusted else {
            row.state = TransferState::Kept;
            row.detail = "its mint is not trusted here".to_owned();
            return Ok(match self.claim(row, ys).await? {
                Incoming::New => Taken::Kept,
                _ => Taken::Duplicate,
            });
        };
        row.mint = trusted.url;
        // Without the mint's keys it is stored unchecked, and checked before it is redeemed.
        if let Ok(keys) = wallets.mint_keys(&row.mint).await {
            let lock_key = wallets.lock_key(&lock_label(&row.agent))?;
            if let Some(reason) = inspect::refusal(&token, &keys, &lock_key, self.now()) {
                return self.refuse_new(row, reason).await;
            }
        }
        match self.claim(row.clone(), ys).await? {
            Incoming::New => {
                crash::point("transfer.held");
                self.redeem(&row).await
            }
            Incoming::SameMessage(before) => self.seen_before(&before).await,
            Incoming::SameProofs | Incoming::TooMany => Ok(Taken::Duplicate),
        }
    }

    async fn claim(&self, row: TransferRow, ys: Vec<[u8; 33]>) -> Result<Incoming, TransferError> {
        let ledger = &self.parts().ledger;
        Ok(ledger.claim_incoming_transfer(row, ys, MAX_IDLE).await?)
    }

    async fn refuse_new(
        &self,
        mut row: TransferRow,
        reason: String,
    ) -> Result<Taken, TransferError> {
        row.state = TransferState::Refused;
        row.detail.clone_from(&reason);
        row.token = None;
        self.claim(row, Vec::new()).await?;
        Ok(Taken::Refused(reason))
    }

    /// A message that comes again is a payer who waits for an answer.
    async fn seen_before(&self, before: &TransferRow) -> Result<Taken, TransferError> {
        let is_answered = matches!(
            before.state,
            TransferState::Received | TransferState::Acknowledged
        );
        if is_answered && before.direction == Direction::In {
            self.acknowledge(before).await?;
        }
        Ok(Taken::Duplicate)
    }

    /// Redeems a held transfer and acknowledges it.
    pub(super) async fn redeem(&self, row: &TransferRow) -> Result<Taken, TransferError> {
        let wallets = &self.parts().wallets;
        let Some(text) = row.token.clone() else {
            return self.refuse_held(row, "its token is gone".to_owned()).await;
        };
        let Ok(keys) = wallets.mint_keys(&row.mint).await else {
            return Ok(Taken::Held);
        };
        let lock_key = wallets.lock_key(&lock_label(&row.agent))?;
        let refusal = match feria_paywall::xcashu::token::parse(&text, text.len()) {
            Ok(token) => inspect::refusal(&token, &keys, &lock_key, self.now()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = refusal {
            return self.refuse_held(row, reason).await;
        }
        let request = ReceiveRequest {
            operation_id: format!("transfer-in-{}", row.id),
            wallet_id: row.wallet_id.clone(),
            token: text,
            from: Account::external("transfers"),
            kind: EntryKind::Transfer,
            unlock_as: vec![lock_label(&row.agent)],
            reference: row.id.clone(),
        };
        let received = match wallets.receive(request).await {
            Ok(received) => received,
            Err(WalletError::Refused(TokenFault::Pending)) => return Ok(Taken::Held),
            Err(WalletError::Refused(fault)) => {
                return self.refuse_held(row, fault.to_string()).await;
            }
            Err(WalletError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(transfer.id = %row.id, %error, "incoming ecash waits for its mint");
                return Ok(Taken::Held);
            }
        };
        crash::point("transfer.redeemed");
        let step = Step {
            amount: Some(received.amount),
            drop_token: true,
            ..Step::default()
        };
        self.advance(row, HELD, TransferState::Received, step)
            .await?;
        crash::point("transfer.received");
        self.acknowledge(row).await?;
        Ok(Taken::Received {
            amount_sat: received.amount.as_u64(),
        })
    }

    async fn refuse_held(&self, row: &TransferRow, reason: String) -> Result<Taken, TransferError> {
        let step = Step {
            detail: Some(reason.clone()),
            drop_token: true,
            ..Step::default()
        };
        self.advance(row, HELD, TransferState::Refused, step)
            .await?;
        Ok(Taken::Refused(reason))
    }

    /// Tells the payer of a redeemed transfer. Without a way to it, or after some
    /// days, it is let be: the payer can ask the mint.
    pub(super) async fn acknowledge(&self, row: &TransferRow) -> Result<(), TransferError> {
        let now = self.now();
        let Some(keys) = self.identity(&row.agent) else {
            return Ok(());
        };
        let is_hopeless =
            row.peer_relays.is_empty() || now > row.created_at.saturating_add(ANSWER_FOR.as_secs());
        let mut step = Step::default();
        if is_hopeless {
            step.detail = Some("the payer was not told".to_owned());
        } else {
            let peer = peer_key(row)?;
            let rumor =
                message::received_rumor(&keys.public_key(), &peer, &row.id, row.created_at)?;
            let wrap = message::wrap(&keys, &peer, &rumor, now, self.parts().entropy.as_ref())?;
            let relays = &self.parts().relays;
            let answers = relays.publish(&row.peer_relays, &wrap, Some(&keys)).await;
            if !answers.iter().any(|answer| answer.accepted) {
                return Ok(());
            }
            crash::point("transfer.answered");
            step.is_sent = true;
        }
        self.advance(row, RECEIVED, TransferState::Acknowledged, step)
            .await?;
        Ok(())
    }

    /// Only the payee of a payment can acknowledge it, and its word books
    /// nothing: the mint is asked.
    async fn take_answer(
        &self,
        sender: &PublicKey,
        rumor_id: [u8; 32],
    ) -> Result<Taken, TransferError> {
        let ledger = &self.parts().ledger;
        let row = ledger.find_outgoing_transfer(rumor_id).await?;
        let Some(row) = row.filter(|row| row.peer == sender.to_bytes()) else {
            return Ok(Taken::Ignored);
        };
        let state = TransferState::Acknowledged;
        let is_news = self
            .advance(&row, UNANSWERED, state, Step::default())
            .await?;
        if is_news && let Some(row) = ledger.find_transfer(&row.id).await? {
            self.resolve_outgoing(row, &mut Reconciled::default())
                .await?;
        }
        Ok(Taken::Answered)
    }
}
