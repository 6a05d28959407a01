//! Each way a forwarded call can fail, as its payer is told.
//!
//! What went wrong in detail is in the log: an upstream's address is the seller's
//! own business.

use feria_paywall::fault::ServiceFault;
use feria_paywall::service::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError};
use serde_json::json;

use super::watch::CallWatch;

const fn bad_gateway(code: &'static str, detail: &'static str) -> ServiceFault {
    ServiceFault {
        status: StatusCode::BAD_GATEWAY,
        code,
        detail,
    }
}

const fn timeout(code: &'static str, detail: &'static str) -> ServiceFault {
    ServiceFault {
        status: StatusCode::GATEWAY_TIMEOUT,
        code,
        detail,
    }
}

/// No connection: refused, unknown host, or a certificate that nobody vouches for.
pub(super) const UNREACHABLE: ServiceFault =
    bad_gateway("upstream_unreachable", "The service could not be reached.");
/// No connection in time.
pub(super) const UNREACHABLE_IN_TIME: ServiceFault = timeout(
    "upstream_connect_timeout",
    "The service could not be reached in time.",
);
/// A connection that ended before the head of an answer.
pub(super) const BROKEN: ServiceFault = bad_gateway(
    "upstream_failed",
    "The service broke off before its answer was complete.",
);
/// No head of an answer in time.
pub(super) const SILENT: ServiceFault =
    timeout("upstream_timeout", "The service did not answer in time.");
/// A pause within the answer.
pub(super) const STALLED: ServiceFault = timeout(
    "upstream_stalled",
    "The service stopped in the middle of its answer.",
);
/// The whole call took too long.
pub(super) const TOO_SLOW: ServiceFault = timeout(
    "call_timeout",
    "The call took longer than any call may take here.",
);
/// An answer that switches to another protocol without having been asked.
pub(super) const UNASKED_SWITCH: ServiceFault = bad_gateway(
    "upstream_failed",
    "The service switched to a protocol that was not asked for.",
);
/// A gRPC status that says that the service failed.
pub(super) const GRPC_FAILED: ServiceFault = bad_gateway(
    "upstream_failed",
    "The service failed, as its gRPC status says.",
);
/// Nothing is known about where calls of this agent go.
pub(super) const NO_UPSTREAM: ServiceFault =
    bad_gateway("upstream_unreachable", "The service is not set up.");

/// The client's connection ended within the request's body.
pub(super) const UPLOAD_BROKEN: ServiceFault = ServiceFault {
    status: StatusCode::BAD_REQUEST,
    code: "request_broken_off",
    detail: "The request broke off before its end.",
};
/// The client paused within the request's body.
pub(super) const UPLOAD_STALLED: ServiceFault = ServiceFault {
    status: StatusCode::REQUEST_TIMEOUT,
    code: "request_stalled",
    detail: "The request stopped before its end.",
};
/// The request's body is longer than is taken.
pub(super) const UPLOAD_TOO_LONG: ServiceFault = ServiceFault {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    code: "body_too_large",
    detail: "The request's body is longer than is taken here.",
};

/// Returns what an error of the request's body means.
pub(super) fn of_upload(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ServiceFault {
    if error.is::<LengthLimitError>() {
        UPLOAD_TOO_LONG
    } else {
        UPLOAD_BROKEN
    }
}

/// Returns what a request that got no head of an answer failed of: the client's
/// part in it comes first, because the upstream then only saw what he did.
pub(super) fn of_send(error: &reqwest::Error, watch: &CallWatch) -> ServiceFault {
    if let Some(fault) = watch.upload_fault() {
        return fault;
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => UNREACHABLE_IN_TIME,
        (true, false) => UNREACHABLE,
        (false, _) => BROKEN,
    }
}

/// Returns the answer that says `fault`, to the paywall and to whoever pays nothing.
pub(super) fn answer(fault: ServiceFault) -> Response<Body> {
    let document = json!({
        "type": "about:blank",
        "title": fault.status.canonical_reason().unwrap_or_default(),
        "status": fault.status.as_u16(),
        "code": fault.code,
        "detail": fault.detail,
        "retryable": true,
        "money": "none",
        "next_steps": ["Repeat the call later"],
    });
    let body = Full::from(document.to_string()).map_err(|never| match never {});
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = fault.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(fault);
    response
}
