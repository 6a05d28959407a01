//! The shop's own upstream: answers, fails or is silent, and counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use feria::lifecycle::Lifecycle;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What the upstream does with a call.
#[derive(Clone, Copy)]
pub(in super::super) enum Mode {
    Work = 0,
    Fail = 1,
    Silent = 2,
}

#[derive(Default)]
pub(in super::super) struct Upstream {
    pub(in super::super) calls: AtomicU64,
    pub(in super::super) saw_payment: AtomicBool,
    /// How often each request body came.
    pub(in super::super) bodies: Mutex<HashMap<String, u64>>,
    /// Rings at each call.
    pub(in super::super) reached: Notify,
    mode: AtomicU8,
}

impl Upstream {
    pub(in super::super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

async fn serve(
    State(upstream): State<Arc<Upstream>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let number = upstream.calls.fetch_add(1, Ordering::SeqCst);
    if headers.contains_key("authorization") || headers.contains_key("x-cashu") {
        upstream.saw_payment.store(true, Ordering::SeqCst);
    }
    *upstream.bodies.lock().entry(body.clone()).or_default() += 1;
    upstream.reached.notify_one();
    match upstream.mode.load(Ordering::SeqCst) {
        0 => (
            [("x-cost-msat", "30000")],
            format!("answer {number} to {body}"),
        )
            .into_response(),
        1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => std::future::pending().await,
    }
}

/// Serves `upstream` on a free port and returns its address.
pub(in super::super) async fn listen(upstream: &Arc<Upstream>, lifecycle: &Lifecycle) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(serve)
        .with_state(Arc::clone(upstream));
    lifecycle.spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    url
}
