//! The body of an answer on its way to the caller.
//!
//! A paid answer counts as delivered when its last byte is here; one that breaks
//! off, or whose reader goes, stays `paid`, and the same idempotency key asks for
//! it again. What is small enough is kept for that case.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use tokio::sync::OwnedMutexGuard;

use super::call::{MAX_ANSWER_BODY_BYTES, describe, too_long};
use super::{Fetched, Purchase, SpendError, Spender};
use crate::client::HttpResponse;
use crate::store::ledger::intents::{
    IntentChange, IntentState, MAX_STORED_BODY_BYTES, StoredAnswer,
};

/// An answer whose head is here and whose body follows.
#[derive(Debug)]
pub struct OpenAnswer {
    /// The seller's status; 402 on a dry run.
    pub status: u16,
    /// The seller's headers, without those that carry money.
    pub headers: HeaderMap,
    /// As it stands now: `paid` until the body has ended, then `delivered`.
    /// `None` when the endpoint asked for nothing.
    pub purchase: Option<Purchase>,
    /// The seller's body.
    pub body: AnswerStream,
}

impl OpenAnswer {
    /// Returns the answer of a payment that buys none.
    pub(super) fn paid(purchase: Option<Purchase>) -> Self {
        Self {
            status: 200,
            headers: HeaderMap::new(),
            purchase,
            body: AnswerStream::whole(Bytes::new()),
        }
    }
}

/// A body. Dropping it half way leaves the purchase `paid`.
pub struct AnswerStream {
    parts: BoxStream<'static, Result<Bytes, SpendError>>,
    /// Nobody else works on the same purchase meanwhile.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl AnswerStream {
    /// Returns a body that is all here.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::new(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed())
    }

    fn new(parts: BoxStream<'static, Result<Bytes, SpendError>>) -> Self {
        Self { parts, _turn: None }
    }

    /// Keeps `turn` as long as the body lasts.
    pub(super) fn holding(mut self, turn: OwnedMutexGuard<()>) -> Self {
        self._turn = Some(turn);
        self
    }
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, SpendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.poll_next_unpin(context)
    }
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream").finish_non_exhaustive()
    }
}

/// What is left of an answer, and what its end is written down as.
pub(super) struct Tail {
    pub(super) spender: Spender,
    pub(super) response: HttpResponse,
    /// Scheme, host and port.
    pub(super) origin: String,
    /// The purchase; `None` when nothing was paid.
    pub(super) intent_id: Option<String>,
    /// Milliseconds since the epoch.
    pub(super) started_millis: u64,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
}

/// A [`Tail`] and what was seen of it.
struct Flow {
    tail: Tail,
    /// `None` once it is too large to be kept.
    kept: Option<BytesMut>,
    is_over: bool,
}

impl Tail {
    pub(super) fn into_stream(self) -> AnswerStream {
        let flow = Flow {
            kept: self.intent_id.as_ref().map(|_| BytesMut::new()),
            tail: self,
            is_over: false,
        };
        AnswerStream::new(stream::unfold(flow, Flow::next).boxed())
    }
}

impl Flow {
    async fn next(mut self) -> Option<(Result<Bytes, SpendError>, Self)> {
        if self.is_over {
            return None;
        }
        let patience = self.tail.spender.inner.caller.patience;
        let part = match tokio::time::timeout(patience, self.tail.response.chunk()).await {
            Ok(Ok(Some(part))) => {
                self.keep(&part);
                Ok(part)
            }
            Ok(Ok(None)) => match self.deliver().await {
                Ok(()) => return None,
                Err(error) => Err(error),
            },
            Ok(Err(error)) => Err(self.break_off(describe(&error)).await),
            Err(_) => Err(self.break_off("no answer in time".to_owned()).await),
        };
        self.is_over = part.is_err();
        Some((part, self))
    }

    fn keep(&mut self, part: &Bytes) {
        let is_too_large = self
            .kept
            .as_ref()
            .is_some_and(|kept| kept.len() + part.len() > MAX_STORED_BODY_BYTES);
        if is_too_large {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(part);
        }
    }

    /// The last byte is here.
    async fn deliver(&mut self) -> Result<(), SpendError> {
        let Some(intent_id) = self.tail.intent_id.clone() else {
            return Ok(());
        };
        let spender = &self.tail.spender;
        if let Some(body) = self.kept.take() {
            let kept = stored(self.tail.status, &self.tail.headers, body.to_vec());
            spender.keep_answer(&intent_id, kept).await;
        }
        crate::crash::point("spend.answer.whole");
        let now = spender.inner.parts.clock.now_millis();
        let change = IntentChange {
            state: Some(IntentState::Delivered),
            duration_ms: Some(now.saturating_sub(self.tail.started_millis)),
            ..IntentChange::default()
        };
        spender.advance(&intent_id, change).await.map(drop)
    }

    /// The body will not end any more.
    async fn break_off(&self, reason: String) -> SpendError {
        let Some(intent_id) = self.tail.intent_id.clone() else {
            return SpendError::Network {
                origin: self.tail.origin.clone(),
                reason,
            };
        };
        let change = IntentChange {
            detail: Some(format!("the answer broke off: {reason}")),
            ..IntentChange::default()
        };
        if let Err(error) = self.tail.spender.advance(&intent_id, change).await {
            return error;
        }
        SpendError::PaidNotDelivered {
            id: intent_id,
            reason,
        }
    }
}

pub(super) fn stored(status: u16, headers: &HeaderMap, body: Vec<u8>) -> StoredAnswer {
    StoredAnswer {
        status,
        headers: headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
        body,
    }
}

impl Spender {
    /// Reads all of `answer`, if it comes in time and is not too long.
    pub(super) async fn read_whole(&self, answer: OpenAnswer) -> Result<Fetched, SpendError> {
        self.collect(answer, MAX_ANSWER_BODY_BYTES).await
    }

    /// Reads all of `answer`, if it comes in time and has at most `limit` bytes.
    ///
    /// # Errors
    /// When it does not; what was paid stays paid, and its key asks for it again.
    pub async fn collect(&self, answer: OpenAnswer, limit: usize) -> Result<Fetched, SpendError> {
        let OpenAnswer {
            status,
            headers,
            purchase,
            mut body,
        } = answer;
        let intent_id = purchase
            .as_ref()
            .map(|purchase| purchase.id.clone())
            .filter(|id| !id.is_empty());
        let fault = |reason: String| match &intent_id {
            Some(id) => SpendError::PaidNotDelivered {
                id: id.clone(),
                reason,
            },
            None => SpendError::Network {
                origin: "the seller".to_owned(),
                reason,
            },
        };
        let reading = async {
            let mut bytes = BytesMut::new();
            while let Some(part) = body.next().await {
                let part = part?;
                if bytes.len() + part.len() > limit {
                    return Err(fault(too_long(limit)));
                }
                bytes.extend_from_slice(&part);
            }
            Ok(bytes.freeze())
        };
        let body = tokio::time::timeout(self.inner.caller.patience, reading)
            .await
            .unwrap_or_else(|_| Err(fault("no answer in time".to_owned())))?;
        let purchase = match &intent_id {
            Some(id) => self.find_purchase(id).await?,
            None => purchase,
        };
        Ok(Fetched {
            status,
            headers,
            body,
            purchase,
        })
    }
}
