//! gRPC: a call succeeds or fails by its `grpc-status`, not by the HTTP status.
//!
//! An answer whose head has the status ("trailers only") is judged there; any
//! other at the end of its body, where the status stands in the trailers, and
//! where the paywall is told by an error in their place. Towards the client the
//! [`GrpcCall`] turns that error into the trailers again, and the paywall's answer
//! to a failure into one that a gRPC client can read: HTTP 200 and a
//! `grpc-status`, with the refund in the headers.
//!
//! | status | the service |
//! |---|---|
//! | 2 UNKNOWN, 4 `DEADLINE_EXCEEDED`, 13 INTERNAL, 14 UNAVAILABLE, 15 `DATA_LOSS`, or none | failed: the payment is given back |
//! | any other | answered |
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use feria_paywall::fault::ServiceFault;
use feria_paywall::service::{Body, BoxError};
use feria_paywall::verdict::Outcome;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};

use super::fault::{self, GRPC_FAILED};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;
const UNAUTHENTICATED: u32 = 16;

/// Whether the service failed, by what it says of itself.
const fn is_failure(status: u32) -> bool {
    matches!(
        status,
        UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS
    )
}

/// A gRPC call in the extensions of its request; remembers how the service failed.
#[derive(Debug, Clone, Default)]
pub(in crate::gateway) struct GrpcCall {
    failed: Arc<OnceLock<HeaderMap>>,
}

impl GrpcCall {
    /// Returns the call that a request with these headers makes; gRPC-Web is none:
    /// its status stands in the body.
    pub(in crate::gateway) fn of(headers: &HeaderMap) -> Option<Self> {
        is_grpc(headers).then(Self::default)
    }

    /// Turns what failed into a fault that the paywall sees, or an answer that
    /// becomes one at its end.
    pub(super) fn judge(&self, response: Response<Body>) -> Response<Body> {
        let headers = response.headers();
        let is_complete = headers.contains_key(GRPC_STATUS);
        if !is_complete && response.status() == StatusCode::OK && is_grpc(headers) {
            let (mut parts, body) = response.into_parts();
            // The end of the body alone says how long it was.
            parts.headers.remove(CONTENT_LENGTH);
            let judged = Judged {
                inner: Some(body),
                call: self.clone(),
            };
            return Response::from_parts(parts, Body::new(judged));
        }
        let status = if is_complete {
            status_in(headers)
        } else {
            of_http(response.status())
        };
        if !is_failure(status) {
            return response;
        }
        self.set_failed(status, Some(headers));
        fault::answer(GRPC_FAILED)
    }

    fn set_failed(&self, status: u32, said: Option<&HeaderMap>) {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from(status));
        for name in [GRPC_MESSAGE, GRPC_DETAILS] {
            if let Some(value) = said.and_then(|said| said.get(&name)) {
                trailers.insert(name, value.clone());
            }
        }
        let _ = self.failed.set(trailers);
    }

    /// Makes the gateway's answer one that a gRPC client reads.
    pub(in crate::gateway) fn dress(&self, response: Response<Body>) -> Response<Body> {
        let said = match response.extensions().get::<Outcome>() {
            Some(Outcome::Failed { .. }) => of_failure(response.status()),
            // What nobody paid for has failed all the same.
            _ if response.extensions().get::<ServiceFault>().is_some() => {
                of_failure(response.status())
            }
            _ if response.status() == StatusCode::OK => {
                let call = self.clone();
                return response.map(|inner| Body::new(Restored { inner, call }));
            }
            _ => return response,
        };
        let (mut parts, _) = response.into_parts();
        parts.status = StatusCode::OK;
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        match self.failed.get() {
            Some(trailers) => parts.headers.extend(trailers.clone()),
            None => {
                let message = HeaderValue::from_static(said.1);
                parts.headers.insert(GRPC_STATUS, said.0.into());
                parts.headers.insert(GRPC_MESSAGE, message);
            }
        }
        let nothing = Empty::new().map_err(|never| match never {});
        Response::from_parts(parts, Body::new(nothing))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

fn status_in(headers: &HeaderMap) -> u32 {
    headers
        .get(GRPC_STATUS)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(UNKNOWN)
}

/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
const fn of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// What is said of a failure of which the service itself said nothing.
const fn of_failure(status: StatusCode) -> (u32, &'static str) {
    match status.as_u16() {
        504 => (DEADLINE_EXCEEDED, "the service did not answer in time"),
        408 | 413 | 400 => (INVALID_ARGUMENT, "the request could not be forwarded"),
        _ => (UNAVAILABLE, "the service failed"),
    }
}

/// A service's body; ends with an error unless its trailers say that it answered.
struct Judged {
    /// `None` once it has ended.
    inner: Option<Body>,
    call: GrpcCall,
}

impl HttpBody for Judged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let (status, said) = match ready!(Pin::new(inner).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Err(data) => return Poll::Ready(Some(Ok(data))),
                Ok(trailers) => (status_in(&trailers), Some(trailers)),
            },
            Some(Err(error)) => {
                this.inner = None;
                this.call.set_failed(UNAVAILABLE, None);
                return Poll::Ready(Some(Err(error)));
            }
            None => (INTERNAL, None),
        };
        this.inner = None;
        Poll::Ready(Some(match said {
            Some(trailers) if !is_failure(status) => Ok(Frame::trailers(trailers)),
            said => {
                this.call.set_failed(status, said.as_ref());
                Err(GRPC_FAILED.into())
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The body as the client gets it: the error of a failed call is its trailers again.
struct Restored {
    inner: Body,
    call: GrpcCall,
}

impl HttpBody for Restored {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        Poll::Ready(match (frame, self.call.failed.get()) {
            (Some(Err(_)), Some(trailers)) => Some(Ok(Frame::trailers(trailers.clone()))),
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
