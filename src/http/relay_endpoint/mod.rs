//! The node as a Nostr relay: a websocket over its index.
//!
//! Anyone may read the market and publish to it by [`RelayPolicy`]; messages
//! (kind 1059) are kept for the node's own agents and shown to the addressee
//! only, who proves the key by NIP-42. Events that came through the endpoint are
//! announced on the shared live channel by the endpoint; whoever stores events
//! from elsewhere announces those.
//!
//! | file | what it holds |
//! |---|---|
//! | `policy.rs` | limits, who may write and read what |
//! | `info.rs` | the NIP-11 document |
//! | `connection.rs` | one websocket: reading, live events, writing |
//! | `requests.rs` | the answer to each message of a client |
//!
//! NIPs: <https://github.com/nostr-protocol/nips> 01, 09, 11, 40, 42, 70.

mod connection;
mod info;
mod policy;
mod requests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::UPGRADE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use nostr::event::Event;
use nostr::key::PublicKey;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, broadcast};

pub use info::RelayInfo;
pub use policy::{EventSink, RelayPolicy, SinkAnswer};

use crate::clock::{SharedClock, SharedEntropy};
use crate::lifecycle::Lifecycle;
use crate::store::index::Index;

/// What an endpoint is made of.
pub struct RelayEndpointParts {
    /// Answers stored queries.
    pub index: Index,
    /// Takes events that clients publish.
    pub sink: Arc<dyn EventSink>,
    /// New events, for live subscriptions, with room for some thousands:
    /// a connection that falls behind further is dropped.
    pub live: broadcast::Sender<Arc<Event>>,
    /// Limits and rules.
    pub policy: RelayPolicy,
    /// The words of the NIP-11 document.
    pub info: RelayInfo,
    /// Tells expiry and freshness.
    pub clock: SharedClock,
    /// Makes challenges.
    pub entropy: SharedEntropy,
    /// Runs the connections.
    pub lifecycle: Lifecycle,
}

/// The relay that the node itself is.
pub struct RelayEndpoint {
    parts: RelayEndpointParts,
    connections: Arc<Semaphore>,
    /// Keys of own agents, which may receive messages here.
    inbox_keys: RwLock<HashSet<PublicKey>>,
}

impl fmt::Debug for RelayEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayEndpoint")
            .field("policy", &self.parts.policy)
            .finish_non_exhaustive()
    }
}

impl RelayEndpoint {
    /// Returns the endpoint; it serves nothing until its routes are mounted.
    #[must_use]
    pub fn new(parts: RelayEndpointParts) -> Self {
        let connections = Arc::new(Semaphore::new(parts.policy.max_connections));
        Self {
            parts,
            connections,
            inbox_keys: RwLock::default(),
        }
    }

    /// Replaces the keys of own agents, for which messages are taken.
    pub fn set_inbox_keys(&self, keys: impl IntoIterator<Item = PublicKey>) {
        *self.inbox_keys.write() = keys.into_iter().collect();
    }

    /// Returns a router that serves the relay at `/`, and 404 to a browser.
    pub fn router(self: Arc<Self>) -> Router {
        async fn root(State(endpoint): State<Arc<RelayEndpoint>>, request: Request) -> Response {
            match endpoint.upgrade_or_info(request).await {
                Ok(response) => response,
                Err(_browser) => StatusCode::NOT_FOUND.into_response(),
            }
        }
        Router::new().route("/", get(root)).with_state(self)
    }

    /// Answers a websocket upgrade or a request for the NIP-11 document.
    ///
    /// # Errors
    /// Gives back, untouched, a request that is neither, so that the caller may
    /// answer it with a page.
    pub async fn upgrade_or_info(self: &Arc<Self>, request: Request) -> Result<Response, Request> {
        if !request.headers().contains_key(UPGRADE) {
            if info::is_wanted(request.headers()) {
                return Ok(info::respond(&self.parts.info, &self.parts.policy));
            }
            return Err(request);
        }
        let (mut parts, _body) = request.into_parts();
        match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => Ok(self.upgrade(upgrade)),
            Err(rejection) => Ok(rejection.into_response()),
        }
    }

    fn upgrade(self: &Arc<Self>, upgrade: WebSocketUpgrade) -> Response {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let endpoint = Arc::clone(self);
        let max_frame_bytes = self.parts.policy.max_frame_bytes;
        upgrade
            .max_message_size(max_frame_bytes)
            .max_frame_size(max_frame_bytes)
            .read_buffer_size(16 * 1024)
            .write_buffer_size(16 * 1024)
            .on_upgrade(async move |socket| {
                let lifecycle = endpoint.parts.lifecycle.clone();
                lifecycle.spawn(async move {
                    connection::serve(endpoint, socket).await;
                    drop(permit);
                });
            })
    }
}
