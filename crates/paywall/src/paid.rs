//! A claimed call: serve it, then commit or give the payment back.
//!
//! | answer of the service | commit at the head | commit at the body's end |
//! |---|---|---|
//! | 5xx, no answer, panic | given back | given back |
//! | short body, whole | committed, then sent | the same |
//! | short body that breaks off | given back, 502 | the same |
//! | long body, whole | committed at the head | committed before the last frame |
//! | long body that breaks off | committed | given back; the payer sees the break |
//! | client leaves meanwhile | committed | read to its end, then decided |

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full};

use crate::amount::Msat;
use crate::capture::{BodyHash, Ending, ReadFault, Watch, hashed, read_all, watched};
use crate::challenge::{
    BALANCE_MSAT, COST_MSAT, EXPOSED, PAYMENT_RECEIPT, SETTLEMENT, USES_REMAINING, X_CASHU,
    remove_own,
};
use crate::failed::{Failure, fail, failure_of, hand_out, nothing_taken, release};
use crate::journal::{CallId, Delivered, PayOut, PaymentKey, RequestKey, StoredResponse};
use crate::l402::Remaining;
use crate::layer::Shared;
use crate::price::CommitAt;
use crate::service::{Body, Forward};
use crate::verdict::Outcome;

/// A call that was claimed and must be decided.
#[derive(Debug, Clone)]
pub(crate) struct OpenCall {
    pub(crate) id: CallId,
    pub(crate) rail: &'static str,
    /// The value of `Payment-Receipt`.
    pub(crate) receipt: String,
    pub(crate) remaining: Remaining,
    /// What was claimed for it.
    pub(crate) price: Msat,
    /// Where the service says what a metered call cost.
    pub(crate) cost_header: Option<HeaderName>,
    pub(crate) commit: CommitAt,
    /// What pays.
    pub(crate) payment: PaymentKey,
    /// What for.
    pub(crate) request: RequestKey,
    /// The token turned out to be worth less than the price: serve nothing, give it back.
    pub(crate) is_underpaid: bool,
}

impl OpenCall {
    /// Returns what a metered call cost, as `headers` say it; `None` for a fixed price.
    fn cost(&self, headers: &HeaderMap) -> Option<Msat> {
        let said = headers.get(self.cost_header.as_ref()?);
        let cost = said
            .and_then(|value| value.to_str().ok())
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Msat::new);
        if cost.is_none_or(|cost| cost > self.price) {
            tracing::warn!(call.id = %self.id, "A metered service named no cost within the price: the price is charged");
        }
        Some(cost.unwrap_or(self.price).min(self.price))
    }
}

/// Serves `call` with `forward` and decides it.
pub(crate) async fn run(
    shared: Arc<Shared>,
    forward: Forward,
    call: OpenCall,
    request: Request<Body>,
) -> Response<Body> {
    if call.is_underpaid {
        return fail(&shared, &call, Failure::Underpaid).await;
    }
    let (parts, body) = request.into_parts();
    let (body, hash) = hashed(body);
    let serving = forward(Request::from_parts(parts, body));
    // A service that panics has served nothing; its payer must not pay for it.
    match AssertUnwindSafe(serving).catch_unwind().await {
        Ok(Ok(response)) => match failure_of(&response) {
            None => deliver(shared, call, response, hash).await,
            Some(failure) => fail(&shared, &call, failure).await,
        },
        Ok(Err(_)) | Err(_) => fail(&shared, &call, Failure::Upstream(None)).await,
    }
}

/// Serves a call within time that was bought and claimed by `opened`. Nothing is kept
/// and nothing decided: whatever fails, the same credential pays for the repeat.
pub(crate) async fn run_in_open_time(
    forward: Forward,
    opened: CallId,
    request: Request<Body>,
) -> Response<Body> {
    let failure = match AssertUnwindSafe(forward(request)).catch_unwind().await {
        Ok(Ok(mut response)) => match failure_of(&response) {
            None => {
                mark(response.headers_mut(), &opened, &Remaining::default());
                response.extensions_mut().insert(Outcome::Paid {
                    call: opened,
                    rail: "l402",
                });
                return response;
            }
            Some(failure) => failure,
        },
        Ok(Err(_)) | Err(_) => Failure::Upstream(None),
    };
    nothing_taken(opened, failure)
}

/// Commits `call`, now or at the end of its answer, and hands its response out.
async fn deliver(
    shared: Arc<Shared>,
    mut call: OpenCall,
    response: Response<Body>,
    hash: BodyHash,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    // Before the response is kept, so that a repeat shows the same receipt.
    say_receipt(&mut parts.headers, &call.receipt);
    let limit = shared.kept_response_bytes;
    let length = body.size_hint().exact();
    let is_short =
        length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length <= limit));
    if !is_short && call.commit == CommitAt::BodyEnd {
        return deliver_at_end(&shared, call, parts, body, hash);
    }
    // A short body is read before the commit: what breaks off in it was not delivered.
    let (response, body) = if is_short {
        match read_all(body, limit).await {
            Ok(bytes) => (
                keepable(&parts, bytes.clone(), &hash),
                Body::new(Full::new(bytes).map_err(|never| match never {})),
            ),
            Err(ReadFault::Broken(Some(fault))) => {
                return fail(&shared, &call, Failure::Fault(fault)).await;
            }
            Err(ReadFault::Broken(None) | ReadFault::TooLong) => {
                return fail(&shared, &call, Failure::Upstream(Some(parts.status))).await;
            }
        }
    } else {
        let is_long = length.is_some() || parts.headers.contains_key(CONTENT_LENGTH);
        let body = if is_long {
            body
        } else {
            keep_while_streaming(&shared, &call, &parts, body, hash)
        };
        (None, body)
    };
    let cost = call.cost(&parts.headers);
    let change = commit(&shared, &call, Delivered { response, cost }).await;
    call.give_back(cost);
    mark(&mut parts.headers, &call.id, &call.remaining);
    say_cost(&mut parts.headers, &call, cost);
    say_settlement(&mut parts.headers, call.rail);
    if let Some(change) = change
        && let Some(token) = hand_out(&shared, &call.id, &change).await
    {
        parts.headers.insert(X_CASHU, token);
    }
    parts.extensions.insert(Outcome::Paid {
        call: call.id,
        rail: call.rail,
    });
    Response::from_parts(parts, body)
}

/// Hands the response out and decides `call` when its last byte is there.
fn deliver_at_end(
    shared: &Arc<Shared>,
    call: OpenCall,
    mut parts: http::response::Parts,
    body: Body,
    hash: BodyHash,
) -> Response<Body> {
    let head = head_of(&parts);
    mark(&mut parts.headers, &call.id, &call.remaining);
    say_settlement(&mut parts.headers, call.rail);
    parts.extensions.insert(Outcome::Paid {
        call: call.id.clone(),
        rail: call.rail,
    });
    let world = Arc::clone(&shared.world);
    let ending = Arc::clone(shared);
    let body = watched(
        body,
        Watch::End,
        shared.kept_response_bytes,
        Box::new(move |end| {
            Box::pin(async move { decide(&ending, &call, &head, &hash, end).await })
        }),
        Box::new(move |task| world.spawn(task)),
    );
    Response::from_parts(parts, body)
}

/// Decides a call whose answer has ended.
async fn decide(
    shared: &Shared,
    call: &OpenCall,
    head: &http::response::Parts,
    hash: &BodyHash,
    end: Ending,
) {
    match end {
        Ending::Whole { copy, trailers } => {
            let said = trailers
                .as_ref()
                .filter(|trailers| {
                    let name = call.cost_header.as_ref();
                    name.is_some_and(|name| trailers.contains_key(name))
                })
                .unwrap_or(&head.headers);
            let delivered = Delivered {
                cost: call.cost(said),
                // Kept answers have no trailers: one that had some is not kept.
                response: copy
                    .filter(|_| trailers.is_none())
                    .and_then(|bytes| keepable(head, bytes, hash)),
            };
            commit(shared, call, delivered).await;
        }
        Ending::Broken => {
            tracing::info!(call.id = %call.id, "An answer broke off: its call is given back");
            // What is owed now is handed out when its payer asks for it.
            let _ = release(shared, call).await;
        }
    }
}

/// Commits `call`. Returns the change to hand out.
async fn commit(shared: &Shared, call: &OpenCall, delivered: Delivered) -> Option<PayOut> {
    match shared.journal.commit(&call.id, delivered).await {
        Ok(change) => change,
        // The payer has his answer. The journal's owner commits later, or finds the
        // call open at the next start and gives the payment back, which is the
        // seller's loss and not the payer's.
        Err(error) => {
            tracing::error!(call.id = %call.id, %error, "A delivered call was not committed");
            None
        }
    }
}

impl OpenCall {
    /// Adds what a metered call cost less than its price to what is left.
    fn give_back(&mut self, cost: Option<Msat>) {
        if let (Some(cost), Some(left)) = (cost, &mut self.remaining.balance_msat) {
            *left = left.saturating_add(self.price.saturating_sub(cost).as_u64());
        }
    }
}

/// Adds the headers of a paid answer.
pub(crate) fn mark(headers: &mut HeaderMap, call: &CallId, remaining: &Remaining) {
    // Said before the response is kept; what the service says is taken out there.
    let receipt = headers.remove(PAYMENT_RECEIPT);
    remove_own(headers);
    match receipt {
        Some(receipt) => drop(headers.insert(PAYMENT_RECEIPT, receipt)),
        None => say_receipt(headers, &call.0),
    }
    if let Some(uses) = remaining.uses {
        headers.insert(USES_REMAINING, HeaderValue::from(uses));
    }
    if let Some(balance_msat) = remaining.balance_msat {
        headers.insert(BALANCE_MSAT, HeaderValue::from(balance_msat));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private"));
    headers
        .entry(ACCESS_CONTROL_EXPOSE_HEADERS)
        .or_insert(EXPOSED);
}

/// Tells the payer what a metered call cost.
fn say_cost(headers: &mut HeaderMap, call: &OpenCall, cost: Option<Msat>) {
    if let (Some(name), Some(cost)) = (&call.cost_header, cost) {
        headers.remove(name);
        headers.insert(COST_MSAT, HeaderValue::from(cost.as_u64()));
    }
}

/// Names the payment; what the service itself said about it is taken out.
pub(crate) fn say_receipt(headers: &mut HeaderMap, receipt: &str) {
    headers.remove(PAYMENT_RECEIPT);
    if let Ok(receipt) = HeaderValue::from_str(receipt) {
        headers.insert(PAYMENT_RECEIPT, receipt);
    }
}

/// Tells the payer of ecash how his token was taken.
pub(crate) fn say_settlement(headers: &mut HeaderMap, rail: &str) {
    let how = match rail {
        "nut24-offline" => "offline",
        "nut24-swap" => "swap",
        _ => return,
    };
    headers.insert(SETTLEMENT, HeaderValue::from_static(how));
}

/// Returns the response as it is kept; `None` if the request's body was not read to its end.
/// The switch to another protocol cannot be repeated either.
fn keepable(parts: &http::response::Parts, body: Bytes, hash: &BodyHash) -> Option<StoredResponse> {
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    Some(StoredResponse {
        status: parts.status.as_u16(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body,
        request_body_hash: *hash.get()?,
    })
}

/// Returns a copy of `parts` that can wait for the body.
fn head_of(parts: &http::response::Parts) -> http::response::Parts {
    let mut head = Response::new(()).into_parts().0;
    head.status = parts.status;
    head.headers = parts.headers.clone();
    head
}

fn keep_while_streaming(
    shared: &Arc<Shared>,
    call: &OpenCall,
    parts: &http::response::Parts,
    body: Body,
    hash: BodyHash,
) -> Body {
    let stream = shared.streaming.begin(call.payment, &call.request);
    let journal = Arc::clone(&shared.journal);
    let world = Arc::clone(&shared.world);
    let call = call.id.clone();
    let head = head_of(parts);
    watched(
        body,
        Watch::Copy,
        shared.kept_response_bytes,
        Box::new(move |end| {
            Box::pin(async move {
                let Ending::Whole {
                    copy: Some(bytes),
                    trailers: None,
                } = end
                else {
                    return;
                };
                let Some(response) = keepable(&head, bytes, &hash) else {
                    return;
                };
                if let Err(error) = journal.keep_response(&call, response).await {
                    tracing::warn!(call.id = %call, %error, "A response was not kept");
                }
                drop(stream);
            })
        }),
        Box::new(move |task| world.spawn(task)),
    )
}
