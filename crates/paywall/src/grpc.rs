//! Refusals as gRPC callers read them.
//!
//! A gRPC client takes any HTTP status but 200 for a broken connection, so the
//! refusal is a 200 whose trailers stand in the headers ("trailers-only"), with the
//! challenge beside them. Code 13 with this very message is what Aperture answers
//! and what its client's interceptor looks for.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::challenge::answer;
use crate::service::Body;
use crate::verdict::Refusal;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Returns the answer to a gRPC caller, `None` if `headers` are not those of one.
pub(crate) fn refusal(refusal: &Refusal, headers: &HeaderMap) -> Option<Response<Body>> {
    let content_type = headers.get(CONTENT_TYPE)?;
    let is_grpc = content_type
        .as_bytes()
        .get(..16)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    if !is_grpc {
        return None;
    }
    let mut response = answer(StatusCode::OK, "application/grpc", String::new());
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, content_type.clone());
    out.insert(GRPC_STATUS, HeaderValue::from(code(refusal)));
    if let Ok(message) = HeaderValue::try_from(message(refusal)) {
        out.insert(GRPC_MESSAGE, message);
    }
    Some(response)
}

/// Returns the status code of gRPC.
const fn code(refusal: &Refusal) -> u16 {
    match refusal {
        // Invalid argument.
        Refusal::BadToken { .. } | Refusal::KeyReused | Refusal::BodyTooLong => 3,
        // Resource exhausted.
        Refusal::TooMany { .. } => 8,
        // Aborted.
        Refusal::InProgress => 10,
        // Internal, by Aperture's example.
        Refusal::PaymentRequired(_) => 13,
        Refusal::Unavailable(_) => 14,
        // Unauthenticated.
        Refusal::BadCredential(_) => 16,
    }
}

fn message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::PaymentRequired(_) => "payment required".to_owned(),
        other => percent_encoded(&other.detail()),
    }
}

/// Writes printable ASCII as it is and everything else as `%XX`, as gRPC asks.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'%' => "%25".to_owned(),
            b' '..=b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
