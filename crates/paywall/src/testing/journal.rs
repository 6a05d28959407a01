//! A journal that forgets everything with the process.
//!
//! It keeps the promises of [`Journal`] while the process lives, and none after:
//! a service that is paid for real needs one that survives a crash.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;

use super::locked;
use crate::amount::{Msat, Sat};
use crate::journal::{
    CallId, Claim, Claimed, Delivered, Journal, JournalError, PaidToken, PayOut, Payment,
    PaymentKey, Replay, RequestKey, StoredResponse,
};
use crate::l402::{Limit, LimitUnit, Remaining};

/// An in-memory [`Journal`] for both rails.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// What was taken of each limit of a Lightning credential.
    used: HashMap<([u8; 32], LimitUnit), u64>,
    /// Proofs that paid before.
    proofs: HashSet<[u8; 33]>,
    calls: HashMap<CallId, Call>,
    kept: Vec<(CallId, StoredResponse)>,
}

#[derive(Debug, Clone)]
struct Call {
    payment: PaymentKey,
    request: RequestKey,
    price: Msat,
    state: State,
    /// What it took of which limits; none for ecash.
    taken: Vec<(Limit, u64)>,
    /// `None` for Lightning.
    token: Option<Token>,
}

#[derive(Debug, Clone)]
struct Token {
    paid: PaidToken,
    is_swapped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Claimed,
    Committed,
    Released,
}

impl Book {
    fn insert(&mut self, claim: Claim, taken: Vec<(Limit, u64)>, token: Option<Token>) -> CallId {
        let id = CallId(format!("call-{}", self.calls.len()));
        let call = Call {
            payment: claim.payment.key(),
            request: claim.request,
            price: claim.price,
            state: State::Claimed,
            taken,
            token,
        };
        self.calls.insert(id.clone(), call);
        id
    }

    /// Takes of every limit, or of none.
    fn claim_lightning(&mut self, claim: Claim, limits: &[Limit], cost: Msat) -> Claimed {
        let mut remaining = Remaining::default();
        let mut taken = Vec::new();
        for limit in limits {
            let takes = limit.taken_by_call(cost.as_u64());
            let used = self.used.get(&(limit.key, limit.unit)).copied();
            let used = used.unwrap_or(0).saturating_add(takes);
            let Some(left) = limit.max.checked_sub(used) else {
                return Claimed::UsedUp;
            };
            remaining.narrow(limit.unit, left);
            taken.push((*limit, takes));
        }
        for (limit, takes) in &taken {
            *self.used.entry((limit.key, limit.unit)).or_default() += takes;
        }
        let call = self.insert(claim, taken, None);
        Claimed::New { call, remaining }
    }

    fn claim_token(&mut self, claim: Claim, token: Token) -> Claimed {
        let key = claim.payment.key();
        let known = self.calls.iter_mut().find(|(_, call)| call.payment == key);
        if let Some((id, call)) = known {
            return match call.state {
                State::Claimed => Claimed::InProgress,
                // A token that was never shown to its mint pays for the retry.
                State::Released if !token.is_swapped => {
                    call.state = State::Claimed;
                    call.request = claim.request;
                    Claimed::New {
                        call: id.clone(),
                        remaining: Remaining::default(),
                    }
                }
                State::Committed | State::Released => Claimed::AlreadySpent,
            };
        }
        if token.paid.ys.iter().any(|y| self.proofs.contains(y)) {
            return Claimed::AlreadySpent;
        }
        self.proofs.extend(&token.paid.ys);
        Claimed::New {
            call: self.insert(claim, Vec::new(), Some(token)),
            remaining: Remaining::default(),
        }
    }

    /// Closes a claimed call as `state` and gives back what it took, but for `cost`
    /// of limits in money. `None` if it is not claimed.
    fn close(&mut self, id: &CallId, state: State, cost: Option<u64>) -> Option<Call> {
        let call = self.calls.get_mut(id)?;
        if call.state != State::Claimed {
            return None;
        }
        call.state = state;
        for (limit, taken) in &call.taken {
            let kept = match (limit.unit, cost) {
                (_, None) => 0,
                (LimitUnit::Uses, Some(_)) => *taken,
                (LimitUnit::Msat, Some(cost)) => cost.min(*taken),
            };
            if let Some(used) = self.used.get_mut(&(limit.key, limit.unit)) {
                *used = used.saturating_sub(taken - kept);
            }
        }
        Some(call.clone())
    }
}

impl Call {
    /// Returns what is left of the token once `kept` is kept of it.
    fn owed(&self, kept: Sat) -> Option<PayOut> {
        let token = self.token.as_ref()?;
        let amount = token.paid.net.saturating_sub(kept);
        (amount > Sat::ZERO).then(|| PayOut {
            mint: token.paid.mint.clone(),
            amount,
            lock_key: token.paid.refund_key.clone(),
        })
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn claim(&self, claim: Claim) -> Result<Claimed, JournalError> {
        let mut book = locked(&self.book);
        Ok(match claim.payment.clone() {
            Payment::L402 { limits, cost, .. } | Payment::Mpp { limits, cost, .. } => {
                book.claim_lightning(claim, &limits, cost)
            }
            Payment::Offline(paid) => book.claim_token(
                claim,
                Token {
                    paid,
                    is_swapped: false,
                },
            ),
            Payment::Swapped(paid) => book.claim_token(
                claim,
                Token {
                    paid,
                    is_swapped: true,
                },
            ),
        })
    }

    async fn commit(
        &self,
        call: &CallId,
        delivered: Delivered,
    ) -> Result<Option<PayOut>, JournalError> {
        let cost = delivered.cost;
        let taken = cost.map_or(u64::MAX, Msat::as_u64);
        let closed = locked(&self.book).close(call, State::Committed, Some(taken));
        if let Some(response) = delivered.response {
            self.keep_response(call, response).await?;
        }
        Ok(closed.and_then(|call| {
            let cost = cost.unwrap_or(call.price).min(call.price);
            call.owed(cost.ceil_sat())
        }))
    }

    async fn keep_response(
        &self,
        call: &CallId,
        response: StoredResponse,
    ) -> Result<(), JournalError> {
        locked(&self.book).kept.push((call.clone(), response));
        Ok(())
    }

    async fn release(&self, call: &CallId) -> Result<Option<PayOut>, JournalError> {
        let closed = locked(&self.book).close(call, State::Released, None);
        Ok(closed
            .filter(|call| call.token.as_ref().is_some_and(|token| token.is_swapped))
            .and_then(|call| call.owed(Sat::ZERO)))
    }

    async fn find_response(
        &self,
        payment: PaymentKey,
        request: &RequestKey,
        _now: u64,
    ) -> Result<Option<Replay>, JournalError> {
        let book = locked(&self.book);
        let found = book.kept.iter().rev().find_map(|(id, response)| {
            let call = book.calls.get(id)?;
            let is_meant = match &request.idempotency_key {
                Some(name) => call.request.idempotency_key.as_ref() == Some(name),
                None => call.request.digest == request.digest,
            };
            let has_body = request
                .body_hash
                .is_none_or(|hash| response.request_body_hash == hash);
            (call.payment == payment && is_meant && has_body).then(|| Replay {
                call: id.clone(),
                response: response.clone(),
                change: call.owed(call.price.ceil_sat()),
                request_digest: call.request.digest,
            })
        });
        Ok(found)
    }
}
