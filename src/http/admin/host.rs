//! Requests for another host name are refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::http::{Node, Problem};

/// Lets a request through that was sent to this machine by its own name or address.
pub(super) async fn check(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if is_own(host, node.config.admin.listen.ip()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_host",
        "this listener answers to localhost only",
    )
    .into_response()
}

fn is_own(host: &str, listen: IpAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || (ip == listen && !ip.is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_own() {
        let listen = IpAddr::from([192, 168, 1, 5]);
        for host in [
            "localhost",
            "LOCALHOST:7403",
            "127.0.0.1:1",
            "[::1]:7403",
            "192.168.1.5:1",
        ] {
            assert!(is_own(host, listen), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7403",
            "10.0.0.1",
            "0.0.0.0:1",
        ] {
            assert!(!is_own(host, listen), "{host}");
        }
    }
}
