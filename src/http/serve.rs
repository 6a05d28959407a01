//! Serving the two listeners until shutdown.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;

use super::{Node, admin, public};
use crate::lifecycle::Lifecycle;

/// Serves buyers, Nostr clients and browsers on `listener`.
pub fn serve_public(node: &Arc<Node>, listener: TcpListener, lifecycle: &Lifecycle) {
    serve(public::router(Arc::clone(node)), listener, lifecycle);
}

/// Serves the owner on `listener`.
pub fn serve_admin(node: &Arc<Node>, listener: TcpListener, lifecycle: &Lifecycle) {
    serve(admin::router(Arc::clone(node)), listener, lifecycle);
}

/// Ends with shutdown, and lets open requests end first.
fn serve(router: Router, listener: TcpListener, lifecycle: &Lifecycle) {
    let stopping = lifecycle.stopping();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    lifecycle.spawn_draining(async move {
        let served = axum::serve(listener, service)
            .with_graceful_shutdown(stopping)
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "a listener has ended");
        }
    });
}
