//! The same request again: the kept response, if the body is the same too.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};

use crate::admit::kept;
use crate::capture::{ReadFault, read_all};
use crate::challenge::X_CASHU;
use crate::journal::{PaymentKey, Replay, RequestKey};
use crate::l402::Remaining;
use crate::layer::Shared;
use crate::paid::mark;
use crate::service::Body;
use crate::verdict::{Outcome, Refusal};

/// Longest body of a repeated request that is read for the comparison.
const MAX_COMPARED_BYTES: usize = 1_024 * 1_024;

/// A kept response, and what to say when it does not fit after all.
pub(crate) struct Found {
    pub(crate) replay: Replay,
    pub(crate) payment: PaymentKey,
    pub(crate) request: RequestKey,
    /// The client named the call by its `Idempotency-Key`.
    pub(crate) is_by_key: bool,
    /// The answer when the bodies differ.
    pub(crate) otherwise: Refusal,
}

/// Reads the request's body and gives the kept response if it fits.
pub(crate) async fn answer(
    shared: &Shared,
    found: Found,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let body = match read_all(body, MAX_COMPARED_BYTES).await {
        Ok(body) => body,
        Err(ReadFault::TooLong) => return Err(Refusal::BodyTooLong),
        Err(ReadFault::Broken(_)) => return Err(found.otherwise),
    };
    let hash: [u8; 32] = Sha256::digest(&body).into();
    let replay = fitting(shared, found, hash).await?;
    let Replay {
        call,
        response: kept,
        change,
        ..
    } = replay;
    let mut response = Response::new(Body::new(
        Full::new(kept.body).map_err(|never| match never {}),
    ));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value))
        {
            response.headers_mut().append(name, value);
        }
    }
    mark(response.headers_mut(), &call, &Remaining::default());
    if let (Some(change), Some(redeemer)) = (change, &shared.redeemer)
        && let Ok(token) = redeemer.pay_out(&call, &change).await
        && let Ok(token) = HeaderValue::try_from(token)
    {
        response.headers_mut().insert(X_CASHU, token);
    }
    response.extensions_mut().insert(Outcome::Replayed { call });
    Ok(response)
}

/// Returns the kept response of this very request. A key names one call, so
/// another request under it is refused; without a key, a credential with several
/// uses may have paid for calls that differ in their bodies alone.
async fn fitting(shared: &Shared, found: Found, hash: [u8; 32]) -> Result<Replay, Refusal> {
    let Found {
        replay,
        payment,
        mut request,
        is_by_key,
        otherwise,
    } = found;
    let is_same_target = replay.request_digest == request.digest;
    if is_same_target && replay.response.request_body_hash == hash {
        return Ok(replay);
    }
    if is_by_key || request.idempotency_key.is_some() {
        return Err(Refusal::KeyReused);
    }
    request.body_hash = Some(hash);
    match kept(shared, payment, &request, false, otherwise.clone()).await? {
        Some(found) => Ok(found.replay),
        None => Err(otherwise),
    }
}
