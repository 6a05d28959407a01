//! The service: price, check, claim, serve, answer.
//!
//! For each request, in this order:
//! 1. ask the pricing for terms; none means that the request passes untouched;
//! 2. in shadow mode it is served and told the price; `HEAD` and `Prefer: price-only`
//!    are told the price, without an invoice; one of the client's free calls is used
//!    if there is one left and the request carries no payment;
//! 3. L402 is checked first, then MPP, then ecash; what is refused is answered here;
//! 4. the payment is claimed once in the journal, unless it bought time that the
//!    journal knows to be running;
//! 5. the inner service is called;
//! 6. below 500 the call is committed, otherwise the payment is given back.
//!
//! What carries a payment runs from step 3 on a task of its own, so that a client
//! who hangs up leaves neither a swap nor a paid call undecided. Payment headers
//! never reach the inner service.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;

use crate::admit::{Admission, Presented, admit, open_time, present, request_digest};
use crate::ask;
use crate::challenge::{ChallengeView, Offers, X_CASHU, asks_price_only, price_told, render};
use crate::layer::Shared;
use crate::mpp;
use crate::offer;
use crate::paid;
use crate::price::Terms;
use crate::replay;
use crate::scheme::BoxFuture;
use crate::unpaid;
use crate::verdict::{Outcome, Reason, Refusal, Unavailable};

/// Any error, as bodies carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of requests and responses behind and in front of the layer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The client's address, put into the request's extensions by the listener. The
/// limit on challenges counts by it; requests without one share one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// The inner service failed; its error says nothing that a payer needs.
pub(crate) struct Failed;
/// Calls the inner service, whatever its type.
pub(crate) type Forward =
    Box<dyn FnOnce(Request<Body>) -> BoxFuture<Result<Response<Body>, Failed>> + Send>;

/// A service behind the paywall.
#[derive(Clone)]
pub struct Paywall<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Paywall<S> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, B, R> Service<Request<B>> for Paywall<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready must be the one that is called.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let shared = Arc::clone(&self.shared);
        let request = request.map(|body| Body::new(body.map_err(Into::into)));
        let (parts, body) = request.into_parts();
        let Some(terms) = shared.pricing.terms(&parts) else {
            let passing = inner.call(Request::from_parts(parts, body));
            return Box::pin(passing.map(|answer| {
                answer.map(|response| {
                    let mut response = response.map(boxed);
                    response.extensions_mut().insert(Outcome::Free);
                    response
                })
            }));
        };
        let forward: Forward = Box::new(move |request| {
            Box::pin(inner.call(request).map(|answer| {
                answer
                    .map(|response| response.map(boxed))
                    .map_err(|_| Failed)
            }))
        });
        Box::pin(async move { Ok(serve(shared, forward, terms, parts, body).await) })
    }
}

/// Boxes the body of an inner service.
fn boxed<R>(body: R) -> Body
where
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    Body::new(body.map_err(Into::into))
}

async fn serve(
    shared: Arc<Shared>,
    forward: Forward,
    mut terms: Terms,
    mut parts: Parts,
    body: Body,
) -> Response<Body> {
    if terms.is_shadow {
        let request = Request::from_parts(parts, body);
        return unpaid::shadow(&shared, forward, &terms, request).await;
    }
    if parts.method == Method::HEAD || asks_price_only(&parts.headers) {
        return tell_price(&shared, &terms, &parts).await;
    }
    if !carries_payment(&shared, &parts.headers) {
        let now_millis = shared.world.now_millis();
        let Some(taken) = shared.trials.take(&terms, client_of(&parts), now_millis) else {
            terms.bind(&parts);
            return decide(shared, forward, terms, parts, body, Presented::None).await;
        };
        let request = Request::from_parts(parts, body);
        return unpaid::trial(&shared, forward, taken, request).await;
    }
    terms.bind(&parts);
    let presented = present(&shared, &terms, &parts);
    // Nothing is claimed, so nothing is left undecided by a client who hangs up.
    if let Some(call) = open_time(&shared, &parts, &presented) {
        strip(&mut parts.headers, shared.mpp.is_some());
        let request = Request::from_parts(parts, body);
        return paid::run_in_open_time(forward, call, request).await;
    }
    // On a task of its own: a client who hangs up must not leave a payment that is
    // on its way, or a claimed call, to nobody.
    let (answer, answered) = oneshot::channel();
    let (told, headers) = (terms.clone(), parts.headers.clone());
    let task = decide(Arc::clone(&shared), forward, terms, parts, body, presented);
    shared.world.spawn(Box::pin(async move {
        let _ = answer.send(task.await);
    }));
    match answered.await {
        Ok(response) => response,
        // The task was cut off by a shutdown; the next start resolves the call.
        Err(_) => {
            let refusal = Refusal::Unavailable(Unavailable::Journal);
            say(&shared, &told, &headers, &refusal, &Offers::default())
        }
    }
}

/// Takes the payment, serves the call and answers. `terms` are bound to the request.
async fn decide(
    shared: Arc<Shared>,
    forward: Forward,
    mut terms: Terms,
    mut parts: Parts,
    body: Body,
    presented: Presented,
) -> Response<Body> {
    let refusal = match admit(&shared, &mut terms, &parts, presented).await {
        Ok(Admission::Call(call)) => {
            strip(&mut parts.headers, shared.mpp.is_some());
            let request = Request::from_parts(parts, body);
            return paid::run(shared, forward, *call, request).await;
        }
        Ok(Admission::Replay(found)) => match replay::answer(&shared, *found, body).await {
            Ok(response) => return response,
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    refuse(&shared, terms, &parts, refusal).await
}

/// Returns the client's address as the listener found it.
pub(crate) fn client_of(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddr>().map(|client| client.0)
}

fn carries_payment(shared: &Shared, headers: &HeaderMap) -> bool {
    headers.contains_key(X_CASHU)
        || headers
            .get_all(AUTHORIZATION)
            .iter()
            .any(|value| is_payment(value.as_bytes(), shared.mpp.is_some()))
}

/// Tells the price; nothing is made for it and nothing is claimed.
async fn tell_price(shared: &Shared, terms: &Terms, parts: &Parts) -> Response<Body> {
    let priced = match ask::priced(shared, terms, parts).await {
        Ok(priced) => priced,
        Err(refusal) => {
            return say(shared, terms, &parts.headers, &refusal, &Offers::default());
        }
    };
    let view = ChallengeView {
        refusal: &Refusal::PaymentRequired(Reason::PriceOnly),
        terms: &priced,
        offers: &Offers {
            cashu: offer::cashu(shared, &priced),
            ..Offers::default()
        },
        now: shared.now(),
    };
    price_told(&view, parts, shared.page.as_ref())
}

/// Answers a refusal; a 402 gets its price and its offers here.
async fn refuse(shared: &Shared, terms: Terms, parts: &Parts, refusal: Refusal) -> Response<Body> {
    let (terms, refusal, offers) = match refusal {
        Refusal::PaymentRequired(reason) => match make_offers(shared, &terms, parts).await {
            Ok((priced, offers)) => (priced, Refusal::PaymentRequired(reason), offers),
            Err(refusal) => (terms, refusal, Offers::default()),
        },
        other => (terms, other, Offers::default()),
    };
    say(shared, &terms, &parts.headers, &refusal, &offers)
}

/// Makes the offers of a 402, and remembers the price that they tell.
async fn make_offers(
    shared: &Shared,
    terms: &Terms,
    parts: &Parts,
) -> Result<(Terms, Offers), Refusal> {
    let client = client_of(parts);
    let priced = ask::priced(shared, terms, parts).await?;
    let offers = offer::make(shared, &priced, parts).await?;
    if offers.cashu.is_some() {
        let digest = request_digest(parts);
        shared.quotes.tell(&priced, client, &digest, shared.now());
    }
    Ok((priced, offers))
}

/// Renders an answer of the layer's own.
fn say(
    shared: &Shared,
    terms: &Terms,
    headers: &HeaderMap,
    refusal: &Refusal,
    offers: &Offers,
) -> Response<Body> {
    let view = ChallengeView {
        refusal,
        terms,
        offers,
        now: shared.now(),
    };
    render(&view, headers, shared.page.as_ref())
}

/// Takes every payment header out, those of MPP too; credentials of other schemes
/// stay. The layer does so for whatever it prices; what has no price passes with all
/// its headers.
pub fn strip_payment(headers: &mut HeaderMap) {
    strip(headers, true);
}

fn strip(headers: &mut HeaderMap, has_mpp: bool) {
    headers.remove(X_CASHU);
    // Where a newer draft of MPP lets clients put what they send us in `Authorization`.
    headers.remove("payment-authorization");
    let kept: Vec<_> = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter(|value| !is_payment(value.as_bytes(), has_mpp))
        .cloned()
        .collect();
    headers.remove(AUTHORIZATION);
    for value in kept {
        headers.append(AUTHORIZATION, value);
    }
}

/// Returns whether an `Authorization` value is a payment to this layer: without MPP,
/// the scheme `Payment` is the inner service's business.
fn is_payment(value: &[u8], has_mpp: bool) -> bool {
    let value = value.trim_ascii_start();
    let end = value
        .iter()
        .position(|byte| byte.is_ascii_whitespace())
        .unwrap_or(value.len());
    let scheme = &value[..end];
    [&b"l402"[..], b"lsat", b"cashu"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
        || (has_mpp && mpp::is_payment(scheme))
}

#[cfg(test)]
mod tests;
